#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Folders and files of the host, volumes and disks: what docker's options of the same names mean.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A folder of the host with something in it.
make_shared() {
	shared=$work/shared
	rm -rf "$shared"
	mkdir -p "$shared/sub"
	echo hello >"$shared/file"
	ln -s file "$shared/link"
	chmod 640 "$shared/file"
	chown 1000:1000 "$shared/file"
}

no_fsd() { ! pgrep -x microvm-fsd; }

test_a_folder_is_shared_both_ways() {
	make_shared
	in_bb -v "$shared:/data" -- sh -c 'cat /data/link; stat -c "%a %u %g %s" /data/file; echo there >/data/sub/new; mkdir /data/made; mv /data/sub/new /data/made/moved; ls /data'
	out_is $'hello\n640 1000 1000 6\nfile\nlink\nmade\nsub'
	is "$(cat "$shared/made/moved")" there "what the container wrote"
	no_fsd || die "the file server is left over"
}

test_read_only_is_read_only() {
	make_shared
	in_bb -v "$shared:/data:ro" --mount "type=bind,source=$shared/sub,target=/sub,readonly" -- \
		sh -c 'cat /data/file; for f in /data/x /sub/x; do echo x >$f; done 2>&1; mount -o remount,rw /data 2>&1; rm /data/file 2>&1; true'
	out_has hello
	out_has 'ead-only file system'
	if [ -e "$shared/x" ] || [ -e "$shared/sub/x" ] || [ ! -e "$shared/file" ]; then die "something was written"; fi
}

# Not by the guest's own mount options alone: whoever has all powers in the guest has none over the host's files.
test_read_only_holds_against_a_privileged_guest() {
	make_shared
	run microvm run --rm --privileged -v "$shared:/data:ro" "$bb" \
		sh -c 'mkdir /m; mount -t virtiofs share /m; echo x >/m/0/x; mount -o remount,rw,bind /data; echo x >/data/x; true'
	status_is 0
	[ ! -e "$shared/x" ] || die "a guest wrote to a read-only share"
}

test_a_guest_sees_its_shares_only() {
	make_shared
	run microvm run --rm --privileged -v "$shared/sub:/data" "$bb" \
		sh -c 'mkdir /m; mount -t virtiofs share /m; ls /m /m/0/..; cat /m/0/../../file /m/0/../file 2>&1; ln -s /etc/shadow /data/s; cat /data/s; true'
	status_is 0
	out_has_not hello
	out_has_not 'root:$'
}

test_access_control_lists() {
	make_shared
	mkdir -m 777 "$shared/open"
	setfacl -m u:1234:r,m::r "$shared/file"
	setfacl -d -m u:1234:rwx,g:77:rx,o::0 "$shared/open"
	in_bb --user 1234:1234 -v "$shared:/data" -- sh -c 'cat /data/file; echo x 2>&1 >>/data/file; umask 077; echo mine >/data/open/new; mkdir /data/open/dir'
	out_has $'hello\n'
	out_has 'ermission denied'
	in_bb --user 1235:1235 -v "$shared:/data" -- sh -c 'cat /data/file /data/open/new 2>&1; true'
	out_is "cat: can't open '/data/file': Permission denied
cat: can't open '/data/open/new': Permission denied"
	# A folder's default list is a new file's list, and no umask counts.
	lists() { getfacl -cpnE "$@" | sed '/^$/d' | paste -sd' '; }
	is "$(lists "$shared/open/new")" 'user::rw- user:1234:rwx group::rwx group:77:r-x mask::rw- other::---' "the file's list"
	is "$(lists -d "$shared/open/dir")" "$(lists -d "$shared/open")" "the new folder's default list"
}

test_single_files() {
	make_shared
	echo other >"$work/other"
	in_bb -v "$shared/file:/etc/one" -v "$work/other:/new/two:ro" -- sh -c 'cat /etc/one; echo more >>/etc/one; cat /etc/one /new/two; echo x 2>&1 >/new/two; true'
	out_has $'hello\nhello\nmore\nother'
	is "$(cat "$work/other")" other
	is "$(cat "$shared/file")" $'hello\nmore'
}

test_several_shares_and_inner_ones() {
	make_shared
	mkdir -p "$work/other"
	echo inner >"$work/other/name"
	in_bb -v "$work/other:/data/sub:ro" -v "$shared:/data" --mount type=tmpfs,target=/data/made,tmpfs-size=64k -- \
		sh -c 'cat /data/file /data/sub/name; df -k /data/made | tail -n 1 | tr -s " " | cut -d" " -f2'
	out_is $'hello\ninner\n64'
}

test_missing_sources() {
	rm -rf "$work/none"
	in_bb -v "$work/none:/data" -- sh -c 'echo x >/data/x'
	[ -f "$work/none/x" ] || die "-v makes the folder, as docker's does"
	run microvm run --rm --mount "type=bind,source=$work/never,target=/x" "$bb" true
	refused 125 'bind source path does not exist' "$work/never"
	[ ! -e "$work/never" ] || die "--mount made a folder"
}

test_bad_words_are_refused() {
	run microvm run --rm -v relative/path:/x "$bb" true
	refused 125 relative/path absolute
	run microvm run --rm -v /tmp:relative "$bb" true
	refused 125 relative 'must be absolute'
	run microvm run --rm -v /tmp:/x:wrong "$bb" true
	refused 125 'invalid mode' wrong
	run microvm run --rm -v /tmp:/ "$bb" true
	refused 125 "destination can't be '/'"
	run microvm run --rm -v /tmp:/x -v /etc:/x "$bb" true
	refused 125 'duplicate mount point: /x'
	run microvm run --rm --mount type=bind,source=/tmp,target=/x,what=ever "$bb" true
	refused 125 what
}

test_named_volumes() {
	in_bb -v data.1:/data -- sh -c 'echo kept >/data/file'
	in_bb --mount source=data.1,target=/d,readonly -- cat /d/file
	out_is kept
	is "$(cat "$store/volumes/data.1/_data/file")" kept "the volume's file"
	run microvm volume ls
	status_is 0
	is "$(tr -s ' ' <<<"$out")" $'DRIVER VOLUME NAME\nlocal data.1'
	is "$(microvm volume ls --format json | jq -r '.Driver + " " + .Name + " " + .Mountpoint')" "local data.1 $store/volumes/data.1/_data"
	is "$(microvm volume inspect data.1 | jq -r '.[0].Mountpoint')" "$store/volumes/data.1/_data"
	sleeper volume_user -v data.1:/data
	run microvm volume rm data.1
	refused 1 data.1 'in use'
	run microvm rm -f volume_user
	run microvm volume rm data.1
	out_is data.1
	run microvm volume inspect data.1
	status_is 1
	err_has 'no such volume'
	run microvm volume create
	status_is 0
	run microvm volume rm "$out"
	status_is 0
	is "$(microvm volume ls -q)" ''
}

test_file_server_killed() {
	make_shared
	sleeper served -v "$shared:/data"
	kill -9 "$(pgrep -x microvm-fsd)"
	until_ok no_vmm
	until_ok no_fsd
	is "$(inspect served .State.ExitCode)" 125
	[[ $(inspect served .State.Error) == *'file server'* ]] || die "the record doesn't say why"
	run microvm rm served
}

test_vmm_or_supervisor_killed() {
	make_shared
	sleeper first -v "$shared:/data"
	kill -9 "$(vmm_pid)"
	until_ok no_fsd
	run microvm rm -f first
	sleeper second -v "$shared:/data"
	kill -9 "$(inspect second .Sandbox.SupervisorPid)"
	until_ok no_fsd
	until_ok no_vmm
	run microvm rm -f second
}

test_host_sees_no_mounts() {
	make_shared
	sleeper hidden -v "$shared:/data"
	! grep -q "$shared" /proc/self/mountinfo || die "the share is mounted on the host"
	! grep -q ' shares ' /proc/self/mountinfo || die "the tree is mounted on the host"
	run microvm rm -f hidden
}

test_disks() {
	truncate -s 8M "$work/disk" "$work/second"
	printf 'first bytes' >"$work/disk"
	truncate -s 8M "$work/disk"
	in_bb --disk "$work/disk:serial=abc123" --disk "$work/second:ro" -- sh -c '
		ls -l /dev/vdb /dev/vdc | cut -c1; head -c 11 /dev/vdb; echo
		cat /sys/block/vdb/serial; echo; cat /sys/block/vdb/size /sys/block/vdc/ro
		echo written | dd of=/dev/vdb bs=512 seek=2 conv=notrunc,sync,fsync 2>/dev/null
		echo x 2>/dev/null >/dev/vdc || echo refused
		cat /dev/vda >/dev/null 2>&1 || echo no vda'
	out_is $'b\nb\nfirst bytes\nabc123\n16384\n1\nrefused\nno vda'
	is "$(dd if="$work/disk" bs=512 skip=2 count=1 2>/dev/null | tr -d '\0')" written "what is on the disk"
}

test_a_disk_has_one_writer() {
	truncate -s 1M "$work/disk"
	sleeper writer --disk "$work/disk"
	run microvm run --rm --disk "$work/disk" "$bb" true
	refused 125 "$work/disk" 'in use'
	run microvm run --rm --disk "$work/disk:ro" "$bb" true
	refused 125 "$work/disk" 'in use'
	run microvm rm -f writer
	sleeper reader --disk "$work/disk:ro"
	in_bb --disk "$work/disk:ro" -- true
	run microvm rm -f reader
}

test_bad_disks_are_refused() {
	run microvm run --rm --disk "$work/nothing" "$bb" true
	refused 125 "$work/nothing" 'no such file'
	run microvm run --rm --disk "$work" "$bb" true
	refused 125 "$work"
	: >"$work/empty"
	run microvm run --rm --disk "$work/empty" "$bb" true
	refused 125 "$work/empty" enlarge
	run microvm run --rm --disk "$work/empty:qcow2" "$bb" true
	refused 125 qcow2 serial
}
