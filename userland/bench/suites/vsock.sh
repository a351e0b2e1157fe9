# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# Streams between a guest and the host by vsock: through the VMM, through our kernel module, and as a peer through the host
# kernel's vhost-vsock, in the same VMM. The programs at both ends are the same.

vsock_socket=$tmp/vsock.socket
declare -A vsock_title=([round-trip-64]="64-byte round trip" [to-guest-1m]="1 MiB to the guest" [from-guest-1m]="1 MiB from the guest")

# vsock_guest PATH OUT: user, kernel or vhost.
vsock_guest() {
	local guest vmm where=$vsock_socket
	rm -f "$vsock_socket"
	"$vmrun" --kernel "$vmlinux" --initramfs "$build/tests/vsock.cpio" --mem 128m --append "$words console=hvc0" --console \
		--vsock "$vsock_socket" --vsock-path "$1" </dev/null >"$2.guest" 2>&1 &
	guest=$!
	for _ in $(seq 300); do ! grep -q ready "$2.guest" || break; sleep 0.1; done
	vmm=$(pgrep -n -x microvm-vmm)
	[ "$1" != vhost ] || where=$(readlink "$vsock_socket") where=${where#cid:}
	timeout 300 "$build/tests/vsock-job" "$where" "$vmm" >"$2" || { fail "vsock: no client by $1"; cat "$2" "$2.guest" >&2; }
	timeout 30 tail --pid=$guest -f /dev/null
	kill -9 $guest 2>/dev/null
	wait $guest 2>/dev/null
}

# vsock_figure PATH JOB COLUMN: instructions (the lab's clock has 2 ns for each) are 4, wake-ups of one operation 5.
vsock_figure() {
	awk -v job="$2" -v c="$3" '$1 == "job" && $2 == job { print c == 4 ? int($4 / 2) : $5 / $3 }' "$tmp/vsock.$1"
}

suite_vsock() {
	local path job
	for path in user kernel vhost; do
		say "vsock: $path"
		vsock_guest $path "$tmp/vsock.$path"
	done
	for job in round-trip-64 to-guest-1m from-guest-1m; do
		row vsock "${vsock_title[$job]}: module against VMM" instructions "$(vsock_figure kernel $job 4)" user \
			"$(vsock_figure user $job 4)" 'ratio <= 0.5'
		row vsock "${vsock_title[$job]}: module against vhost-vsock" instructions "$(vsock_figure kernel $job 4)" vhost \
			"$(vsock_figure vhost $job 4)" 'ratio <= 1'
		row vsock "${vsock_title[$job]}: wake-ups of the VMM" wake-ups "$(vsock_figure kernel $job 5)" user \
			"$(vsock_figure user $job 5)" '<= 0'
	done
}
