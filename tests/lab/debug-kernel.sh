#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the lab's debug kernel once a machine, from Debian's linux-source-6.12 and debug.config: prints the folder that
# holds it, as kernel.sh has it. JOBS: how many compilers, which are nice to all else (as many as there are CPUs).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
config=$here/debug.config
source=${KERNEL_SOURCE:-/usr/src/linux-source-6.12.tar.xz}

die() { echo "lab: $*" >&2; exit 1; }
[ -f "$source" ] || die "$source is missing: run 'make deps' (it comes with the package linux-source-6.12)"

cache_root=${MICROVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/microvm}
mkdir -p "$cache_root"
key=$({ stat -c '%n %s %Y' "$source"; cat "$config" "${BASH_SOURCE[0]}"; gcc -dumpfullversion; } | sha256sum | cut -c1-16)
dir=$cache_root/lab-kernel-debug-$key

# Every line of the fragment has to hold in the final configuration.
check_config() {
	local line bad=0
	while read -r line; do
		[[ $line == CONFIG_*=* ]] || continue
		grep -qxF -- "$line" "$1" || { echo "lab: not taken: $line" >&2; bad=1; }
	done <"$config"
	return $bad
}

# What building a module needs stays: configuration, headers, tools, the list of symbols.
shrink() {
	find "$1" -type f ! -path "$1/scripts/*" ! -path "$1/tools/*" ! -path "$1/include/*" \
		\( -name '*.[coSa]' -o -name '*.cmd' -o -name 'vmlinux*' -o -name '*.dts*' -o -name '*.rst' \) -delete
	rm -rf "$1/Documentation"
}

build() {
	local work=$1 tree release
	tar -xJf "$source" -C "$work"
	tree=$work/result/build
	mkdir "$work/result"
	mv "$work"/linux-source-* "$tree"
	make -s -C "$tree" tinyconfig
	(cd "$tree" && scripts/kconfig/merge_config.sh -m .config "$config" && make -s olddefconfig)
	check_config "$tree/.config" || die "debug.config asks for what Kconfig does not give"
	nice -n 10 make -C "$tree" -j"${JOBS:-$(nproc)}" bzImage modules KBUILD_MODPOST_WARN=1
	release=$(make -s -C "$tree" kernelrelease)
	make -s -C "$tree" INSTALL_MOD_PATH="$work/result" modules_install
	rm -f "$work/result/lib/modules/$release"/{build,source}
	ln -s "lib/modules/$release" "$work/result/modules"
	cp "$tree/arch/x86/boot/bzImage" "$work/result/vmlinuz"
	shrink "$tree"
	echo "$release" >"$work/result/release"
}

if [ ! -s "$dir/release" ]; then
	exec 9>"$cache_root/lab-kernel-debug.lock"
	flock 9
fi
if [ ! -s "$dir/release" ]; then
	echo "lab: building the debug kernel, a quarter of an hour or more (once a machine)" >&2
	# What a build left that was killed: it holds the lock as long as it runs.
	rm -rf "$cache_root"/lab-debug.*/
	work=$(mktemp -d "$cache_root/lab-debug.XXXXXX")
	# In a shell of its own, in which errors are fatal: behind || they would not be. And in a group of its own, which ends
	# with this script, before its folder goes.
	set -m
	build "$work" >"$cache_root/lab-kernel-debug.log" 2>&1 </dev/null &
	builder=$!
	set +m
	trap 'kill -- -"$builder" 2>/dev/null || true; wait "$builder" 2>/dev/null || true; rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	wait "$builder" || { tail -n 30 "$cache_root/lab-kernel-debug.log" >&2; die "no debug kernel"; }
	rm -rf "$cache_root"/lab-kernel-debug-*/
	mv "$work/result" "$dir"
fi
echo "$dir"
