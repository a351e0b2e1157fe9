#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Standard streams: apart, whole, byte for byte, each ending by itself.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

test_stdout_and_stderr_apart() { # both paths
	in_bb -- sh -c 'echo to out; echo to err >&2; printf "no newline"'
	out_is $'to out\nno newline'
	err_is 'to err'
}

test_half_close() { # both paths
	is "$(echo x | microvm run --rm -i "$bb" cat)" x
	is "$(printf '' | microvm run --rm -i "$bb" wc -c)" 0
}

test_stdin_is_empty_without_i() {
	is "$(echo not for you | microvm run --rm "$bb" wc -c)" 0
}

test_every_byte_both_ways() { # both paths
	local i
	for ((i = 0; i < 256; i++)); do printf '%b' "\\x$(printf %02x $i)"; done >"$work/bytes"
	head -c 3000001 /dev/urandom >>"$work/bytes"
	microvm run --rm -i "$bb" cat <"$work/bytes" >"$work/back"
	cmp "$work/bytes" "$work/back"
	microvm run --rm -i "$bb" sh -c 'cat >&2' <"$work/bytes" 2>"$work/back" >"$work/none"
	cmp "$work/bytes" "$work/back"
	[ ! -s "$work/none" ] || die "stdout has bytes of stderr"
}

test_both_outputs_at_once() { # both paths
	# shellcheck disable=SC2016
	microvm run --rm "$bb" sh -c 'dd if=/dev/zero bs=64k count=32 2>/dev/null & dd if=/dev/zero bs=64k count=32 >&2 2>/dev/null; wait' \
		>"$work/o" 2>"$work/e"
	is "$(stat -c %s "$work/o")" 2097152 "bytes of stdout"
	is "$(stat -c %s "$work/e")" 2097152 "bytes of stderr"
}

test_output_of_the_last_moment_is_there() { # both paths
	local i
	for i in 1 2 3; do
		is "$(microvm run --rm "$bb" sh -c 'i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done' | tail -n 1)" 'line 1999'
	done
}

test_reader_that_goes_away() { # both paths
	# Whoever reads has enough: the container gets SIGPIPE or an error as on a host, and the run ends.
	is "$( (timeout 60 microvm run --rm "$bb" yes | head -n 3 | tr '\n' ,) || true)" 'y,y,y,'
}

test_stdin_that_never_ends_holds_nobody() { # both paths
	local pid
	mkfifo "$work/fifo"
	sleep 300 >"$work/fifo" &
	pid=$!
	is "$(timeout 60 microvm run --rm -i "$bb" echo over <"$work/fifo")" over
	kill $pid
}

test_closed_streams() { # both paths
	status=0
	microvm run --rm "$bb" sh -c 'echo x; exit 5' <&- >&- 2>&- || status=$?
	status_is 5
}

test_slow_reader_gets_all() { # both paths
	is "$(microvm run --rm "$bb" dd if=/dev/zero bs=64k count=64 2>/dev/null | { sleep 3; wc -c; })" 4194304
}

test_full_stdout_is_an_error() { # both paths
	status=0
	timeout 60 microvm run --rm "$bb" dd if=/dev/zero bs=64k count=4 >/dev/full 2>"$work/err" || status=$?
	[[ $status != 0 && $status != 124 ]] || die "output was lost and the status is $status"
}
