#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Images that are not what they say: each is refused with its name, and nothing of it stays in the store.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A store of its own for each test: what another has stored already is not read again.
store=$work/store
export MICROVM_STORE=$store

# spoiled WORD…: $dir's busybox is refused, and no rootfs or name of it is in the store afterwards.
spoiled() {
	run timeout 120 microvm run --rm "oci:$dir:busybox" true
	refused 125 "$@"
	is "$(microvm images --format json)" '' "the store's list after that"
	is "$(find "$store/tmp" -mindepth 1 | wc -l)" 0 "temporary files in the store"
}

digest_of() { jq -r "$1" "$(blob "$dir" "$(manifest_digest "$dir" busybox)")"; }

test_no_such_image() {
	run microvm run --rm oci:/no/such/layout:tag true
	refused 125 /no/such/layout
	run microvm run --rm "oci:$layout:nosuchtag" true
	refused 125 nosuchtag
	run microvm run --rm oci-archive:/no/such.tar true
	refused 125 /no/such.tar
	run microvm run --rm docker-archive:/no/such.tar true
	refused 125 /no/such.tar
	run microvm run --rm nosuchname true
	refused 125 nosuchname
	run microvm run --rm docker://registry.invalid/x true
	refused 125 docker
	run microvm run --rm '' true
	refused 125
	run microvm rmi nosuchname
	refused 1 nosuchname
}

test_layout_that_is_none() {
	mkdir "$work/empty"
	run microvm run --rm "oci:$work/empty:x" true
	refused 125 "$work/empty"
	run microvm run --rm "oci:/etc/passwd:x" true
	refused 125 /etc/passwd
	head -c 100000 /dev/urandom >"$work/noise"
	run microvm run --rm "oci-archive:$work/noise" true
	refused 125 "$work/noise"
	run microvm run --rm "docker-archive:$work/noise" true
	refused 125 "$work/noise"
	dir=$(own_layout)
	echo '{"imageLayoutVersion": "2.0.0"}' >"$dir/oci-layout"
	spoiled 2.0.0
}

test_wrong_digest() {
	dir=$(own_layout)
	local layer file
	layer=$(digest_of '.layers[0].digest')
	file=$(blob "$dir" "$layer")
	# One bit in the middle; the length stays.
	printf '\377' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none
	spoiled digest "${layer:7:12}"
}

test_wrong_digest_of_config_and_manifest() {
	local file
	dir=$(own_layout)
	file=$(blob "$dir" "$(digest_of .config.digest)")
	sed -i 's/amd64/amd46/' "$file"
	spoiled digest
	dir=$(own_layout)
	file=$(blob "$dir" "$(manifest_digest "$dir" busybox)")
	sed -i 's/schemaVersion/schemaversion/' "$file"
	spoiled digest
}

test_truncated_blob() {
	dir=$(own_layout)
	local file
	file=$(blob "$dir" "$(digest_of '.layers[0].digest')")
	truncate -s -1000 "$file"
	spoiled bytes
}

test_missing_blob() {
	dir=$(own_layout)
	local layer
	layer=$(digest_of '.layers[0].digest')
	rm "$(blob "$dir" "$layer")"
	spoiled "${layer:7:12}"
}

test_wrong_length() {
	dir=$(own_layout)
	edit_manifest "$dir" busybox '.layers[0].size += 1'
	spoiled bytes
	dir=$(own_layout)
	edit_manifest "$dir" busybox '.layers[0].size = -1'
	spoiled size
}

test_no_layers() {
	dir=$(own_layout)
	edit_manifest "$dir" busybox '.layers = []'
	edit_config "$dir" busybox '.rootfs.diff_ids = []'
	spoiled layer
}

test_layers_and_diff_ids_differ() {
	dir=$(own_layout)
	edit_config "$dir" busybox '.rootfs.diff_ids += ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]'
	spoiled layer
	dir=$(own_layout)
	edit_config "$dir" busybox '.rootfs.diff_ids[0] = "sha256:0000000000000000000000000000000000000000000000000000000000000000"'
	spoiled diff
}

test_unknown_media_type() {
	dir=$(own_layout)
	edit_manifest "$dir" busybox '.layers[0].mediaType = "application/vnd.example.layer+rar"'
	spoiled application/vnd.example.layer+rar
	dir=$(own_layout)
	edit_manifest "$dir" busybox '.config.mediaType = "application/vnd.example.config"'
	spoiled application/vnd.example.config
}

test_foreign_architecture() {
	dir=$(own_layout)
	edit_config "$dir" busybox '.architecture = "s390x"'
	spoiled s390x
	dir=$(own_layout)
	edit_config "$dir" busybox '.os = "windows"'
	spoiled windows
}

test_digest_that_is_a_path() {
	dir=$(own_layout)
	edit_manifest "$dir" busybox '.layers[0].digest = "sha256:../../../../etc/passwd"'
	spoiled sha256:..
	dir=$(own_layout)
	edit_manifest "$dir" busybox '.layers[0].digest = "md5:d41d8cd98f00b204e9800998ecf8427e"'
	spoiled md5
}

test_json_that_is_none() {
	local manifest
	dir=$(own_layout)
	printf '{"schemaVersion": 2, "config": ' >"$work/m"
	point_tag "$dir" busybox "$work/m"
	spoiled JSON
	head -c 200000 /dev/zero | tr '\0' '[' >"$work/m"
	point_tag "$dir" busybox "$work/m"
	spoiled
	manifest=$(mktemp -p "$work")
	head -c 20000000 /dev/zero | tr '\0' ' ' >"$manifest"
	point_tag "$dir" busybox "$manifest"
	spoiled
	dir=$(own_layout)
	echo nonsense >"$dir/index.json"
	spoiled index.json
}

# bad_tar PERL: a layer of entries written by hand, as no tar program would. The code calls entry(name, type, size, link).
bad_tar() {
	perl -e '
		sub entry {
			my ($name, $type, $data, $link, $mode) = @_;
			$data //= ""; $link //= ""; $mode //= 0644;
			my $h = pack("a100a8a8a8a12a12a8a1a100a6a2a32a32a8a8a155x12", $name, sprintf("%07o", $mode), "0000000", "0000000",
				sprintf("%011o", length $data), "14371573000", "        ", $type, $link, "ustar", "00", "", "", "0000000", "0000000", "");
			substr($h, 148, 8) = sprintf("%06o\0 ", unpack("%32C*", $h));
			print $h, $data, "\0" x (-length($data) % 512);
		}
		'"$1"';
		print "\0" x 1024;' >"$work/bad.tar"
	dir=$(own_layout)
	add_layer "$dir" busybox "$work/bad.tar"
}

nothing_escaped() {
	[[ ! -e /escaped && ! -e /tmp/escaped && ! -e /etc/escaped && ! -e $store/escaped ]] || die "a layer wrote outside of its root"
	! grep -q escaped /etc/passwd || die "a layer changed the host's /etc/passwd"
}

# Such a layer is refused, or what it names lands inside of the image's root; the host's files are never touched.
contained() { # WORD
	run timeout 120 microvm run --rm "oci:$dir:busybox" sh -c 'echo ran'
	nothing_escaped
	if [ "$status" != 0 ]; then refused 125 "$1"; fi
}

test_tar_names_that_climb() {
	bad_tar 'entry("../escaped", "0", "x"); entry("a/../../escaped", "0", "x")'
	contained ..
	bad_tar 'entry("../" x 20 . "tmp/escaped", "0", "x")'
	contained ..
}

test_tar_absolute_names() {
	bad_tar 'entry("/escaped", "0", "x"); entry("//tmp/escaped", "0", "x")'
	contained escaped
}

test_tar_symlinks_that_lead_out() {
	bad_tar 'entry("out", "2", "", "/etc"); entry("out/escaped", "0", "x")'
	contained out
	bad_tar 'entry("up", "2", "", "../../../../../../../tmp"); entry("up/escaped", "0", "x")'
	contained up
	bad_tar 'entry("l", "2", "", "/etc/passwd"); entry("l", "0", "escaped")'
	contained l
}

test_tar_hard_links_that_lead_out() {
	bad_tar 'entry("h", "1", "", "/etc/shadow")'
	contained h
	bad_tar 'entry("h", "1", "", "../../../../etc/passwd"); entry("h", "0", "escaped")'
	contained h
	bad_tar 'entry("s", "2", "", "/etc"); entry("h", "1", "", "s/passwd")'
	contained h
}

test_hard_link_to_the_hosts_shadow_shows_nothing() {
	bad_tar 'entry("h", "1", "", "etc/shadow-of-the-host")'
	contained shadow-of-the-host
}

test_tar_duplicate_names() {
	bad_tar 'entry("twice", "0", "one"); entry("twice", "0", "two"); entry("twice", "5"); entry("twice", "0", "three")'
	run timeout 120 microvm run --rm "oci:$dir:busybox" cat /twice
	if [ "$status" = 0 ]; then out_is three; else refused 125 twice; fi
}

test_tar_that_is_cut_off() {
	dir=$(own_layout)
	tar -C /usr/share/common-licenses -cf "$work/whole.tar" .
	head -c 3000 "$work/whole.tar" >"$work/cut.tar"
	add_layer "$dir" busybox "$work/cut.tar"
	spoiled
}

test_whiteouts_that_climb() {
	bad_tar 'entry("../../.wh.etc", "0"); entry(".wh...", "0"); entry(".wh..", "0"); entry("a/.wh.", "0")'
	contained wh
	[ -d /etc ] || die "the host's /etc is gone"
}

test_zip_bomb() { # limit 600 s
	# A file that says it is 8 GiB, and as many zeros as the store could never hold, in a layer of half a megabyte.
	dir=$(own_layout)
	mkdir "$store.small"
	mount -t tmpfs -o size=300m tmpfs "$store.small"
	perl -e 'my $h = pack("a100a8a8a8a12a12a8a1a100a6a2a32a32a8a8a155x12", "bomb", "0000644", "0000000", "0000000", "77777777777", "14371573000",
		"        ", "0", "", "ustar", "00", "", "", "0000000", "0000000", ""); substr($h, 148, 8) = sprintf("%06o\0 ", unpack("%32C*", $h)); print $h; print "\0" x 1048576 for 1 .. 600' |
		gzip -1 >"$work/bomb.tgz"
	add_layer "$dir" busybox "$work/bomb.tgz" application/vnd.oci.image.layer.v1.tar+gzip
	MICROVM_STORE=$store.small run timeout 500 microvm run --rm "oci:$dir:busybox" true
	local left
	left=$(du -sm "$store.small" | cut -f1)
	umount "$store.small"
	rmdir "$store.small"
	refused 125 limit
	[ "$left" -le 20 ] || die "$left MB stay in the store"
}

test_full_disk() { # limit 300 s
	mkdir "$store.small"
	mount -t tmpfs -o size=1500k tmpfs "$store.small"
	MICROVM_STORE=$store.small run timeout 200 microvm run --rm "$bb" true
	local left
	left=$(find "$store.small" -type f -size +64k | wc -l)
	find "$store.small" -type f | head
	umount "$store.small"
	rmdir "$store.small"
	refused 125 'space'
	[ "$left" = 0 ] || die "$left large files stay in the full store"
}

test_full_disk_that_becomes_free() { # limit 300 s
	mkdir "$store.small"
	mount -t tmpfs -o size=1500k tmpfs "$store.small"
	MICROVM_STORE=$store.small run timeout 200 microvm run --rm "$bb" true
	mount -o remount,size=200m "$store.small"
	MICROVM_STORE=$store.small run timeout 200 microvm run --rm "$bb" echo fine
	umount "$store.small"
	rmdir "$store.small"
	status_is 0
	out_is fine
}
