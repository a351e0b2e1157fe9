# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# How a guest has its root: the image as a disk (blk), as memory (pmem, DAX), or its files in a folder of the host (fs).

# shellcheck source=userland/bench/storage.sh
. userland/bench/storage.sh

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

# An exec in a guest that hangs ends, too; a read of all of /usr by folder takes some seconds of the lab's, the others less than one.
root_exec() { timeout -k 1 20 microvm exec "$@"; }

# Reads those files in a sandbox: the kernel's count of exits, less those of an exec that does nothing, and the guest's own time. Into
# $tmp/read, a line each: nanoseconds, exits.
root_read() { # NAME
	local nothing exits
	nothing=$(counts_of kvm/kvm_exit root_exec "$1" sh -c 'a=$(date +%s%N); b=$(date +%s%N); echo $((b - a))' 2>/dev/null)
	exits=$(counts_of kvm/kvm_exit root_exec "$1" sh -c 'a=$(date +%s%N); xargs cat </tmp/files >/dev/null; b=$(date +%s%N); echo $((b - a))' 2>"$tmp/ns")
	grep -qx '[0-9]*' "$tmp/ns" || return
	printf '%s %s\n' "$(cat "$tmp/ns")" $((exits > nothing ? exits - nothing : 0)) >>"$tmp/read"
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

root_gone() { timeout -k 1 20 microvm rm -f "$@" >/dev/null 2>&1; }

# Into $tmp/one: guest memory of an idle sandbox, the VMM's own; into $tmp/read: a read of 32 MiB of files, and another one.
root_one() { # blk|pmem|fs
	local status=0
	root_gone one
	: >"$tmp/read"
	root_start one "$1" || return
	sleep 3
	echo "$(root_touched) $(private_kib "$(pgrep -x microvm-vmm)" 'memfd|rootfs.erofs')" >"$tmp/one"
	# Small ones and large ones as they come.
	# shellcheck disable=SC2016 # the guest's
	root_exec one sh -c 'find /usr -xdev -type f -size -8192k -printf "%s %p\n" | sort -k 2 |
		awk "{ n += \$1; if (n > 33554432) exit; print \$2 }" >/tmp/files' && root_read one && root_read one || status=1
	root_gone one
	return $status
}

# Into $tmp/four: what four guests that have read all of /usr have touched.
root_four() { # blk|pmem|fs
	local name status=0
	root_gone one two three four
	for name in one two three four; do root_start $name "$1" || return; done
	for name in one two three four; do
		root_exec $name sh -c 'find /usr -xdev -type f -print0 | xargs -0 cat >/dev/null' || { status=1; break; }
	done
	root_touched >"$tmp/four"
	root_gone one two three four
	return $status
}

root_reads() { # blk|pmem|fs
	local by=$1 idle own what ns exits
	tried root_one "$by" || return
	read -r idle own <"$tmp/one"
	row root "guest memory touched by an idle sandbox, by $by" KiB "$idle"
	row root "private memory of microvm-vmm, by $by" KiB "$own"
	for what in 'for the first time' again; do
		read -r ns exits || break
		row root "32 MiB read $what, by $by" ms "$(awk "BEGIN { print $ns / 1000000 }")"
		row root "VM exits of that, by $by ($what)" exits "$exits"
	done <"$tmp/read"
	tried root_four "$by" || return
	row root "memory of 4 guests that have read all of /usr, by $by" KiB "$(cat "$tmp/four")"
}

suite_root() {
	local by
	say "root: the image by blk, by pmem, and its files by virtio-fs"
	root_prepare || return
	for by in blk pmem fs; do root_runs $by; done
	for by in blk pmem fs; do root_reads $by; done
}
