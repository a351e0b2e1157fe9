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
	umount -R /run/netns 2>/dev/null || true
	rm -rf /run/netns /run/libpod /run/crun /run/lock/libpod* /dev/shm/libpod* /etc/containers/containers.conf
	rm -rf "${work:?}/run" /run/microvm-runtime /run/containers
	rmdir /sys/fs/cgroup/libpod_parent/* /sys/fs/cgroup/libpod_parent 2>/dev/null || true
}

answers() { [ "$(busybox wget -qO- "$1")" = served ]; }
# What engines left in the tables of the lab's host.
iptables_clear() {
	local table
	for table in filter nat; do
		iptables -t $table -F
		iptables -t $table -X
	done
	iptables -P FORWARD ACCEPT
}

test_podman() { # limit 400 s
	# Most have no need of a network, which costs the lab seconds.
	local alone=(--network none)
	podman_begin
	run pm run --rm "${alone[@]}" "$image" echo hello
	status_is 0
	out_is hello
	run pm run --rm "${alone[@]}" "$image" sh -c 'uname -r; exit 3'
	status_is 3
	[ "$out" != "$(uname -r)" ] || die "that is the host's kernel"
	echo piped | pm run -i --rm "${alone[@]}" "$image" cat >"$work/out2"
	is "$(cat "$work/out2")" piped
	run pm run --rm "${alone[@]}" "$image" nosuchcommand
	status_is 127
	err_has "not found"
	run pm run --rm "${alone[@]}" "$image" /etc/passwd
	status_is 126
	err_has /etc/passwd
	is "$(pm ps -aq)" "" "containers whose command is not there"
	run pm run -d "${alone[@]}" --name box -v "$work:/host:ro" "$image" sh -c 'echo started; trap "echo bye; exit 5" TERM; while :; do sleep 0.1; done'
	status_is 0
	until_ok grep -q started <(pm logs box)
	run pm exec box sh -c 'ls /host/out; exit 6'
	status_is 6
	out_is /host/out
	run pm ps --format '{{.Names}} {{.Status}}'
	out_has "box Up"
	# The whole VM is counted, though podman's own view of memory leaves the guest's out, which is not anonymous.
	run pm stats --no-stream --format '{{.PIDS}} {{.MemUsage}}' box
	status_is 0
	[[ $out == [1-9]*B\ /\ * ]] || die "podman finds nothing of the VM: $out"
	[ "$(cat /sys/fs/cgroup/libpod_parent/libpod-*/memory.current)" -gt 16777216 ] || die "the guest's memory is not in the engine's cgroup"
	# One may join its VM; what is the host's has none.
	run pm run --rm --ipc container:box --network container:box "$image" sh -c 'readlink /proc/self/ns/ipc; readlink /proc/self/ns/net; uname -r'
	status_is 0
	is "$out" "$(pm exec box sh -c 'readlink /proc/self/ns/ipc; readlink /proc/self/ns/net; uname -r')"
	run pm run --rm "${alone[@]}" --ipc host "$image" true
	[ "$status" != 0 ] || die "a guest has no ipc namespace of the host"
	err_has "ipc namespace"
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
	# The engine's own bridge, and a port of the host's.
	run pm run -d --name web -p 127.0.0.1:8088:8080 "$image" sh -c 'mkdir /www; echo served >/www/index.html; exec httpd -f -p 8080 -h /www'
	status_is 0
	until_ok answers "http://$(pm inspect web --format '{{.NetworkSettings.IPAddress}}'):8080"
	answers http://127.0.0.1:8088 || die "the port of the host does not lead to the container's"
	podman_end
	ip link del cni-podman0
	iptables_clear
	rm -rf /var/lib/cni
}

# One VM, though each of its containers has a supervisor.
vms() { pgrep -cx microvm-vmm; }
logs_say() { pm logs "$1" 2>/dev/null | grep -qx "$2"; }
in_pod() { pm exec "$1" sh -c "$2"; }
serves() { [ "$(in_pod "$1" 'wget -q -O - http://127.0.0.1:8080/hostname')" = web ]; }
ended() { [ "$(pm inspect "$1" --format '{{.State.Status}}')" = exited ]; }

test_podman_pod() { # limit 500 s
	local pid spaces='for n in net ipc uts; do readlink /proc/self/ns/$n; done'
	podman_begin
	pm tag "$image" localhost/busybox:lab
	from_page "Pods of podman" yaml >"$work/pod.yaml"
	grep -q 'kind: Pod' "$work/pod.yaml" || die "the page has no pod for podman"
	run pm play kube "$work/pod.yaml"
	status_is 0
	is "$(vms)" 1 "VMs of a pod"
	run pm pod ps --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'
	out_is "web Running 3"
	# By the loopback that both have.
	until_ok logs_say web-client web
	is "$(in_pod web-client "$spaces; hostname")" "$(in_pod web-server "$spaces; hostname")" "namespaces of a pod"
	[[ $(in_pod web-server 'ip -4 addr show eth0') == *inet* ]] || die "the pod has no network"
	in_pod web-server 'echo shared >/dev/shm/f'
	is "$(in_pod web-client 'cat /dev/shm/f')" shared "shm of a pod"
	pid=$(pm inspect web-client --format '{{.State.Pid}}')
	kill -9 "$pid"
	until_ok ended web-client
	is "$(pm inspect web-client --format '{{.State.ExitCode}}')" 137
	serves web-server || die "the other container does not run"
	# It comes back to the VM that is there.
	run pm start web-client
	status_is 0
	until_ok serves web-client
	is "$(vms)" 1 "VMs of a pod"
	run pm pod stop -t 20 web
	status_is 0
	until_ok no_vmm
	run pm pod rm web
	status_is 0
	until_ok no_vmm
	is "$(microvm-runtime list -q)" "" "containers of a pod that was removed"
	podman_end
	ip link del cni-podman1
	rm -rf /etc/cni/net.d/podman-default-kube-network.conflist /var/lib/cni
}

# dockerd with the page's configuration and a containerd of its own; what both keep lies in tmpfs.
docker_begin() {
	mkdir -p "$work/lib" /etc/docker
	mount -t tmpfs tmpfs "$work/lib"
	installed microvm-runtime
	from_page docker json >"$work/daemon.json"
	grep -q microvm-runtime "$work/daemon.json" || die "the page has no configuration for dockerd"
	cp "$work/daemon.json" /etc/docker/daemon.json
	dockerd --data-root "$work/lib/docker" --exec-root "$work/lib/run" >"$work/dockerd.log" 2>&1 &
	dockerd=$!
	trap '[ "$?" = 0 ] || tail -n 40 "$work/dockerd.log"' EXIT
	until_ok docker version
	skopeo copy -q "oci:$layout:busybox" "docker-archive:$work/image.tar:busybox:lab"
	docker load -q -i "$work/image.tar"
}
docker_end() {
	kill "$dockerd"
	wait "$dockerd" || true
	until_ok no_vmm
	trap - EXIT
	umount -R "$work/lib/run" 2>/dev/null || true
	umount -R "$work/lib"
	ip link del docker0
	iptables_clear
	rm -rf /etc/docker /run/containerd /run/docker /run/docker.sock /run/docker.pid /run/netns /root/.docker
	rmdir /sys/fs/cgroup/docker 2>/dev/null || true
}

# Debian's, whatever else there is.
docker() { /usr/bin/docker "$@"; }
said() { docker logs box | grep -q "$1"; }

test_docker() { # limit 400 s
	local run=(docker run --runtime microvm --network none)
	docker_begin
	run "${run[@]}" --rm busybox:lab sh -c 'echo hello; uname -r; exit 3'
	status_is 3
	out_has hello
	[[ $out != *"$(uname -r)"* ]] || die "that is the host's kernel"
	run "${run[@]}" --rm busybox:lab nosuchcommand
	status_is 127
	err_has "not found"
	run "${run[@]}" -d --name box -v "$work:/host:ro" busybox:lab \
		sh -c 'echo started; trap "echo bye; exit 5" TERM; while :; do sleep 0.1; done'
	status_is 0
	until_ok said started
	run docker exec box sh -c 'ls /host/out; cat /etc/hostname; exit 6'
	status_is 6
	out_has /host/out
	run docker stats --no-stream --format '{{.MemUsage}}' box
	status_is 0
	[[ $out == [1-9]*MiB* ]] || die "docker finds nothing of the VM: $out"
	run docker run --runtime microvm --rm --network container:box busybox:lab readlink /proc/self/ns/net
	status_is 0
	is "$out" "$(docker exec box readlink /proc/self/ns/net)" "a network namespace that is joined"
	run docker pause box
	status_is 0
	run docker unpause box
	status_is 0
	run docker stop -t 20 box
	status_is 0
	is "$(docker inspect box --format '{{.State.ExitCode}}')" 5
	run docker logs box
	out_is $'started\nbye'
	run docker start box
	status_is 0
	run docker kill box
	status_is 0
	run docker wait box
	out_is 137
	run docker rm box
	status_is 0
	docker_network
	docker_end
}

# The engine's own bridge, which it makes in a hook, and a port of the host's.
docker_network() {
	local address
	run docker run --runtime microvm -d --name web -p 127.0.0.1:8088:8080 busybox:lab \
		sh -c 'mkdir /www; echo served >/www/index.html; exec httpd -f -p 8080 -h /www'
	status_is 0
	address=$(docker inspect web --format '{{.NetworkSettings.IPAddress}}')
	until_ok answers "http://$address:8080"
	answers http://127.0.0.1:8088 || die "the port of the host does not lead to the container's"
	run docker run --runtime microvm --rm busybox:lab sh -c "wget -qO- http://$address:8080; cat /sys/class/net/eth0/address"
	status_is 0
	out_has served
	[[ $out == *02:42:* ]] || die "that is not the address that docker gave: $out"
	run docker rm -f web
	status_is 0
}
