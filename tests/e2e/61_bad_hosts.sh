#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Hosts that lack something, and options that no host could serve.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

test_no_kvm() {
	run unshare -m sh -c "mount -t tmpfs x /mnt && mv /dev/kvm /dev/kvm.away && microvm run --rm $bb true; s=\$?; mv /dev/kvm.away /dev/kvm; exit \$s"
	refused 125 /dev/kvm
}

test_kvm_that_is_none() {
	run unshare -m sh -c "mount --bind /dev/null /dev/kvm && microvm run --rm $bb true"
	refused 125 /dev/kvm
}

test_check_names_what_is_missing() {
	run unshare -m sh -c "mount --bind /dev/null /dev/kvm && microvm check"
	[ "$status" != 0 ] || die "check finds nothing"
	[[ $out$err == */dev/kvm* ]] || die "it does not name /dev/kvm: $out$err"
	run unshare -m sh -c "mount --bind /dev/null /dev/kvm && microvm check --format json"
	[ "$status" != 0 ] || die "check finds nothing"
	jq -es 'length > 0' "$work/out" >/dev/null || die "not JSON: $out"
}

test_without_rights() {
	run setpriv --reuid 65534 --regid 65534 --clear-groups microvm run --rm "$bb" true
	refused 125 root
}

test_kernel_that_is_none() {
	run microvm run --rm --kernel "$work/none" "$bb" true
	refused 125 "$work/none"
	head -c 100000 /dev/urandom >"$work/noise"
	run microvm run --rm --kernel "$work/noise" "$bb" true
	refused 125 kernel ELF
	# An ELF file without a PVH note.
	run microvm run --rm --kernel /bin/busybox "$bb" true
	refused 125 PVH
	: >"$work/empty"
	run microvm run --rm --kernel "$work/empty" "$bb" true
	refused 125 kernel
}

test_kernel_that_is_cut_off() {
	head -c 1000000 "$MICROVM_BUILD/guest/vmlinux" >"$work/cut"
	run microvm run --rm --kernel "$work/cut" "$bb" true
	refused 125 kernel
}

test_memory_out_of_range() {
	run microvm run --rm --memory 8m "$bb" true
	refused 125 48
	run microvm run --rm --memory 100t "$bb" true
	refused 125 memory
	run microvm run --rm --memory 99999999999999999999 "$bb" true
	refused 125 99999999999999999999
	run microvm run --rm --memory -1 "$bb" true
	refused 125
}

test_missing_program_is_named() {
	mkdir -p "$work/bin"
	cp "$MICROVM_BUILD/bin/microvm" "$work/bin/"
	run "$work/bin/microvm" run --rm "$bb" true
	refused 125 microvm-vmm
}

test_state_folder_that_can_not_be() {
	MICROVM_STATE=/proc/nothing run microvm run --rm "$bb" true
	refused 125 /proc/nothing
	MICROVM_STORE=/proc/nothing run microvm run --rm "$bb" true
	refused 125 /proc/nothing
}

test_bad_options_one_by_one() {
	local words
	while read -ra words; do
		run microvm run --rm "${words[@]}" "$bb" true
		refused 125
	done <<-'END'
		--cpus 0.0001
		--cpus -1
		--pids-limit x
		--timeout soon
		--tmpfs relative
		--env =x
		--security-opt nonsense=1
		--security-opt seccomp=/no/such/profile
		--network bridge
		--memory
		--name -x
		--stop-signal NOPE
		--config /etc/passwd
	END
}
