#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The OCI runtime specification's Linux section, through `microvm run --config FILE`.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A config.json as runc's `spec` command writes it, without its terminal; a jq filter changes it.
config() { # JQ-FILTER ARG…
	local filter=$1
	shift
	jq -n '{
		ociVersion: "1.1.0",
		process: { user: {uid: 0, gid: 0}, args: $ARGS.positional, cwd: "/",
			env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
			capabilities: ({bounding: 0, effective: 0, permitted: 0} | map_values(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"])),
			rlimits: [{type: "RLIMIT_NOFILE", hard: 1024, soft: 1024}], noNewPrivileges: true },
		root: {path: "rootfs"}, hostname: "from-config",
		mounts: [
			{destination: "/proc", type: "proc", source: "proc"},
			{destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"]},
			{destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
			{destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
			{destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"]},
			{destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"]},
			{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "relatime", "ro"]}],
		linux: { resources: {devices: [{allow: false, access: "rwm"}]},
			namespaces: [{type: "pid"}, {type: "network"}, {type: "ipc"}, {type: "uts"}, {type: "mount"}, {type: "cgroup"}],
			maskedPaths: ["/proc/kcore", "/proc/keys", "/sys/firmware"],
			readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] }
	}' --args -- "$@" | jq "$filter" >"$work/config.json"
}

with_config() { # JQ-FILTER ARG…: runs it
	config "$@"
	run microvm run --rm --config "$work/config.json" "$bb"
}
ok_config() {
	with_config "$@"
	status_is 0
}
sh_config() { # JQ-FILTER SCRIPT
	ok_config "$1" sh -c "$2"
}

test_as_runc_writes_it() {
	sh_config . 'hostname; id -u; pwd; echo $TERM; ulimit -n; sed -n "s/^\(CapEff\|NoNewPrivs\):\t//p" /proc/self/status'
	out_is $'from-config\n0\n/\nxterm\n1024\n0000000020000420\n1'
}

test_process() {
	sh_config '.process.user = {uid: 1000, gid: 100, additionalGids: [5, 6], umask: 63} | .process.cwd = "/tmp" | .process.env += ["X=y"]' \
		'id -u; id -g; id -G; umask; pwd; echo $X'
	out_is $'1000\n100\n100 5 6\n0077\n/tmp\ny'
}

test_five_capability_sets() {
	sh_config '.process.capabilities = {bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_TIME"], permitted: ["CAP_CHOWN", "CAP_KILL"],
		effective: ["CAP_CHOWN"], inheritable: ["CAP_CHOWN", "CAP_KILL"], ambient: ["CAP_KILL"]} | .process.user.uid = 1000' \
		'sed -n "s/^Cap...:\t//p" /proc/self/status'
	# A user's exec keeps what is ambient: inheritable, permitted, effective, bounding, ambient.
	out_is $'0000000000000021\n0000000000000020\n0000000000000020\n0000000002000021\n0000000000000020'
}

test_rlimits_and_oom_score() {
	sh_config '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}, {type: "RLIMIT_CORE", soft: 0, hard: 0}, {type: "RLIMIT_NPROC", soft: 77, hard: 78}]
		| .process.oomScoreAdj = 321' 'ulimit -Sn; ulimit -Hn; ulimit -c; grep processes /proc/self/limits | tr -s " "; cat /proc/self/oom_score_adj'
	out_is $'100\n200\n0\nMax processes 77 78 processes \n321'
}

test_scheduler_and_priority() {
	sh_config '.process.scheduler = {policy: "SCHED_BATCH", nice: 7}' 'cut -d" " -f19,41 /proc/self/stat'
	out_is '7 3'
}

test_mounts() {
	sh_config '.mounts += [
		{destination: "/t", type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", "noexec", "size=2m", "mode=1770", "uid=5", "gid=6"]},
		{destination: "/bound/tmp", type: "none", source: "/tmp", options: ["rbind", "ro"]}]' \
		'stat -c "%a %u %g" /t; df -k /t | tail -n 1 | tr -s " " | cut -d" " -f2; grep " /t " /proc/mounts; touch /bound/tmp/x 2>&1; ls /bound'
	[[ $out == *'1770 5 6'* && $out == *2048* && $out == *noexec* && $out == *Read-only* && $out == *tmp ]] || die "unexpected: $out"
}

test_mount_options_hold() {
	sh_config '.mounts += [{destination: "/ro", type: "tmpfs", source: "x", options: ["ro"]}, {destination: "/nx", type: "tmpfs", source: "x", options: ["noexec", "noatime"]}]' \
		'touch /ro/x 2>&1; cp /bin/busybox /nx/b; /nx/b true 2>&1; grep " /nx " /proc/mounts'
	out_has 'Read-only'
	out_has 'ermission denied'
	out_has noatime
}

test_mount_propagation() {
	sh_config '.linux.rootfsPropagation = "private" | .mounts += [{destination: "/p", type: "tmpfs", source: "x", options: ["rprivate"]},
		{destination: "/s", type: "tmpfs", source: "x", options: ["rshared"]}, {destination: "/u", type: "tmpfs", source: "x", options: ["unbindable"]}]' \
		'cat /proc/self/mountinfo'
	out=$(awk '{ o = $5; for (i = 7; $i != "-"; i++) { sub(/:.*/, "", $i); o = o " " $i } print o }' <<<"$out")
	out_has '/s shared'
	out_has '/u unbindable'
	grep -qx /p <<<"$out" || die "/p is not private: $out"
}

test_unknown_mount_type_is_refused() {
	with_config '.mounts += [{destination: "/x", type: "nosuchfs", source: "x"}]' true
	refused 125 nosuchfs
}

test_masked_and_readonly_paths() {
	sh_config '.linux.maskedPaths += ["/home", "/etc/group", "/etc/passwd", "/not/there"] | .linux.readonlyPaths += ["/var"]' \
		'ls -A /home | wc -l; cat /etc/group /etc/passwd | wc -c; cat /proc/kcore 2>/dev/null | head -c 1 | wc -c; touch /var/x 2>&1; (echo 1 >/proc/sys/kernel/panic) 2>&1; true'
	is "$(head -n 3 <<<"$out" | tr '\n' ,)" '0,0,0,' 'files and bytes below masked paths'
	is "$(grep -c Read-only <<<"$out")" 2 'refusals to write'
}

# What the specification wants taken, with a warning or as an older tool means it.
test_lenience() {
	sh_config '.process.capabilities.bounding += ["CAP_WINGS"] | .mounts += [{destination: "relative/m", type: "tmpfs", source: "x"}]' \
		'grep -c " /relative/m " /proc/mounts'
	out_is 1
	err_has CAP_WINGS
}

test_readonly_root() {
	sh_config '.root.readonly = true' 'touch /x 2>&1; echo $?'
	out_has 'Read-only'
}

test_devices() {
	sh_config '.linux.devices = [{path: "/dev/mine", type: "c", major: 1, minor: 5, fileMode: 438, uid: 3, gid: 4}, {path: "/dev/made/deep", type: "p", fileMode: 384}]
		| .linux.resources.devices += [{allow: true, type: "c", major: 1, minor: 5, access: "r"}] | .process.capabilities.bounding += ["CAP_MKNOD"]
		| .process.capabilities.effective += ["CAP_MKNOD"] | .process.capabilities.permitted += ["CAP_MKNOD"]' \
		'stat -c "%F %a %u %g %t:%T" /dev/mine; head -c 3 /dev/mine | wc -c; (echo x >/dev/mine) 2>&1; stat -c %F /dev/made/deep
		mknod /k c 1 2 && head -c 1 /k 2>&1; for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; for l in fd stdin ptmx; do readlink /dev/$l; done'
	out_has 'character special file 666 3 4 1:5'
	out_has 'not permitted'
	out_has fifo
	out_has_not 'no '
	out_has /proc/self/fd
}

test_namespaces() {
	sh_config . 'for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; ls /sys/class/net; cat /proc/1/cgroup; echo $$'
	out_has 'lo'
	out_has '0::/'
	is "$(tail -n 1 <<<"$out")" 1 "pid"
	# Without a pid namespace of its own a container sees the sandbox's processes.
	sh_config '.linux.namespaces |= map(select(.type != "pid" and .type != "uts")) | del(.hostname)' 'echo $$; cat /proc/1/comm'
	[ "$(head -n 1 <<<"$out")" != 1 ] || die "pid namespace was made though not asked for"
	is "$(tail -n 1 <<<"$out")" init "the first process that it sees"
}

test_user_namespace() {
	sh_config '.linux.namespaces += [{type: "user"}] | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 1000}]
		| .linux.gidMappings = [{containerID: 0, hostID: 200000, size: 500}]' 'tr -s " " </proc/self/uid_map; tr -s " " </proc/self/gid_map; id -u'
	out_is $' 0 100000 1000\n 0 200000 500\n0'
}

test_time_namespace() {
	sh_config '.linux.namespaces += [{type: "time"}] | .linux.timeOffsets = {boottime: {secs: 500000}}' 'cut -d. -f1 /proc/uptime'
	[ "$out" -ge 500000 ] || die "uptime is $out"
}

test_resources() {
	sh_config '.linux.resources += {memory: {limit: 50000000, swap: 60000000, reservation: 40000000}, cpu: {shares: 2048, quota: 25000, period: 50000, cpus: "0"},
		pids: {limit: 33}, unified: {"memory.high": "45000000"}}' \
		'cd /sys/fs/cgroup; cat memory.max memory.low pids.max cpu.max cpu.weight cpuset.cpus memory.high'
	# The kernel rounds to pages.
	[[ ${out//$'\n'/ } =~ ^4999....\ 3999....\ 33\ 25000\ 50000\ [0-9]+\ 0\ 4499....$ ]] || die "unexpected: $out"
}

test_oom_kill_is_within_the_limit() {
	with_config '.linux.resources.memory = {limit: 20000000, swap: 20000000}' sh -c 'tail /dev/zero; echo $?'
	[ "$status" = 137 ] || out_has 137
}

test_sysctl() {
	sh_config '.linux.sysctl = {"kernel.msgmax": "4321", "net.ipv4.ip_forward": "1"}' 'cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward'
	out_is $'4321\n1'
	with_config '.linux.sysctl = {"no.such.thing": "1"}' true
	refused 125 no.such.thing
}

test_seccomp() {
	sh_config '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64"], syscalls: [
		{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 71},
		{names: ["kill"], action: "SCMP_ACT_ERRNO", args: [{index: 1, value: 10, op: "SCMP_CMP_EQ"}]}]}' \
		'mkdir /x 2>&1; trap "echo usr1" USR1; kill -USR2 1 2>/dev/null; kill -USR1 $$ 2>&1; trap "echo hup" HUP; kill -HUP $$; grep Seccomp: /proc/self/status'
	out_has 'Protocol error'
	out_has hup
	out_has_not usr1
	with_config '.linux.seccomp = {defaultAction: "SCMP_ACT_KILL_PROCESS", syscalls: []}' true
	[ "$status" != 0 ] || die "it ran without a system call"
	with_config '.linux.seccomp = {defaultAction: "SCMP_ACT_NONSENSE"}' true
	refused 125 SCMP_ACT_NONSENSE
}

test_hooks_in_the_guest() {
	sh_config '.hooks = {startContainer: [{path: "/bin/sh", args: ["sh", "-c", "cat >/tmp/state; echo start:$HOOKED >>/tmp/hooks"], env: ["HOOKED=yes", "PATH=/bin"]}]}' \
		'cat /tmp/hooks; cat /tmp/state'
	out_has 'start:yes'
	out_has '"ociVersion"'
	out_has '"pid"'
}

test_failing_hook_ends_the_container() {
	with_config '.hooks = {startContainer: [{path: "/bin/false", args: ["false"]}]}' echo ran
	[ "$status" != 0 ] || die "it went on"
	out_has_not ran
	err_has hook
	# Those of the runtime are looked for where the runtime is: in the guest, whose initramfs has no programs.
	with_config '.hooks = {createContainer: [{path: "/bin/sh", args: ["sh"]}]}' true
	refused 125 createContainer /bin/sh
}

test_terminal() {
	config '.process.terminal = true | .process.consoleSize = {height: 11, width: 22}' sh -c 'tty; stty size'
	status=0
	timeout 100 script -qec "stty rows 33 cols 44; microvm run --rm --config $work/config.json $bb" /dev/null >"$work/tty" </dev/null || status=$?
	out=$(tr -d '\r' <"$work/tty")
	status_is 0
	out_has /dev/pts/0
}

test_what_it_does_not_do_it_refuses() {
	with_config '.process.apparmorProfile = "strict"' true
	refused 125 apparmor
	with_config '.process.selinuxLabel = "x:y:z:s0"' true
	refused 125 selinux
	with_config '.linux.intelRdt = {closID: "x"}' true
	refused 125 intelRdt
	with_config '.hooks = {prestart: [{path: "/bin/true"}]}' true
	refused 125 prestart
}

test_bad_configs_are_refused_by_name() {
	local filter word
	while IFS='|' read -r filter word; do
		with_config "$filter" true
		refused 125 "$word"
	done <<-'END'
		.process.args = []|args
		.process.cwd = "relative"|cwd
		del(.process)|process
		.ociVersion = "9.0.0"|ociVersion
		.process.user.uid = -1|uid
		.process.user.uid = 4294967296|uid
		.process.rlimits = [{type: "RLIMIT_FUN", soft: 1, hard: 1}]|RLIMIT_FUN
		.process.rlimits = [{type: "RLIMIT_CORE", soft: 2, hard: 1}]|RLIMIT_CORE
		.linux.namespaces += [{type: "warp"}]|warp
		.linux.namespaces += [{type: "pid"}]|pid
		.linux.devices = [{path: "/dev/x", type: "z", major: 1, minor: 1}]|type
		.linux.rootfsPropagation = "sideways"|sideways
		.process.env = ["NOEQUALS"]|env
	END
	echo '{"ociVersion": "1.1.0", "process": {' >"$work/config.json"
	run microvm run --rm --config "$work/config.json" "$bb"
	refused 125 config.json
	run microvm run --rm --config "$work/none.json" "$bb"
	refused 125 none.json
}
