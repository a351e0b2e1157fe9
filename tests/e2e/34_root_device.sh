#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The image as a disk (blk) and as memory (pmem, DAX): containers find the same in both.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The busybox image's file in the store: the smaller one of the two.
image_file() { find "$store/rootfs" -name rootfs.erofs -printf '%s %p\n' | sort -n | head -n 1 | cut -d' ' -f2; }

# For who is root in the guest: the device itself.
# shellcheck disable=SC2016 # the guest's
node='mknod /dev/pmem0 b $(tr : " " </sys/block/pmem0/dev);'

in_deb() { # DEVICE COMMAND…
	local device=$1
	shift
	run microvm run --rm --rootfs-device "$device" "$deb" "$@"
	status_is 0
}

test_programs_run_from_either() {
	in_bb --rootfs-device blk -- sh -c 'ls /sys/block; touch /x; ls -d /x'
	out_is $'vda\n/x'
	in_bb --rootfs-device pmem -- sh -c 'ls /sys/block; touch /x; ls -d /x'
	out_is $'pmem0\n/x'
	# Dynamically linked, so that text and data of several files are mapped.
	in_deb pmem perl -MPOSIX -e 'my ($n) = POSIX::strtol("17", 8); print "$n ", (getpwuid(0))[0], "\n"'
	out_is '15 root'
}

test_unknown_devices_are_refused() {
	run microvm run --rm --rootfs-device floppy "$bb" true
	refused 125 floppy blk pmem
	run microvm run --rm --rootfs /usr --rootfs-device pmem /bin/true
	refused 125 --rootfs-device --rootfs
}

# The guest's mount says whether files are used where they lie.
test_the_image_is_used_where_it_lies() {
	run microvm run --rm --privileged --rootfs-device pmem "$bb" \
		sh -c "$node"'mkdir /m; mount -t erofs -o ro,dax=always /dev/pmem0 /m && grep " /m " /proc/mounts | grep -o dax=always; cmp /m/bin/busybox /bin/busybox && echo same'
	status_is 0
	out_is $'dax=always\nsame'
}

# … and its memory has no second copy of what it read, whereas with a disk it has.
test_the_guest_keeps_no_copy() {
	# shellcheck disable=SC2016
	local grown='cached() { sed -n "s/^Cached: *\([0-9]*\) kB/\1/p" /proc/meminfo; }
		a=$(cached); n=$(cat /usr/lib/x86_64-linux-gnu/*.so* | wc -c); b=$(cached)
		if [ $((b - a)) -lt $((n / 10240)) ]; then echo no copy; fi; if [ $((b - a)) -gt $((n / 2048)) ]; then echo a copy; fi'
	in_deb pmem sh -c "$grown"
	out_is 'no copy'
	in_deb blk sh -c "$grown"
	out_is 'a copy'
}

test_every_file_is_the_same() { # limit 600 s
	# shellcheck disable=SC2016
	local all='cd /; find . -xdev -type f ! -path "./etc/host*" ! -path ./etc/resolv.conf -print0 | sort -z | xargs -0 sha256sum | sha256sum; find . -xdev | sort | sha256sum' first
	in_deb blk sh -c "$all"
	first=$out
	in_deb pmem sh -c "$all"
	out_is "$first"
}

test_disks_come_first_when_the_image_is_none() {
	truncate -s 1M "$work/disk"
	printf 'first' | dd of="$work/disk" conv=notrunc 2>/dev/null
	in_bb --rootfs-device pmem --disk "$work/disk" -- sh -c 'ls /dev/vd*; head -c 5 /dev/vdb'
	out_is $'/dev/vdb\nfirst'
}

# What a device is told to write may lie in the image itself: constants of a program, or a file that is mapped.
test_a_device_reads_from_the_image() {
	truncate -s 1M "$work/disk"
	# shellcheck disable=SC2016
	from_text='open(F, "<", "/usr/bin/perl"); $p = syscall(9, 0, 8192, 1, 2, fileno(F), 0);
		sysopen(D, "/dev/vdb", 1 | 040000) or die "open: $!"; $n = syscall(1, fileno(D), $p, 8192);
		print "$n\n"; system("sha256sum /usr/bin/perl >/dev/null; head -c 8192 /usr/bin/perl | sha256sum");'
	run microvm run --rm --rootfs-device pmem --disk "$work/disk" "$deb" perl -e "$from_text"
	status_is 0
	out_is "8192
$(head -c 8192 "$work/disk" | sha256sum)"
}

test_two_at_once() {
	sleeper one --rootfs-device pmem
	sleeper two --rootfs-device pmem
	run microvm exec one sha256sum /bin/busybox
	status_is 0
	local first=$out
	run microvm exec two sha256sum /bin/busybox
	out_is "$first"
	run microvm rm -f one two
	status_is 0
}

# Root in the guest has the device itself. Writes go nowhere: not into the file, not into other guests.
test_writes_do_not_reach_the_image() {
	local file before
	file=$(image_file)
	before=$(sha256sum <"$file")
	run microvm run --rm --privileged --rootfs-device pmem "$bb" sh -c "$node"'
		size=$(cat /sys/block/pmem0/size)
		head -c 4096 /bin/busybox >/tmp/page
		dd if=/tmp/page of=/dev/pmem0 bs=4096 seek=1 count=1 oflag=direct 2>/dev/null
		dd if=/tmp/page of=/dev/pmem0 bs=512 seek=$((size - 8)) count=1 oflag=direct 2>/dev/null
		dd if=/tmp/page of=/dev/pmem0 bs=512 seek=$size count=1 oflag=direct 2>/dev/null || echo past its end
		sync; ls /bin/busybox'
	status_is 0
	out_is $'past its end\n/bin/busybox'
	is "$(sha256sum <"$file")" "$before" "the image"
}

# A window of memory is a multiple of 2 MiB; behind the file's end there are zeroes.
test_behind_the_end_of_the_file_are_zeroes() {
	local file size windows
	file=$(image_file)
	size=$(stat -c %s "$file")
	windows=$(((size + (2 << 20) - 1) / (2 << 20)))
	[ $((size % (2 << 20))) != 0 ] || die "the image's size is a multiple of 2 MiB, which is no test"
	run microvm run --rm --privileged --rootfs-device pmem "$bb" \
		sh -c "${node}cat /sys/block/pmem0/size; head -c $size /dev/pmem0 | sha256sum; tail -c +$((size + 1)) /dev/pmem0 | tr -d '\\0' | wc -c"
	status_is 0
	out_is "$((windows * 4096))
$(sha256sum <"$file")
0"
}

test_vmm_killed() {
	sleeper victim --rootfs-device pmem
	kill -9 "$(vmm_pid)"
	until_ok no_vmm
	until_ok eval '! running victim'
	is "$(inspect victim .State.ExitCode)" 125
	run microvm rm victim
	status_is 0
	in_bb --rootfs-device pmem -- echo again
	out_is again
}

test_a_guest_killed_in_the_middle_of_reading() {
	sleeper reader --rootfs-device pmem
	microvm exec reader sh -c 'while :; do cat /bin/busybox /dev/null >/dev/null; done' &
	until_ok eval 'microvm exec reader pidof cat'
	run microvm rm -f reader
	status_is 0
	wait || true
}
