# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# A sandbox that does nothing: its memory.

suite_memory() {
	local vmm ours theirs touched fd pid region
	say "memory: an idle sandbox of 64 MiB"
	idle_sandbox || return
	ours=$(private_kib "$vmm" memfd)
	for fd in "/proc/$vmm/fd"/*; do
		if [[ $(readlink "$fd") == /memfd:* ]]; then touched=$(stat -L -c %b "$fd"); fi
	done
	pid=$(pgrep -x microvm | head -n 1)
	local supervisor
	supervisor=$(private_kib "$pid" memfd)
	microvm rm -f idle >/dev/null

	# QEMU with a kernel that ran into the missing init, and waits; its guest memory is the mapping of that size.
	"${qemu[@]}" -append "rdinit=/none init=/none panic=0 quiet" >/dev/null 2>&1 &
	pid=$!
	sleep 3
	region=$(awk '/^[0-9a-f]+-[0-9a-f]+ / { head = $1 } /^Size:/ && $2 == 131072 { print "^" head; exit }' "/proc/$pid/smaps")
	theirs=$(private_kib "$pid" "${region:-^none}")
	kill -9 "$pid"
	wait "$pid" 2>/dev/null

	row memory "private memory of microvm-vmm without the guest's" KiB "$ours" "QEMU microvm" "$theirs" '<= 2048'
	row memory "private memory of the supervising microvm" KiB "$supervisor"
	row memory "guest memory touched by an idle sandbox, of 65536" KiB "$((touched / 2))" '' '' '<= 65536'
}
