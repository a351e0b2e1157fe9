#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The kernel's own tests of vsock (linux-source-6.12, tools/testing/vsock), unchanged, between the host and a guest: all of them by
# vhost-vsock, in both directions; those of streams by the other two paths, with a forwarder in front of the sandbox's socket. And
# vsock_perf by each of the three.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tools=$MICROVM_BUILD/tests/vsock
control=5000 # the last of the guest's ports from which the tests' own TCP connection is handed on
peer=1234
perf_port=1300
perf_bytes=$((8 << 20))

# A guest with the programs, in which sockets of AF_VSOCK may be made.
guest() { # NAME PATH
	sleeper "$1" --vsock "$2" --security-opt seccomp=unconfined -v "$tools:/t:ro"
	socket=$state/sandboxes/$(inspect "$1" .Id)/vsock
}

helpers=()
helper() { # COMMAND…: a forwarder, in the background until the test's end
	local out=$work/helper.${#helpers[@]}
	"$@" >"$out" 2>&1 &
	helpers+=($!)
	until_ok grep -q listening "$out"
}
stop_helpers() {
	kill "${helpers[@]}" 2>/dev/null || true
	wait "${helpers[@]}" 2>/dev/null || true
	helpers=()
}

# What the test of that name has as its number.
skipping() { # NAME-PATTERN…
	local pattern
	for pattern in "$@"; do
		{ "$tools/vsock_test" --list 2>/dev/null || true; } |
			awk -v p="$pattern" '$0 ~ p { print "--skip=" $1 }'
	done | sort -u
}

# tests GUEST HOST-CID-OF-THE-GUEST SKIP…: the host is the client.
host_is_client() {
	local name=$1 cid=$2 server
	shift 2
	# What runs in the guest outlives who asked for it.
	control=$((control + 1))
	helper microvm exec "$name" /t/vsock-forward "vsock:$control" tcp:2000
	helper "$tools/vsock-forward" tcp:3000 "guest:$socket:$control"
	microvm exec "$name" /t/vsock_test --mode server --control-port 2000 --peer-cid 2 --peer-port $peer "$@" >"$work/server" 2>&1 &
	server=$!
	run timeout 120 "$tools/vsock_test" --mode client --control-host 127.0.0.1 --control-port 3000 --peer-cid "$cid" --peer-port $peer "$@"
	[ "$status" = 0 ] || { cat "$work/server" "$work"/helper.*; die "the client ended with $status"; }
	wait $server || { cat "$work/server"; die "the server failed"; }
	stop_helpers
}

# vsock_perf, the receiver in the guest: what it measures is not looked at, but all has to come. Its buffer takes all that can wait
# in the socket, as it reads once more, and no more, when it sees the stream's end.
perf() { # GUEST HOST-CID-OF-THE-GUEST
	local receiver
	microvm exec "$1" /t/vsock_perf --port $perf_port --buf-size 1M >"$work/receiver" 2>&1 &
	receiver=$!
	until_ok timeout 120 "$tools/vsock_perf" --sender "$2" --port $perf_port --bytes $perf_bytes
	wait $receiver || { cat "$work/receiver"; die "the receiver failed"; }
	grep -qx "total bytes received: $perf_bytes" "$work/receiver" || { cat "$work/receiver"; die "not all came"; }
}

test_all_of_them_by_vhost() { # limit 400 s
	local cid name=by-vhost server
	guest $name vhost
	is "$(inspect $name .HostConfig.Vsock)" vhost
	cid=$(readlink "$socket")
	[[ $cid == cid:[1-9]* ]] || die "no CID at $socket: $cid"
	perf $name "${cid#cid:}"
	host_is_client $name "${cid#cid:}"
	# The other way round.
	control=$((control + 1))
	helper "$tools/vsock-forward" "vsock:$control" tcp:2000
	helper microvm exec $name /t/vsock-forward tcp:3000 "vsock:2:$control"
	"$tools/vsock_test" --mode server --control-port 2000 --peer-cid "${cid#cid:}" --peer-port $peer >"$work/server" 2>&1 &
	server=$!
	run timeout 120 microvm exec $name /t/vsock_test --mode client --control-host 127.0.0.1 --control-port 3000 --peer-cid 2 --peer-port $peer
	[ "$status" = 0 ] || { cat "$work/server" "$work"/helper.*; die "the client ended with $status"; }
	wait $server || { cat "$work/server"; die "the server failed"; }
	stop_helpers
	microvm rm -f $name
}

# Behind a forwarder that takes every connection, none is refused, and what is seen of the peer's buffers is the forwarder's. A
# Unix socket knows no MSG_EOR, and who has shut down only its reading is not known before it is written to.
test_streams_and_messages_by_our_paths() { # limit 400 s
	local path streams messages
	modprobe vsock_loopback || skip "no vsock_loopback"
	mapfile -t streams < <(skipping SOCK_SEQPACKET 'connection reset' 'bind only' 'double bind' SHUT_RD 'credit update')
	mapfile -t messages < <(skipping SOCK_STREAM 'msg bounds')
	for path in user kernel; do
		guest "by-$path" $path
		helper "$tools/vsock-forward" "vsock:$perf_port" "guest:$socket:$perf_port"
		perf "by-$path" 1
		stop_helpers
		helper "$tools/vsock-forward" "vsock:$peer" "guest:$socket:$peer"
		host_is_client "by-$path" 1 "${streams[@]}"
		helper "$tools/vsock-forward" "seq-vsock:$peer" "seq-guest:$socket-seqpacket:$peer"
		host_is_client "by-$path" 1 "${messages[@]}"
		microvm rm -f "by-$path"
	done
}
