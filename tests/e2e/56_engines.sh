#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Real engines over microvm-runtime, configured as docs/engines.md says.
# shellcheck source=tests/e2e/engines.sh
. "$(dirname "${BASH_SOURCE[0]}")/engines.sh"

# The page's configuration, with the program of this build. What podman keeps lies in tmpfs, and goes with them.
podman_begin() {
	mkdir -p /etc/containers "$work/lib" "$work/run"
	installed microvm-runtime
	from_page podman toml >/etc/containers/containers.conf
	grep -q microvm-runtime /etc/containers/containers.conf || die "the page has no configuration for podman"
	echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json
	mount -t tmpfs tmpfs "$work/lib"
	run pm pull -q "oci:$layout:busybox"
	status_is 0
	image=$out
}
pm() { podman --root "$work/lib/storage" --runroot "$work/run/podman" --tmpdir "$work/run/tmp" --cgroup-manager cgroupfs --events-backend file "$@"; }
podman_end() {
	run pm rm -fa -t 0
	status_is 0
	until_ok no_vmm
	pm unmount -a >/dev/null 2>&1 || true
	umount -R "$work/lib/storage/overlay" 2>/dev/null || true
	umount -R "$work/lib"
	rm -rf /run/netns /run/libpod /run/crun /run/lock/libpod* /dev/shm/libpod* /etc/containers/containers.conf
	rm -rf "${work:?}/run" /run/microvm-runtime /run/containers
	rmdir /sys/fs/cgroup/libpod_parent/* /sys/fs/cgroup/libpod_parent 2>/dev/null || true
}

test_podman() { # limit 400 s
	podman_begin
	run pm run --rm "$image" echo hello
	status_is 0
	out_is hello
	run pm run --rm "$image" sh -c 'uname -r; exit 3'
	status_is 3
	[ "$out" != "$(uname -r)" ] || die "that is the host's kernel"
	echo piped | pm run -i --rm "$image" cat >"$work/out2"
	is "$(cat "$work/out2")" piped
	run pm run --rm "$image" nosuchcommand
	status_is 127
	err_has "not found"
	run pm run --rm "$image" /etc/passwd
	status_is 126
	err_has /etc/passwd
	is "$(pm ps -aq)" "" "containers whose command is not there"
	run pm run -d --name box -v "$work:/host:ro" "$image" sh -c 'echo started; trap "echo bye; exit 5" TERM; while :; do sleep 0.1; done'
	status_is 0
	until_ok grep -q started <(pm logs box)
	run pm exec box sh -c 'ls /host/out; exit 6'
	status_is 6
	out_is /host/out
	run pm ps --format '{{.Names}} {{.Status}}'
	out_has "box Up"
	run pm pause box
	status_is 0
	run pm unpause box
	status_is 0
	run pm stop -t 20 box
	status_is 0
	is "$(pm inspect box --format '{{.State.ExitCode}}')" 5
	run pm logs box
	out_is $'started\nbye'
	run pm rm box
	status_is 0
	run pm run --rm --network host "$image" true
	[ "$status" != 0 ] || die "a guest has no network of the host"
	err_has "network"
	ip netns add e2e-pod
	ip link add e2e-host type veth peer name eth0 netns e2e-pod
	ip -n e2e-pod addr add 10.90.0.2/24 dev eth0
	ip -n e2e-pod link set eth0 up
	run pm run --rm --network ns:/run/netns/e2e-pod "$image" sh -c 'cat /sys/class/net/eth0/address; ip route'
	status_is 0
	out_has "$(ip netns exec e2e-pod cat /sys/class/net/eth0/address)"
	out_has "10.90.0.0/24 dev eth0"
	ip netns del e2e-pod
	rmdir /run/netns 2>/dev/null || { umount /run/netns; rmdir /run/netns; }
	podman_end
}
