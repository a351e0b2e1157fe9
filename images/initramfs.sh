#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Packs the guest's initramfs: initramfs.sh AGENT OUT.  A newc archive of /init and the few directories and nodes that the
# kernel wants before the agent has mounted anything; written byte for byte here, so that it needs no root, and the same
# agent gives the same file.  It is not compressed: the guest would spend more on unpacking than the host on reading it.
set -euo pipefail
export LC_ALL=C

agent=$1 out=$2
inode=0

pad() { # to a multiple of 4
	local over=$(($1 % 4))
	if [ $over -gt 0 ]; then head -c $((4 - over)) /dev/zero; fi
}

# entry NAME MODE [FILE | MAJOR MINOR]: fields as in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
entry() {
	local name=$1 mode=$2 file='' size=0 major=0 minor=0
	case $# in
	3) file=$3 size=$(stat -Lc %s "$3") ;;
	4) major=$3 minor=$4 ;;
	esac
	inode=$((inode + 1))
	printf '070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\0' \
		$inode "$mode" 0 0 1 0 "$size" 0 0 "$major" "$minor" $((${#name} + 1)) 0 "$name"
	pad $((110 + ${#name} + 1))
	if [ -n "$file" ]; then cat "$file" && pad "$size"; fi
}

{
	for dir in dev proc sys run tmp; do entry $dir 0040755; done
	entry dev/console 0020600 5 1
	entry init 0100755 "$agent"
	entry 'TRAILER!!!' 0
} >"$out.$$"
mv "$out.$$" "$out"
