# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests of Debian's containerd share: a containerd of the test's own, with the shim, and its containers.
# shellcheck source=tests/e2e/engines.sh
. "$(dirname "${BASH_SOURCE[0]}")/engines.sh"

# A folder with another containerd and its ctr, than which Debian's may be older.
[ -z "${MICROVM_E2E_CONTAINERD-}" ] || PATH=$MICROVM_E2E_CONTAINERD:$PATH

runtime=io.containerd.microvm.v2
image=example.org/busybox:busybox
tasks=/run/containerd/io.containerd.runtime.v2.task/default

daemon() {
	containerd -l warn -c "$work/config.toml" --root "$work/lib/root" >>"$work/containerd.log" 2>&1 &
	daemon=$!
	until_ok ctr version
}
# The page's, for the containerd that is there, and the image that stands in for the pause image.
containerd_config() {
	if [[ $(containerd --version) == */v2\ * ]]; then
		from_page "containerd 2.x" toml
		printf '[plugins."io.containerd.cri.v1.images".pinned_images]\nsandbox = "%s"\n' "$image"
	else
		from_page containerd toml | sed "/^disable_apparmor/a sandbox_image = \"$image\""
	fi >"$work/config.toml"
}
# What containerd keeps lies in tmpfs, and goes with it. Plugins that find nothing to work with here only cost time.
more_config=: # what prints more of its configuration
containerd_begin() {
	local limit
	mkdir -p "$work/lib"
	mount -t tmpfs tmpfs "$work/lib"
	installed containerd-shim-microvm-v2
	containerd_config
	# An emulated CPU is tens of times slower than those that containerd's own limits were made for.
	{
		echo '[timeouts]'
		for limit in shim.cleanup shim.load shim.shutdown task.state; do echo "\"io.containerd.timeout.$limit\" = \"120s\""; done
	} >>"$work/config.toml"
	$more_config >>"$work/config.toml"
	grep -q $runtime "$work/config.toml" || die "the page has no configuration for containerd"
	trap containerd_failed EXIT
	daemon
	tar -C "$(pausing_layout)" -cf "$work/image.tar" .
	ctr image import --base-name example.org/busybox "$work/image.tar"
}
# The image does for a pod's own container, too.
pausing_layout() {
	local dir
	dir=$(own_layout)
	edit_config "$dir" busybox '.config.Cmd = ["sleep", "100000"]'
	echo "$dir"
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
	[ -z "$(find "$state/shim" "$state/sandboxes" -mindepth 1)" ] || die "left in the state: $(find "$state")"
	umount "$work/lib"
	rm -rf /run/containerd /run/nri /opt/containerd
	trap - EXIT
}

# `new ID COMMAND…`: a detached container.
new() { run ctr run -d --runtime $runtime $image "$@"; status_is 0; }
in_state() { ctr task ls | awk -v n="$1" -v s="$2" '$1 == n && $3 == s { ok = 1 } END { exit !ok }'; }
# What the first process ended with, which ctr says, and does not exit with.
deleted_with() { # ID STATUS
	run ctr task delete "$1"
	status_is 0
	err_has "exit code $2"
	ctr container delete "$1"
}
# Not by a pipe that grep leaves early: ctr would fail then.
gone() { # ID
	local all
	all=$(ctr task ls -q) && ! grep -qx "$1" <<<"$all"
}
end_all() { # ID…
	local id
	for id; do
		ctr task kill -s KILL "$id" || true
		until_ok in_state "$id" STOPPED
		run ctr task delete "$id"
		ctr container delete "$id"
	done
}
