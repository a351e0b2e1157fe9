#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# microvm-runtime driven by hand, as an engine drives it: bundles, states, hooks, terminals, and ends of every kind.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$work/root
rt() { microvm-runtime --root "$root" "$@"; }
state_of() { rt state "$1" | jq -r .status; }
in_state() { [ "$(state_of "$1")" = "$2" ]; }
pid_of() { rt state "$1" | jq -r .pid; }
exists() { rt state "$1" >/dev/null 2>&1; }

# A bundle whose root has busybox: `bundle JQ-FILTER ARG…` in $work/bundle.
bundle() {
	local filter=$1 app
	shift
	mkdir -p "$work/bundle/rootfs"/{bin,tmp,etc}
	cp "$(command -v busybox)" "$work/bundle/rootfs/bin/"
	for app in sh sleep echo cat id env true kill stty hostname; do ln -sf busybox "$work/bundle/rootfs/bin/$app"; done
	rm -f "$work/bundle/config.json"
	microvm-runtime spec -b "$work/bundle"
	jq ".process.terminal = false | .root.readonly = false | .process.args = \$ARGS.positional | $filter" \
		--args -- "$@" <"$work/bundle/config.json" >"$work/config.new"
	mv "$work/config.new" "$work/bundle/config.json"
}
# As engines do: streams are files, and nothing waits for them.
create() { # ID [OPTION…]
	local id=$1
	shift
	rt create -b "$work/bundle" --pid-file "$work/$id.pid" "$@" "$id" </dev/null >"$work/$id.out" 2>"$work/$id.err"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
nothing_left() {
	until_ok no_vmm
	[ -z "$(find "$root" -mindepth 2)" ] || die "left in its root: $(find "$root" -mindepth 2 | head)"
}

test_life() {
	bundle '.annotations = {"org.x": "y"} | .linux.cgroupsPath = "/e2e/one"' sh -c 'echo out; echo err >&2; exit 7'
	create one || die "create: $(cat "$work/one.err")"
	is "$(rt state one | jq -c '[.ociVersion, .id, .status, .bundle, .annotations]')" \
		"[\"1.1.0\",\"one\",\"created\",\"$work/bundle\",{\"org.x\":\"y\"}]"
	is "$(pid_of one)" "$(cat "$work/one.pid")" pid
	is "$(sort -n /sys/fs/cgroup/e2e/one/cgroup.procs)" "$(printf '%s\n' "$(pid_of one)" $(pgrep 'microvm-(vmm|fsd)') | sort -n)" "processes in its cgroup"
	[ ! -s "$work/one.out" ] || die "it ran before it was started"
	run rt create -b "$work/bundle" one
	refused 1 one "in use"
	run rt start one
	status_is 0
	until_ok in_state one stopped
	is "$(cat "$work/one.out")" out
	is "$(cat "$work/one.err")" err
	is "$(pid_of one)" 0 "pid of a stopped one"
	[ ! -e /sys/fs/cgroup/e2e ] || die "the cgroup has not gone: $(find /sys/fs/cgroup/e2e -type d)"
	run rt start one
	refused 1 stopped
	run rt delete one
	status_is 0
	run rt state one
	refused 1 "does not exist"
	nothing_left
}

# Who reaps the process learns how the container ended.
test_exit_status_is_the_pid_s() {
	bundle . sh -c 'exit 7'
	cat >"$work/reaper.py" <<-'END'
		import ctypes, os, subprocess, sys
		ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
		rt = ["microvm-runtime", "--root", sys.argv[1]]
		subprocess.run(rt + ["create", "-b", sys.argv[2], "--pid-file", "pid", "reaped"], check=True, stdin=subprocess.DEVNULL)
		pid = int(open("pid").read())
		subprocess.run(rt + ["start", "reaped"], check=True)
		print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
	END
	run python3 "$work/reaper.py" "$root" "$work/bundle"
	status_is 0
	out_is 7
	is "$(state_of reaped)" stopped
	rt delete reaped
	nothing_left
}

test_run_in_the_foreground() {
	bundle . sh -c 'cat; exit 5'
	status=0
	out=$(echo piped | rt run -b "$work/bundle" fore) || status=$?
	status_is 5
	out_is piped
	! exists fore || die "it is still there"
	nothing_left
}

stat_of() { MICROVM_STATE=$root microvm stats --no-stream --format json "$1" | jq -r "$2"; }
vm_target() { stat_of "$1" .TargetBytes; }
sleeps() { [ "$(rt exec two sh -c 'busybox ps | busybox grep -c "[s]leep 1000"')" = "$1" ]; }

test_kill_exec_ps_pause_update_events() { # limit 300 s
	bundle '.hostname = "box" | .annotations["io.microvm.memory"] = "512m"' sh -c 'trap "echo caught; exit 3" TERM; while :; do sleep 0.1; done'
	create two
	rt start two
	run rt exec two hostname
	status_is 0
	out_is box
	run rt exec -e A=b two sh -c 'echo $A; exit 9'
	status_is 9
	out_is b
	jq -n '{args: ["sh", "-c", "id -u; cat"], cwd: "/tmp", user: {uid: 5, gid: 5}, env: ["PATH=/bin"]}' >"$work/process.json"
	echo typed | rt exec --process "$work/process.json" --pid-file "$work/exec.pid" -d two >"$work/exec.out" 2>&1
	until_ok gone "$(cat "$work/exec.pid")"
	is "$(cat "$work/exec.out")" $'5\ntyped'
	run rt exec two nosuch
	refused 127 nosuch
	run rt ps -f json two
	[ "$(jq length <<<"$out")" -ge 1 ] || die "no processes: $out"
	run rt list -q
	out_is two
	is "$(rt list -f json | jq -r '.[0].id + .[0].status')" tworunning
	rt pause two
	is "$(state_of two)" paused
	run rt pause two
	refused 1 pause
	rt resume two
	is "$(state_of two)" running
	run rt update --pids-limit 33 two
	status_is 0
	echo '{"memory": {"limit": 100000000}}' | rt update -r - two
	run rt events --stats two
	is "$(jq -c '[.type, .id, (.data.memory.usage.usage > 0), .data.memory.usage.limit < 100000001]' <<<"$out")" '["stats","two",true,true]'
	# What its limit leaves over is not the guest's any more, either.
	run rt update --memory 300m two
	status_is 0
	is "$(stat_of two .MemLimitBytes) $(vm_target two)" "314572800 381681664"
	run rt update --memory 8g two
	refused 1 memory
	run rt delete two
	refused 1 "not stopped"
	rt exec -d two sleep 1000 </dev/null >/dev/null 2>&1
	sleeps 1 || die "it does not sleep"
	rt kill --all two USR1
	until_ok sleeps 0
	rt kill two TERM
	until_ok in_state two stopped
	is "$(cat "$work/two.out")" caught
	run rt kill two KILL
	refused 1 "not running"
	rt kill --all two KILL
	rt delete two
	nothing_left
}

test_created_ones_end() {
	bundle . sleep 1000
	create three
	rt kill three KILL
	until_ok in_state three stopped
	rt delete three
	create three
	rt delete three
	! exists three || die "it is still there"
	create three
	rt start three
	rt delete --force three
	! exists three || die "it is still there"
	run rt delete --force three
	status_is 0
	nothing_left
}

test_hooks() {
	bundle '.hooks = ({prestart: 0, createRuntime: 0, createContainer: 0, poststart: 0, poststop: 0} | to_entries |
		map({key, value: [{path: "/bin/sh", args: ["sh", "-c", "echo \(.key) $(jq -r .status) >>'"$work"'/hooks"], env: ["PATH=/usr/bin:/bin"]}]}) | from_entries) +
		{startContainer: [{path: "/bin/sh", args: ["sh", "-c", "echo startContainer >/tmp/hook"]}]}' sh -c 'cat /tmp/hook; sleep 1000'
	create four
	is "$(cat "$work/hooks")" $'prestart creating\ncreateRuntime creating\ncreateContainer creating'
	rt start four
	is "$(tail -n 1 "$work/hooks")" "poststart running"
	until_ok grep -q startContainer "$work/four.out"
	rt kill four KILL
	until_ok in_state four stopped
	rt delete four
	is "$(tail -n 1 "$work/hooks")" "poststop stopped"
	# One that fails is the end of the creation, and says why.
	bundle '.hooks = {createRuntime: [{path: "/bin/sh", args: ["sh", "-c", "echo no such luck >&2; exit 3"]}]}' true
	run create five
	status_is 125
	grep -q 'createRuntime.*status 3: no such luck' "$work/five.err" || die "$(cat "$work/five.err")"
	! exists five || die "it is still there"
	bundle '.hooks = {prestart: [{path: "/bin/sleep", args: ["sleep", "1000"], timeout: 1}]}' true
	run create five
	status_is 125
	grep -q 'did not end within 1 s' "$work/five.err" || die "$(cat "$work/five.err")"
	nothing_left
}

test_console_socket() {
	bundle '.process.terminal = true' sh -c 'stty size; read line; echo "got $line"; exit 4'
	cat >"$work/console.py" <<-'END'
		import array, fcntl, os, select, socket, struct, subprocess, sys, termios
		rt = ["microvm-runtime", "--root", sys.argv[1]]
		s = socket.socket(socket.AF_UNIX)
		s.bind("console.sock")
		s.listen(1)
		p = subprocess.Popen(rt + ["create", "-b", sys.argv[2], "--console-socket", "console.sock", "tty"], stdin=subprocess.DEVNULL)
		c, _ = s.accept()
		msg, anc, _, _ = c.recvmsg(4096, socket.CMSG_SPACE(4))
		fd = array.array("i", anc[0][2])[0]
		fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
		assert p.wait() == 0
		subprocess.run(rt + ["start", "tty"], check=True)
		os.write(fd, b"hello\n")
		out = b""
		while b"got hello" not in out and select.select([fd], [], [], 60)[0]:
		    try:
		        out += os.read(fd, 4096)
		    except OSError:
		        break
		print(out.decode().replace("\r", ""), end="")
	END
	run python3 "$work/console.py" "$root" "$work/bundle"
	status_is 0
	out_has "got hello"
	until_ok in_state tty stopped
	rt delete tty
	run rt create -b "$work/bundle" tty
	refused 1 console-socket
	nothing_left
}

test_files_of_the_host() {
	echo from-host >"$work/file"
	mkdir "$work/dir"
	bundle '.mounts += [{destination: "/etc/file", type: "bind", source: "'"$work"'/file", options: ["rbind", "ro"]},
		{destination: "/dir", source: "'"$work"'/dir", options: ["bind", "rw"]}]' \
		sh -c 'cat /etc/file; echo x >/etc/file; echo written >/dir/new'
	run rt run -b "$work/bundle" files
	out_is from-host
	is "$(cat "$work/dir/new")" written
	mkfifo "$work/pipe"
	bundle '.mounts += [{destination: "/pipe", type: "bind", source: "'"$work"'/pipe", options: ["bind"]}]' true
	run rt run -b "$work/bundle" files
	refused 125 "mounts[" pipe
	nothing_left
}

test_a_network_that_a_guest_has_not_is_refused() {
	bundle . true
	ip netns add e2e-empty
	ip netns add e2e-full
	ip -n e2e-full tuntap add mode tap name vpn
	ip -n e2e-full link set vpn up
	jq '(.linux.namespaces[] | select(.type == "network")).path = "/run/netns/e2e-empty"' "$work/bundle/config.json" >"$work/c"
	cp "$work/c" "$work/bundle/config.json"
	status=0
	rt run -b "$work/bundle" net >"$work/net.out" 2>&1 || status=$?
	sed -i 's/e2e-empty/e2e-full/' "$work/bundle/config.json"
	run rt run -b "$work/bundle" net
	sed -i 's|/run/netns/e2e-full|/proc/1/ns/net|' "$work/bundle/config.json"
	rt run -b "$work/bundle" host >"$work/host.out" 2>&1 || true
	ip netns del e2e-empty
	ip netns del e2e-full
	rmdir /run/netns 2>/dev/null || { umount /run/netns; rmdir /run/netns; }
	is "$status" 125 "exit status"
	err_has vpn
	grep -q "host's own" "$work/host.out" || die "the host's network was given away: $(cat "$work/host.out")"
}

test_bad_input_is_refused_by_name() {
	local filter word id
	bundle . true
	for id in a/b ../x . -x '' "$(printf 'x%.0s' {1..200})"; do
		run rt create -b "$work/bundle" -- "$id"
		refused 1 "container id"
	done
	while IFS='@' read -r filter word; do
		bundle "$filter" true
		run rt create -b "$work/bundle" bad
		refused 1 "$word"
	done <<-'END'
		.ociVersion = "2.0.0"@ociVersion
		.root.path = "nowhere"@nowhere
		.linux.namespaces |= map(select(.type != "pid"))@pid
		.linux.namespaces |= map(select(.type != "network"))@network
		(.linux.namespaces[] | select(.type == "ipc")).path = "/proc/1/ns/ipc"@ipc
		.linux.devices = [{path: "/dev/sda", type: "b", major: 8, minor: 0}]@/dev/sda
		.annotations["io.microvm.memory"] = "lots"@io.microvm.memory
	END
	rm "$work/bundle/config.json"
	run rt create -b "$work/bundle" bad
	refused 1 config.json
	run rt --log "$work/log.json" --log-format json create -b "$work/none" bad
	is "$(jq -r .level "$work/log.json")" error
	run rt start nosuch
	refused 1 "does not exist"
	run rt delete nosuch
	refused 1 "does not exist"
	# What nobody knows is kept.
	bundle '.wished = {for: 1} | .linux.future = [1]' echo fine
	run rt run -b "$work/bundle" bad
	out_is fine
	nothing_left
}

test_calls_at_once() {
	local i ok=0
	bundle . sleep 1000
	for i in 1 2 3; do rt create -b "$work/bundle" same </dev/null >/dev/null 2>"$work/err.$i" & done
	for i in $(jobs -p); do if wait "$i"; then ok=$((ok + 1)); fi; done
	is $ok 1 "creations of one id"
	ok=0
	for i in 1 2 3; do rt start same >/dev/null 2>&1 & done
	for i in $(jobs -p); do if wait "$i"; then ok=$((ok + 1)); fi; done
	is $ok 1 "starts of one container"
	rt kill same KILL
	until_ok in_state same stopped
	ok=0
	for i in 1 2 3; do rt delete same >/dev/null 2>&1 & done
	for i in $(jobs -p); do if wait "$i"; then ok=$((ok + 1)); fi; done
	is $ok 1 "deletions of one container"
	nothing_left
}

# Whatever is killed, at whatever step: delete succeeds within 5 s, and nothing is left.
test_killed_at_any_step() { # limit 400 s
	local who step victim begin
	bundle '.linux.cgroupsPath = "e2e.slice:test:crash"' sleep 1000
	for step in created running; do
		for who in supervisor vmm fsd; do
			create crash
			if [ $step = running ]; then rt start crash; fi
			case $who in
			supervisor) victim=$(pid_of crash) ;;
			*) victim=$(pgrep -x "microvm-$who") ;;
			esac
			kill -9 "$victim"
			begin=$SECONDS
			run rt delete crash
			status_is 0
			[ $((SECONDS - begin)) -le 5 ] || die "delete took $((SECONDS - begin)) s"
			! exists crash || die "$who $step: it is still there"
			until_ok no_vmm
		done
	done
	# In the middle of the creation.
	create crash &
	until_ok pgrep -x microvm-vmm
	kill -9 "$(pid_of crash)"
	wait $! && die "the creation succeeded"
	run rt delete crash
	status_is 0
	# SIGKILL is not the guest's to refuse, which hears nothing, as its VMM is stopped.
	create crash
	rt start crash
	pkill -STOP -x microvm-vmm
	run rt kill crash KILL
	status_is 0
	until_ok in_state crash stopped
	rt delete crash
	[ ! -e /sys/fs/cgroup/e2e.slice ] || die "a cgroup is left: $(find /sys/fs/cgroup/e2e.slice -type d)"
	nothing_left
}

# Whose namespaces are those of a container that runs is in its VM, and leaves nothing there.
test_joins_another_one() { # limit 300 s
	local join mounts whole spaces='for n in net ipc uts pid; do busybox readlink /proc/self/ns/$n; done'
	mounts() { cat "/proc/$(pgrep -x microvm-fsd)/mountinfo"; }
	only_first_sleeps() { [ "$(rt exec first busybox ps | grep -c 'sleep 1000')" = 1 ]; }
	bundle '.hostname = "first" | .annotations["io.microvm.memory"] = "512m"' sleep 1000
	create first
	rt start first
	mounts=$(mounts)
	join="(.linux.namespaces[] | select(.type | IN(\"network\", \"ipc\", \"uts\", \"pid\"))) |= (.path = \"/proc/$(pid_of first)/ns/\" + (.type | sub(\"network\"; \"net\"))) |
		del(.hostname) | .mounts += [{destination: \"/tmp/f\", type: \"bind\", source: \"$work/f\", options: [\"ro\"]}]"
	echo of the host >"$work/f"
	bundle "$join" sh -c 'hostname; cat /tmp/f; exec sleep 1000'
	create second || die "create: $(cat "$work/second.err")"
	is "$(state_of second)" created
	rt start second
	until_ok grep -q host "$work/second.out"
	is "$(cat "$work/second.out")" $'first\nof the host'
	is "$(pgrep -cx microvm-vmm)" 1 VMs
	is "$(rt exec second sh -c "$spaces")" "$(rt exec first sh -c "$spaces")" "their namespaces"
	rt pause second
	is "$(state_of second) $(state_of first)" "paused running"
	rt resume second
	is "$(rt events --stats second | jq -r .id)" second
	# What the first one may use says nothing about the memory of the second.
	whole=$(vm_target first)
	is "$whole" 536870912
	run rt update --memory 64m first
	status_is 0
	is "$(vm_target first)" "$whole"
	# Its supervisor is killed: so is the container, and what it had there goes with its record.
	kill -9 "$(pid_of second)"
	until_ok only_first_sleeps
	rt delete second
	is "$(mounts)" "$mounts" "shares of the first one"
	# Deleted before it was started, and while it runs.
	create second
	rt delete second
	create second
	rt start second
	run rt delete second
	refused 1 "not stopped"
	rt delete -f second
	only_first_sleeps || die "it is still there"
	is "$(mounts)" "$mounts" "shares of the first one"
	# With the VM all of it ends.
	create second
	rt start second
	kill -9 "$(pgrep -x microvm-vmm)"
	until_ok in_state second stopped
	is "$(jq -r 'select(.name == "second") | "\(.exit_status) \(.error)"' "$root"/sandboxes/*/state.json)" "137 the VM of container first, which it had joined, has ended"
	rt delete second
	rt delete first
	run create second
	[ "$status" = 1 ] || die "it joined a container that is gone"
	grep -q 'linux.namespaces: .* of /proc/[0-9]*/ns/' "$work/second.err" || die "$(cat "$work/second.err")"
	nothing_left
}
