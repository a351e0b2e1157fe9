# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# containerd's shim against runc's, under the same containerd.

# shellcheck source=userland/bench/storage.sh
. userland/bench/storage.sh

engine_image=example.org/busybox:busybox
declare -A engine_runtime=([ours]=io.containerd.microvm.v2 [theirs]=io.containerd.runc.v2)

engine_containerd() {
	local dir=$tmp/containerd
	ext4_at "$dir" 512M || return
	# What no measurement needs is not there to cost instructions.
	cat >"$tmp/containerd.toml" <<-'END'
		version = 2
		disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
			"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
			"io.containerd.internal.v1.restart"]
	END
	containerd -l warn -c "$tmp/containerd.toml" --root "$dir/root" >"$tmp/containerd.log" 2>&1 &
	engine_daemon=$!
	until ctr version >/dev/null 2>&1; do
		kill -0 $engine_daemon 2>/dev/null || { cat "$tmp/containerd.log" >&2; fail "engine: containerd does not run"; return 1; }
		sleep 0.2
	done
	cp -r "$build/images" "$tmp/layout"
	jq -c '.manifests |= map(select(.annotations["org.opencontainers.image.ref.name"] == "busybox"))' "$build/images/index.json" >"$tmp/layout/index.json"
	tar -C "$tmp/layout" -cf "$tmp/image.tar" .
	ctr image import --base-name example.org/busybox "$tmp/image.tar" >&2
}

# Each ends when its guest hangs: none takes four seconds of the lab's.
engine_time() { timeout -k 1 6 "$elapsed" -n 3 "$@"; } # COMMAND…: seconds
engine_clean() {
	local id
	# A guest that hangs answers nobody; its tasks end with the VMM.
	pkill -9 -x microvm-vmm
	for id in $(ctr task ls -q); do timeout -k 1 4 ctr task kill -s KILL "$id"; done
	sleep 1
	for id in $(ctr container ls -q); do
		timeout -k 1 4 ctr task delete "$id"
		ctr container delete "$id"
	done
} >&2

# Into $engine: the figures of one of the two. In parts, as one that hangs is tried again.
engine_run() { # WHOSE
	if ! engine[$1 run]=$(engine_time ctr run --rm --runtime "${engine_runtime[$1]}" "$engine_image" one echo hello); then
		engine_clean
		return 1
	fi
	say "engine: ctr run, $1: ${engine[$1 run]} s"
}
# An idle container, which is a pod of its own, for one figure: guests that live long are more likely to hang.
engine_box() { # WHOSE second|exec|memory
	local pod=(--annotation io.kubernetes.cri.sandbox-id=box) pid status=0
	timeout -k 1 6 ctr run -d --runtime "${engine_runtime[$1]}" "${pod[@]}" "$engine_image" box sleep 100000 >&2 || status=1
	case $status$2 in
	0second) engine[$1 second]=$(engine_time ctr run --rm --runtime "${engine_runtime[$1]}" "${pod[@]}" "$engine_image" two echo hello) || status=1 ;;
	0exec) engine[$1 exec]=$(engine_time ctr task exec --exec-id x box true) || status=1 ;;
	0memory)
		sleep 2
		pid=$(pgrep -f containerd-shim | head -n 1)
		engine[$1 memory]=$(private_kib "$pid" memfd)
		[ "$1" != ours ] || engine_pod_memory "$pid"
		;;
	esac
	[ $status != 0 ] || say "engine: $2, $1: ${engine[$1 $2]}"
	engine_clean
	return $status
}

# All that is there for an idle pod of one container: its processes' own memory, and what its guest has touched; and what the pod's
# cgroup is charged with, the host kernel's own for it included.
engine_pod_memory() { # SHIM
	local pid fd cgroup=/sys/fs/cgroup/default/box before
	before=$(awk '$1 == "usage_usec" { print $2 }' $cgroup/cpu.stat)
	sleep 1
	engine[cpu]=$(awk -v before="$before" '$1 == "usage_usec" { print ($2 - before) / 1000 }' $cgroup/cpu.stat)
	engine[charged]=$(($(cat $cgroup/memory.current) / 1024))
	engine[sum]=${engine[ours memory]}
	for pid in $(pgrep -x 'microvm-vmm|microvm-fsd'); do engine[sum]=$((engine[sum] + $(private_kib "$pid" memfd))); done
	for fd in "/proc/$(pgrep -x microvm-vmm | tail -n 1)/fd"/*; do
		if [[ $(readlink "$fd") == /memfd:* ]]; then engine[guest]=$(($(stat -L -c %b "$fd") / 2)); fi
	done
}

suite_engine() {
	local -A engine=()
	local whose what
	say "engine: ctr run, a second container of a pod and an exec, against runc's shim"
	engine_containerd || return
	for whose in theirs ours; do
		tried engine_run $whose || return
		for what in second exec memory; do tried engine_box $whose $what || return; done
	done
	row engine "ctr run --rm IMAGE echo" s "${engine[ours run]}" runc "${engine[theirs run]}" 'ratio <= 1.0'
	row engine "the second container of a pod, the same" s "${engine[ours second]}" runc "${engine[theirs second]}" 'ratio <= 1.0'
	row engine "ctr task exec of true" s "${engine[ours exec]}" runc "${engine[theirs exec]}" 'ratio <= 1.0'
	row engine "private memory of an idle shim" KiB "${engine[ours memory]}" runc "${engine[theirs memory]}" '<= 2048'
	row engine "private memory of shim, VMM and file server of an idle pod" KiB "${engine[sum]}"
	row engine "the same with what its guest has touched" KiB "$((engine[sum] + engine[guest]))" '' '' '<= 40960'
	row engine "charged to its cgroup, with files of its image that it has read" KiB "${engine[charged]}"
	row engine "CPU time of an idle pod, in 1 s" ms "${engine[cpu]}"
	kill "$engine_daemon"
	wait "$engine_daemon" 2>/dev/null
}
