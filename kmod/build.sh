#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the module for one kernel of the lab: build.sh VERSION OUTDIR SOURCE… (from the top folder).
set -euo pipefail

version=$1 out=$2
shift 2
kdir=$(tests/lab/kernel.sh "$version")
rm -rf "$out/src"
mkdir -p "$out/src"
# The layout of what goes over /dev/microvm is asserted in its header; both kinds of callers must have it.
for bits in 64 32; do
	echo '#include "kmod/uapi/microvm.h"' | gcc "-m$bits" -ffreestanding -fsyntax-only -Wall -Werror -I. -I/usr/include/x86_64-linux-gnu -xc -
done
cp --parents -- "$@" "$out/src/"
log=$out/build.log
if ! make -C "$kdir/build" M="$(realpath "$out/src")" C=1 CF=-Wsparse-error modules >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
# Sparse may warn about the kernel's own headers; what it says of ours ends the build.
if grep -E "$(realpath "$out/src")/.*(warning|error):" "$log" >&2; then
	exit 1
fi
cp "$out/src/microvm.ko" "$out/microvm.ko"
