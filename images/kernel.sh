#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the guest kernel once a machine: kernel.sh OUTDIR puts vmlinux, vmlinux.debug and kernel-config there.
# It comes from the cache when source, configuration and this recipe are the same, checked against its digest.
set -euo pipefail

out=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
config=$here/kernel.config
source=${KERNEL_SOURCE:-/usr/src/linux-source-6.12.tar.xz}
jobs=${JOBS:-$(nproc)}

die() { echo "kernel: $*" >&2; exit 1; }

[ -f "$source" ] || die "$source is missing: run 'make deps' (it comes with the package linux-source-6.12)"

cache_root=${MICROVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/microvm}
mkdir -p "$cache_root" "$out"
# The tarball is 150 MB: its own digest is kept by path, size and time.
stamp=$cache_root/source-$(stat -c '%n %s %Y' "$source" | sha256sum | cut -c1-16)
[ -s "$stamp" ] || { sha256sum "$source" | cut -d' ' -f1 >"$stamp.$$" && mv "$stamp.$$" "$stamp"; }
key=$({ cat "$stamp" "$config" "$here"/patches/*.patch "$here/trim-elf.py" "${BASH_SOURCE[0]}"; gcc -dumpfullversion; ld --version | head -1; } | sha256sum | cut -c1-20)
cache=$cache_root/kernel-$key

verified() { [ -f "$cache/SHA256SUMS" ] && (cd "$cache" && sha256sum --quiet --check SHA256SUMS >/dev/null 2>&1); }

# Every line of the fragment has to hold in the final configuration.
check_config() {
	local line name bad=0
	while read -r line; do
		case $line in
		CONFIG_*=*) grep -qxF -- "$line" "$1" || { echo "kernel: not taken: $line" >&2; bad=1; } ;;
		'# CONFIG_'*' is not set')
			name=${line#\# } name=${name%% *}
			! grep -q "^$name=" "$1" || { echo "kernel: still set: $name" >&2; bad=1; } ;;
		esac
	done <"$config"
	return $bad
}

build() {
	local work=$1 tree patch
	echo "  KERNEL   unpacking $(basename "$source")"
	tar -xJf "$source" -C "$work"
	tree=$(echo "$work"/linux-source-*)
	for patch in "$here"/patches/*.patch; do
		patch -d "$tree" -p1 --forward --quiet <"$patch" || die "$(basename "$patch") does not fit $(basename "$source")"
	done
	echo "  KERNEL   configuring"
	make -s -C "$tree" tinyconfig >"$work/log" 2>&1
	(cd "$tree" && scripts/kconfig/merge_config.sh -m .config "$config" && make -s olddefconfig) >>"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log" >&2; die "the configuration was not taken"; }
	check_config "$tree/.config" || die "images/kernel.config asks for what Kconfig does not give"
	echo "  KERNEL   compiling with $jobs jobs, about 6 minutes on 2 cores (once a machine)"
	# Names, times and folders that would change from build to build are fixed.
	make -C "$tree" -j"$jobs" vmlinux KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=microvm \
		KBUILD_BUILD_HOST=microvm KBUILD_BUILD_VERSION=1 2>&1 | tee -a "$work/log" |
		awk '++n % 400 == 0 { printf "  KERNEL   %d files\n", n; fflush() }' ||
		{ tail -n 40 "$work/log" >&2; die "the kernel did not build"; }
	mkdir "$work/result"
	cp "$tree/vmlinux" "$work/result/vmlinux.debug"
	cp "$tree/.config" "$work/result/kernel-config"
	"$here/trim-elf.py" "$tree/vmlinux" "$work/result/vmlinux"
	readelf -n "$work/result/vmlinux" | grep -c Xen >/dev/null || die "vmlinux has no PVH note"
	(cd "$work/result" && sha256sum vmlinux vmlinux.debug kernel-config >SHA256SUMS)
}

# In braces, as the shell reads on while it runs, and the file may change under it.
{
if ! verified; then
	exec 9>"$cache_root/kernel.lock"
	flock 9
fi
if ! verified; then
	work=$(mktemp -d "$cache_root/kernel-build.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM
	build "$work"
	rm -rf "$cache"
	mv "$work/result" "$cache"
fi
for f in vmlinux vmlinux.debug kernel-config; do
	cmp -s "$cache/$f" "$out/$f" || { cp "$cache/$f" "$out/.$f.$$" && mv "$out/.$f.$$" "$out/$f"; }
done
exit 0
}
