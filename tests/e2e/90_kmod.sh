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

test_module_can_be_taken_out_and_put_back() {
	rmmod microvm
	[ ! -e /dev/microvm ] || die "the device stays"
	in_bb -- echo without
	out_is without
	insmod "$(kernel_ko)"
	[ -c /dev/microvm ] || die "the device did not come back"
}

kernel_ko() { echo "$MICROVM_BUILD/kmod/$(uname -r | cut -d. -f1-2)/microvm.ko"; }
users() { awk '$1 == "microvm" { print $3 }' /proc/modules; }
# Whatever a kernel says when it is not well.
complaints() { dmesg | grep -E 'BUG|WARNING:|Oops|general protection|Call Trace|refcount_t|list_(add|del) corruption' || true; }

# Guest and VMM are one process here: payload, credit, half-closes, broken rings, lost memory, kills (tests/e2e/kmod-vsock.c).
test_vsock_without_a_vm() { # limit 400 s
	run "$MICROVM_BUILD/tests/kmod-vsock"
	status_is 0
	out_has_not FAILED
	is "$(users)" 0 "users of the module"
	is "$(complaints)" ""
}

test_nothing_is_left_by_sessions() { # limit 400 s
	local i before after
	# What a first use makes, stays.
	"$MICROVM_BUILD/tests/kmod-vsock" payload kill >/dev/null
	rmmod microvm && insmod "$(kernel_ko)"
	sync
	echo 3 >/proc/sys/vm/drop_caches
	before=$(awk '/^SUnreclaim/ { print $2 }' /proc/meminfo)
	for ((i = 0; i < 20; i++)); do
		"$MICROVM_BUILD/tests/kmod-vsock" kill storm cycle >/dev/null || die "round $i failed"
		rmmod microvm
		insmod "$(kernel_ko)"
	done
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	after=$(awk '/^SUnreclaim/ { print $2 }' /proc/meminfo)
	echo "unreclaimable slab: $before KiB, then $after KiB"
	[ $((after - before)) -lt 2048 ] || die "slabs grew by $((after - before)) KiB"
	is "$(complaints)" ""
}

test_module_goes_in_and_out_100_times() { # limit 300 s
	local i
	for ((i = 0; i < 100; i++)); do
		rmmod microvm
		insmod "$(kernel_ko)"
	done
	[ -c /dev/microvm ] || die "no device after all"
	is "$(complaints)" ""
}
