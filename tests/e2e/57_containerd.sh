#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian's containerd with the shim: every verb of ctr, pods by the CRI, and many at once.
# shellcheck source=tests/e2e/containerd.sh
. "$(dirname "${BASH_SOURCE[0]}")/containerd.sh"

# An image that nothing here has got, in a registry on the loopback.
registry=127.0.0.1:5000
pulled=$registry/test/pulled:lab
registry_begin() {
	local dir
	mkdir "$work/registry" "$work/layer"
	cat >"$work/registry.yml" <<-END
		version: 0.1
		storage: {filesystem: {rootdirectory: $work/registry}}
		http: {addr: "$registry"}
	END
	docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
	server=$!
	until_ok busybox wget -qO- "http://$registry/v2/"
	dir=$(own_layout)
	echo "from the registry" >"$work/layer/pulled"
	tar -C "$work/layer" -cf "$work/layer.tar" pulled
	add_layer "$dir" busybox "$work/layer.tar"
	skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$dir:busybox" "docker://$pulled"
}
registry_end() {
	kill "$server"
	wait "$server" || true
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
	registry_begin
	run ctr images pull --plain-http $pulled
	status_is 0
	registry_end
	mkdir "$work/folder"
	run ctr run --rm --runtime $runtime --env GREETING=hello --cwd /tmp \
		--mount "type=bind,src=$work/folder,dst=/folder,options=rbind:rw" $pulled two \
		sh -c 'echo $GREETING; pwd; cat /pulled; echo made >/folder/file'
	status_is 0
	out_is $'hello\n/tmp\nfrom the registry'
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
	# A cgroup that can't be made is named.
	mkdir /sys/fs/cgroup/e2e-full
	echo 0 >/sys/fs/cgroup/e2e-full/cgroup.max.descendants
	run ctr run --rm --cgroup /e2e-full/five --runtime $runtime $image five true
	rmdir /sys/fs/cgroup/e2e-full
	[ "$status" != 0 ] || die "it has no cgroup"
	err_has "linux.cgroupsPath: cannot make and enter /sys/fs/cgroup/e2e-full/five"
	is "$(ctr task ls -q; ctr container ls -q)" "" "tasks and containers that can't be"
	containerd_end
}

test_ctr_task() { # limit 400 s
	containerd_begin
	new box sh -c 'trap "exit 5" TERM; sleep 1000 & while :; do sleep 0.1; done'
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
	deleted_with box 5
	# What the guest's kernel kills for want of memory is told.
	ctr events >"$work/events" &
	local events=$!
	run ctr run -d --memory-limit 33554432 --runtime $runtime $image greedy sh -c 'x=0123456789; while :; do x=$x$x; done'
	status_is 0
	until_ok in_state greedy STOPPED
	until_ok grep -q '/tasks/exit.*greedy' "$work/events"
	kill $events
	wait $events || true
	grep -q '/tasks/oom.*"container_id":"greedy"' "$work/events" || die "no word of its end: $(cat "$work/events")"
	deleted_with greedy 137
	# Output that nobody reads makes the container wait, and nobody else.
	new flood sh -c 'while :; do echo 0123456789012345678901234567890123456789; done'
	new other sleep 1000
	ctr task attach flood | head -n 3 >"$work/attached" || true
	[ -s "$work/attached" ] || die "nothing came from what floods"
	# That client passed its SIGPIPE on, as any signal, and deleted what had ended.
	until_ok gone flood
	ctr container delete flood
	# To a file, and to a program.
	run ctr run -d --log-uri "file://$work/log" --runtime $runtime $image file sh -c 'echo in the file'
	status_is 0
	until_ok in_state file STOPPED
	is "$(cat "$work/log")" "in the file"
	ctr task delete file
	ctr container delete file
	cat >"$work/logger" <<-'END'
		#!/bin/sh
		# The last descriptor is for saying that it is ready.
		exec 5>&-
		{ echo "$CONTAINER_NAMESPACE $CONTAINER_ID $*"; sed 's/^/out: /' <&3; sed 's/^/err: /' <&4; } >"$2.new"
		mv "$2.new" "$2"
	END
	chmod +x "$work/logger"
	run ctr run -d --log-uri "binary://$work/logger?--to=$work/logged&plus=a+b" --runtime $runtime $image logged sh -c 'echo one; echo two >&2; echo three'
	status_is 0
	until_ok in_state logged STOPPED
	ctr task delete logged
	ctr container delete logged
	until_ok test -e "$work/logged"
	is "$(cat "$work/logged")" "default logged --to $work/logged plus a b"$'\nout: one\nout: three\nerr: two'
	run ctr run -d --log-uri "binary://$work/nosuch" --runtime $runtime $image logged sleep 1000
	[ "$status" != 0 ] || die "nobody takes its output"
	err_has "$work/nosuch can't be executed"
	ctr container delete logged
	end_all other
	containerd_end
}

# ---- pods, by the CRI ------------------------------------------------------------------------------------------------

cri() { "$(dirname "${BASH_SOURCE[0]}")/cri.py" "$@"; }

# The page's network.
cni_network() {
	mkdir -p /etc/cni/net.d
	from_page containerd json >/etc/cni/net.d/10-pods.conflist
	grep -q bridge /etc/cni/net.d/10-pods.conflist || die "the page has no network for pods"
}
pod_config() { # NAME NETWORK-MODE
	jq -nc --arg n "$1" --argjson m "$2" '{metadata: {name: $n, uid: ("uid-" + $n), namespace: "default"}, hostname: $n,
		linux: {security_context: {privileged: true, namespace_options: {network: $m, pid: 1}}, resources: {memory_limit_in_bytes: (320 * 1048576),
			cpu_period: 100000, cpu_quota: 200000}}}'
}
pid_mode=1 # its own; 0: the pod's
privileged=false
container() { # POD NAME MIB COMMAND… prints its id
	local pod=$1 name=$2 mib=$3
	shift 3
	cri CreateContainer "$(jq -nc --arg p "$pod" --arg n "$name" --arg i "$image" --argjson pod "$(pod_config web 0)" --arg d "$work/volume" \
		--argjson mib "$mib" --argjson pid $pid_mode --argjson privileged $privileged '
		{pod_sandbox_id: $p, sandbox_config: $pod, config: {metadata: {name: $n}, image: {image: $i}, command: $ARGS.positional,
		mounts: [{container_path: "/volume", host_path: $d}], linux: {resources: {memory_limit_in_bytes: ($mib * 1048576), cpu_period: 100000, cpu_quota: 80000},
		security_context: {privileged: $privileged, namespace_options: {pid: $pid}}}}}' --args -- "$@")" |
		jq -r .container_id
}
in_pod() { # CONTAINER COMMAND…: what it prints
	local id=$1
	shift
	cri ExecSync "$(jq -nc --arg c "$id" '{container_id: $c, cmd: $ARGS.positional, timeout: 60}' --args -- "$@")"
}
# What the one VM was made with, and what its guest is to do with, in MiB; asked as `microvm stats` does (base/balloon.h).
vm_memory() {
	python3 - "$state"/sandboxes/*/balloon <<-'END'
		import socket, struct, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		s.connect(sys.argv[1])
		s.send(struct.pack("=IIQ", 1, 0, 0))
		print(*(n >> 20 for n in struct.unpack_from("=QQ", s.recv(4096), 8)))
	END
}
memory_is() { [ "$(vm_memory)" = "$*" ]; }
cpus_are() { [ "$(in_pod "$2" cat /sys/devices/system/cpu/online | jq -r .stdout)" = "$1" ]; }
about() { jq -nc --arg k "$1" --arg v "$2" '{($k): $v}'; }
cri_ready() { cri Status '{}'; }

test_cri_pod() { # limit 500 s
	local pod one two three address handler overhead
	cni_network
	# The page's RuntimeClass names what the page's containerd has.
	handler=$(from_page containerd yaml | awk '$1 == "handler:" { print $2 }')
	overhead=$(from_page containerd yaml | awk '$1 == "memory:" { print $2 }')
	containerd_begin
	until_ok cri_ready
	ctr -n k8s.io image import --base-name example.org/busybox "$work/image.tar"
	mkdir "$work/volume"
	run cri RunPodSandbox "$(jq -nc --argjson c "$(pod_config web 2)" --arg h "$handler" '{config: $c, runtime_handler: $h}')"
	[ "$status" != 0 ] || die "a guest has no network of the host"
	err_has "no network namespace"
	# A pod without containers has no process, and is there all the same.
	run cri RunPodSandbox "$(jq -nc --argjson c "$(pod_config empty 0)" --arg h "$handler" '{config: $c, runtime_handler: $h}')"
	status_is 0
	pod=$(jq -r .pod_sandbox_id <<<"$out")
	is "$(ctr -n k8s.io task ls | awk -v p="$pod" '$1 == p { print $3 }')" RUNNING
	is "$(ctr -n k8s.io task ps "$pod" | awk 'NR > 1 { print $1 }')" "$(pgrep -x microvm-vmm)" "the pid of its own container"
	is "${overhead: -2}" Mi
	[ "$(cat "$(find /sys/fs/cgroup -type d -name "*$pod*" | head -n 1)/memory.current")" -lt $((${overhead%Mi} << 20)) ] || die "it costs more than $overhead"
	# A containerd that is started again does not take it for a leftover.
	kill -9 "$daemon"
	wait "$daemon" || true
	daemon
	until_ok cri_ready
	is "$(ctr -n k8s.io task ls | awk -v p="$pod" '$1 == p { print $3 }')" RUNNING
	run cri StopPodSandbox "$(about pod_sandbox_id "$pod")"
	status_is 0
	until_ok no_vmm
	run cri RemovePodSandbox "$(about pod_sandbox_id "$pod")"
	status_is 0
	# Its VM is as large as containerd says the containers will need.
	run cri RunPodSandbox "$(jq -nc --argjson c "$(pod_config web 0)" --arg h "$handler" '{config: $c, runtime_handler: $h}')"
	status_is 0
	pod=$(jq -r .pod_sandbox_id <<<"$out")
	is "$(vm_memory)" "384 384"
	one=$(container "$pod" one 192 sh -c 'mkdir /www; echo from one >/www/index.html; httpd -f -p 8080 -h /www')
	run cri StartContainer "$(about container_id "$one")"
	status_is 0
	is "$(pgrep -c -x microvm-vmm)" 1 "VMs of a pod"
	until_ok memory_is 384 256
	# The second comes while the first runs.
	two=$(container "$pod" two 128 sleep 1000)
	run cri StartContainer "$(about container_id "$two")"
	status_is 0
	is "$(pgrep -c -x microvm-vmm)" 1 "VMs of a pod"
	until_ok memory_is 384 384
	run cri UpdateContainerResources "$(jq -nc --arg c "$two" '{container_id: $c, linux: {memory_limit_in_bytes: 67108864}}')"
	status_is 0
	until_ok memory_is 384 320
	# And so many CPUs as they may use.
	until_ok cpus_are 0-1 "$two"
	run cri UpdateContainerResources "$(jq -nc --arg c "$two" '{container_id: $c, linux: {cpu_period: 100000, cpu_quota: 20000}}')"
	status_is 0
	until_ok cpus_are 0 "$two"
	run cri UpdateContainerResources "$(jq -nc --arg c "$one" '{container_id: $c, linux: {cpu_period: 100000, cpu_quota: 150000}}')"
	status_is 0
	until_ok cpus_are 0-1 "$two"
	run in_pod "$two" sh -c 'for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://127.0.0.1:8080 && break; sleep 1; done; hostname
		cat /sys/fs/cgroup/memory.max'
	status_is 0
	is "$(jq -r .stdout <<<"$out")" $'from one\nweb\n67108864'
	# The host, as kubelet's probes do, and the pod's own address from within.
	run cri PodSandboxStatus "$(about pod_sandbox_id "$pod")"
	address=$(jq -r .status.network.ip <<<"$out")
	is "$(busybox wget -qO- "http://$address:8080")" "from one"
	run in_pod "$two" wget -qO- "http://$address:8080"
	is "$(jq -r .stdout <<<"$out")" "from one"
	# As kubectl does: to the loopback, whatever listens there.
	run cri PortForward "$(jq -nc --arg p "$pod" '{pod_sandbox_id: $p, port: [8080]}')"
	status_is 0
	is "$(printf 'GET / HTTP/1.0\r\n\r\n' | "$(dirname "${BASH_SOURCE[0]}")/port-forward.py" "$(jq -r .url <<<"$out")" | tail -n 1)" "from one"
	# Who shares the pod's pids has its own container's process as the first of them.
	# Privileged it may do as it likes, in the guest, which has no device of the host.
	pid_mode=0 privileged=true
	three=$(container "$pod" three 64 sleep 1000)
	run cri StartContainer "$(about container_id "$three")"
	status_is 0
	run in_pod "$three" sh -c 'mount -t tmpfs none /tmp && echo 0 >/proc/sys/kernel/sysrq && ls /dev/kvm'
	is "$(jq -r .stderr <<<"$out")" "ls: /dev/kvm: No such file or directory" "what a privileged container hasn't"
	run in_pod "$three" sh -c 'tr "\0" " " </proc/1/cmdline; hostname'
	is "$(jq -r .stdout <<<"$out")" 'sleep 100000 web'
	# What is written to a volume is there for the other one, and on the host; an update of the host's arrives.
	in_pod "$one" sh -c 'echo shared >/volume/file' >"$work/none"
	run in_pod "$two" cat /volume/file
	is "$(jq -r .stdout <<<"$out")" shared
	echo updated >"$work/volume/new"
	mv "$work/volume/new" "$work/volume/file"
	run in_pod "$two" sh -c 'for i in 1 2 3 4 5; do grep -q updated /volume/file && break; sleep 1; done; cat /volume/file; exit 4'
	is "$(jq -r '.stdout, .exit_code' <<<"$out")" $'updated\n\n4'
	run cri StopContainer "$(jq -nc --arg c "$one" '{container_id: $c, timeout: 0}')"
	status_is 0
	run cri RemoveContainer "$(about container_id "$one")"
	status_is 0
	run in_pod "$two" true
	status_is 0
	run cri StopPodSandbox "$(about pod_sandbox_id "$pod")"
	status_is 0
	until_ok no_vmm
	run cri RemovePodSandbox "$(about pod_sandbox_id "$pod")"
	status_is 0
	containerd_end
	ip link del cni0
	rm -rf /etc/cni /var/lib/cni /run/netns
}

# ---- snapshots on block devices ----------------------------------------------------------------------------------------

# A thin pool on two files, for containerd's devmapper snapshotter. There is no udev here that would make the nodes.
pool_begin() {
	export DM_DISABLE_UDEV=1
	modprobe -a loop dm_thin_pool
	mkdir "$work/pool"
	mount -t tmpfs tmpfs "$work/pool"
	truncate -s 16M "$work/pool/meta"
	truncate -s 512M "$work/pool/data"
	pool_meta=$(losetup -f --show "$work/pool/meta")
	pool_data=$(losetup -f --show "$work/pool/data")
	dmsetup create e2e-pool --table "0 $((512 << 11)) thin-pool $pool_meta $pool_data 128 0 1 skip_block_zeroing"
}
pool_config() {
	from_page "Snapshots on block devices" toml | sed "s/containerd-pool/e2e-pool/; s|/var/lib/containerd|$work/lib|; s/10GB/64MB/"
}
pool_end() {
	local name
	for name in $(dmsetup ls | awk '/^e2e-pool-/ { print $1 }'); do dmsetup remove "$name"; done
	dmsetup remove e2e-pool
	losetup -d "$pool_meta" "$pool_data"
	until_ok umount "$work/pool"
}
new_on_disk() { run ctr run -d --snapshotter devmapper --runtime $runtime $image "$@"; status_is 0; }
in_it() { ctr task exec --exec-id "e$RANDOM" "$@"; }
open_disks() { dmsetup info -c --noheadings -o name,open | awk -F: '/^e2e-pool-/ && $2 > 0'; }
no_disk_open() { [ -z "$(open_disks)" ]; }

# The guest mounts them: the host's kernel never looks into a file system that a container wrote.
test_block_snapshots() { # limit 600 s
	local i
	pool_begin
	more_config=pool_config
	containerd_begin
	new_on_disk disk sleep 1000
	run in_it disk sh -c 'awk "\$2 == \"/\" { print \$1, \$3 }" /proc/mounts; echo kept >/file'
	status_is 0
	[[ $out == /dev/vd*" ext4" ]] || die "its root is no disk: $out"
	! grep e2e-pool /proc/*/mounts || die "the host has mounted it"
	# What it wrote is there when it is started again, though its VM went.
	ctr task kill -s KILL disk
	until_ok in_state disk STOPPED
	run ctr task delete disk
	is "$(open_disks)" "" "disks that are open"
	run ctr task start -d disk
	status_is 0
	run in_it disk cat /file
	out_is kept
	# A VMM that is killed lets go of it, too.
	kill -9 "$(ctr task ls | awk '$1 == "disk" { print $2 }')"
	until_ok in_state disk STOPPED
	run ctr task delete disk
	ctr container delete disk
	until_ok no_disk_open
	# In a pod they come and go in the same places.
	run ctr run -d --snapshotter devmapper --annotation io.kubernetes.cri.sandbox-id=pod --runtime $runtime $image pod sleep 1000
	status_is 0
	for i in 1 2 3 4 5; do
		run ctr run --rm --snapshotter devmapper --annotation io.kubernetes.cri.sandbox-id=pod --runtime $runtime $image "c$i" \
			sh -c 'awk "\$2 == \"/\" { print \$3 }" /proc/mounts'
		status_is 0
		out_is ext4
	done
	end_all pod
	is "$(open_disks)" "" "disks that are open"
	containerd_end
	pool_end
}

erofs_config() { printf '[proxy_plugins.files]\ntype = "snapshot"\naddress = "%s"\n' "$work/files.sock"; }

# One file in two containers of a pod: each has a layer of its own over it.
test_erofs_snapshots() { # limit 300 s
	local snapshotter id
	mkdir "$work/files"
	"$(dirname "${BASH_SOURCE[0]}")/snapshotter.py" "$work/files.sock" "$work/files" 2>"$work/files.log" &
	snapshotter=$!
	until_ok [ -S "$work/files.sock" ]
	more_config=erofs_config
	containerd_begin
	for id in one two; do
		run ctr run -d --snapshotter files --annotation io.kubernetes.cri.sandbox-id=one --runtime $runtime $image $id sleep 1000
		status_is 0
	done
	for id in one two; do
		run in_it $id sh -c 'cat /sys/block/vd*/ro; awk "\$2 == \"/\" { print \$3 }" /proc/mounts; ls /file; echo kept >/file; cat /file'
		status_is 0
		out_is $'1\n1\noverlay\nkept'
	done
	! grep " erofs " /proc/*/mounts || die "the host has mounted it"
	end_all two one
	containerd_end
	kill "$snapshotter"
	wait "$snapshotter" || true
}

# ---- many at once ----------------------------------------------------------------------------------------------------

# What is said of containerd 2.x names the same shim (it runs these tests where it is there: tests/e2e/containerd.sh).
test_page_has_containerd_2() {
	from_page "containerd 2.x" toml | python3 -c '
import sys, tomllib
cri = tomllib.load(sys.stdin.buffer)["plugins"]["io.containerd.cri.v1.runtime"]
print(cri["containerd"]["runtimes"][sys.argv[1]]["runtime_type"])' "$(from_page containerd yaml | awk '$1 == "handler:" { print $2 }')" >"$work/type"
	is "$(cat "$work/type")" $runtime
}

test_ctr_parallel() { # limit 500 s
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
