#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job: a command in an image, its output and its exit status.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

test_debian_userland() {
	run microvm run --rm "$deb" sh -c 'cat /etc/os-release; uname -sr; id -u'
	status_is 0
	out_has 'VERSION_CODENAME=bookworm'
	out_has 'Linux 6.12'
	[ "$(tail -n 1 <<<"$out")" = 0 ] || die "not root in the container"
	err_is ''
}

test_guest_is_not_the_host() {
	in_bb -- cat /proc/sys/kernel/random/boot_id
	[ "$out" != "$(cat /proc/sys/kernel/random/boot_id)" ] || die "the container runs on the host's kernel"
	in_bb -- sh -c 'echo $$; ls /proc | grep -c "^[0-9]"'
	is "$(head -n 1 <<<"$out")" 1 "pid of the container's first process"
	[ "$(tail -n 1 <<<"$out")" -le 4 ] || die "the container sees processes that aren't its own: $out"
}

test_status_is_the_containers() {
	local n
	for n in 0 1 3 77 124 255; do
		run microvm run --rm "$bb" sh -c "exit $n"
		status_is "$n"
		err_is ''
	done
}

test_status_of_a_signal() {
	# PID 1 of a pid namespace can't be killed from within, so a child is, and the shell passes its status on.
	run microvm run --rm "$bb" sh -c 'sh -c "kill -TERM \$\$"; exit $?'
	status_is 143
	run microvm run --rm --name killed -d "$bb" sleep 1000
	until_ok running killed
	run microvm kill killed
	status_is 0
	until_ok no_vmm
}

test_status_when_killed_from_outside() {
	microvm run --rm --name victim "$bb" sleep 1000 >"$work/o" 2>&1 &
	until_ok running victim
	microvm kill -s KILL victim
	status=0
	wait $! || status=$?
	status_is 137
}

test_no_such_command_is_127() {
	run microvm run --rm "$bb" no-such-command-here
	refused 127 no-such-command-here
	run microvm run --rm "$bb" /bin/nothing
	refused 127 /bin/nothing
}

test_not_executable_is_126() {
	run microvm run --rm "$bb" /etc/passwd
	refused 126 /etc/passwd
	run microvm run --rm "$bb" /etc
	refused 126 /etc
}

test_own_errors_are_125() {
	run microvm run --no-such-option "$bb" true
	refused 125 no-such-option
	run microvm run
	refused 125
	run microvm run --rm "oci:$layout:nosuchtag" true
	refused 125 nosuchtag
	run microvm run --rm --memory 64q "$bb" true
	refused 125 64q
}

test_command_without_an_argument_is_the_images() {
	run microvm run --rm -i "$bb" <<<'echo from the shell'
	status_is 0
	out_is 'from the shell'
}

test_words_reach_the_command_as_they_are() {
	# shellcheck disable=SC2016
	in_bb -- printf '[%s]' '' ' ' 'a b' '$HOME' '*' '"' "'" 'back\slash' 'é' -e --rm
	out_is "[][ ][a b][\$HOME][*][\"]['][back\\slash][é][-e][--rm]"
}

test_long_arguments() {
	local long
	long=$(head -c 100000 /dev/zero | tr '\0' x)
	# shellcheck disable=SC2016
	in_bb -- sh -c 'echo ${#1}' sh "$long"
	out_is 100000
}

test_new_files_end_with_the_container() {
	in_bb -- sh -c 'echo x >/etc/new && rm /etc/passwd && cat /etc/new'
	out_is x
	in_bb -- sh -c 'test ! -e /etc/new && test -s /etc/passwd'
}

test_help_and_version() {
	local command
	run microvm --help
	status_is 0
	for command in run exec ps images rmi kill rm check; do
		out_has "$command"
		run microvm "$command" --help
		status_is 0
		run microvm --help
	done
	run microvm --version
	status_is 0
	[[ $out =~ [0-9]+\.[0-9]+ ]] || die "no version: $out"
	run microvm no-such-command
	[ "$status" != 0 ] || die "an unknown command succeeded"
	err_has no-such-command
}

test_check_finds_this_host_fit() {
	run microvm check
	status_is 0
	run microvm check --format json
	status_is 0
	jq -es 'length > 0' "$work/out" >/dev/null || die "not JSON: $out"
}
