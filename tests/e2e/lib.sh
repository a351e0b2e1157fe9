#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the end-to-end tests share: how a command is run and looked at, what may be left over (nothing), images.
# A test is a function test_NAME of a file NN_TOPIC.sh, run by `one` in a shell of its own with errors fatal; `# limit N s`
# behind its opening brace changes its time limit, `# both paths` has it run with and without the kernel's module. It says why it fails with `die`, and may end with `skip WHY`.
# shellcheck disable=SC2034 # much of this is for the tests

: "${MICROVM_BUILD:?the build folder}"
export PATH="$MICROVM_BUILD/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" LC_ALL=C.UTF-8

layout=$MICROVM_BUILD/images
bb=oci:$layout:busybox deb=oci:$layout:debian
state=${MICROVM_STATE:-/run/microvm} store=${MICROVM_STORE:-/var/lib/microvm}
work=/run/e2e/work log=/run/e2e/log snap=/run/e2e/snap

# ---- saying ------------------------------------------------------------------------------------------------

die() { echo "E: $*"; exit 1; }
skip() { echo "$*"; exit 77; }

# ---- running: `run COMMAND…` leaves $status, $out, $err (texts, without last newlines) and $work/out, $work/err ----------

run() {
	status=0
	"$@" >"$work/out" 2>"$work/err" || status=$?
	out=$(tr -d '\0' <"$work/out") err=$(tr -d '\0' <"$work/err")
	echo "+ $(printf '%q ' "$@" | cut -c1-300)-> $status"
	if [ -s "$work/out" ]; then head -c 2000 "$work/out" | sed 's/^/  out: /'; echo; fi
	if [ -s "$work/err" ]; then head -c 2000 "$work/err" | sed 's/^/  err: /'; echo; fi
}

# Runs a command in a new container of the busybox image, which must succeed: `in_bb [OPTION…] -- COMMAND…`
in_bb() {
	local options=()
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	run microvm run --rm "${options[@]}" "$bb" "$@"
	status_is 0
}

status_is() { [ "$status" = "$1" ] || die "exit status is $status, not $1${err:+: ${err:0:300}}"; }
out_is() { [ "$out" = "$1" ] || die "stdout is '${out:0:300}', not '$1'"; }
err_is() { [ "$err" = "$1" ] || die "stderr is '${err:0:300}', not '$1'"; }
out_has() { [[ $out == *"$1"* ]] || die "stdout has no '$1': '${out:0:300}'"; }
out_has_not() { [[ $out != *"$1"* ]] || die "stdout has '$1': '${out:0:300}'"; }
err_has() { [[ ${err,,} == *"${1,,}"* ]] || die "stderr has no '$1': '${err:0:400}'"; }
is() { [ "$1" = "$2" ] || die "${3:-value} is '${1:0:300}', not '$2'"; }
# A clean refusal: that status, one line of error that names each WORD, nothing on stdout.
refused() { # STATUS WORD…
	local word lines
	status_is "$1"
	shift
	[ -z "$out" ] || die "an error, but stdout has '${out:0:200}'"
	[ -n "$err" ] || die "it failed without a word"
	lines=$(grep -c . <<<"$err")
	[ "$lines" -le 2 ] || die "the error has $lines lines: ${err:0:400}"
	[ "${#err}" -le 1300 ] || die "the error has ${#err} characters"
	for word in "$@"; do err_has "$word"; done
}

# Waits (bounded by the test's own limit, at most 60 s) until a command succeeds.
until_ok() {
	local i
	for ((i = 0; i < 600; i++)); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.1
	done
	die "never came true: $*"
}

# Slurped, as jq finds no fault with an empty input.
running() { microvm ps --format json | jq -es --arg n "$1" 'any(.Names == $n and .State == "running")' >/dev/null; }
inspect() { microvm inspect "$1" | jq -r "if type == \"array\" then .[0] else . end | $2"; }
no_vmm() { ! pgrep -x microvm-vmm; }
vmm_pid() { pgrep -x microvm-vmm | head -n 1 || true; }

# A detached container that sleeps: `sleeper NAME [OPTION…]`
sleeper() {
	local name=$1
	shift
	run microvm run -d --name "$name" "$@" "$bb" sleep 1000
	status_is 0
	until_ok running "$name"
}

# ---- what may be left over: nothing ---------------------------------------------------------------------------

# Each line says what it is. It is looked at twice a test at least, and starting a program costs an emulated host much more
# than the same work in the shell.
snapshot() (
	shopt -s nullglob dotglob globstar
	{
		for f in /proc/[0-9]*/comm; do
			# Whoever has ended since is not there.
			{ read -r name <"$f"; } 2>/dev/null || continue
			case $name in
			microvm | microvm-runtime | microvm-vmm | microvm-fsd | microvm-import | mkfs.erofs | containerd | containerd-shim) echo "process ${f//[!0-9]/} $name" ;;
			esac
		done
		while read -r _ _ _ _ at _ rest; do
			rest=${rest#*- }
			echo "mount $at ${rest%% *}"
		done </proc/self/mountinfo
		while read -r _ _ _ _ _ _ _ path; do
			if [[ $path == *microvm* ]]; then echo "socket $path"; fi
		done </proc/net/unix
		for f in /sys/block/loop*/loop/backing_file; do
			{ read -r name <"$f"; } 2>/dev/null && echo "loop device $f $name"
		done
		for f in /dev/mapper/*; do [ "$f" = /dev/mapper/control ] || echo "device mapper $f"; done
		for f in /sys/fs/cgroup/**/; do echo "cgroup $f"; done
		for f in "$state"/*/* "$state"/*/*/**; do echo "state $f"; done
		for f in "$store"/tmp/* /tmp/* /var/tmp/* /dev/shm/*; do echo "temporary file $f"; done
		find /run -xdev -mindepth 1 \( -path /run/e2e -o -path "$state" \) -prune -o -printf 'temporary file %p\n' 2>/dev/null
	} | sort -u
)

# Ends of processes that nobody waits for take their moment; what is there after 10 s stays. A look takes its own time.
settled() {
	local end=$((SECONDS + 10))
	while snapshot >"$snap.after"; ! cmp -s "$1" "$snap.after"; do
		if [ $SECONDS -ge $end ]; then
			diff "$1" "$snap.after" | grep '^[<>]'
			return 1
		fi
		sleep 0.2
	done
}

# After a test that left something, so that the next one starts clean.
clean_up() {
	local name
	for name in containerd containerd-shim microvm microvm-runtime microvm-vmm microvm-fsd microvm-import mkfs.erofs; do pkill -9 -x $name || true; done
	sleep 0.5
	microvm ps -a >/dev/null 2>&1 || true
	rm -rf "${state:?}"/*
	rm -rf "${store:?}"/tmp/*
	# A test that ran into its limit may have had no time for its own devices.
	awk -v below="$work/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r -n 1 umount
	dmsetup remove --retry scratch 2>/dev/null || true
	losetup --noheadings --output NAME,BACK-FILE 2>/dev/null | awk -v below="$work/" 'index($2, below) == 1 { print $1 }' |
		xargs -r -n 1 losetup -d
}

# Once a lab: the store filled with both images, so that what the tests leave can be told from what a first run makes. The
# machine has imported them already (tests/e2e/run); only a copy is left to make.
prepare() {
	# The machine's own /tmp shines through into the lab, and changes; the checkout and the build folder may be in it.
	if [ -d /run/lab ]; then
		local top
		top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
		mkdir -p /run/lab/top /run/lab/build
		mount --bind "$top" /run/lab/top
		mount --bind "$MICROVM_BUILD" /run/lab/build
		mount -t tmpfs -o mode=1777 tmpfs /tmp
		mount -t tmpfs -o mode=1777 tmpfs /var/tmp
		mkdir -p "$top"
		mount --bind /run/lab/top "$top"
		mkdir -p "$MICROVM_BUILD"
		mount --bind /run/lab/build "$MICROVM_BUILD"
	fi
	mkdir -p "$work"
	mkdir -p "$store"
	if [ -d "$MICROVM_BUILD/e2e/store" ]; then cp -a "$MICROVM_BUILD/e2e/store/." "$store/"; fi
	microvm run --rm "$bb" true >"$log" 2>&1 || { tail -n 20 "$log"; echo "the first run failed"; }
}

# Takes away the names that a test's own layouts and archives have in the store, and what only they name.
remove_own() {
	local name
	while read -r name; do
		microvm rmi "$name" >/dev/null
	done < <(microvm images --format json | jq -r --arg w "$work" 'select(.Repository | contains($w)) |
		.Repository + (if .Tag == "<none>" then "" else ":" + .Tag end)')
}

# ---- images made by tests ---------------------------------------------------------------------------------------

# A layout of its own with the busybox image alone, which a test may spoil; prints its path.
own_layout() {
	local dir=$work/layout manifest digest
	rm -rf "$dir"
	mkdir -p "$dir/blobs/sha256"
	cp "$layout/oci-layout" "$dir/"
	jq -c '.manifests |= map(select(.annotations["org.opencontainers.image.ref.name"] == "busybox"))' "$layout/index.json" >"$dir/index.json"
	manifest=$(manifest_digest "$dir" busybox)
	for digest in "$manifest" $(jq -r '.config.digest, .layers[].digest' "$(blob "$layout" "$manifest")"); do
		cp "$(blob "$layout" "$digest")" "$(blob "$dir" "$digest")"
	done
	echo "$dir"
}
blob() { echo "$1/blobs/${2/://}"; } # LAYOUT DIGEST
manifest_digest() { jq -r --arg t "$2" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $t) | .digest' "$1/index.json"; }

# put_blob LAYOUT FILE: moves the file in under its digest, which it prints.
put_blob() {
	local digest
	digest=$(sha256sum "$2" | cut -d' ' -f1)
	mv "$2" "$1/blobs/sha256/$digest"
	echo "sha256:$digest"
}

# edit_manifest LAYOUT TAG JQ-FILTER: the tag then names the edited manifest, all digests right.
edit_manifest() {
	local dir=$1 tag=$2 filter=$3 old
	old=$(manifest_digest "$dir" "$tag")
	jq -c "$filter" "$(blob "$dir" "$old")" >"$work/manifest"
	point_tag "$dir" "$tag" "$work/manifest"
}

# point_tag LAYOUT TAG MANIFEST-FILE
point_tag() {
	local size digest
	size=$(stat -c %s "$3")
	digest=$(put_blob "$1" "$3")
	jq -c --arg t "$2" --arg d "$digest" --argjson s "$size" '.manifests |= map(if .annotations["org.opencontainers.image.ref.name"] == $t
		then .digest = $d | .size = $s else . end)' "$1/index.json" >"$1/index.new"
	mv "$1/index.new" "$1/index.json"
}

# edit_config LAYOUT TAG JQ-FILTER: the image's configuration.
edit_config() {
	local dir=$1 tag=$2 old config size digest
	old=$(manifest_digest "$dir" "$tag")
	config=$(jq -r .config.digest "$(blob "$dir" "$old")")
	jq -c "$3" "$(blob "$dir" "$config")" >"$work/config"
	size=$(stat -c %s "$work/config")
	digest=$(put_blob "$dir" "$work/config")
	edit_manifest "$dir" "$tag" ".config.digest = \"$digest\" | .config.size = $size"
}

# add_layer LAYOUT TAG TAR [MEDIA-TYPE]: one more layer on top, plain unless its media type says otherwise.
add_layer() {
	local dir=$1 tag=$2 tar=$3 type=${4:-application/vnd.oci.image.layer.v1.tar} size digest diff
	case $type in
	*gzip) diff=$(gzip -dc "$tar" | sha256sum | cut -d' ' -f1) ;;
	*zstd) diff=$(zstd -qdc "$tar" | sha256sum | cut -d' ' -f1) ;;
	*) diff=$(sha256sum "$tar" | cut -d' ' -f1) ;;
	esac
	size=$(stat -c %s "$tar")
	digest=$(put_blob "$dir" "$tar")
	edit_config "$dir" "$tag" ".rootfs.diff_ids += [\"sha256:$diff\"]"
	edit_manifest "$dir" "$tag" ".layers += [{mediaType: \"$type\", digest: \"$digest\", size: $size}]"
}
