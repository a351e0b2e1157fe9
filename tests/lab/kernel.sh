#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Gets Debian's kernel for the lab, once a machine: kernel.sh 6.12|6.1|debug prints the folder that holds
#   release   its `uname -r`          vmlinuz, modules/   what the lab boots
#   build     the headers' folder, for `make -C … M=…`
# The packages are unpacked in the cache and not installed; apt checks their signatures.
set -euo pipefail

die() { echo "lab: $*" >&2; exit 1; }

version=${1:?kernel.sh 6.12|6.1}
case $version in
6.12) image=linux-image-6.12-amd64 headers=linux-headers-6.12-amd64 ;;
6.1) image=linux-image-amd64 headers=linux-headers-amd64 ;;
debug) exec "$(dirname "${BASH_SOURCE[0]}")/debug-kernel.sh" ;;
*) die "no kernel $version: it is 6.12, 6.1 or debug" ;;
esac

cache_root=${MICROVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/microvm}
dir=$cache_root/lab-kernel-$version-v1

# The one package that PACKAGE depends on and whose name matches PATTERN.
dependency() {
	apt-cache depends --no-recommends --no-suggests "$1" | sed -n 's/^ *|\?Depends: //p' | grep -m1 -xE "$2"
}

fetch() {
	local work=$1 image_package headers_package common kbuild release
	apt-cache show "$image" >/dev/null 2>&1 || apt-get update -qq >&2
	image_package=$(dependency "$image" 'linux-image-[0-9].*-amd64') || die "apt has no $image: is bookworm-security among its sources?"
	headers_package=$(dependency "$headers" 'linux-headers-[0-9].*-amd64') || die "apt has no $headers"
	common=$(dependency "$headers_package" 'linux-headers-.*-common') || die "$headers_package has no common headers"
	kbuild=$(dependency "$headers_package" 'linux-kbuild-.*') || die "$headers_package has no kbuild"
	release=${image_package#linux-image-}
	echo "lab: getting $image_package and its headers" >&2
	chmod 755 "$work"
	(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$image_package" "$headers_package" "$common" "$kbuild") >&2 ||
		die "the download of $image_package failed: try 'apt-get update'"
	mkdir "$work/result"
	for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
	mv "$work/root/boot/vmlinuz-$release" "$work/result/vmlinuz"
	mkdir -p "$work/result/lib/modules"
	mv "$work/root/lib/modules/$release" "$work/result/lib/modules/"
	rm -f "$work/result/lib/modules/$release"/{build,source}
	depmod -b "$work/result" "$release"
	ln -s "lib/modules/$release" "$work/result/modules"
	mv "$work/root/usr" "$work/result/usr"
	# The headers name each other by where the packages would install them.  BTF is left out, as it would need pahole.
	grep -rlF /usr/src/linux-headers "$work/result/usr/src/linux-headers-$release" --include=Makefile |
		xargs -r sed -i "s|/usr/src/linux-headers|$dir/usr/src/linux-headers|g"
	rm -f "$work/result/usr/src/linux-headers-$release/vmlinux"
	ln -s "usr/src/linux-headers-$release" "$work/result/build"
	echo "$release" >"$work/result/release"
	sync -f "$work/result"
}

if [ ! -s "$dir/release" ]; then
	mkdir -p "$cache_root"
	exec 9>"$cache_root/lab-kernel.lock"
	flock 9
fi
if [ ! -s "$dir/release" ]; then
	work=$(mktemp -d "$cache_root/lab-fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM
	fetch "$work"
	rm -rf "$dir"
	mv "$work/result" "$dir"
fi
echo "$dir"
