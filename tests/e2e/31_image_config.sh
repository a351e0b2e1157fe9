#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What an image says of how it is to be run, and what its layers make of the root file system.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

made() { # JQ-FILTER of the configuration: an image `made` in $dir
	dir=$(own_layout)
	edit_config "$dir" busybox "$1"
}

test_entrypoint_and_cmd() {
	made '.config.Entrypoint = ["/bin/echo", "entry"] | .config.Cmd = ["cmd"]'
	run microvm run --rm "oci:$dir:busybox"
	out_is 'entry cmd'
	run microvm run --rm "oci:$dir:busybox" mine
	out_is 'entry mine'
	run microvm run --rm --entrypoint /bin/cat "oci:$dir:busybox" /etc/hostname
	status_is 0
	[[ $out != *entry* ]] || die "the image's entrypoint was used: $out"
	remove_own
}

test_environment_user_and_directory() {
	made '.config.Env = ["PATH=/bin", "FROM_IMAGE=1", "CHANGED=image"] | .config.User = "app" | .config.WorkingDir = "/home/app"'
	run microvm run --rm -e CHANGED=option "oci:$dir:busybox" sh -c 'echo $FROM_IMAGE $CHANGED $(id -un) $(pwd) $HOME'
	out_is '1 option app /home/app /home/app'
	run microvm run --rm -u root -w / "oci:$dir:busybox" sh -c 'echo $(id -un) $(pwd)'
	out_is 'root /'
	remove_own
}

test_stop_signal() {
	made '.config.StopSignal = "SIGUSR1"'
	run microvm run -d --name stopper "oci:$dir:busybox" sh -c 'trap "echo usr1; exit 4" USR1; echo up; while :; do sleep 0.2; done'
	status_is 0
	until_ok running stopper
	until_ok sh -c 'microvm logs stopper | grep -q up'
	run microvm stop stopper
	status_is 0
	run microvm wait stopper
	out_is 4
	run microvm logs stopper
	out_has usr1
	microvm rm stopper
	remove_own
}

test_layers_are_applied_in_order() {
	local dir
	dir=$(own_layout)
	mkdir -p "$work/a/etc" "$work/a/d/e" "$work/b/etc" "$work/b/d" "$work/c/d"
	echo one >"$work/a/etc/layered"; echo gone >"$work/a/etc/removed"; echo x >"$work/a/d/e/deep"; echo y >"$work/a/d/f"
	echo two >"$work/b/etc/layered"; : >"$work/b/etc/.wh.removed"; : >"$work/b/d/.wh.f"
	: >"$work/c/d/.wh..wh..opq"; echo new >"$work/c/d/new"
	tar -C "$work/a" -cf "$work/a.tar" .
	tar -C "$work/b" -czf "$work/b.tgz" .
	tar -C "$work/c" -cf - . | zstd -q >"$work/c.tzst"
	add_layer "$dir" busybox "$work/a.tar"
	add_layer "$dir" busybox "$work/b.tgz" application/vnd.oci.image.layer.v1.tar+gzip
	add_layer "$dir" busybox "$work/c.tzst" application/vnd.oci.image.layer.v1.tar+zstd
	run microvm run --rm "oci:$dir:busybox" sh -c 'cat /etc/layered; ls /etc/removed 2>/dev/null; ls -A /d; ls /etc/passwd'
	out_is $'two\nnew\n/etc/passwd'
	remove_own
}

test_files_keep_what_they_are() {
	local dir
	dir=$(own_layout)
	mkdir -p "$work/l/sub"
	echo data >"$work/l/file"; ln "$work/l/file" "$work/l/hard"; ln -s ../sub "$work/l/sub/link"
	chown 1000:100 "$work/l/file"; chmod 4751 "$work/l/file"
	mknod "$work/l/node" c 1 3; mkfifo "$work/l/fifo"; touch -d @1234567890 "$work/l/sub/old"
	setfattr -n user.note -v hello "$work/l/sub/old" 2>/dev/null || true
	setcap cap_net_raw+ep "$work/l/hard" 2>/dev/null || true
	tar -C "$work/l" --xattrs --xattrs-include='*' -cf "$work/l.tar" .
	add_layer "$dir" busybox "$work/l.tar"
	run microvm run --rm "oci:$dir:busybox" sh -c 'stat -c "%a %u %g %h" /file /hard; cat /hard; readlink /sub/link; stat -c %F /node /fifo; stat -c %Y /sub/old'
	out_is $'4751 1000 100 2\n4751 1000 100 2\ndata\n../sub\ncharacter special file\nfifo\n1234567890'
	remove_own
}

test_archives() {
	skopeo copy -q "$bb" "oci-archive:$work/oci.tar:busybox"
	run microvm run --rm "oci-archive:$work/oci.tar" echo from oci-archive
	out_is 'from oci-archive'
	skopeo copy -q "$bb" "docker-archive:$work/docker.tar:some/name:tag"
	run microvm run --rm "docker-archive:$work/docker.tar" echo from docker-archive
	out_is 'from docker-archive'
	remove_own
}

test_stored_image_outlives_its_source() {
	local dir
	dir=$(own_layout)
	run microvm run --rm "oci:$dir:busybox" true
	status_is 0
	rm -rf "$dir"
	run microvm run --rm "oci:$dir:busybox" echo still
	# The source is gone: either it runs from the store, or it says what is missing.
	if [ "$status" = 0 ]; then out_is still; else refused 125 "$dir"; fi
	remove_own
}

test_images_and_rmi() {
	local id
	run microvm images
	out_has busybox
	out_has debian
	run microvm images --format json
	jq -es 'length >= 2 and all(.[]; has("ID") and has("Repository") and has("Tag") and has("Size"))' "$work/out" >/dev/null || die "unexpected: $out"
	made '.config.Labels = {"only": "here"}'
	run microvm run --rm "oci:$dir:busybox" true
	id=$(microvm images --format json | jq -r 'select(.Repository | contains("'"$work"'")) | .ID')
	[ -n "$id" ] || die "the new image is not listed"
	run microvm rmi "$id"
	status_is 0
	microvm images --format json | jq -e --arg i "$id" 'select(.ID == $i)' >/dev/null && die "it is still listed"
	run microvm rmi "$id"
	refused 1 "${id:0:10}"
}

test_image_in_use_stays() {
	made '.config.Labels = {"busy": "yes"}'
	run microvm run -d --name user "oci:$dir:busybox" sleep 1000
	until_ok running user
	local id
	id=$(microvm images --format json | jq -r 'select(.Repository | contains("'"$work"'")) | .ID')
	run microvm rmi "$id"
	refused 1 use
	microvm rm -f user
	run microvm rmi "$id"
	status_is 0
}
