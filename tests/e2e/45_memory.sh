#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Memory that a guest can do without: it goes back to the host, by itself and when it is told to.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mib=$((1 << 20))
of() { microvm stats --no-stream --format json "$1" | jq -r "$2"; }
less_than() { [ "$(of "$1" "$2")" -lt "$3" ]; }

test_stats_say_what_is_given_touched_and_returned() {
	sleeper watched --memory 128m
	run microvm stats --no-stream watched
	status_is 0
	out_has 'MEM USAGE / LIMIT'
	out_has 'RETURNED'
	out_has watched
	is "$(of watched .GivenBytes)" $((128 * mib))
	is "$(of watched .TargetBytes)" $((128 * mib))
	is "$(of watched .Pids)" 1
	[ "$(of watched .TouchedBytes)" -gt $((8 * mib)) ] || die "a guest that runs has touched something"
	[ "$(of watched .TouchedBytes)" -lt $((128 * mib)) ] || die "a guest at rest has not touched all"
	run microvm stats --no-stream nobody
	refused 1 nobody
	run microvm rm -f watched
	run microvm stats --no-stream
	status_is 0
	out_has_not watched
}

# What a container had used and gave back is the host's again, without anyone asking for it.
test_freed_memory_goes_back_by_itself() {
	sleeper idle --memory 192m
	run microvm exec idle sh -c 'dd if=/dev/zero of=/dev/shm/big bs=1M count=60 2>/dev/null; ls -l /dev/shm/big | wc -l'
	out_is 1
	[ "$(of idle .TouchedBytes)" -gt $((60 * mib)) ] || die "60 MiB are in use, $(of idle .TouchedBytes) bytes are touched"
	run microvm exec idle rm /dev/shm/big
	until_ok less_than idle .TouchedBytes $((48 * mib))
	[ "$(of idle .ReportedBytes)" -gt $((40 * mib)) ] || die "reported: $(of idle .ReportedBytes)"
	run microvm exec idle sh -c 'dd if=/dev/zero of=/dev/shm/big bs=1M count=60 2>/dev/null; md5sum </dev/shm/big'
	out_has "$(dd if=/dev/zero bs=1M count=60 2>/dev/null | md5sum | cut -d' ' -f1)"
	run microvm rm -f idle
}

test_update_takes_memory_and_gives_it_back() {
	sleeper target --memory 192m
	run microvm update --memory 96m target
	status_is 0
	out_is target
	until_ok test "$(of target .TargetBytes)" = $((96 * mib))
	inflated() { [ "$(of target .BalloonBytes)" = $((96 * mib)) ]; }
	until_ok inflated
	[ "$(of target .TouchedBytes)" -le $((96 * mib)) ] || die "touched: $(of target .TouchedBytes)"
	run microvm update --memory 192m target
	deflated() { [ "$(of target .BalloonBytes)" = 0 ]; }
	until_ok deflated
	run microvm exec target sh -c 'dd if=/dev/zero of=/dev/shm/big bs=1M count=60 2>/dev/null; wc -c </dev/shm/big'
	out_is $((60 * mib))
	run microvm rm -f target
}

# A balloon never kills what runs in the guest: who needs memory takes it out.
test_balloon_gives_way_to_who_needs_memory() {
	sleeper needy --memory 160m --shm-size 100m
	run microvm update --memory 64m needy
	status_is 0
	run microvm exec needy sh -c 'dd if=/dev/urandom of=/dev/shm/big bs=1M count=80 2>/dev/null; md5sum </dev/shm/big; md5sum </dev/shm/big'
	status_is 0
	is "$(sort -u <<<"$out" | wc -l)" 1 "one sum"
	is "$(inspect needy .State.Status)" running
	run microvm rm -f needy
}

test_update_refuses_what_cannot_be() {
	sleeper strict --memory 128m --cpus 1
	run microvm update --memory 256m strict
	refused 1 strict 'made with 128 MiB'
	run microvm update --memory 1m strict
	refused 1 'too small'
	run microvm update --cpus 2 strict
	refused 1 '--cpus'
	run microvm update strict
	refused 1 'what is to change'
	run microvm update --memory 64m nobody
	refused 1 nobody
	run microvm update --pids-limit 7 --cpus 0.5 strict
	status_is 0
	run microvm exec strict sh -c 'cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max'
	out_is $'7\n50000 100000'
	run microvm rm -f strict
	run microvm update --memory 64m strict
	refused 1 strict
}

test_guests_do_not_mind_each_other() {
	sleeper one --memory 128m
	sleeper two --memory 128m
	run microvm update --memory 64m one
	status_is 0
	is "$(of two .TargetBytes)" $((128 * mib))
	kill -9 "$(inspect one .Sandbox.VmmPid)"
	until_ok test ! -S "$state/sandboxes/$(inspect one .Id)/balloon"
	run microvm stats --no-stream one
	refused 1 one
	is "$(of two .GivenBytes)" $((128 * mib))
	run microvm rm -f one two
}
