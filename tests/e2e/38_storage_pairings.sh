#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vhost-user is a standard: our file server serves QEMU too. What programs get to
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
