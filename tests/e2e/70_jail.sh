#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the host's kernel says of a running microvm-vmm: one process without privileges, and nothing to hold on to.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

field() { sed -n "s/^$2:[[:space:]]*//p" "$1"; }

jailed() { # starts a sandbox; $vmm is its VMM
	sleeper jailed "$@"
	vmm=$(vmm_pid)
	[ -n "$vmm" ] || die "no microvm-vmm runs"
}

test_every_thread_is_without_privileges() {
	local task set
	jailed --cpus 2
	[ "$(find "/proc/$vmm/task" -maxdepth 1 -mindepth 1 | wc -l)" -ge 3 ] || die "2 vCPUs and fewer than 3 threads"
	for task in "/proc/$vmm/task"/*; do
		for set in CapInh CapPrm CapEff CapBnd CapAmb; do
			is "$(field "$task/status" $set)" 0000000000000000 "$set of $(cat "$task/comm")"
		done
		is "$(field "$task/status" NoNewPrivs)" 1 "NoNewPrivs"
		is "$(field "$task/status" Seccomp)" 2 "Seccomp of $(cat "$task/comm")"
		is "$(field "$task/status" Groups | tr -d ' ')" '' "groups"
		[ "$(field "$task/status" Uid | awk '{ print ($1 == $2 && $2 == $3 && $3 == $4) ? $1 : 0 }')" != 0 ] || die "uids: $(field "$task/status" Uid)"
		[ "$(field "$task/status" Gid | awk '{ print ($1 == $2 && $2 == $3 && $3 == $4) ? $1 : 0 }')" != 0 ] || die "gids: $(field "$task/status" Gid)"
	done
	microvm rm -f jailed
}

test_sandboxes_have_different_uids() {
	sleeper one
	sleeper two
	is "$(for pid in $(pgrep -x microvm-vmm); do field "/proc/$pid/status" Uid | cut -f1; done | sort -u | wc -l)" 2 "different uids"
	microvm rm -f one two
}

test_namespaces_are_its_own() {
	local ns
	jailed
	for ns in mnt pid net ipc uts; do
		[ "$(readlink "/proc/$vmm/ns/$ns")" != "$(readlink /proc/self/ns/$ns)" ] || die "it shares the host's $ns namespace"
	done
	is "$(awk -F: 'NR > 2 && $1 !~ /^ *lo$/' "/proc/$vmm/net/dev")" '' "network devices besides lo"
	microvm rm -f jailed
}

test_root_is_empty() {
	jailed
	is "$(find "/proc/$vmm/root/" -mindepth 1 2>/dev/null | wc -l)" 0 "files in its root"
	is "$(wc -l <"/proc/$vmm/mountinfo")" 1 "mounts"
	touch "/proc/$vmm/root/x" 2>/dev/null && die "its root can be written"
	microvm rm -f jailed
}

test_files_are_those_it_needs() {
	local fd target
	jailed
	ls -l "/proc/$vmm/fd"
	for fd in "/proc/$vmm/fd"/*; do
		target=$(readlink "$fd")
		case $target in
		anon_inode:* | socket:* | pipe:* | /memfd:* | /dev/kvm | /dev/null | /dev/urandom | /dev/microvm) ;;
		"$store"/rootfs/*/rootfs.erofs) ;;
		*console.log | */log) ;;
		*) die "fd ${fd##*/} is $target" ;;
		esac
	done
	grep -q . "/proc/$vmm/environ" && die "it has an environment"
	microvm rm -f jailed
}

test_files_can_not_be_written_but_streams() {
	local info flags
	jailed
	for info in "/proc/$vmm/fdinfo"/*; do
		case $(readlink "/proc/$vmm/fd/${info##*/}") in
		*rootfs.erofs)
			flags=$(field "$info" flags)
			[ $((0$flags & 3)) = 0 ] || die "the image can be written: flags $flags"
			;;
		esac
	done
	microvm rm -f jailed
}

test_limits_are_set() {
	jailed
	cat "/proc/$vmm/limits"
	[ "$(awk '/^Max open files/ { print $4 }' "/proc/$vmm/limits")" -le 1024 ] || die "open files are not limited"
	is "$(awk '/^Max core file size/ { print $5 }' "/proc/$vmm/limits")" 0 "core size"
	is "$(awk '/^Max file size/ { print ($4 != "unlimited") }' "/proc/$vmm/limits")" 1 "a limit on file sizes"
	microvm rm -f jailed
}

test_guest_memory_is_one_sealed_memfd() {
	local fd n=0
	jailed
	for fd in "/proc/$vmm/fd"/*; do
		if [[ $(readlink "$fd") == /memfd:* ]]; then n=$((n + 1)); fi
	done
	is $n 1 "memfds"
	grep -E 'memfd' "/proc/$vmm/maps" | awk '{ print $2 }' | sort -u | while read -r mode; do
		[[ $mode == *s ]] || die "guest memory is mapped $mode"
	done
	microvm rm -f jailed
}

# Every allow-list, run in the kernel's own words: the filters of each thread are read back as the program they are.
test_system_calls_are_few() {
	local task name allowed limit
	jailed --cpus 2
	for task in "/proc/$vmm/task"/*; do
		name=$(cat "$task/comm")
		case $name in
		vcpu*) limit=27 ;;
		io*) limit=35 ;;
		*) limit=50 ;;
		esac
		allowed=$("$MICROVM_BUILD/tests/seccomp-count" "${task##*/}")
		echo "$name: $allowed"
		[ "$allowed" -le $limit ] || die "thread $name may make $allowed system calls, the goal is $limit"
		[ "$allowed" -gt 0 ] || die "no filter was read of $name"
	done
	microvm rm -f jailed
}

test_supervisor_holds_nothing_of_the_guest_open() {
	jailed
	local pid
	for pid in $(pgrep -x microvm); do
		[ "$(find "/proc/$pid/fd" -lname '*core*' | wc -l)" = 0 ]
		grep -q memfd "/proc/$pid/maps" && die "the supervisor maps guest memory"
	done
	microvm rm -f jailed
}

# Both folders as microvm makes them where there are none.
test_state_is_roots_alone() {
	export MICROVM_STATE=$work/state MICROVM_STORE=$work/store
	run microvm volume create first
	status_is 0
	jailed
	is "$(find "$work/state" -perm /077 ! -type l ! -type s)" '' "what of the state others may touch"
	is "$(find "$work/store" -maxdepth 1 -perm /077)" '' "what of the store others may look into"
	microvm rm -f jailed
}
