# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# What the guest kernel's initcalls cost.

suite_kernel() {
	local sum
	say "kernel: initcalls"
	"$vmrun" --kernel "$vmlinux" --initramfs "$initramfs" --mem 128m --console --agent \
		--append "panic=-1 reboot=t console=hvc0 initcall_debug ignore_loglevel log_buf_len=1M" >"$tmp/console" 2>&1
	# Without kallsyms the kernel says addresses; the debug file knows the names.
	if [ -e "$vmlinux.debug" ]; then nm "$vmlinux.debug" | awk '{ print $1, $3 }' >"$tmp/symbols"; else : >"$tmp/symbols"; fi
	awk 'FNR == NR { name[$1] = $2; next }
		/initcall .* returned/ {
			for (i = 1; i <= NF; i++) if ($i == "initcall") { who = $(i + 1) } else if ($i == "after") us = $(i + 1)
			sub(/^0x/, "", who); sub(/\+0x.*/, "", who)
			print us, (who in name) ? name[who] : who
		}' "$tmp/symbols" "$tmp/console" | sort -rn >"$tmp/initcalls"
	if [ ! -s "$tmp/initcalls" ]; then
		fail "kernel: the guest's console shows no initcalls"
		tail -n 5 "$tmp/console" >&2
		return
	fi
	sum=$(awk '{ n += $1 } END { print n / 1000 }' "$tmp/initcalls")
	row kernel "initcalls together (with their tracing)" ms "$sum"
	while read -r us who; do
		row kernel "initcall $who" us "$us"
	done < <(head -n 10 "$tmp/initcalls")
}
