#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the images that tests and demo run: test-images.sh LAYOUT puts an OCI layout with the tags busybox (one static
# program) and debian (a real Debian userland, by mmdebstrap from the machine's own apt sources) there.
set -euo pipefail
export LC_ALL=C SOURCE_DATE_EPOCH=1700000000

layout=$1
die() { echo "images: $*" >&2; exit 1; }
for tool in umoci mmdebstrap busybox tar; do
	command -v "$tool" >/dev/null || die "$tool is missing: run 'make deps'"
done

cache_root=${MICROVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/microvm}
mkdir -p "$cache_root"
key=$({ cat "${BASH_SOURCE[0]}" "$(command -v busybox)"; } | sha256sum | cut -c1-20)
cache=$cache_root/images-$key

pack() { # DIR TAR
	tar -C "$1" --sort=name --mtime=@$SOURCE_DATE_EPOCH --numeric-owner --owner=0 --group=0 -cf "$2" .
}

# image TAG LAYER.tar…, then the options of `umoci config`
new_image() {
	local tag=$1 layer
	shift
	umoci new --image "$oci:$tag"
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		layer=$1
		umoci raw add-layer --image "$oci:$tag" --history.created_by "test image $tag" \
			--history.created 2023-11-14T22:13:20Z "$layer"
		shift
	done
	shift
	umoci config --image "$oci:$tag" --architecture amd64 --os linux --created 2023-11-14T22:13:20Z --no-history "$@"
}

busybox_layer() {
	local dir=$1
	mkdir -p "$dir"/{bin,dev,etc,home,proc,root,run,sys,tmp,usr,var/tmp}
	chmod 1777 "$dir/tmp" "$dir/var/tmp"
	chmod 700 "$dir/root"
	cp "$(command -v busybox)" "$dir/bin/busybox"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$dir/bin/$applet"
	done
	ln -s ../bin "$dir/usr/bin"
	printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'daemon:x:1:1:daemon:/:/bin/false' \
		'app:x:1000:1000:app:/home/app:/bin/sh' 'nobody:x:65534:65534:nobody:/:/bin/false' >"$dir/etc/passwd"
	printf '%s\n' 'root:x:0:' 'daemon:x:1:' 'app:x:1000:' 'users:x:100:app' 'nogroup:x:65534:' >"$dir/etc/group"
	mkdir "$dir/home/app"
}

# The files among apt's that name Debian itself, not what else the machine is subscribed to.
debian_sources() {
	local f
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
		if [ -f "$f" ] && grep -qE '^[^#]*[[:space:]]bookworm([[:space:]]|$)' "$f"; then echo "$f"; fi
	done
}

build() {
	local work=$1 sources
	oci=$work/oci
	umoci init --layout "$oci"
	echo "  IMAGE    busybox"
	busybox_layer "$work/busybox"
	pack "$work/busybox" "$work/busybox.tar"
	new_image busybox "$work/busybox.tar" -- --config.cmd sh \
		--config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

	echo "  IMAGE    debian: mmdebstrap, under a minute"
	mapfile -t sources < <(debian_sources)
	[ ${#sources[@]} -gt 0 ] || die "no file of /etc/apt names the suite bookworm"
	chmod 755 "$work"
	# shellcheck disable=SC2016 # the hooks' own $1
	mmdebstrap --quiet --variant=essential --aptopt='Acquire::Languages "none"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/* "$1"/etc/resolv.conf' \
		--customize-hook='echo debian >"$1"/etc/hostname' \
		bookworm "$work/debian.tar" "${sources[@]}" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "mmdebstrap failed"; }
	new_image debian "$work/debian.tar" -- --config.cmd /bin/bash --config.env LANG=C.UTF-8 \
		--config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --config.stopsignal SIGTERM
	umoci gc --layout "$oci"
	(cd "$oci" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >"$work/SHA256SUMS")
	sync -f "$oci"
}

verified() { [ -f "$cache/SHA256SUMS" ] && (cd "$cache/oci" && sha256sum --quiet --check ../SHA256SUMS >/dev/null 2>&1); }

if ! verified; then
	[ "$(id -u)" = 0 ] || die "making the images needs root"
	exec 9>"$cache_root/images.lock"
	flock 9
fi
if ! verified; then
	work=$(mktemp -d "$cache_root/images-build.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM
	build "$work"
	mkdir "$work/result"
	mv "$work/oci" "$work/SHA256SUMS" "$work/result/"
	rm -rf "$cache"
	mv "$work/result" "$cache"
fi
rm -rf "$layout.$$"
mkdir -p "$(dirname "$layout")"
cp -a "$cache/oci" "$layout.$$"
rm -rf "$layout"
mv "$layout.$$" "$layout"
