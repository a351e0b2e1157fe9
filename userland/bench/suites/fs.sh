# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# virtio-fs: microvm-fsd behind our VMM against QEMU with its C virtiofsd, and as a control microvm-fsd behind QEMU. The servers
# let the guest keep nothing (cache=none), so that every operation reaches them; data goes with O_DIRECT. virtiofsd has no thread
# pool, which is its default.

# shellcheck source=userland/bench/storage.sh
. userland/bench/storage.sh

fs_socket=$tmp/fs.socket

# Starts a server, fsd or virtiofsd-THREADS, and waits until it listens.
fs_serve() {
	rm -f "$fs_socket"
	case $1 in
	fsd) microvm-fsd --shared-dir "$storage_dir/share" --socket-path "$fs_socket" --cache none ;;
	virtiofsd-*)
		/usr/lib/qemu/virtiofsd --socket-path="$fs_socket" -o "source=$storage_dir/share" -o cache=none -o log_level=err \
			--thread-pool-size="${1#virtiofsd-}"
		;;
	esac >"$tmp/server.log" 2>&1 &
	fs_server=$!
	for _ in $(seq 100); do [ ! -S "$fs_socket" ] || return 0; sleep 0.05; done
	fail "$1 does not listen"
	cat "$tmp/server.log" >&2
	return 1
}

# What runs the guest with that server: command in fs_vm.
fs_command() { # VMM WORDS
	local append="$guest_words suite=fs $2"
	case $1 in
	ours) fs_vm=("${our_vm[@]}" --append "$append" --fs-socket "$fs_socket") ;;
	qemu)
		# shellcheck disable=SC2054 # QEMU's commas
		fs_vm=("${qemu_vm[@]}" -append "$append" -chardev "socket,id=fs,path=$fs_socket"
			-device vhost-user-fs-device,chardev=fs,tag=share,queue-size=1024)
		;;
	esac
}

# A server ends with its front end; one that doesn't is an error, and not the next measurement's company.
fs_end() {
	timeout 10 tail --pid="$fs_server" -f /dev/null || { fail "the file server did not end"; kill -9 "$fs_server"; }
	wait "$fs_server"
}

fs_guest() { # VMM SERVER OUT WORDS
	local status=0
	rm -f "$storage_dir/share/new" # of a guest that was ended in the middle
	fs_serve "$2" || return
	fs_command "$1" "$4"
	guest "$3" "${fs_vm[@]}" || status=1
	fs_end
	return $status
}

# Each job in a guest of its own: the longer one lives, the more likely it is to stop (storage.sh, tried).
fs_jobs() { # VMM SERVER NAME
	local job
	say "fs: $1 with $2"
	for job in "${data_jobs[@]}" "${name_jobs[@]}"; do
		tried fs_guest "$1" "$2" "$tmp/fs.job" "job=$job"
		cat "$tmp/fs.job" >>"$tmp/$3"
	done
}

# Ours only, as for disks.
fs_counts() {
	local job counts
	for job in read-4k-32 write-4k-32; do
		read -ra counts < <(per_operation "raw_syscalls/sys_enter kvm/kvm_exit" "$job" fs_guest ours fsd)
		row fs "${job_title[$job]}: system calls of the host" calls "${counts[0]-}" '' '' '<= 0.2'
		row fs "${job_title[$job]}: VM exits" exits "${counts[1]-}"
	done
}

# fs_memory VMM SERVER JOB LINE: private memory of the server in bytes, into $tmp/memory, once its guest has said LINE.
fs_memory() {
	local vm pid kib=0 status=1
	fs_serve "$2" || return
	fs_command "$1" "job=$3"
	"${fs_vm[@]}" </dev/null >"$tmp/known" 2>"$tmp/known.err" &
	vm=$!
	if listen "$vm" "$tmp/known" "$4"; then
		status=0
		sleep 0.5
		for pid in $(pgrep -x virtiofsd; pgrep -x microvm-fsd); do kib=$((kib + $(private_kib "$pid" memfd))); done
		echo $((kib * 1024)) >"$tmp/memory"
	fi
	kill -9 "$vm" 2>/dev/null
	wait "$vm"
	fs_end
	return $status
}

# fs_memory in as many guests as it takes: prints its figure.
fs_memory_tried() { tried fs_memory "$@" >&2 && cat "$tmp/memory"; }

fs_memories() {
	local ours ours_known theirs theirs_known
	mkdir -p "$storage_dir/share/known"
	(cd "$storage_dir/share/known" && seq -f %05.0f 0 9999 | xargs touch)
	ours=$(fs_memory_tried ours fsd idle idle) ours_known=$(fs_memory_tried ours fsd known 'knows 10000')
	theirs=$(fs_memory_tried qemu virtiofsd-0 idle idle) theirs_known=$(fs_memory_tried qemu virtiofsd-0 known 'knows 10000')
	row fs "private memory of the server, idle" KiB $((ours / 1024)) virtiofsd $((theirs / 1024)) '<= 2048'
	row fs "the same for each known inode, of 10,000" bytes $(((ours_known - ours) / 10000)) virtiofsd $(((theirs_known - theirs) / 10000)) '<= 200'
}

suite_fs() {
	local job theirs
	storage_ready || return
	mkdir -p "$storage_dir/share/entries"
	(cd "$storage_dir/share/entries" && seq -f %05.0f 0 999 | xargs touch)
	fs_jobs ours fsd fs.ours
	fs_jobs qemu virtiofsd-0 fs.virtiofsd
	fs_jobs qemu fsd fs.control
	for job in "${data_jobs[@]}" "${name_jobs[@]}"; do
		theirs=$(instructions "$tmp/fs.virtiofsd" "$job")
		row fs "${job_title[$job]}" instructions "$(instructions "$tmp/fs.ours" "$job")" virtiofsd "$theirs" 'ratio <= 0.7'
		row fs "${job_title[$job]}: microvm-fsd behind QEMU" instructions "$(instructions "$tmp/fs.control" "$job")" virtiofsd "$theirs"
	done
	say "fs: system calls and exits"
	fs_counts
	say "fs: memory"
	fs_memories
}
