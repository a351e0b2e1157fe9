# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# From exec of the VMM to an agent that answers, against QEMU with the same files.

to_reboot() { # of ours, of QEMU
	case $1 in
	ours) "$vmrun" --kernel "$vmlinux" --initramfs "$initramfs" --mem 128m --append "$words microvm.ready=reboot" || [ $? -lt 125 ] ;;
	qemu) "${qemu[@]}" -append "$words microvm.ready=reboot" ;;
	esac
}

suite_boot() {
	local ready ours theirs
	say "boot: exec of the VMM to the agent's answer"
	"$vmrun" --kernel "$vmlinux" --initramfs "$initramfs" --mem 128m --append "$words" --agent >"$tmp/o" 2>&1
	for _ in 1 2 3; do
		"$vmrun" --kernel "$vmlinux" --initramfs "$initramfs" --mem 128m --append "$words" --agent 2>&1 |
			sed -n 's/.*agent ready after \([0-9.]*\) ms.*/\1/p'
	done | sort -n >"$tmp/ready"
	ready=$(sed -n 2p "$tmp/ready" | awk '{ print $1 / 1000 }')
	row boot "VMM exec to agent ready" s "$ready" '' '' '<= 0.2'

	ours=$("$elapsed" -n 3 "$vmrun" --kernel "$vmlinux" --initramfs "$initramfs" --mem 128m --append "$words microvm.ready=reboot" 2>"$tmp/ours.err")
	[ -n "$ours" ] || cat "$tmp/ours.err" >&2
	theirs=$("$elapsed" -n 3 "${qemu[@]}" -append "$words microvm.ready=reboot" 2>"$tmp/qemu.err")
	[ -n "$theirs" ] || cat "$tmp/qemu.err" >&2
	row boot "VMM exec to its end at the agent's ready" s "$ours" "QEMU microvm" "$theirs" 'ratio <= 0.75'

	say "boot: VM exits"
	ours=$(counts_of kvm/kvm_exit to_reboot ours 2>/dev/null)
	theirs=$(counts_of kvm/kvm_exit to_reboot qemu 2>/dev/null)
	row boot "VM exits to there" exits "$ours" "QEMU microvm" "$theirs" '<= 600'
	ours=$(counts_of kvm/kvm_userspace_exit to_reboot ours 2>/dev/null)
	theirs=$(counts_of kvm/kvm_userspace_exit to_reboot qemu 2>/dev/null)
	row boot "of them to userspace" exits "$ours" "QEMU microvm" "$theirs"
}
