#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Containers that outlive the command that started them: -d, ps, exec, logs, kill, stop, wait, rm; signals; names.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

test_detached_and_listed() {
	local id
	run microvm run -d --name worker "$bb" sleep 1000
	status_is 0
	id=$out
	[[ $id =~ ^[0-9a-f]{64}$ ]] || die "-d printed '$id', not an id"
	until_ok running worker
	run microvm ps
	out_has worker
	out_has "${id:0:12}"
	run microvm ps --format json
	jq -es --arg id "${id:0:12}" 'length == 1 and (.[0] | .Names == "worker" and (.ID | startswith($id)) and .State == "running" and (.Image | contains("busybox")))' \
		"$work/out" >/dev/null || die "unexpected: $out"
	run microvm ps -q
	out_is "${id:0:12}"
	run microvm rm worker
	refused 1 worker
	run microvm rm -f worker
	status_is 0
	run microvm ps -a --format json
	out_is ''
}

test_ended_container_stays_until_rm() {
	run microvm run --name ended "$bb" sh -c 'exit 3'
	status_is 3
	run microvm ps --format json
	out_is ''
	run microvm ps -a --format json
	jq -es 'length == 1 and (.[0] | .Names == "ended" and .State == "exited" and (.Status | contains("(3)")))' "$work/out" >/dev/null || die "unexpected: $out"
	run microvm rm ended
	status_is 0
	run microvm rm ended
	refused 1 ended
}

test_detached_with_rm_goes_by_itself() {
	run microvm run -d --rm --name brief "$bb" true
	status_is 0
	until_ok sh -c '! microvm ps -a --format json | grep -q brief'
}

test_logs_and_wait() {
	run microvm run -d --name talker "$bb" sh -c 'echo to out; echo to err >&2; exit 7'
	status_is 0
	run microvm wait talker
	status_is 0
	out_is 7
	run microvm logs talker
	out_has 'to out'
	[[ "$out$err" == *'to err'* ]] || die "stderr was not kept"
	microvm rm talker
}

test_exec() { # both paths
	sleeper host -e FROM_RUN=yes -w /var
	run microvm exec host sh -c 'echo $FROM_RUN; pwd; cat /proc/1/cmdline | tr "\0" " "; exit 5'
	status_is 5
	out_has yes
	out_has /var
	out_has 'sleep 1000'
	is "$(printf 'in and out' | microvm exec -i host cat)" 'in and out'
	run microvm exec -e A=b -w /tmp -u app host sh -c 'echo $A $(pwd) $(id -un)'
	out_is 'b /tmp app'
	run microvm exec host no-such-command
	refused 127 no-such-command
	run microvm exec host /etc/passwd
	refused 126 /etc/passwd
	run microvm exec nobody-here true
	refused 1 nobody-here
	microvm rm -f host
}

test_several_execs_at_once() { # both paths
	local i pids=()
	sleeper many
	for i in 1 2 3 4 5; do
		microvm exec many sh -c "echo $i; exit $i" >"$work/o$i" &
		pids+=($!)
	done
	for i in 1 2 3 4 5; do
		status=0
		wait "${pids[i - 1]}" || status=$?
		status_is $i
		is "$(cat "$work/o$i")" $i
	done
	microvm rm -f many
}

test_exec_ends_with_the_container() { # both paths
	sleeper dying
	microvm exec dying sleep 1000 >/dev/null 2>&1 &
	until_ok sh -c 'microvm exec dying ps | grep -c "sleep 1000" | grep -q 2'
	microvm kill dying
	status=0
	wait $! || status=$?
	[ "$status" != 0 ] || die "exec claims success"
	microvm rm dying
}

test_signals_are_forwarded() {
	local pid sig
	for sig in TERM INT HUP USR1 USR2 WINCH QUIT; do
		microvm run --rm --name sigs "$bb" sh -c "trap 'echo got $sig; exit 11' $sig; echo ready; while :; do sleep 0.1; done" >"$work/o" 2>"$work/e" &
		pid=$!
		until_ok grep -q ready "$work/o"
		kill -s $sig $pid
		status=0
		wait $pid || status=$?
		[ $status = 11 ] || die "$sig: status $status: $(cat "$work/o" "$work/e")"
		grep -q "got $sig" "$work/o" || die "$sig did not arrive"
	done
}

test_container_that_ignores_signals_can_be_killed() { # both paths
	run microvm run -d --name stubborn "$bb" sh -c 'trap "" TERM INT; echo up; while :; do sleep 1; done'
	until_ok sh -c 'microvm logs stubborn | grep -q up'
	run microvm kill -s TERM stubborn
	status_is 0
	running stubborn
	run microvm stop -t 1 stubborn
	status_is 0
	run microvm wait stubborn
	out_is 137
	microvm rm stubborn
}

test_kill_refuses_what_is_no_signal() {
	sleeper calm
	run microvm kill -s NOSUCH calm
	refused 1 NOSUCH
	run microvm kill -s 99 calm
	refused 1 99
	run microvm kill nobody-here
	refused 1 nobody-here
	microvm rm -f calm
}

test_ids_can_be_shortened() {
	local id
	id=$(microvm run -d "$bb" sleep 1000)
	is "$(microvm exec "${id:0:8}" echo found)" found
	microvm rm -f "${id:0:6}"
}

test_ps_on_a_bare_host() {
	MICROVM_STATE=$work/fresh run microvm ps
	status_is 0
	is "$(wc -l <<<"$out")" 1 "lines, of which one is the head,"
}

test_orphans_of_a_container_are_reaped() {
	in_bb -- sh -c 'for i in 1 2 3 4 5 6 7 8; do (sleep 0.1 &) ; done; sleep 2; ps -o comm | grep -c "^sleep" || true'
	out_is 0
}

test_container_ends_with_its_first_process() {
	local start=$SECONDS
	in_bb -- sh -c 'sleep 1000 & echo bye'
	out_is bye
	[ $((SECONDS - start)) -lt 60 ] || die "it waited for what was left in the container"
}
