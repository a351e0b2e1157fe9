# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# Memory that a guest had used and freed, on its way back to the host: by the balloon (inflate) or by free page reporting
# (report), by microvm-vmm, by our kernel module and by QEMU, with the same kernel and the same program in the guest.

# balloon_guest VMM HOW MIB-OF-GUEST MIB-TOUCHED MIB-WANTED: the job's line in $tmp/balloon.VMM.HOW. VMM: qemu, or our path: user, kernel.
balloon_guest() {
	local guest pid out=$tmp/balloon.$1.$2 socket=$tmp/balloon.socket append="$words console=hvc0 touch=$4" tell=()
	rm -f "$socket" "$out"
	case $1 in
	qemu)
		# shellcheck disable=SC2054 # QEMU's commas
		local balloon=virtio-balloon-device
		[ "$2" = inflate ] || balloon+=,free-page-reporting=on
		qemu-system-x86_64 -M microvm,accel=kvm,pit=off,pic=off,rtc=off,isa-serial=off,acpi=off,memory-backend=m -cpu host -smp 1 \
			-object "memory-backend-memfd,id=m,size=$3M,share=on" -m "$3" -global virtio-mmio.force-legacy=false -nodefaults \
			-no-user-config -display none -no-reboot -kernel "$vmlinux" -initrd "$build/tests/balloon.cpio" -append "$append" \
			-device virtio-serial-device -chardev stdio,id=out -device virtconsole,chardev=out -device $balloon \
			-qmp "unix:$socket,server=on,wait=off" </dev/null >"$out.guest" 2>&1 &
		tell=(qmp "$socket" $(($3 - $5 - 100)))
		;;
	*)
		"$vmrun" --kernel "$vmlinux" --initramfs "$build/tests/balloon.cpio" --mem "$3m" --append "$append" --console \
			--balloon "$socket" --balloon-path "$1" </dev/null >"$out.guest" 2>&1 &
		tell=(ours "$socket" $(($3 - $5 - 100)))
		;;
	esac
	guest=$!
	for _ in $(seq 1200); do ! grep -q touched "$out.guest" || break; sleep 0.1; done
	pid=$(pgrep -n -x 'microvm-vmm|qemu-system-x86')
	[ "$2" = inflate ] || tell=()
	timeout 300 "$build/tests/balloon-job" "$out.guest" "$pid" "$5" "${tell[@]}" >"$out" || { fail "balloon: $1 $2"; cat "$out" "$out.guest" >&2; }
	kill -9 "$pid"
	wait $guest 2>/dev/null
	echo "  balloon $1 $2: $(cat "$out")" >&2
}

# balloon_figure VMM HOW COLUMN: 2 milliseconds, 3 instructions (the lab's clock has 2 ns for each), 4 exits.
balloon_figure() { awk -v c="$3" '$1 == "back" { print c == 3 ? $3 * 500 : $c }' "$tmp/balloon.$1.$2" 2>/dev/null; }

suite_balloon() {
	local how path
	for how in inflate report; do
		for path in qemu user kernel; do
			say "balloon: 1 GiB, $how, $path"
			balloon_guest $path $how 1280 1152 1024
		done
	done
	for path in user kernel; do
		row balloon "1 GiB by reporting ($path): exits" exits "$(balloon_figure $path report 4)" "QEMU balloon" \
			"$(balloon_figure qemu inflate 4)" 'ratio <= 0.02'
		row balloon "1 GiB by reporting ($path): instructions" instructions "$(balloon_figure $path report 3)" "QEMU balloon" \
			"$(balloon_figure qemu inflate 3)"
		row balloon "1 GiB by the balloon ($path): exits" exits "$(balloon_figure $path inflate 4)" "QEMU balloon" \
			"$(balloon_figure qemu inflate 4)"
		row balloon "1 GiB by the balloon ($path): instructions" instructions "$(balloon_figure $path inflate 3)" "QEMU balloon" \
			"$(balloon_figure qemu inflate 3)"
	done
	row balloon "1 GiB by reporting: exits, both" exits "$(balloon_figure user report 4)" "QEMU reporting" \
		"$(balloon_figure qemu report 4)"
	row balloon "1 GiB by reporting: instructions, both" instructions "$(balloon_figure user report 3)" "QEMU reporting" \
		"$(balloon_figure qemu report 3)"

	say "balloon: 512 MiB that an idle guest had touched and freed"
	for path in user kernel; do
		balloon_guest $path report 640 512 464
		row balloon "464 MiB of 512 that were freed, $path: back after" ms "$(balloon_figure $path report 2)"
	done
}
