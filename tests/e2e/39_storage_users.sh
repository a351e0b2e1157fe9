#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What users of docker, podman and containerd hand over: folders as roots, volumes that begin with the image's files.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ---- a folder as the root ----------------------------------------------------------------------------------

# One with busybox in it, and a user of its own.
make_root() {
	local name
	root=$work/root
	rm -rf "$root"
	mkdir -p "$root/bin" "$root/etc" "$root/home/me"
	cp /bin/busybox "$root/bin/"
	for name in sh ls cat stat id mknod mkdir rm ln touch mount head grep dd readlink sleep chmod chown true; do
		ln -s busybox "$root/bin/$name"
	done
	printf 'root:x:0:0::/root:/bin/sh\nme:x:1234:567::/home/me:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nmine:x:567:\n' >"$root/etc/group"
	echo "the host's own" >"$root/etc/hosts"
	chown 1234:567 "$root/home/me"
}

# All that there is to know of it but the times of reading.
look_at() { find "$1" -printf '%p %y %m %U:%G %s %l %T@ %C@\n' | sort; find "$1" -type f -exec sha256sum {} + | sort; }

in_root() { # [OPTION…] -- COMMAND…
	local options=()
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	run microvm run --rm "${options[@]}" "$@"
	status_is 0
}

test_a_folder_is_the_root() {
	make_root
	in_root --rootfs "$root" --hostname there -- sh -c '
		echo new >/new; rm /bin/true; stat -c %u:%g /home/me; grep -c there /etc/hosts; cat /etc/hostname
		ls /sys/block; echo x >/etc/hosts; ls /proc/self/exe /dev/null'
	out_is $'1234:567\n1\nthere\n/dev/null\n/proc/self/exe'
	is "$(cat "$root/new")" new "what the container wrote"
	is "$(cat "$root/etc/hosts")" "the host's own" "a file that was mounted over"
	[ ! -e "$root/bin/true" ] || die "what the container removed is there"
	# As with podman, the places of mounts stay.
	is "$(stat -c '%F %s' "$root/etc/hostname")" 'regular empty file 0' "the place of a mount"
	[ -d "$root/proc" ] || die "the place of /proc is not there"
}

test_a_root_that_stays_as_it_is() {
	local before
	make_root
	before=$(look_at "$root")
	in_root --rootfs "$root:O" --storage-opt size=1m -- sh -c '
		echo new >/new; rm /bin/ls; echo more >>/etc/passwd; mkdir /home/me/sub; chown 1 /home/me; cat /new
		(dd if=/dev/zero of=/big bs=1M count=3 2>&1) | grep -c "No space"; head -n 1 /etc/hosts'
	out_is $'new\n1\n127.0.0.1\tlocalhost'
	is "$(look_at "$root")" "$before" "the folder"
	in_root --rootfs "$root" --read-only --tmpfs /tmp -- sh -c '
		(echo x >/new) 2>&1; echo y >/tmp/y; cat /tmp/y; head -n 1 /etc/hosts'
	out_has 'ead-only file system'
	out_has $'y\n127.0.0.1'
	is "$(look_at "$root")" "$before" "the folder"
	# Nor can who has all powers in the guest.
	in_root --rootfs "$root:O" --privileged -- sh -c 'mkdir /m; mount -t virtiofs share /m; echo x >/m/0/new; mount -o remount,rw /m; touch /m/0/x; true'
	is "$(look_at "$root")" "$before" "the folder"
}

test_users_of_the_root() {
	make_root
	in_root --rootfs "$root" --user me:mine --workdir /home/me -- sh -c 'id -u; id -g; touch mine; (touch /etc/x) 2>/dev/null || echo no'
	out_is $'1234\n567\nno'
	is "$(stat -c %u:%g "$root/home/me/mine")" 1234:567 "the new file's owner"
	run microvm run --rm --rootfs "$root" --user nobody true
	refused 125 nobody /etc/passwd
}

# Nodes, pipes and set-user-id programs mean what they mean in any root; the guest's devices, not the host's.
test_special_files_in_the_root() {
	local lib
	make_root
	mknod "$root/null" c 1 3
	mknod "$root/mem" c 1 1
	mkfifo "$root/pipe"
	cp /usr/bin/id "$root/bin/real-id"
	for lib in $(ldd /usr/bin/id | grep -o '/[^ ]*'); do
		mkdir -p "$root$(dirname "$lib")"
		cp -L "$lib" "$root$lib"
	done
	chmod 4755 "$root/bin/real-id"
	in_root --rootfs "$root" --user me -- sh -c '
		stat -c "%F %t:%T" /null; stat -c %F /pipe; real-id -u; real-id -ru'
	out_is $'character special file 1:3\nfifo\n0\n1234'
	in_root --rootfs "$root" -- sh -c '
		echo x >/null && echo null; (head -c 1 /mem) 2>/dev/null || echo no memory
		(echo through >/pipe &) ; cat /pipe; (mknod /dev0 b 8 0) 2>/dev/null || echo no nodes'
	out_is $'null\nno memory\nthrough\nno nodes'
}

# Links of the root lead to places in it, for the agent too, which looks up users and puts files and mounts in it.
test_links_stay_in_the_root() {
	make_root
	mkdir -p "$work/outside/dev"
	echo 'me:x:0:0::/:/bin/sh' >"$work/outside/passwd"
	mv "$root/etc" "$root/kept"
	ln -s "$work/outside" "$root/etc"
	ln -s "../../../../../../..$work/outside/dev" "$root/dev"
	ln -s "$work/outside/new" "$root/sys"
	run microvm run --rm --rootfs "$root" --user me true
	refused 125 me /etc/passwd
	in_root --rootfs "$root" -- sh -c 'cat /etc/hostname /etc/passwd 2>&1; ls /sys/kernel >/dev/null; echo x >/dev/null; readlink /etc'
	out_has "$work/outside"
	out_has_not 'me:x:0'
	is "$(find "$work/outside" | sort)" "$work/outside
$work/outside/dev
$work/outside/passwd" "the folder outside"
}

test_a_root_with_the_rest() {
	make_root
	mkdir -p "$work/shared"
	echo shared >"$work/shared/file"
	truncate -s 1M "$work/disk"
	printf disk >"$work/disk"
	truncate -s 1M "$work/disk"
	run microvm run -d --name rooted --rootfs "$root" -v "$work/shared:/home/me/data:ro" --disk "$work/disk" sleep 1000
	status_is 0
	until_ok running rooted
	run microvm exec rooted sh -c 'cat /home/me/data/file; head -c 4 /dev/vdb; echo; echo x >/home/me/later; (echo x >/home/me/data/x) 2>/dev/null || echo ro'
	out_is $'shared\ndisk\nro'
	is "$(microvm ps --format json | jq -r .Image)" "$root" "the image that ps names"
	run microvm rm -f rooted
	is "$(cat "$root/home/me/later")" x
}

test_a_config_with_a_root() {
	make_root
	cat >"$work/config.json" <<-END
		{"ociVersion": "1.1.0", "process": {"user": {"uid": 1234, "gid": 567}, "cwd": "/home/me", "args": ["/bin/sh", "-c", "/bin/cat /etc/hosts; echo y >y"]},
		"root": {"path": "/nowhere/rootfs"}, "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}
	END
	in_root --rootfs "$root" --config "$work/config.json" --
	out_is "the host's own"
	is "$(stat -c %u "$root/home/me/y")" 1234
	jq '.root.readonly = true' "$work/config.json" >"$work/read-only.json"
	run microvm run --rm --rootfs "$root" --config "$work/read-only.json"
	status_is 1
	err_has 'ead-only file system'
}

test_bad_roots_are_refused() {
	mkdir -p "$work/empty"
	: >"$work/file"
	run microvm run --rm --rootfs "$work/none" true
	refused 125 "$work/none" 'no such file'
	run microvm run --rm --rootfs "$work/file" true
	refused 125 "$work/file" 'not a folder'
	run microvm run --rm --rootfs "$work/empty" true
	refused 127 true
	run microvm run --rm --rootfs "$work/empty:O" /bin/true
	refused 127 /bin/true
	run microvm run --rm --rootfs "$work/empty"
	refused 125 'no command' "$work/empty"
	run microvm run --rm --rootfs "$work/empty" --storage-opt size=1m true
	refused 125 storage-opt "$work/empty:O"
	run microvm run --rm
	refused 125 image rootfs
}

# ---- volumes ------------------------------------------------------------------------------------------------

data_of() { echo "$store/volumes/$1/_data"; }
forget() { run microvm volume rm -f "$@"; }

test_a_new_volume_has_the_images_files() {
	in_bb -v fresh:/etc -- sh -c 'cat /etc/passwd | head -n 1 | cut -d: -f1; echo more >/etc/more'
	out_is root
	is "$(cat "$(data_of fresh)/more")" more
	[ -s "$(data_of fresh)/passwd" ] || die "the volume has no passwd"
	# Not another time, and not what others have there.
	rm "$(data_of fresh)/passwd"
	in_bb -v fresh:/bin2 -v fresh:/etc -- sh -c 'ls -d /etc/passwd 2>/dev/null; cat /bin2/more'
	out_is more
	in_bb -v second:/usr:nocopy --mount source=third,target=/root,volume-nocopy --mount source=fourth,target=/var,readonly -- true
	is "$(find "$(data_of second)" "$(data_of third)" "$(data_of fourth)" -mindepth 1)" '' "what nocopy copied"
	forget fresh second third fourth
}

test_what_a_volume_gets() {
	local data
	make_root
	mkdir -p "$root/srv/deep/er"
	echo file >"$root/srv/deep/er/file"
	chown 5:6 "$root/srv/deep/er/file" "$root/srv"
	chmod 4750 "$root/srv/deep/er/file"
	chmod 1770 "$root/srv"
	ln -s /nowhere "$root/srv/link"
	: >"$root/srv/empty"
	touch -d '2001-02-03 04:05:06 UTC' "$root/srv/empty"
	# What lies over it is not what the volume gets.
	in_root --rootfs "$root:O" -v what:/srv -v "$work:/srv/over" --tmpfs /srv/deep/er -- sh -c 'ls /srv /srv/deep/er'
	out_is $'/srv:\ndeep\nempty\nlink\nover\n\n/srv/deep/er:'
	data=$(data_of what)
	is "$(stat -c '%a %u:%g' "$data" "$data/deep/er/file")" $'1770 5:6\n4750 5:6'
	is "$(readlink "$data/link") $(cat "$data/deep/er/file") $(stat -c %Y "$data/empty")" '/nowhere file 981173106'
	forget what
}

# Attributes need a file system that has them: the lab's own root has none of users'.
test_attributes_of_a_volume() {
	make_root
	mkdir "$work/mnt"
	truncate -s 32M "$work/ext4"
	mkfs.ext4 -q "$work/ext4"
	modprobe -q -a loop ext4 || true
	mount -o loop "$work/ext4" "$work/mnt"
	trap 'umount "$work/mnt"' EXIT
	cp -a "$root" "$work/mnt/root"
	setfattr -n user.colour -v red "$work/mnt/root/home/me"
	setcap cap_net_raw+ep "$work/mnt/root/bin/busybox"
	run microvm --store "$work/mnt/store" run --rm --rootfs "$work/mnt/root" -v bins:/bin -v home:/home/me true
	status_is 0
	is "$(getfattr --only-values -n user.colour "$work/mnt/store/volumes/home/_data")" red
	is "$(getcap "$work/mnt/store/volumes/bins/_data/busybox" | sed 's/.* //')" cap_net_raw=ep
}

test_volumes_without_a_name() { # limit 300 s
	local name
	run microvm volume prune --all --force
	in_bb -v /data --mount type=volume,target=/more -- sh -c 'echo x >/data/x; echo y >/more/y; cat /data/x'
	out_is x
	is "$(microvm volume ls -q)" '' "volumes that are left"
	sleeper nameless -v /data
	name=$(microvm volume ls -q)
	is "${#name}" 64 "the length of its name"
	microvm rm -f nameless
	is "$(microvm volume ls -q)" "$name" "what rm leaves, as docker's does"
	sleeper other -v "/more" -v "named:/data"
	run microvm rm -f -v other
	is "$(microvm volume ls -q | sort)" "$(printf '%s\nnamed' "$name" | sort)" "what rm -v leaves"
	# A start that fails leaves nothing.
	run microvm run --name failing -v /data "$bb" /no/such
	status_is 127
	is "$(microvm volume ls -q | wc -l)" 2 "volumes"
	run microvm volume prune </dev/null
	out_has 'Are you sure'
	is "$(microvm volume ls -q | wc -l)" 2 "volumes after a prune that nobody wanted"
	sleeper user -v named:/data
	run sh -c 'echo y | microvm volume prune --all'
	out_has "$name"
	out_has 'Total reclaimed space'
	out_has_not $'\nnamed'
	microvm rm -f user
	run microvm volume prune -f
	out_is 'Total reclaimed space: 0B'
	run microvm volume prune -af
	out_has named
	is "$(microvm volume ls -q)" ''
}

test_outer_mounts_come_first() {
	mkdir -p "$work/outer/in/ner"
	in_bb --tmpfs /data/in:size=64k -v "$work/outer:/data" --tmpfs /data/in/ner/most -- sh -c 'grep " /data" /proc/mounts | cut -d" " -f2,3'
	out_is $'/data virtiofs\n/data/in tmpfs\n/data/in/ner/most tmpfs'
	run microvm run --rm --tmpfs /data -v "$work/outer:/data" "$bb" true
	refused 125 'duplicate mount point: /data'
}

# ---- the file server's end -----------------------------------------------------------------------------------

test_the_file_servers_last_words() {
	local name
	mkdir -p "$work/libexec" "$work/shared"
	for name in microvm-vmm microvm-import; do ln -s "$MICROVM_BUILD/bin/$name" "$work/libexec/$name"; done
	printf '#!/bin/sh\necho "microvm-fsd: the disk is on fire" >&2\nexit 3\n' >"$work/libexec/microvm-fsd"
	chmod 755 "$work/libexec/microvm-fsd"
	run env "MICROVM_LIBEXEC=$work/libexec" microvm run --rm -v "$work/shared:/x" "$bb" true
	refused 125 'file server' 'status 3' 'the disk is on fire'
	sleeper served -v "$work/shared:/x"
	kill -9 "$(pgrep -x microvm-fsd)"
	until_ok no_vmm
	[[ $(inspect served .State.Error) == *'file server'*'killed by signal 9'* ]] || die "the record says: $(inspect served .State.Error)"
	microvm rm served
}

# One file by two ways is one file: what is written by one is there by the other, not only when attributes are asked for anew.
test_a_file_that_is_shared_twice() {
	mkdir -p "$work/shared"
	: >"$work/shared/file"
	in_bb -v "$work/shared:/folder" -v "$work/shared/file:/one" -v "$work/shared:/again" -- sh -c '
		for i in 1 2 3 4 5; do echo $i >>/one; tail -n 1 /folder/file; echo .$i >>/again/file; tail -n 1 /one; done'
	out_is $'1\n.1\n2\n.2\n3\n.3\n4\n.4\n5\n.5'
}
