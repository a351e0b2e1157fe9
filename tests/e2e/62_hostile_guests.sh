#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests that die, spin, flood or break the devices' rules end their own VM at worst, and say so.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A container with every power, so that what it breaks is the guest's kernel.
powers=(--cap-add ALL --security-opt seccomp=unconfined --privileged)

test_kernel_panic() {
	run timeout 100 microvm run --rm "${powers[@]}" "$bb" sh -c 'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 100'
	status_is 125
	err_has panic
}

test_reset_by_the_guest() {
	run timeout 100 microvm run --rm "${powers[@]}" "$bb" sh -c 'echo 1 >/proc/sys/kernel/sysrq; echo b >/proc/sysrq-trigger; sleep 100'
	status_is 125
	err_has reset
}

test_power_off_by_the_guest() {
	run timeout 100 microvm run --rm "${powers[@]}" "$bb" sh -c 'echo 1 >/proc/sys/kernel/sysrq; echo o >/proc/sysrq-trigger; sleep 5; reboot -f; sleep 100'
	[[ $status != 0 && $status != 124 ]] || die "status is $status"
}

test_vmm_killed() {
	microvm run --rm --name doomed "$bb" sleep 1000 >"$work/o" 2>"$work/e" &
	until_ok running doomed
	kill -9 "$(vmm_pid)"
	status=0
	wait $! || status=$?
	status_is 125
	[ -s "$work/e" ] || die "it says nothing"
}

test_vmm_killed_of_a_detached_container() {
	sleeper doomed
	kill -9 "$(vmm_pid)"
	until_ok sh -c '! microvm ps --format json | grep -q doomed'
	run microvm wait doomed
	[ "$out" != 0 ] || die "it claims to have ended well"
	microvm rm doomed
}

test_guest_that_spins_is_ended_by_the_timeout() {
	run timeout 100 microvm run --rm --timeout 8s "$bb" sh -c 'trap "" TERM INT; while :; do :; done'
	status_is 137
	err_has timeout
}

test_spinning_guest_leaves_at_ctrl_c() {
	microvm run --rm --name spin "$bb" sh -c 'while :; do :; done' >/dev/null 2>&1 &
	until_ok running spin
	kill -INT $!
	status=0
	wait $! || status=$?
	status_is 130
}

test_console_flood() {
	run timeout 140 microvm run --rm "${powers[@]}" "$bb" sh -c 'i=0; while [ $i -lt 20000 ]; do echo "flood $i flood flood flood flood"; i=$((i+1)); done >/dev/kmsg; echo survived'
	status_is 0
	out_has survived
	[ "$(wc -c <"$work/err")" -lt 100000 ] || die "the guest's console came through: $(wc -c <"$work/err") bytes"
}

test_console_log_is_bounded() {
	sleeper flooder "${powers[@]}"
	run microvm exec flooder sh -c 'c=/dev/hvc0; test -e $c || mknod /c c 229 0 && c=/c; yes "a line for the console" | head -c 8000000 >$c; echo wrote' || true
	local bytes
	bytes=$(du -sb "$state" | cut -f1)
	[ "$bytes" -lt 4000000 ] || die "$bytes bytes are kept in $state"
	microvm rm -f flooder
}

test_disk_can_not_be_written() {
	run microvm run --rm "${powers[@]}" "$bb" sh -c 'd=$(ls /dev/vda 2>/dev/null || { mknod /vda b 254 0 && echo /vda; }); dd if=/dev/zero of=$d bs=4096 count=1 2>&1; echo status $?'
	out_has_not 'status 0'
	in_bb -- echo unharmed
	out_is unharmed
}

test_memory_hog_dies_alone() {
	sleeper neighbour
	run timeout 140 microvm run --rm --memory 80m "$bb" sh -c 'tail /dev/zero'
	[[ $status != 0 && $status != 124 ]] || die "status is $status"
	is "$(microvm exec neighbour echo alive)" alive
	microvm rm -f neighbour
}

test_fork_bomb_is_bounded() {
	run timeout 140 microvm run --rm --pids-limit 50 "$bb" sh -c 'f() { f | f & }; f; sleep 3; echo over'
	[ "$status" != 124 ] || die "it ran into the limit"
}
