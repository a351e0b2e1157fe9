# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# How a guest has its root: the image as a disk (blk), as memory (pmem, DAX), or its files in a folder of the host (fs).

root_debian=oci:$build/images:debian
root_tree=$tmp/tree # the Debian image's files, as a folder

# The options and the image of a container whose root comes that way.
root_by() { # blk|pmem|fs IMAGE
	case $1 in
	fs) root_words=(--rootfs "$root_tree:O") ;;
	*) root_words=(--rootfs-device "$1" "$2") ;;
	esac
}

# The image as `bench` has imported it, and its files as a folder: the same bytes in the host's page cache for all.
root_prepare() {
	local file
	mkdir -p "$root_tree"
	cp -a "$build/bench/store/." /var/lib/microvm/
	file=$(find /var/lib/microvm/rootfs -name rootfs.erofs -size +20M)
	cat "$file" >/dev/null
	{ modprobe erofs && mount -t erofs -o loop,ro "$file" "$root_tree"; } || { fail "root: no folder of the image's files"; return 1; }
	find "$root_tree" -type f -exec cat {} + >/dev/null
	row root "size of the Debian image" KiB "$(($(stat -c %s "$file") / 1024))"
}

root_start() { # NAME blk|pmem|fs
	root_by "$2" "$root_debian"
	microvm run -d --name "$1" --memory 256m "${root_words[@]}" sleep 100000 >"$tmp/o" 2>&1 || { cat "$tmp/o" >&2; fail "root: no sandbox by $2"; return 1; }
}

# What guests have touched of their memory, in KiB: the memfds of all VMMs.
root_touched() {
	local fd n=0
	for fd in $(pgrep -x microvm-vmm | sed 's|.*|/proc/&/fd/*|'); do
		if [[ $(readlink "$fd") == /memfd:* ]]; then n=$((n + $(stat -L -c %b "$fd") / 2)); fi
	done
	echo "$n"
}

# Reads those files in a sandbox: the kernel's count of exits, less those of an exec that does nothing, and the guest's own time.
root_read() { # NAME WHAT blk|pmem|fs
	local nothing exits
	nothing=$(counts_of kvm/kvm_exit microvm exec "$1" sh -c 'a=$(date +%s%N); b=$(date +%s%N); echo $((b - a))' 2>/dev/null)
	exits=$(counts_of kvm/kvm_exit microvm exec "$1" sh -c 'a=$(date +%s%N); xargs cat </tmp/files >/dev/null; b=$(date +%s%N); echo $((b - a))' 2>"$tmp/ns")
	row root "32 MiB read $2, by $3" ms "$(awk 'NR == 1 { print $1 / 1000000 }' "$tmp/ns")"
	row root "VM exits of that, by $3 ($2)" exits $((exits > nothing ? exits - nothing : 0))
}

root_runs() { # blk|pmem|fs
	local name ref
	for name in busybox debian; do
		ref=$image
		[ $name = busybox ] || ref=$root_debian
		if [ "$1 $name" = 'fs busybox' ]; then continue; fi
		root_by "$1" "$ref"
		microvm run --rm "${root_words[@]}" /bin/true >"$tmp/o" 2>&1 || { cat "$tmp/o" >&2; fail "root: no run by $1"; return; }
		row root "microvm run --rm, /bin/true of $name, by $1" s "$("$elapsed" -n 1 microvm run --rm "${root_words[@]}" /bin/true)"
	done
}

root_reads() { # blk|pmem|fs
	local by=$1 name
	root_start one "$by" || return
	sleep 3
	row root "guest memory touched by an idle sandbox, by $by" KiB "$(root_touched)"
	row root "private memory of microvm-vmm, by $by" KiB "$(private_kib "$(pgrep -x microvm-vmm)" 'memfd|rootfs.erofs')"
	# Small ones and large ones as they come.
	# shellcheck disable=SC2016 # the guest's
	microvm exec one sh -c 'find /usr -xdev -type f -size -8192k -printf "%s %p\n" | sort -k 2 |
		awk "{ n += \$1; if (n > 33554432) exit; print \$2 }" >/tmp/files' || fail "root: no list of files"
	root_read one "for the first time" "$by"
	root_read one "again" "$by"
	for name in two three four; do root_start $name "$by" || return; done
	for name in one two three four; do
		microvm exec $name sh -c 'find /usr -xdev -type f -print0 | xargs -0 cat >/dev/null' || fail "root: reading /usr by $by"
	done
	row root "memory of 4 guests that have read all of /usr, by $by" KiB "$(root_touched)"
	microvm rm -f one two three four >/dev/null
}

suite_root() {
	local by
	say "root: the image by blk, by pmem, and its files by virtio-fs"
	root_prepare || return
	for by in blk pmem fs; do root_runs $by; done
	for by in blk pmem fs; do root_reads $by; done
}
