# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# virtio-blk against QEMU's, by io_uring in both: through the host's page cache, and past it with O_DIRECT.

# shellcheck source=userland/bench/storage.sh
. userland/bench/storage.sh

# blk_guest VMM CACHE OUT WORDS: VMM is ours, qemu or qemu-iothread; CACHE is cached or direct.
blk_guest() {
	# What was written to the page cache before is on disk now: past the cache, the first to come would have to write it back.
	sync "$storage_dir/disk"
	local direct='' drive=file=$storage_dir/disk,format=raw,if=none,id=disk,aio=io_uring
	local append="$guest_words suite=blk $4"
	if [ "$2" = direct ]; then direct=:direct drive+=,cache=none; else drive+=,cache=writeback; fi
	case $1 in
	ours) guest "$3" "${our_vm[@]}" --append "$append" --disk "$storage_dir/disk$direct" ;;
	qemu) guest "$3" "${qemu_vm[@]}" -append "$append" -drive "$drive" -device virtio-blk-device,drive=disk ;;
	qemu-iothread)
		guest "$3" "${qemu_vm[@]}" -append "$append" -drive "$drive" -object iothread,id=io \
			-device virtio-blk-device,drive=disk,iothread=io
		;;
	esac
}

# Ours only: what QEMU's start costs differs from run to run by more than these jobs' calls are.
blk_counts() { # CACHE
	local job counts
	for job in read-4k-32 write-4k-32; do
		read -ra counts < <(per_operation "raw_syscalls/sys_enter kvm/kvm_exit" "$job" blk_guest ours "$1")
		row blk "$1: ${job_title[$job]}: system calls of the host" calls "${counts[0]-}" '' '' '<= 0.2'
		row blk "$1: ${job_title[$job]}: VM exits" exits "${counts[1]-}"
	done
}

suite_blk() {
	local cache vmm job best goal
	storage_ready || return
	for cache in cached direct; do
		for vmm in ours qemu qemu-iothread; do
			say "blk: $cache, $vmm"
			tried blk_guest "$vmm" "$cache" "$tmp/blk-$cache.$vmm" ''
		done
		for job in "${data_jobs[@]}"; do
			best=$(least "$job" "$tmp"/blk-"$cache".qemu "$tmp"/blk-"$cache".qemu-iothread)
			goal=''
			[[ $job != *-32 ]] || goal='ratio <= 0.6'
			row blk "$cache: ${job_title[$job]}" instructions "$(instructions "$tmp/blk-$cache.ours" "$job")" \
				"${best##*.}" "$(instructions "$best" "$job")" "$goal"
		done
		say "blk: $cache, system calls and exits"
		blk_counts "$cache"
	done
}
