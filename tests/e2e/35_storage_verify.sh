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

test_git_on_a_share() { # limit 400 s
	local repo
	scratch_fs 32M
	# As few processes as it takes: each of them is some seconds of an emulated host's.
	cat >"$work/gitconfig" <<-'END'
		[user]
			name = test
			email = t@example.com
		[safe]
			directory = *
		[maintenance]
			auto = false
	END
	cat >"$work/git.sh" <<-'END'
		set -e
		git() { echo "$SECONDS s: git $*" >&2; command git "$@"; }
		export GIT_CONFIG_GLOBAL=/gitconfig
		git init -q -b main /data/repo
		cd /data/repo
		mkdir -p a/b
		for i in 1 2; do
			printf '%s\n' {1..500} $i >a/one
			printf '%s\n' {100..300} $i >a/b/two
			echo $i >file-$i
			ln -sf file-$i link
			git add -A
			git commit -q -m "commit $i"
		done
		git checkout -q -b side HEAD~1
		echo side >side
		git add side
		git commit -q -m side
		git merge -q --no-edit main
		git repack -q -a -d
		git prune-packed -q
		git fsck --full --strict --no-progress
		git clone -q --no-local /data/repo /data/clone
		git status --porcelain
		git rev-list --count HEAD
	END
	# What it says on the way tells how far it came.
	run timeout -k 10 330 microvm run --rm "${tools[@]}" -v "$scratch:/data" -v "$work/git.sh:/git.sh:ro" -v "$work/gitconfig:/gitconfig:ro" "$deb" bash /git.sh
	status_is 0
	out_is 4
	# The host's own view.
	export GIT_CONFIG_GLOBAL=$work/gitconfig
	for repo in repo clone; do
		run git -C "$scratch/$repo" fsck --full --strict --no-progress
		status_is 0
		run git -C "$scratch/$repo" status --porcelain
		status_is 0
		out_is ''
	done
	is "$(ls "$scratch/repo/.git/objects")" $'info\npack' "what was not packed"
	is "$(git -C "$scratch/clone" rev-parse 'HEAD^{tree}')" "$(git -C "$scratch/repo" rev-parse 'side^{tree}')" "the clone's content"
}

# ---- many writers -------------------------------------------------------------------------------------------------

test_eight_writers_in_a_guest() { # limit 300 s
	scratch_fs 32M
	in_bb --cpus 2 -v "$scratch:/data" -v "$tests:/tests:ro" -- /tests/storage-work writers /data 0 8 8 60
	run "$tests/storage-work" written "$scratch" 8 60
	status_is 0
}

test_four_writers_in_each_of_two_guests() { # limit 300 s
	scratch_fs 32M
	microvm run --rm -v "$scratch:/data" -v "$tests:/tests:ro" "$bb" /tests/storage-work writers /data 0 4 8 60 >"$work/first" 2>&1 &
	in_bb -v "$scratch:/data" -v "$tests:/tests:ro" -- /tests/storage-work writers /data 4 4 8 60
	wait $! || { cat "$work/first"; die "the first guest's writers failed"; }
	run "$tests/storage-work" written "$scratch" 8 60
	status_is 0
}

# ---- calls of every kind --------------------------------------------------------------------------------------------

# The file system class of stress-ng: a stressor, the operations that it does at most, and what else it is told. Left out:
#   bind-mount binderfs     mounts, and a driver, that a container hasn't
#   chattr file-ioctl fiemap inode-flags verity    ioctls, of which virtio-fs passes none on
#   fpunch link symlink     no bound makes them short (tests/fs/posix.c has both)
#   io filename             sync(2) of all there is; no name is through within its time
#   dnotify fanotify inotify ioprio procfs eventfd dup     about the guest's kernel, nothing of them is on the share
stressors='access 20
chdir 1 chdir-dirs 64
chmod 5
chown 5
copy-file 1 copy-file-bytes 128m
dentry 60 dentries 60
dir 5 dir-dirs 64
dirdeep 10 dirdeep-dirs 1, dirdeep-inodes 60
dirmany 60
fallocate 1 fallocate-bytes 1m
fcntl 30
flock 50
fsize 1
fstat 5
getdent 20
handle 20
hdd 50 hdd-bytes 1m
iomix 50 iomix-bytes 1m
lease 3
locka 100
lockf 50
lockofd 100
mknod 10
open 50
rename 10
sync-file 1 sync-file-bytes 1m
touch 20
utime 20
xattr 1'

test_stress_on_a_share() { # limit 300 s
	local name ops more
	scratch_fs 160M
	mkdir "$scratch/data"
	printf '%s\n' 'run sequential' 'timeout 1' 'verify' 'temp-path /data' >"$work/jobs"
	while read -r name ops more; do
		printf '%s\n' "$name 1" "$name-ops $ops" "${more//, /$'\n'}" >>"$work/jobs"
	done <<<"$stressors"
	run timeout -k 10 280 microvm run --rm "${tools[@]}" --security-opt seccomp=unconfined -v "$scratch/data:/data" -v "$work/jobs:/jobs:ro" \
		"$deb" stress-ng --job /jobs
	status_is 0
	is "$(ls "$scratch/data")" '' "what is left in the share"
}
