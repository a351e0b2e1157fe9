#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building and testing need on Debian 12; says nothing and asks nobody when all of it is there.
set -euo pipefail

packages=(
	# the compilers and libraries of the programs
	build-essential pkg-config clang llvm libclang-rt-14-dev gperf
	liburing-dev libjson-c-dev libprotobuf-c-dev protobuf-c-compiler libarchive-dev libseccomp-dev libcap-dev libssl-dev check
	# containerd's API, and containerd itself to test with
	golang-github-containerd-containerd-dev libprotobuf-dev containerd python3-grpcio python3-websocket containernetworking-plugins
	# the guest kernel and the module
	linux-source-6.12 bc bison flex libelf-dev cpio kmod xz-utils zstd sparse
	# images
	busybox-static mmdebstrap umoci skopeo erofs-utils e2fsprogs jq attr acl libcap2-bin python3-minimal
	# the lab, and what is compared with there
	qemu-system-x86 util-linux procps runc crun socat tmux strace gdb podman conmon catatonit docker.io docker-registry iproute2
	# what runs in guests and below shares in the tests of storage
	fio sqlite3 stress-ng dmsetup
	# lint and documents
	clang-tidy clang-format shellcheck mandoc man-db git
)

missing() {
	dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
		awk '$2 == "installed" { print $1 }' | sort -u | comm -13 - <(printf '%s\n' "${packages[@]}" | sort -u)
}

mapfile -t want < <(missing)
[ "${#want[@]}" -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { echo "deps: run as root to install: ${want[*]}" >&2; exit 1; }
echo "  DEPS     installing ${#want[@]} packages: ${want[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# Daemons are for the lab: none is started here.
policy=/usr/sbin/policy-rc.d
if [ -e $policy ]; then
	policy=''
else
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
trap 'rm -f "$log" $policy' EXIT
apt_get() { apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1; }
if ! { apt_get update && apt_get install -y --no-install-recommends "${want[@]}"; }; then
	tail -n 20 "$log" >&2
	echo "deps: apt-get failed; Debian 12 with its security and updates suites is needed (linux-source-6.12 is there)" >&2
	exit 1
fi
