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
test_freed_memory_goes_back_by_itself() { # both paths
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

test_update_takes_memory_and_gives_it_back() { # both paths
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
test_balloon_gives_way_to_who_needs_memory() { # both paths
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

# The balloon at its limit while a guest's memory is written and verified, target after target: nothing is lost or mixed up.
test_balloon_at_its_limit_corrupts_nothing() { # limit 400 s, both paths
	local root=$work/root file i
	mkdir -p "$root/tmp" "$root/dev" "$root/proc" "$root/sys"
	for file in $(ldd /usr/bin/stress-ng | grep -o '/[^ ]*') /usr/bin/stress-ng; do
		mkdir -p "$root$(dirname "$file")"
		cp -L "$file" "$root$file"
	done
	microvm run --rm --name verified --memory 160m --rootfs "$root" /usr/bin/stress-ng --vm 1 --vm-bytes 40m --vm-method all \
		--verify --vm-ops 40 --temp-path /tmp >"$work/stress" 2>&1 &
	local pid=$!
	until_ok running verified
	for i in 48 160 64 160 48; do
		microvm update --memory "${i}m" verified >/dev/null 2>&1 || break
		sleep 2
	done
	status=0
	wait $pid || status=$?
	cat "$work/stress"
	status_is 0
	! grep -E 'fail:|detected .* bit error' "$work/stress" || die "memory is not what was written"
}

# ---- the kernel's module -------------------------------------------------------------------------------------------------

test_path_of_the_balloon_is_what_was_asked_for() {
	[ -c /dev/microvm ] || skip "no /dev/microvm"
	sleeper plain --memory 64m --balloon user
	is "$(inspect plain .HostConfig.Balloon)" user
	microvm rm -f plain
	sleeper quick --memory 64m --balloon kernel
	is "$(inspect quick .HostConfig.Balloon)" kernel
	kill -9 "$(vmm_pid)"
	microvm rm -f quick
	is "$(awk '$1 == "microvm" { print $3 }' /proc/modules)" 0 "users of the module"
	run microvm run --rm --balloon lead "$bb" true
	refused 125 lead user kernel
	run microvm run --rm --memory 128m --memory-min 256m "$bb" true
	refused 125 --memory-min
	run microvm run --rm --balloon user --memory 128m --memory-min 64m "$bb" true
	refused 125 --memory-min kernel
}

# The host asks (as if it were short of memory: its shrinkers run), an idle guest gives its page cache, and gets it back later.
test_host_pressure_takes_from_an_idle_guest() { # limit 400 s
	[ -c /dev/microvm ] || skip "no /dev/microvm"
	sleeper lender --memory 192m --memory-min 64m -v lent:/v
	run microvm exec lender sh -c 'dd if=/dev/zero of=/v/file bs=1M count=90 2>/dev/null; sync; cat /v/file | wc -c'
	out_is $((90 * mib))
	[ "$(of lender .TouchedBytes)" -gt $((100 * mib)) ] || die "the cache holds $(of lender .TouchedBytes) bytes"
	asked() {
		echo 2 >/proc/sys/vm/drop_caches
		sleep 1
		less_than lender .TouchedBytes $((80 * mib))
	}
	until_ok asked
	[ "$(of lender .TargetBytes)" -ge $((64 * mib)) ] || die "it was left with $(of lender .TargetBytes)"
	run microvm exec lender echo still
	out_is still
	given_back() { [ "$(of lender .TargetBytes)" = $((192 * mib)) ] && [ "$(of lender .BalloonBytes)" = 0 ]; }
	until_ok given_back
	microvm rm -f lender
	microvm volume rm lent
}
