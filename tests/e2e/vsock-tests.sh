#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the kernel's own tests of vsock (tools/testing/vsock of Debian's linux-source-6.12), as they are, into a folder.
set -euo pipefail

out=$1
source=${KERNEL_SOURCE:-/usr/src/linux-source-6.12.tar.xz}
[ -f "$source" ] || { echo "vsock-tests: $source is missing: run 'make deps'" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xf "$source" -C "$work" --wildcards 'linux-source-*/tools/testing/vsock/*' 'linux-source-*/tools/include/*'
# They run in guests, whatever the image.
make -s -C "$work"/linux-source-*/tools/testing/vsock LDFLAGS=-static vsock_test vsock_perf >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mkdir -p "$out"
cp "$work"/linux-source-*/tools/testing/vsock/vsock_{test,perf} "$out/"
