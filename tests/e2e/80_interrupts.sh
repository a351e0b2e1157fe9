#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C, SIGTERM and SIGKILL at each stage of a run; many runs at once. Nothing may stay behind (the runner looks).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

interrupted() { # SIGNAL DELAY STATUS: a run that is interrupted so long after its start
	microvm run --rm "$bb" sleep 1000 >"$work/o" 2>"$work/e" &
	sleep "$2"
	kill -s "$1" $! 2>/dev/null || true
	status=0
	wait $! || status=$?
	echo "$1 after $2 s: $status $(head -c 200 "$work/e")"
	[ "$status" = "$3" ] || die "$1 after $2 s: status $status, not $3: $(head -c 300 "$work/e")"
}

test_ctrl_c_at_each_stage() {
	local delay
	for delay in 0.02 0.05 0.1 0.2 0.3 0.4 0.6 0.8 1 1.3 1.6 2 3; do interrupted INT $delay 130; done
}

test_term_at_each_stage() {
	local delay
	for delay in 0.05 0.2 0.5 1 1.5 2 3; do interrupted TERM $delay 143; done
}

test_ctrl_c_in_an_import() {
	local dir delay
	for delay in 0.2 1 2 4; do
		dir=$(own_layout)
		head -c 30000000 /dev/urandom >"$work/noise"
		tar -C "$work" -cf "$work/big.tar" noise
		add_layer "$dir" busybox "$work/big.tar"
		microvm run --rm "oci:$dir:busybox" true >"$work/o" 2>"$work/e" &
		sleep $delay
		kill -INT $!
		status=0
		wait $! || status=$?
		[[ $status = 130 || $status = 0 ]] || die "after $delay s: status $status: $(cat "$work/e")"
	done
	local name
	for name in $(microvm images --format json | jq -r 'select(.Repository | contains("'"$work"'")) | .Repository + ":" + .Tag'); do
		microvm rmi "$name" >/dev/null
	done
}

test_import_that_was_killed_is_swept() {
	local dir
	dir=$(own_layout)
	head -c 30000000 /dev/urandom >"$work/noise"
	tar -C "$work" -cf "$work/big.tar" noise
	add_layer "$dir" busybox "$work/big.tar"
	microvm run --rm "oci:$dir:busybox" true >/dev/null 2>&1 &
	until_ok sh -c "find $store/tmp -mindepth 1 | grep -q ."
	kill -9 $!
	wait $! || true
	until_ok sh -c '! pgrep -x microvm-import'
	# The next command that opens the store takes away what nobody holds any more.
	run microvm run --rm "oci:$dir:busybox" echo again
	status_is 0
	out_is again
	microvm rmi "oci:$dir:busybox"
}

# The CLI can't clean up after SIGKILL; its VMM ends by itself, and the next command sweeps what is left on disk.
test_kill_9_of_the_cli() {
	local delay
	for delay in 0.1 0.4 0.8 1.5 3; do
		microvm run --rm --name orphan "$bb" sleep 1000 >/dev/null 2>&1 &
		sleep $delay
		kill -9 $!
		wait $! 2>/dev/null || true
		until_ok no_vmm
		run microvm ps -a --format json
		status_is 0
		[ -z "$out" ] || microvm rm orphan
	done
}

test_second_ctrl_c_does_not_wait() {
	microvm run --rm --name slow --stop-timeout 600s "$bb" sh -c 'trap "" INT TERM; echo up; while :; do sleep 1; done' >"$work/o" 2>&1 &
	until_ok grep -q up "$work/o"
	kill -INT $!
	sleep 1
	running slow || die "a signal that the container ignores ended it"
	microvm kill -s KILL slow
	wait $! || true
}

test_four_runs_at_once() { # limit 300 s
	local i pids=() bad=0
	for i in 1 2 3 4; do
		microvm run --rm "$bb" sh -c "echo $i; sleep 2; exit $i" >"$work/o$i" 2>"$work/e$i" &
		pids+=($!)
	done
	for i in 1 2 3 4; do
		status=0
		wait "${pids[i - 1]}" || status=$?
		[ $status = $i ] || { bad=1; echo "run $i: status $status: $(cat "$work/e$i")"; }
		is "$(cat "$work/o$i")" $i "output of run $i"
	done
	[ $bad = 0 ] || die "not each run gave its status"
}

test_four_first_runs_of_one_image() { # limit 300 s
	local dir i pids=()
	dir=$(own_layout)
	edit_config "$dir" busybox '.config.Labels = {"at": "once"}'
	for i in 1 2 3 4; do
		microvm run --rm "oci:$dir:busybox" echo $i >"$work/o$i" 2>"$work/e$i" &
		pids+=($!)
	done
	for i in 1 2 3 4; do
		wait "${pids[i - 1]}" || die "run $i: $(cat "$work/e$i")"
		is "$(cat "$work/o$i")" $i
	done
	is "$(microvm images --format json | jq -r 'select(.Repository | contains("'"$work"'")) | .ID' | wc -l)" 1 "images in the store"
	microvm rmi "oci:$dir:busybox"
}

test_one_name_for_two() {
	local a b
	microvm run -d --name only "$bb" sleep 1000 >/dev/null 2>"$work/e1" &
	a=$!
	microvm run -d --name only "$bb" sleep 1000 >/dev/null 2>"$work/e2" &
	b=$!
	local won=0
	wait $a && won=$((won + 1))
	wait $b && won=$((won + 1))
	is $won 1 "runs that got the name"
	microvm rm -f only
}
