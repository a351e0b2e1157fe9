#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What goes wrong below a share or a disk, and processes that are killed: what was promised holds, and errors are told.
# shellcheck source=tests/e2e/scratch.sh
. "$(dirname "${BASH_SOURCE[0]}")/scratch.sh"

no_process() { ! pgrep -x "$1"; }
printed() { [ "$(wc -l <"$work/o")" -ge "$1" ]; }

# ---- killed while writing -----------------------------------------------------------------------------------------

# Records that the guest was told are safe, and their file after a kill: killed OPTIONS… -- FILE-IN-GUEST FILE-ON-HOST WHO
killed() {
	local options=() pid n
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	: >"$work/o"
	microvm run --name writer -v "$tests:/tests:ro" "${options[@]}" "$bb" /tests/storage-work records "$2" 2000 >"$work/o" 2>"$work/e" &
	pid=$!
	until_ok printed 8
	case $4 in
	supervisor) kill -9 $pid ;;
	*) kill -9 "$(pgrep -x "$4")" ;;
	esac
	wait $pid 2>/dev/null || true
	until_ok no_vmm
	until_ok no_process microvm-fsd
	n=$(wc -l <"$work/o")
	echo "$4 was killed after record $n"
	[ "$n" -lt 2000 ] || die "the writer was through before the kill"
	run "$tests/storage-work" check "$3" "$n"
	status_is 0
	run microvm rm -f writer
	rm -f "$3"
}

test_share_survives_kills() { # limit 300 s
	local who
	scratch_fs 32M
	for who in microvm-vmm microvm-fsd supervisor; do
		killed -v "$scratch:/data" -- /data/file "$scratch/file" $who
	done
}

test_disk_survives_kills() { # limit 300 s
	local who
	scratch_fs 32M
	for who in microvm-vmm supervisor; do
		truncate -s 8M "$scratch/disk"
		killed --disk "$scratch/disk" -- /dev/vdb "$scratch/disk" $who
	done
}

# More than a kill: the host's own power. What its device has at that moment is all that is left.
survives_power_failure() { # FILE-IN-GUEST FILE OPTION…
	local file=$1 name=$2 n
	shift 2
	: >"$work/o"
	microvm run --name writer -v "$tests:/tests:ro" "$@" "$bb" /tests/storage-work records "$file" 2000 >"$work/o" 2>"$work/e" &
	until_ok printed 10
	n=$(wc -l <"$work/o")
	scratch_copy "$work/copy"
	run microvm rm -f writer
	wait $! || true
	mkdir -p "$work/after"
	mount -o loop "$work/copy" "$work/after"
	run "$tests/storage-work" check "$work/after/$name" "$n"
	umount "$work/after"
	rmdir "$work/after"
	status_is 0
}

test_fsync_reaches_the_device_below_a_share() { # limit 300 s
	scratch_fs 32M
	survives_power_failure /data/file file -v "$scratch:/data"
}

test_flush_reaches_the_device_below_a_disk() { # limit 300 s
	scratch_fs 32M
	truncate -s 8M "$scratch/disk"
	survives_power_failure /dev/vdb disk --disk "$scratch/disk"
}

# A new volume that is being filled: the copy stands still at a file whose device does not answer. Whoever is killed then, the next
# one goes on, and what is there in the end is whole.
test_a_copy_that_was_interrupted() {
	local who names mark=$store/volumes/half/copy data=$store/volumes/half/_data
	# Without an index a folder is read in the order in which it was filled.
	scratch_fs 64M -O ^dir_index
	mkdir -p "$scratch/root/bin" "$scratch/root/many"
	cp /bin/busybox "$scratch/root/bin/true"
	for names in {1..40} stop {41..80}; do head -c 5000 /dev/urandom >"$scratch/root/many/$names"; done
	cp -a "$scratch/root" "$work/root"
	sync
	dd of="$scratch/root/many/stop" oflag=nocache conv=notrunc,fdatasync count=0 status=none
	for who in microvm microvm-fsd; do
		dmsetup suspend --nolockfs scratch
		microvm run --rm --rootfs "$scratch/root:O" -v half:/many /bin/true &
		until_ok test -e "$data/40"
		kill -9 "$(pgrep -x $who)"
		dmsetup resume scratch
		wait || true
		until_ok no_vmm
		[ -s "$mark" ] || die "nobody knows that it was interrupted"
		is "$(find "$data" -name '[1-9]*' | wc -l)" 40 "files copied"
	done
	run microvm run --rm --rootfs "$scratch/root:O" -v half:/many /bin/true
	status_is 0
	diff -r "$work/root/many" "$data"
	[ ! -s "$mark" ] || die "it is still marked"
	run microvm volume rm half
	status_is 0
}

# ---- no room ------------------------------------------------------------------------------------------------------

test_no_room_below_a_share() { # limit 300 s
	scratch_fs 8M -N 64
	in_bb -v "$scratch:/data" -v "$tests:/tests:ro" -- sh -c '
		dd if=/dev/zero of=/data/big bs=64k 2>&1 | grep -o "No space left on device"
		dd if=/dev/zero of=/data/big bs=64k count=1 conv=notrunc,fsync 2>/dev/null && echo written over
		rm /data/big
		echo fits >/data/small && sync /data/small && cat /data/small
		i=0; while true >/data/n$i; do i=$((i + 1)); done 2>/dev/null
		touch /data/another 2>&1 | grep -o "No space left on device"
		mkdir /data/folder 2>&1 | grep -o "No space left on device"
		ln -s x /data/link 2>&1 | grep -o "No space left on device"
		cat /data/small
		rm /data/n* && mkdir /data/folder && echo room again
		/tests/storage-work map /data/mapped 8388608'
	out_is $'No space left on device\nwritten over\nfits\nNo space left on device\nNo space left on device\nNo space left on device\nfits\nroom again\nENOSPC'
	is "$(cat "$scratch/small")" fits
}

test_no_room_below_a_disk() { # limit 300 s
	scratch_fs 8M
	truncate -s 64M "$scratch/disk"
	echo beginning | dd of="$scratch/disk" conv=notrunc 2>/dev/null
	in_bb --disk "$scratch/disk" -- sh -c '
		dd if=/dev/zero of=/dev/vdb bs=1M seek=1 oflag=direct 2>&1 | grep -o "Input/output error"
		dd if=/dev/zero of=/dev/vdb bs=1M seek=40 count=4 conv=fsync 2>&1 | grep -o "Input/output error"
		head -n 1 /dev/vdb
		dd if=/dev/zero of=/dev/vdb bs=1M seek=1 count=1 conv=fsync oflag=direct 2>/dev/null && echo written over'
	out_is $'Input/output error\nInput/output error\nbeginning\nwritten over'
}

# ---- a device that fails -------------------------------------------------------------------------------------------

test_errors_below_a_share() { # limit 300 s
	local sector sum
	scratch_fs 64M
	head -c 1M /dev/urandom >"$scratch/bad"
	head -c 64k /dev/urandom >"$scratch/good"
	sum=$(md5sum <"$scratch/good")
	forget_pages
	sector=$(first_sector "$scratch/bad")
	[ -n "$sector" ] || die "where does the file lie?"
	scratch_break "$sector" 1024
	run microvm run --rm -v "$scratch:/data" -v "$tests:/tests:ro" "$deb" bash -c '
		cat /data/bad 2>&1 >/dev/null | grep -o "Input/output error"
		dd if=/data/bad iflag=direct bs=4k count=1 2>&1 >/dev/null | grep -o "Input/output error"
		dd if=/data/bad bs=64k skip=8 count=8 status=none | wc -c
		dd if=/dev/zero of=/data/bad bs=64k count=2 conv=notrunc,fsync 2>&1 | grep -o "fsync failed.*"
		dd if=/dev/zero of=/data/bad bs=64k seek=2 count=2 conv=notrunc,fdatasync 2>&1 | grep -o "fdatasync failed.*"
		dd if=/dev/zero of=/data/bad bs=64k seek=4 count=2 conv=notrunc oflag=direct,sync 2>&1 | grep -o "Input/output error"
		exec 7<>/data/bad; dd if=/dev/zero bs=64k count=1 status=none >&7
		sync -f /data/bad 2>&1 | grep -o "Input/output error"
		md5sum </data/good
		echo other >/data/other; sync /data/other && cat /data/other
		dd if=/dev/zero of=/data/good bs=4k count=4 conv=notrunc,fsync status=none && echo written'
	scratch_mend
	out_is "Input/output error
Input/output error
524288
fsync failed for '/data/bad': Input/output error
fdatasync failed for '/data/bad': Input/output error
Input/output error
Input/output error
$sum
other
written"
}

# A file that is shared by itself lies in no folder that could be asked to sync.
test_errors_below_a_single_file() { # limit 300 s
	scratch_fs 64M
	head -c 1M /dev/urandom >"$scratch/bad"
	forget_pages
	scratch_break "$(first_sector "$scratch/bad")" 1024
	run microvm run --rm -v "$scratch/bad:/one" "$deb" bash -c '
		exec 7<>/one
		dd if=/dev/zero bs=64k count=1 status=none >&7
		sync -f /one 2>&1 | grep -o "Input/output error"'
	scratch_mend
	out_is 'Input/output error'
}

test_errors_below_a_disk() { # limit 300 s
	scratch_device 8M
	head -c 2M /dev/urandom >"$work/content"
	dd if="$work/content" of=/dev/mapper/scratch conv=fsync status=none
	forget_pages
	# From 1 MiB on, half of one.
	scratch_break 2048 1024
	run microvm run --rm --disk /dev/mapper/scratch "$deb" bash -c '
		dd if=/dev/vdb bs=512k skip=2 count=1 2>&1 >/dev/null | grep -o "Input/output error"
		dd if=/dev/vdb iflag=direct bs=64k skip=23 count=1 2>&1 >/dev/null | grep -o "Input/output error"
		dd if=/dev/zero of=/dev/vdb bs=64k seek=16 count=2 conv=fsync 2>&1 | grep -o "Input/output error"
		dd if=/dev/zero of=/dev/vdb bs=64k seek=20 count=1 oflag=direct,dsync 2>&1 | grep -o "Input/output error"
		dd if=/dev/vdb bs=512k count=2 status=none | md5sum
		dd if=/dev/vdb bs=512k skip=3 count=1 status=none | md5sum
		echo elsewhere | dd of=/dev/vdb bs=512 seek=8192 conv=sync,fsync status=none && echo written'
	scratch_mend
	out_is "Input/output error
Input/output error
Input/output error
Input/output error
$(head -c 1M "$work/content" | md5sum)
$(tail -c 512K "$work/content" | md5sum)
written"
	forget_pages
	is "$(dd if=/dev/mapper/scratch bs=512 skip=8192 count=1 status=none | tr -d '\0')" elsewhere
}

# A host that writes later learns of an error later: then the guest's flush is what tells it.
test_errors_of_a_file_that_is_a_disk() { # limit 300 s
	local sector
	scratch_fs 64M
	head -c 4M /dev/urandom >"$scratch/disk"
	forget_pages
	sector=$(first_sector "$scratch/disk")
	scratch_break "$sector" 2048
	run microvm run --rm --disk "$scratch/disk" "$deb" bash -c '
		dd if=/dev/vdb bs=64k count=1 2>&1 >/dev/null | grep -o "Input/output error"
		dd if=/dev/zero of=/dev/vdb bs=64k count=2 conv=fsync 2>&1 | grep -o "Input/output error"
		dd if=/dev/zero of=/dev/vdb bs=64k seek=4 count=2 oflag=direct conv=fsync 2>&1 | grep -o "Input/output error"
		dd if=/dev/zero of=/dev/vdb bs=64k seek=32 count=2 conv=fsync status=none && echo written'
	scratch_mend
	out_is $'Input/output error\nInput/output error\nInput/output error\nwritten'
}

# ---- too many of them ---------------------------------------------------------------------------------------------

# The file server's own quota is 65536; that many would only take long.
test_open_files_end_at_the_quota() { # limit 300 s
	local name
	mkdir -p "$work/data" "$work/libexec"
	for name in microvm-vmm microvm-import; do ln -s "$MICROVM_BUILD/bin/$name" "$work/libexec/$name"; done
	printf '#!/bin/sh\nexec %q --fd-limit=2000 "$@"\n' "$MICROVM_BUILD/bin/microvm-fsd" >"$work/libexec/microvm-fsd"
	chmod 755 "$work/libexec/microvm-fsd"
	echo content >"$work/data/file"
	export MICROVM_LIBEXEC=$work/libexec
	in_bb --ulimit nofile=20000:20000 -v "$work/data:/data" -v "$tests:/tests:ro" -- sh -c \
		'/tests/storage-work open /data/file 4000; echo also >/data/new && cat /data/file /data/new'
	is "$(tail -n 4 <<<"$out")" $'one more: ENFILE\ngoes on\ncontent\nalso'
	[[ $(head -n 1 <<<"$out") =~ ^'ENFILE after '([0-9]+)$ ]] || die "not refused at a quota: $out"
	[ "${BASH_REMATCH[1]}" -gt 1900 ] || die "refused after ${BASH_REMATCH[1]} already"
}
