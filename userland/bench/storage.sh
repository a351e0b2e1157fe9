# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# What the suites blk and fs share: files on ext4, all in the page cache; guests whose init is storage-job; their figures.

storage_dir=$tmp/storage
storage_initramfs=$build/tests/storage.cpio
# Names of storage-job's jobs, in their order, and what they are called in the table.
data_jobs=(read-4k write-4k read-4k-32 write-4k-32 read-1m write-1m)
name_jobs=(stat open-close create-unlink readdir-1000)
declare -A job_title=(
	[read-4k]="4 KiB random read, depth 1" [write-4k]="4 KiB random write, depth 1"
	[read-4k-32]="4 KiB random read, depth 32" [write-4k-32]="4 KiB random write, depth 32"
	[read-1m]="1 MiB sequential read" [write-1m]="1 MiB sequential write"
	[stat]=stat [open-close]="open and close" [create-unlink]="create and unlink" [readdir-1000]="readdir of 1,000 entries")

# Nothing is written back while it is measured: who waits for that would be a matter of chance.
storage_ready() {
	[ ! -d "$storage_dir" ] || return 0
	ext4_at "$storage_dir" 768M || { fail "no ext4 for storage"; return 1; }
	echo 0 >/proc/sys/vm/dirty_writeback_centisecs
	echo $((2 << 30)) >/proc/sys/vm/dirty_bytes
	echo $((1 << 30)) >/proc/sys/vm/dirty_background_bytes
	mkdir "$storage_dir/share"
	dd if=/dev/urandom of="$storage_dir/share/data" bs=1M count=64 status=none
	cp "$storage_dir/share/data" "$storage_dir/disk"
	chmod 666 "$storage_dir/disk" "$storage_dir/share/data"
	sync
	# A page's first readers also move it among the kernel's lists.
	cat "$storage_dir/disk" "$storage_dir/share/data" "$storage_dir/disk" "$storage_dir/share/data" >/dev/null
}

# listen PID OUT [LINE]: until the guest says what begins so (0), or has ended or is silent for two seconds (1). A line comes within
# half a second.
listen() {
	local said=-1 silent=0 lines line tick status=1
	exec {tick}<> <(:)
	while [ $status != 0 ] && kill -0 "$1" 2>/dev/null && [ $silent -lt 4 ]; do
		# Nothing that starts a program: its instructions would be the guest's.
		read -rt 0.5 -u "$tick" || true
		mapfile -t lines <"$2"
		if [ ${#lines[@]} = "$said" ]; then silent=$((silent + 1)); else said=${#lines[@]} silent=0; fi
		for line in "${lines[@]}"; do [ -z "${3-}" ] || [[ $line != "$3"* ]] || status=0; done
	done
	exec {tick}>&-
	return $status
}

# guest OUT COMMAND…: runs a guest to its end, or until it hangs, and keeps what it said.
guest() {
	local out=$1 pid
	shift
	"$@" </dev/null >"$out" 2>"$out.err" &
	pid=$!
	listen $pid "$out"
	kill -9 $pid 2>/dev/null
	wait $pid
	grep -q '^end' "$out" || { echo "bench: a guest did not end well: $*"; cat "$out"; tail -n 5 "$out.err"; return 1; } >&2
}

# tried COMMAND…: with QEMU, guests on the emulated host now and then stop for ever: interrupts off, in a spinlock
# that nobody is left to release. That says nothing of speed; more than a few in a row say that something else is wrong.
tried() {
	for _ in 1 2 3 4 5; do ! "$@" || return 0; done
	fail "five guests in a row did not end well: $*"
}

# What all guests are told, and what the two VMMs are told of them.
guest_words="$words console=hvc0"
our_vm=("$vmrun" --kernel "$vmlinux" --initramfs "$storage_initramfs" --mem 128m --console)
# shellcheck disable=SC2054 # QEMU's commas
qemu_vm=(qemu-system-x86_64 -M microvm,accel=kvm,pit=off,pic=off,rtc=off,isa-serial=off,acpi=off,memory-backend=mem -cpu host
	-object memory-backend-memfd,id=mem,size=128M,share=on -global virtio-mmio.force-legacy=false
	-smp 1 -m 128 -nodefaults -no-user-config -display none -no-reboot -kernel "$vmlinux" -initrd "$storage_initramfs"
	-device virtio-serial-device -chardev stdio,id=out -device virtconsole,chardev=out)

# Of a guest's output: instructions of an operation, as the lab's clock has 2 ns for each; how many there were.
instructions() { tr -d '\r' <"$1" | awk -v job="$2" '$1 == "job" && $2 == job { printf "%.0f\n", $4 / 2 }'; }
operations() { tr -d '\r' <"$1" | awk -v job="$2" '$1 == "job" && $2 == job { print $3 }'; }

# least JOB OUT…: the output with the fewest instructions for the job.
least() {
	local job=$1 out
	shift
	for out in "$@"; do echo "$(instructions "$out" "$job") $out"; done | sort -n | awk 'NF == 2 { print $2; exit }'
}

# per_operation "EVENT…" JOB FUNCTION…: how often each event comes for one operation. FUNCTION OUT WORDS runs a guest; that of
# three times as many operations has the same start and end.
per_operation() {
	local events=$1 job=$2 once thrice n1 n3
	shift 2
	once=$(counts_of "$events" "$@" "$tmp/once" "job=$job times=1") || return
	thrice=$(counts_of "$events" "$@" "$tmp/thrice" "job=$job times=3") || return
	n1=$(operations "$tmp/once" "$job") n3=$(operations "$tmp/thrice" "$job")
	[ "${n3:-0}" -gt "${n1:-0}" ] || return
	echo "$once $thrice" | awk -v n=$((n3 - n1)) '{ for (i = 1; i <= NF / 2; i++) printf "%.3f ", ($(NF / 2 + i) - $i) / n; print "" }'
}
