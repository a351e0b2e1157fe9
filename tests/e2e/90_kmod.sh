#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The kernel module: loaded in the lab, it answers; without it all goes on as before.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

test_device_answers_its_version() {
	[ -c /dev/microvm ] || die "no /dev/microvm: $(lsmod | grep -c microvm) modules of that name"
	run perl -e 'open(my $f, "+<", "/dev/microvm") or die "$!\n"; my $v = ioctl($f, 0xBB00, 0) or die "$!\n"; print $v + 0'
	status_is 0
	out_is "$(sed -n 's/^#define MICROVM_ABI_VERSION //p' "$(dirname "${BASH_SOURCE[0]}")/../../kmod/uapi/microvm.h")"
}

kernel_ko() { echo "$MICROVM_BUILD/kmod/$(uname -r | cut -d. -f1-2)/microvm.ko"; }
users() { awk '$1 == "microvm" { print $3 }' /proc/modules; }
# Whatever a kernel says when it is not well.
complaints() { dmesg | grep -E 'BUG|WARNING:|Oops|general protection|Call Trace|refcount_t|list_(add|del) corruption' || true; }

# Guest and VMM are one process here: payload, credit, half-closes, broken rings, lost memory, kills (tests/e2e/kmod-vsock.c).
test_vsock_without_a_vm() { # limit 900 s
	run "$MICROVM_BUILD/tests/kmod-vsock"
	status_is 0
	out_has_not FAILED
	is "$(users)" 0 "users of the module"
	is "$(complaints)" ""
}

# The same of the balloon: pages twice, outside of memory and of the rings' own, kills, the host's wishes (tests/e2e/kmod-balloon.c).
test_balloon_without_a_vm() { # limit 200 s
	run "$MICROVM_BUILD/tests/kmod-balloon"
	status_is 0
	out_has_not FAILED
	is "$(users)" 0 "users of the module"
	is "$(complaints)" ""
}

# Objects of each size that the kernel has handed out, those of the caches for all and any use. All of a slab that a CPU holds
# count as handed out; a cache that shrinks takes the slabs back, and the lowest of some counts is one that no CPU has been quicker than.
objects() {
	local cache n low
	for cache in /sys/kernel/slab/kmalloc-*; do
		case $cache in *rcl* | *dma*) continue ;; esac
		low=
		for _ in 1 2 3 4 5 6 7 8; do
			echo 1 >"$cache/shrink"
			read -r n _ <"$cache/objects"
			[ -n "$low" ] && [ "$low" -le "$n" ] || low=$n
		done
		echo "${cache##*/} $low"
	done
}

# Of the sizes ALL (an expression), those of which there are 40 more than in BEFORE, for good. RCU gives back after a while, which is
# long on a busy machine: what is still there a minute later is not late.
grown() { # BEFORE ALL
	local more
	for _ in $(seq 20); do
		more=$(objects | join - <(echo "$1") | awk '$2 - $3 >= 40' | grep -E "^($2) " || true)
		[ -n "$more" ] || break
		sleep 3
	done
	echo "$more"
}

# What a load or an unload left behind would be there a hundred times, and fifty times what a session of each kind left.
# The rest of the kernel takes and gives objects, too: what leaks makes the same size grow in every hundred.
test_a_hundred_times_in_and_out() { # limit 900 s
	local i before files more all='.*'
	round() {
		insmod "$(kernel_ko)"
		if [ $(($1 % 2)) = 0 ]; then
			"$MICROVM_BUILD/tests/kmod-vsock" pipe >/dev/null
		else
			"$MICROVM_BUILD/tests/kmod-balloon" inflate >/dev/null
		fi
		rmmod microvm
	}
	rmmod microvm
	# Other tests want it, whatever comes of this one.
	trap '[ -c /dev/microvm ] || insmod "$(kernel_ko)"' EXIT
	for i in 1 2 3 4; do round "$i"; done
	for _ in 1 2 3; do
		# Not too high: what earlier work left to RCU is given back.
		sleep 6
		before=$(objects) files=$(cut -f1 /proc/sys/fs/file-nr)
		for i in $(seq 100); do round "$i"; done
		more=$(grown "$before" "$all")
		[ -n "$more" ] || break
		all=$(cut -d' ' -f1 <<<"$more" | paste -sd'|')
	done
	[ $(($(cut -f1 /proc/sys/fs/file-nr) - files)) -lt 40 ] || die "open files were $files and are $(cut -f1 /proc/sys/fs/file-nr)"
	is "$more" "" "objects that became more, now and before"
	insmod "$(kernel_ko)"
	is "$(complaints)" ""
}

test_streams_take_the_path_that_was_asked_for() { # limit 300 s
	local path
	for path in user kernel; do
		sleeper "on-$path" --vsock $path
		is "$(inspect "on-$path" .HostConfig.Vsock)" $path "path of the streams"
		run microvm exec "on-$path" sh -c 'head -c 3000000 /dev/zero | tr "\0" x'
		status_is 0
		is "$(stat -c %s "$work/out")" 3000000 "bytes of output"
		status=0
		head -c 3000000 /dev/zero | microvm exec -i "on-$path" sh -c 'wc -c' >"$work/out" || status=$?
		status_is 0
		is "$(tr -d ' ' <"$work/out")" 3000000 "bytes of input"
	done
	is "$(users)" 3 "users of the module: two balloons, and one guest's streams"
	run microvm run --rm --vsock carrier-pigeon "$bb" true
	refused 125 carrier-pigeon user kernel
	microvm rm -f on-user on-kernel
	is "$(users)" 0 "users of the module"
	is "$(complaints)" ""
}

# Nothing has to be said for the best path that there is.
test_paths_without_a_word() { # limit 300 s
	sleeper with
	is "$(inspect with '.HostConfig | .Vsock + " " + .Balloon')" "kernel kernel" "paths with the module"
	is "$(users)" 2 "users of the module"
	run microvm check
	out_has "streams go by --vsock kernel, memory by --balloon kernel"
	run env MICROVM_VSOCK=user microvm check
	out_has "streams go by --vsock user, memory by --balloon kernel"
	microvm rm -f with
	rmmod microvm
	sleeper without
	is "$(inspect without '.HostConfig | .Vsock + " " + .Balloon')" "user user" "paths without the module"
	run microvm check
	out_has "not loaded"
	out_has "streams go by --vsock user, memory by --balloon user"
	microvm rm -f without
	run microvm run --rm --vsock kernel "$bb" true
	refused 125 --vsock /dev/microvm "not loaded"
	run microvm run --rm --memory-min 64m "$bb" true
	refused 125 --memory-min /dev/microvm "not loaded"
	insmod "$(kernel_ko)"
}

# Whoever is killed while streams are full: the module holds nothing, and the others see an end.
test_kills_on_the_kernels_path() { # limit 400 s
	local victim pid
	for victim in vmm client agent; do
		sleeper "k-$victim" --vsock kernel
		microvm exec "k-$victim" sh -c 'while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done' >"$work/flood" 2>/dev/null &
		pid=$!
		# Somebody who does not read, so that something waits in the module.
		rm -f "$work/slow"
		mkfifo "$work/slow"
		# shellcheck disable=SC2217 # it holds the pipe's end
		sleep 1000 <"$work/slow" &
		microvm exec "k-$victim" sh -c 'cat /dev/zero' >"$work/slow" 2>/dev/null &
		until_ok test -s "$work/flood"
		case $victim in
		vmm) kill -9 "$(vmm_pid)" ;;
		client) kill -9 $pid ;;
		agent) microvm exec "k-$victim" sh -c 'kill -9 -1' 2>/dev/null || true ;;
		esac
		if [ "$victim" = vmm ]; then
			wait $pid || true
		else
			kill -9 $pid 2>/dev/null || true
			wait $pid 2>/dev/null || true
			[ "$victim" = agent ] || [ "$(microvm exec "k-$victim" echo still)" = still ] || die "it does not go on"
		fi
		pkill -9 -P $$ -x sleep || true
		microvm rm -f "k-$victim" >/dev/null
		until_ok no_vmm
		is "$(users)" 0 "users of the module after the end of $victim"
	done
	rmmod microvm
	insmod "$(kernel_ko)"
	is "$(complaints)" ""
}
