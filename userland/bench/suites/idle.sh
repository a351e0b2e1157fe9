# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# A sandbox that does nothing: who wakes up.

switches() { # PID: voluntary context switches of threads, "vcpu N" and "other N"
	local task n vcpu=0 other=0
	for task in "/proc/$1/task"/*; do
		n=$(sed -n 's/^voluntary_ctxt_switches:[[:space:]]*//p' "$task/status")
		case $(cat "$task/comm") in
		*vcpu*) vcpu=$((vcpu + n)) ;;
		*) other=$((other + n)) ;;
		esac
	done
	echo "$vcpu $other"
}

suite_idle() {
	local vmm supervisor v0 o0 v1 o1 s0 s1 x0 x1
	say "idle: five seconds of an idle sandbox"
	idle_sandbox || return
	supervisor=$(pgrep -x microvm | head -n 1)
	sleep 2
	x0=$(cat /sys/kernel/debug/kvm/exits)
	read -r v0 o0 < <(switches "$vmm")
	read -r _ s0 < <(switches "$supervisor")
	sleep 5
	x1=$(cat /sys/kernel/debug/kvm/exits)
	read -r v1 o1 < <(switches "$vmm")
	read -r _ s1 < <(switches "$supervisor")
	microvm rm -f idle >/dev/null
	row idle "wake-ups of the VMM's threads but vCPUs in 5 s" wake-ups $((o1 - o0)) '' '' '<= 0'
	row idle "wake-ups of the supervisor in 5 s" wake-ups $((s1 - s0)) '' '' '<= 0'
	row idle "wake-ups of vCPUs (the guest's own timer) in 5 s" wake-ups $((v1 - v0))
	row idle "VM exits in 5 s" exits $((x1 - x0))
}
