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

# It has no O_TMPFILE; all other answers are the host's. Under QEMU it says the same.
test_virtiofsd_under_our_vmm() { # limit 300 s
	run "$fs_test" --files 20 --vmm microvm --server virtiofsd
	rm -rf /run/virtiofsd # its lock file, which it leaves
	is "$(sed -n 's/^guest: *case [0-9]* //p' <<<"$out")" 'fd >= 0: 0
write(fd, "tmp", 3): EBADF
linkat(AT_FDCWD, buf, AT_FDCWD, "m/linked", AT_SYMLINK_FOLLOW): ENOENT
size_of("m/linked"): ENOENT
close(fd): EBADF' "what is not the host's answer"
	[[ $(tail -n 1 <<<"$out") =~ ^'not ok posix: 5 of '[1-9][0-9]*' answers differ; the server ended with 0'$ ]] || die "no answers: ${out:0:300}"
}
