#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# For tests of storage: a small ext4 of the test's own, which it can fill, break, or copy as a power failure would leave it,
# and the machine's own programs in a guest.
# shellcheck disable=SC2034 # for the tests
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tests=$MICROVM_BUILD/tests
scratch=$work/fs
# Nobody but dmsetup itself makes the device's node.
export DM_DISABLE_UDEV=1
# The machine is what the debian image is, a Debian 12: its programs and libraries serve in the guest.
tools=(--memory 512m -v /usr:/usr:ro)

# scratch_fs SIZE [option of mkfs.ext4…]: an ext4 at $scratch, by way of the device mapper's device of that name.
scratch_fs() {
	scratch_device "$1"
	shift
	mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$@" /dev/mapper/scratch
	mkdir -p "$scratch"
	mount /dev/mapper/scratch "$scratch"
}

scratch_device() { # SIZE
	modprobe -q -a loop dm_mod || true
	trap scratch_end EXIT
	truncate -s "$1" "$work/backing"
	scratch_loop=$(losetup --find --show "$work/backing")
	scratch_sectors=$(blockdev --getsz "$scratch_loop")
	dmsetup create scratch --table "0 $scratch_sectors linear $scratch_loop 0"
}

scratch_end() {
	local status=$? i
	# Whoever still uses it has its moment, and is ended then.
	for ((i = 0; i < 50; i++)); do
		if ! mountpoint -q "$scratch" || umount "$scratch" 2>/dev/null; then break; fi
		[ $i != 40 ] || clean_up
		sleep 0.1
	done
	dmsetup remove --retry scratch 2>/dev/null || true
	if [ -n "${scratch_loop-}" ]; then losetup -d "$scratch_loop" 2>/dev/null || true; fi
	return $status
}

# Every access to those sectors of the device fails from now on: scratch_break FIRST COUNT. scratch_mend takes it back.
scratch_break() {
	scratch_table "0 $1 linear $scratch_loop 0
$1 $2 error
$(($1 + $2)) $((scratch_sectors - $1 - $2)) linear $scratch_loop $(($1 + $2))"
}
scratch_mend() { scratch_table "0 $scratch_sectors linear $scratch_loop 0"; }
scratch_table() {
	dmsetup suspend --nolockfs scratch
	dmsetup reload scratch --table "$1"
	dmsetup resume scratch
}

# What the device would hold if the power failed now, as a file.
scratch_copy() { # TO
	dmsetup suspend --nolockfs --noflush scratch
	cp --sparse=always "$work/backing" "$1"
	dmsetup resume scratch
}

# First sector, on the device, of a file that lies there in one piece.
first_sector() { filefrag -b512 -v "$1" | awk '$1 == "0:" { sub(/\.\.$/, "", $4); print $4 }'; }

# What the host has in memory of its files is given up, so that the next read is the device's.
forget_pages() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}
