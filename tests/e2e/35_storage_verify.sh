#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What was written is what is read: programs that check their own data, on shares and disks.
# shellcheck source=tests/e2e/scratch.sh
. "$(dirname "${BASH_SOURCE[0]}")/scratch.sh"

# Jobs of fio: name, engine, block size, direct or not, what it does. One after the other, each with a region of its own in
# each of the disks, or a file in the folder.
fio_jobs() { # DISK… or FOLDER
	local target name engine bs direct rw n=0
	printf '%s\n' '[global]' 'verify=crc32c' 'verify_fatal=1' 'verify_backlog=0' 'iodepth=32' 'size=512k' 'end_fsync=1' 'stonewall' \
		'group_reporting' 'create_on_open=1' 'fallocate=none' 'thread'
	while read -r name engine bs direct rw; do
		for target; do
			printf '[%s]\nioengine=%s\nbs=%s\ndirect=%s\nrw=%s\n' "$name${target////-}" "$engine" "$bs" "$direct" "$rw"
			case $target in
			/dev/*) printf 'filename=%s\noffset=%dk\n' "$target" $((n * 512)) ;;
			*) printf 'filename=%s/%s\n' "$target" "$name" ;;
			esac
		done
		n=$((n + 1))
	done <<-'END'
		aio-4k-direct libaio 4k 1 randwrite
		aio-64k-buffered libaio 64k 0 randwrite
		uring-4k-direct io_uring 4k 1 randrw
		uring-12k-buffered io_uring 12k 0 randwrite
		uring-2k-buffered io_uring 2k 0 write
		uring-256k-direct io_uring 256k 1 write
	END
}

fio_twice() { # JOBS-FILE OPTION…
	local jobs=$1
	shift
	run microvm run --rm "${tools[@]}" -v "$work/jobs:/jobs:ro" --security-opt seccomp=unconfined "$@" "$deb" fio --output-format=terse "/jobs/$jobs"
	status_is 0
	# In another guest, which has none of it in memory.
	run microvm run --rm "${tools[@]}" -v "$work/jobs:/jobs:ro" --security-opt seccomp=unconfined "$@" "$deb" fio --output-format=terse --verify_only "/jobs/$jobs"
	status_is 0
}

test_fio_on_a_share() { # limit 300 s
	mkdir -p "$work/jobs"
	scratch_fs 64M
	fio_jobs /data >"$work/jobs/share"
	fio_twice share -v "$scratch:/data"
}

test_fio_on_disks() { # limit 300 s
	mkdir -p "$work/jobs"
	scratch_fs 64M
	truncate -s 3M "$scratch/plain" "$scratch/direct"
	fio_jobs /dev/vdb /dev/vdc >"$work/jobs/disks"
	fio_twice disks --disk "$scratch/plain" --disk "$scratch/direct:direct"
}

# ---- programs that look after their own files ---------------------------------------------------------------------

sqlite_with() { # JOURNAL-MODE
	local i
	scratch_fs 32M
	run microvm run -d --name database "${tools[@]}" -v "$scratch:/data" "$deb" sleep 1000
	status_is 0
	until_ok running database
	run microvm exec database sqlite3 /data/db "pragma journal_mode=$1; create table t(who, n, filling, unique (who, n));"
	out_is "$1"
	# Each a process of its own, and a transaction for each row.
	for i in 1 2 3; do
		microvm exec database bash -c "for n in {1..8}; do echo \"insert into t values ($i, \$n, randomblob(3000));\"; done |
			sqlite3 -bail -cmd '.timeout 120000' /data/db" >"$work/writer.$i" 2>&1 &
	done
	for i in 1 2 3; do wait -n || { cat "$work"/writer.*; die "a writer failed"; }; done
	run microvm exec database sqlite3 /data/db 'pragma integrity_check; select count(*), count(distinct who), sum(length(filling)) from t;'
	out_is $'ok\n24|3|72000'
	run microvm rm -f database
	# The host's own view.
	run sqlite3 "$scratch/db" 'pragma integrity_check; select count(*) from t;'
	out_is $'ok\n24'
}

test_sqlite_with_a_journal() { sqlite_with delete; } # limit 300 s
test_sqlite_with_a_wal() { sqlite_with wal; } # limit 300 s
