#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian's containerd with the shim: every verb of ctr, and ends of every kind.
# shellcheck source=tests/e2e/engines.sh
. "$(dirname "${BASH_SOURCE[0]}")/engines.sh"

runtime=io.containerd.microvm.v2
image=example.org/busybox:busybox
tasks=/run/containerd/io.containerd.runtime.v2.task/default

daemon() {
	containerd -l warn -c "$work/config.toml" --root "$work/lib/root" >>"$work/containerd.log" 2>&1 &
	daemon=$!
	until_ok ctr version
}
# What containerd keeps lies in tmpfs, and goes with it. Plugins that find nothing to work with here only cost time.
containerd_begin() {
	mkdir -p "$work/lib"
	mount -t tmpfs tmpfs "$work/lib"
	installed containerd-shim-microvm-v2
	from_page containerd toml >"$work/config.toml"
	grep -q $runtime "$work/config.toml" || die "the page has no configuration for containerd"
	trap containerd_failed EXIT
	daemon
	tar -C "$(own_layout)" -cf "$work/image.tar" .
	ctr image import --base-name example.org/busybox "$work/image.tar"
}
containerd_failed() {
	[ "$?" = 0 ] || tail -n 40 "$work/containerd.log"
}
containerd_end() {
	is "$(ctr task ls -q)" "" "tasks at the end"
	kill "$daemon"
	wait "$daemon" || true
	until_ok no_vmm
	[ -z "$(ls -A "$tasks" 2>/dev/null)" ] || die "bundles are left: $(ls "$tasks")"
	[ -z "$(ls -A "$state/shim" "$state/sandboxes")" ] || die "left in the state: $(find "$state")"
	umount "$work/lib"
	rm -rf /run/containerd /opt/containerd
	trap - EXIT
}

# `new ID COMMAND…`: a detached container.
new() { run ctr run -d --runtime $runtime $image "$@"; status_is 0; }
in_state() { ctr task ls | awk -v n="$1" -v s="$2" '$1 == n && $3 == s { ok = 1 } END { exit !ok }'; }
gone() { ! ctr task ls -q | grep -qx "$1"; }
end_all() { # ID…
	local id
	for id; do
		ctr task kill -s KILL "$id" || true
		until_ok in_state "$id" STOPPED
		run ctr task delete "$id"
		ctr container delete "$id"
	done
}

test_ctr_run() { # limit 400 s
	containerd_begin
	ctr events >"$work/events" &
	local events=$!
	run ctr run --rm --runtime $runtime $image one sh -c 'echo out; echo err >&2; uname -r; exit 7'
	status_is 7
	out_has out
	err_has err
	[[ $out != *"$(uname -r)"* ]] || die "that is the host's kernel"
	mkdir "$work/folder"
	run ctr run --rm --runtime $runtime --env GREETING=hello --cwd /tmp \
		--mount "type=bind,src=$work/folder,dst=/folder,options=rbind:rw" $image two \
		sh -c 'echo $GREETING; pwd; echo made >/folder/file'
	status_is 0
	out_is $'hello\n/tmp'
	is "$(cat "$work/folder/file")" made
	echo piped | ctr run --rm --runtime $runtime $image three cat >"$work/out2"
	is "$(cat "$work/out2")" piped
	run script -qec "ctr run --rm --tty --runtime $runtime $image four sh -c 'test -t 0 && tty; stty size'" /dev/null </dev/null
	out_has /dev/pts
	kill $events
	wait $events || true
	is "$(grep -o '/tasks/[a-z-]*' "$work/events" | head -n 4 | tr '\n' ' ')" "/tasks/create /tasks/start /tasks/exit /tasks/delete "
	# What a VM can't give is refused by name.
	run ctr run --rm --net-host --runtime $runtime $image five true
	[ "$status" != 0 ] || die "a guest has no network of the host"
	err_has "network namespace"
	run ctr run --rm --device /dev/kvm --runtime $runtime $image five true
	[ "$status" != 0 ] || die "a guest has no device of the host"
	err_has /dev/kvm
	run ctr run --rm --runtime $runtime $image five nosuchcommand
	[ "$status" != 0 ] || die "there is no such command"
	err_has nosuchcommand
	containerd_end
}

test_ctr_task() { # limit 400 s
	containerd_begin
	new box sh -c 'trap "exit 5" TERM; echo started; n=0; while :; do n=$((n + 1)); echo $n >/n; sleep 0.1; done'
	in_state box RUNNING || die "it does not run"
	run ctr task exec --exec-id x box sh -c 'cat; exit 6' < <(echo piped)
	status_is 6
	out_is piped
	run ctr task exec --exec-id x --cwd /tmp box pwd
	status_is 0
	out_is /tmp
	run ctr task exec --exec-id x box nosuchcommand
	[ "$status" != 0 ] || die "there is no such command"
	run ctr task ps box
	status_is 0
	[ "$(wc -l <<<"$out")" -ge 3 ] || die "a shell and its sleep are two processes: $out"
	run ctr task metrics --format json box
	status_is 0
	[ "$(jq .memory.usage <<<"$out")" -gt 0 ] || die "no memory is used: $out"
	run ctr task pause box
	status_is 0
	in_state box PAUSED || die "it is not paused"
	run ctr task resume box
	status_is 0
	in_state box RUNNING || die "it does not go on"
	run ctr task checkpoint box
	[ "$status" != 0 ] || die "a VM can't be saved"
	err_has "not implemented"
	run ctr task delete box
	[ "$status" != 0 ] || die "it runs"
	run ctr task kill -s TERM box
	status_is 0
	until_ok in_state box STOPPED
	run ctr task kill -s TERM box
	run ctr task delete box
	status_is 5
	ctr container delete box
	# Output that nobody reads makes the container wait, and nobody else.
	new flood sh -c 'while :; do echo 0123456789012345678901234567890123456789; done'
	new other sleep 1000
	ctr task attach flood | head -n 3 >"$work/attached" || true
	is "$(head -n 1 "$work/attached" | cut -c1-40 | tr -d '0-9')" ""
	# To a file, and to a program.
	run ctr run -d --log-uri "file://$work/log" --runtime $runtime $image file sh -c 'echo in the file'
	status_is 0
	until_ok in_state file STOPPED
	is "$(cat "$work/log")" "in the file"
	ctr task delete file
	ctr container delete file
	end_all flood other
	containerd_end
}

# Whoever is killed: the task has ended once, `delete` works, and nothing is left.
test_ctr_killed() { # limit 400 s
	local before shim
	containerd_begin
	new vm sleep 1000
	pkill -9 -x microvm-vmm
	until_ok in_state vm STOPPED
	run ctr task delete vm
	status_is 137
	ctr container delete vm
	new server sleep 1000
	pkill -9 -x microvm-fsd
	until_ok in_state server STOPPED
	run ctr task delete server
	status_is 137
	ctr container delete server
	new shim sleep 1000
	shim=$(cat "$tasks/shim/shim.pid")
	ctr events >"$work/events" &
	local events=$!
	sleep 1
	kill -9 "$shim"
	until_ok gone shim
	kill $events
	wait $events || true
	is "$(grep -c /tasks/exit "$work/events")" 1 "exit events"
	ctr container delete shim
	until_ok no_vmm
	# containerd away and back: the shim goes on, and what happened meanwhile is told.
	new stays sh -c 'while [ ! -e /stop ]; do sleep 0.1; done; exit 9'
	before=$(cat "$tasks/stays/shim.pid")
	kill -9 "$daemon"
	wait "$daemon" || true
	daemon
	in_state stays RUNNING || die "it does not run any more"
	is "$(cat "$tasks/stays/shim.pid")" "$before"
	run ctr task exec --exec-id x stays touch /stop
	status_is 0
	until_ok in_state stays STOPPED
	run ctr task delete stays
	status_is 9
	ctr container delete stays
	containerd_end
}

test_ctr_parallel() { # limit 400 s
	local i pids=()
	containerd_begin
	for i in {1..20}; do
		ctr run --rm --runtime $runtime $image "p$i" echo "out $i" >"$work/p$i" 2>&1 &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || die "one failed: $(cat "$work"/p*)"; done
	for i in {1..20}; do is "$(cat "$work/p$i")" "out $i"; done
	containerd_end
}
