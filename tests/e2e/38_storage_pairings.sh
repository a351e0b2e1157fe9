#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vhost-user is a standard: our file server serves QEMU, and our VMM is served by Debian's virtiofsd. What programs get to
# see is what the host's own file system says (tests/fs/posix.c); `make fs` has the same with an emulated CPU.
# shellcheck source=tests/e2e/scratch.sh
. "$(dirname "${BASH_SOURCE[0]}")/scratch.sh"

fs_test=$(dirname "${BASH_SOURCE[0]}")/../fs/run-qemu

test_our_server_under_our_vmm() { # limit 300 s
	run "$fs_test" --files 20 --vmm microvm
	out_has 'ok posix'
	status_is 0
}

test_our_server_under_qemu() { # limit 300 s
	run "$fs_test" --files 20 --vmm qemu-kvm
	out_has 'ok posix'
	status_is 0
}

# Some of its answers are its own: they are to be the same under either VMM.
test_virtiofsd_under_our_vmm() { # limit 300 s
	local theirs
	run "$fs_test" --files 20 --vmm qemu-kvm --server virtiofsd
	only_answers
	theirs=$out
	run "$fs_test" --files 20 --vmm microvm --server virtiofsd
	only_answers
	is "$out" "$theirs" "what it answers"
}
# $out without the server's own words, once it is sure that the guest had an answer to each case.
only_answers() {
	out=$(grep -v '^server: ' <<<"$out")
	[[ $(tail -n 1 <<<"$out") =~ ^'ok posix ('[0-9]+' cases)'$|^'not ok posix: '[0-9]+' of '[1-9][0-9]*' answers differ; the server ended with 0'$ ]] ||
		die "no answers: ${out:0:300}"
}
