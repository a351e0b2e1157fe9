#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The shim under Debian's containerd, when somebody is killed: at any step the container has ended once, can be deleted, and leaves
# nothing. So does a host that is reset.
# shellcheck source=tests/e2e/containerd.sh
. "$(dirname "${BASH_SOURCE[0]}")/containerd.sh"

# ---- who is killed -----------------------------------------------------------------------------------------------------

# What containerd tells; one that is started again has to be listened to again.
listen() {
	: >"$work/listening"
	ctr events >"$work/listening" &
	until_ok heard
}
heard() {
	ctr image label $image "heard=$RANDOM"
	[ -s "$work/listening" ]
}
deafen() {
	cat "$work/listening" >>"$work/events"
}
told() { grep -q "$1 .*\"container_id\":\"$2\"" "$work/listening"; } # TOPIC ID
# How often the end of its first process was told.
exits() { cat "$work/events" "$work/listening" | grep '/tasks/exit ' | grep -c "\"id\":\"$1\"" || true; }

kill_daemon() {
	kill -9 "$daemon"
	wait "$daemon" || true
	deafen
}
killed() { # vmm, fsd, shim or containerd, of the only container there is
	echo "# after $SECONDS s $1 is killed"
	case $1 in
	vmm | fsd) pkill -9 -x "microvm-$1" ;;
	shim) pkill -9 -x containerd-shim ;;
	containerd)
		kill_daemon
		daemon
		listen
		;;
	esac
}

# ---- and what is left --------------------------------------------------------------------------------------------------

no_process() { ! pgrep -x 'microvm-vmm|microvm-fsd|containerd-shim'; }
nothing_left() {
	no_process &&
		[ -z "$(find "$state/shim" "$state/sandboxes" -mindepth 1)" ] && [ -z "$(ls -A "$tasks" 2>/dev/null)" ] &&
		! grep -q -e "$tasks" -e "$state" /proc/self/mounts && [ ! -e /sys/fs/cgroup/default ]
}
# The container can be deleted, and its task if containerd hasn't done that itself, and nothing of them is left.
over() { # ID VICTIM
	if [ "$2" = shim ]; then
		until_ok gone "$1"
	elif ! gone "$1"; then
		until_ok in_state "$1" STOPPED
		run ctr task delete "$1"
		status_is 0
		err_has "exit code 137"
	fi
	ctr container delete "$1"
	until_ok nothing_left
}

# ---- steps -------------------------------------------------------------------------------------------------------------

# `ctr run` waits, as the guest stands still in the middle of its boot.
booting() { # ID
	ctr run -d --runtime $runtime $image "$1" sleep 1000 >"$work/client" 2>&1 &
	client=$!
	until pkill -STOP -x microvm-vmm; do kill -0 "$client" || die "it failed: $(cat "$work/client")"; done
	! told /tasks/create "$1" || die "it was made before the guest could be stopped"
}
# Made, and not started: ctr wants to write a file between the two.
created() { # ID
	run ctr run -d --pid-file /nosuch/pid --runtime $runtime $image "$1" sleep 1000
	[ "$status" != 0 ] || die "there is no such folder"
	in_state "$1" CREATED || die "it was not made: $err"
}
# `ctr task exec` waits for what it started.
executing() { # ID
	ctr task exec --exec-id "exec-$1" "$1" sleep 1000 >"$work/client" 2>&1 &
	client=$!
	until_ok told /tasks/exec-started "$1"
}
# `ctr task delete` waits: output that nobody reads may still be read. Of two the second is told so, whichever that is.
deleting() { # ID
	new "$1" sh -c 'while :; do echo 0123456789012345678901234567890123456789; done'
	ctr task kill -s KILL "$1"
	until_ok in_state "$1" STOPPED
	rm -f "$work"/client*
	ctr task delete "$1" >"$work/client" 2>&1 &
	client=$!
	ctr task delete "$1" >"$work/client2" 2>&1 &
	until_ok grep "it is being deleted" "$work/client" "$work/client2"
	grep -q "it is being deleted" "$work/client2" || client=$!
}
client_failed() {
	local status=0
	wait "$client" || status=$?
	[ "$status" != 0 ] || die "its client ended well"
}

step_boot() {
	local victim id
	for victim in shim vmm fsd; do
		id=boot-$victim
		booting $id
		killed $victim
		pkill -CONT -x microvm-vmm || true
		client_failed
		over $id shim
		[ "$(exits $id)" -le 1 ] || die "its end was told again and again"
	done
}
# The first of them is made for a containerd that is killed meanwhile: to the next it is there, and so it is to the one after that.
step_created() {
	local shim
	booting made
	killed containerd
	client_failed
	pkill -CONT -x microvm-vmm
	until_ok told /tasks/create made
	shim=$(cat "$tasks/made/shim.pid")
	killed containerd
	in_state made CREATED || die "it is not there any more"
	is "$(cat "$tasks/made/shim.pid")" "$shim" "pid of its shim"
	killed vmm
	over made vmm
	is "$(exits made)" 1 "exit events"
	created made
	killed shim
	over made shim
	is "$(exits made)" 2 "exit events of both"
}
step_exec() {
	local victim id
	for victim in shim fsd; do
		id=exec-$victim
		new $id sleep 1000
		executing $id
		is "$(sort -n /sys/fs/cgroup/default/$id/cgroup.procs)" "$(pgrep 'microvm-vmm|microvm-fsd|containerd-shim' | sort -n)" "processes in its cgroup"
		killed $victim
		client_failed
		over $id $victim
		is "$(exits $id)" 1 "exit events"
	done
	# With the guest's kernel its agent goes.
	run ctr run -d --cap-add CAP_SYS_ADMIN --runtime $runtime $image panic sleep 1000
	status_is 0
	run ctr task exec --exec-id x panic sh -c 'mkdir /p; mount -t proc proc /p; echo 1 >/p/sys/kernel/sysrq; echo c >/p/sysrq-trigger; sleep 1000'
	[ "$status" != 0 ] || die "the guest's kernel did not panic"
	over panic agent
	is "$(exits panic)" 1 "exit events"
}
step_delete() {
	local victim id
	for victim in vmm shim containerd; do
		id=delete-$victim
		deleting $id
		is "$(exits $id)" 1 "exit events"
		killed $victim
		[ $victim = vmm ] || client_failed
		until_ok gone $id
		ctr container delete $id
		until_ok nothing_left
	done
}
# What happens while containerd is away is told to the next.
step_away() {
	mkdir "$work/folder"
	run ctr run -d --mount "type=bind,src=$work/folder,dst=/folder,options=rbind:rw" --runtime $runtime $image stays \
		sh -c 'while [ ! -e /folder/stop ]; do sleep 0.1; done; touch /folder/stops; exit 9'
	status_is 0
	kill_daemon
	touch "$work/folder/stop"
	until_ok test -e "$work/folder/stops"
	daemon
	until_ok in_state stays STOPPED
	# Without a pid containerd would take it for a leftover, from 1.7 on.
	run ctr task ps stays
	is "$(wc -l <<<"$out")" 2 "lines of its processes"
	deleted_with stays 9
}

test_ctr_killed() { # limit 600 s
	containerd_begin
	: >"$work/events"
	listen
	step_boot
	step_created
	step_exec
	step_delete
	step_away
	containerd_end
}

# Everything ends at once, and nobody cleans up. Of cgroups nothing outlives that.
reset() {
	kill_daemon
	pkill -9 -x 'containerd-shim|microvm-vmm|microvm-fsd'
	until_ok no_process
	find /sys/fs/cgroup/default -depth -type d -exec rmdir {} +
}

# SIGKILL is not the guest's to refuse. It hears nothing here, as its VMM is stopped.
test_deaf_guest() { # limit 300 s
	local id vmm
	containerd_begin
	for id in one two; do
		run ctr run -d --annotation io.kubernetes.cri.sandbox-id=one --runtime $runtime $image $id sleep 1000
		status_is 0
	done
	vmm=$(pgrep -x microvm-vmm)
	# While a container of the pod is meant to go on, the VM is left alone.
	kill -STOP "$vmm"
	timeout 60 ctr task kill -s KILL two >/dev/null 2>&1 &
	sleep 25
	kill -CONT "$vmm"
	until_ok in_state two STOPPED
	in_state one RUNNING || die "a container that nobody has killed went with another one"
	kill -STOP "$vmm"
	timeout 60 ctr task kill -s KILL one || true
	until_ok in_state one STOPPED
	until_ok no_vmm
	deleted_with two 137
	deleted_with one 137
	containerd_end
}

test_host_reset() { # limit 200 s
	containerd_begin
	: >"$work/listening"
	new box sleep 1000
	reset
	daemon
	is "$(ctr task ls -q)" "" "tasks after the reset"
	nothing_left || die "something is left"
	run ctr task start -d box
	status_is 0
	# With a containerd that has nothing left in /run, where we have.
	reset
	rm -rf /run/containerd
	[ -n "$(find "$state/shim" -type s)" ] || die "nothing is there to be swept"
	daemon
	is "$(ctr task ls -q)" "" "tasks after the reset"
	run ctr task start -d box
	status_is 0
	is "$(find "$state/shim" -mindepth 1 | wc -l)" 1 "sockets of shims"
	is "$(find "$state/sandboxes" -mindepth 1 -maxdepth 1 | wc -l)" 1 "sandboxes"
	end_all box
	containerd_end
}
