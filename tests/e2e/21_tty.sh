#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A terminal: script(1) gives the command one.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# on_tty COMMAND: in a terminal of its own, which types what this function's stdin says; what it shows is in $out, without
# carriage returns, and as it comes in $work/tty.
on_tty() {
	status=0
	timeout 100 script -qfec "$1" "$work/tty" >/dev/null 2>&1 || status=$?
	out=$(tr -d '\r\000' <"$work/tty") err=''
	echo "+ on a terminal: $1 -> $status"
	sed 's/^/  tty: /' "$work/tty"
}

# type_after TEXT KEYS: once the terminal shows TEXT.
type_after() {
	until_ok grep -qF -- "$1" "$work/tty" >&2
	printf '%b' "$2"
}

test_container_has_a_terminal() {
	on_tty "microvm run --rm -t $bb sh -c 'tty; test -t 0 && test -t 1 && test -t 2 && echo all three'" </dev/null
	status_is 0
	out_has /dev/pts/0
	out_has 'all three'
}

test_without_t_it_has_none() {
	on_tty "microvm run --rm $bb sh -c 'test -t 1 || echo none'" </dev/null
	status_is 0
	out_has none
}

test_terminal_has_our_size() {
	on_tty "stty rows 31 cols 97; microvm run --rm -t $bb stty size" </dev/null
	status_is 0
	out_has '31 97'
}

test_resize_is_followed() {
	cat >"$work/inner" <<-END
		stty rows 31 cols 97
		microvm run --rm -t $bb sh -c 'trap "stty size; exit 0" WINCH; echo rea""dy; while :; do sleep 0.1; done' </dev/tty &
		pid=\$!
		for i in \$(seq 600); do grep -q ready $work/tty && break; sleep 0.1; done
		stty rows 40 cols 100 </dev/tty
		wait \$pid
	END
	on_tty "bash $work/inner" </dev/null
	status_is 0
	out_has '40 100'
}

test_input_is_echoed_and_taken() {
	on_tty "microvm run --rm -it $bb sh" < <(
		type_after '# ' 'echo $((40 + 2))\r'
		type_after 42 'exit 6\r'
		sleep 20
	)
	status_is 6
	out_has 42
}

test_interrupt_key_reaches_the_container() {
	on_tty "microvm run --rm -it $bb sh -c 'trap \"echo got it; exit 9\" INT; echo ready; while :; do sleep 0.2; done'" < <(
		type_after ready '\003'
		sleep 20
	)
	status_is 9
	out_has 'got it'
}

test_it_needs_a_terminal() {
	run microvm run --rm -it "$bb" true
	[ "$status" != 0 ] || die "-it without a terminal went through"
	err_has 'TTY'
}

test_terminal_is_restored() {
	on_tty "stty -g >$work/before; microvm run --rm -it $bb true; stty -g >$work/after" </dev/null
	status_is 0
	cmp "$work/before" "$work/after"
}

# The guest dies at once, as from a bug; whoever sits at the terminal can go on typing.
test_terminal_is_restored_after_the_vmm_was_killed() {
	cat >"$work/inner" <<-END
		stty -g >$work/before
		microvm run --rm -it --name doomed $bb sh -c 'echo rea""dy; sleep 1000' </dev/tty &
		pid=\$!
		for i in \$(seq 600); do grep -q ready $work/tty && break; sleep 0.1; done
		stty -g </dev/tty >$work/during
		kill -9 \$(pgrep -x microvm-vmm)
		wait \$pid
		echo "status \$?"
		stty -g </dev/tty >$work/after
	END
	on_tty "bash $work/inner" </dev/null
	cmp -s "$work/before" "$work/during" && die "the terminal was never raw"
	cmp "$work/before" "$work/after"
	out_has 'status 125'
}
