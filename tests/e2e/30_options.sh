#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Options of `microvm run`: what docker's of the same names mean.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

test_environment() {
	printf '%s\n' '# a comment' '' 'FROM_FILE=yes' 'BOTH=file' 'SPACED=a b  c' 'HOST_ONE' >"$work/env"
	HOST_ONE=host HOST_TWO=two in_bb -e A=1 --env B= -e BOTH=option -e HOST_TWO -e NOT_SET --env-file "$work/env" -- env
	local line
	for line in A=1 B= FROM_FILE=yes BOTH=option 'SPACED=a b  c' HOST_ONE=host HOST_TWO=two HOSTNAME=; do out_has "$line"; done
	out_has_not NOT_SET
	out_has_not comment
	out_has 'PATH=/usr/local/sbin'
}

test_env_file_that_is_not_there() {
	run microvm run --rm --env-file "$work/none" "$bb" true
	refused 125 "$work/none"
}

test_working_directory() {
	in_bb -w /var/tmp -- pwd
	out_is /var/tmp
	in_bb --workdir /made/for/it -- pwd
	out_is /made/for/it
	run microvm run --rm -w relative "$bb" pwd
	refused 125 relative
}

test_user() {
	in_bb -u app -- sh -c 'id -u; id -g; id -Gn'
	out_is $'1000\n1000\napp users'
	in_bb -u app:daemon -- sh -c 'id -u; id -g'
	out_is $'1000\n1'
	in_bb -u 1234:4321 -- sh -c 'id -u; id -g'
	out_is $'1234\n4321'
	in_bb --user 1000 -- sh -c 'echo $HOME; id -u'
	out_is $'/home/app\n1000'
	run microvm run --rm -u nosuchuser "$bb" true
	refused 125 nosuchuser
	run microvm run --rm -u app:nosuchgroup "$bb" true
	refused 125 nosuchgroup
}

test_user_has_no_powers() {
	in_bb -u app -- grep -E '^Cap(Eff|Prm|Amb)' /proc/self/status
	is "$(awk '{ print $2 }' <<<"$out" | sort -u)" 0000000000000000 "capabilities of a user"
}

test_entrypoint() {
	in_bb --entrypoint echo -- one two
	out_is 'one two'
	in_bb --entrypoint /bin/busybox -- printf %s x
	out_is x
}

test_hostname() {
	in_bb --hostname box -- sh -c 'hostname; cat /etc/hostname; grep -c box /etc/hosts'
	out_is $'box\nbox\n1'
	in_bb -- hostname
	[[ $out =~ ^[0-9a-f]{12}$ ]] || die "hostname is '$out', not 12 digits of the id"
}

test_cpus() {
	in_bb --cpus 3 -- nproc
	out_is 3
	in_bb -- nproc
	out_is 1
	in_bb --cpus 0.5 -- cat /sys/fs/cgroup/cpu.max
	out_is '50000 100000'
	run microvm run --rm --cpus 33 "$bb" true
	refused 125 32
	run microvm run --rm --cpus abc "$bb" true
	refused 125 abc
}

test_memory() {
	local kib
	in_bb --memory 128m -- sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo
	kib=$out
	[[ $kib -gt 90000 && $kib -le 131072 ]] || die "128m is $kib KiB in the guest"
	in_bb -m 1g -- sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo
	[ "$out" -gt 900000 ] || die "1g is $out KiB in the guest"
}

test_small_memory_works() {
	in_bb --memory 64m -- echo small
	out_is small
}

test_memory_is_a_limit() { # limit 200 s
	run microvm run --rm --memory 96m "$bb" sh -c 'tail /dev/zero; echo $?'
	[ "$status" = 137 ] || [[ $out == *137* ]] || die "the hog was not killed: status $status, '$out'"
}

test_pids_limit() {
	run microvm run --rm --pids-limit 8 "$bb" sh -c 'cat /sys/fs/cgroup/pids.max; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; wait'
	out_has 8
	err_has fork
}

test_read_only() {
	in_bb --read-only -- sh -c 'touch /x 2>&1; touch /dev/shm/x && echo shm'
	out_has 'Read-only'
	out_has shm
}

test_tmpfs() {
	in_bb --read-only --tmpfs /scratch --tmpfs /run:size=1m,mode=700 -- sh -c '
		touch /scratch/x && grep " /scratch tmpfs" /proc/mounts && stat -c %a /run && df -k /run | tail -n 1'
	out_has ' /scratch tmpfs'
	out_has 700
	out_has 1024
}

test_default_capabilities_are_dockers() {
	in_bb -- sed -n 's/^CapBnd:\t//p' /proc/self/status
	out_is 00000000a80425fb
}

test_capabilities() {
	in_bb --cap-add SYS_TIME -- sed -n 's/^CapEff:\t//p' /proc/self/status
	out_is 00000000aa0425fb
	in_bb --cap-drop ALL -- sed -n 's/^CapEff:\t//p' /proc/self/status
	out_is 0000000000000000
	in_bb --cap-drop all --cap-add net_bind_service -- sed -n 's/^CapEff:\t//p' /proc/self/status
	out_is 0000000000000400
	in_bb --cap-drop CAP_CHOWN -- sh -c 'touch /x; chown 5 /x 2>&1; echo $?'
	out_has 'not permitted'
	run microvm run --rm --cap-add NO_SUCH "$bb" true
	refused 125 NO_SUCH
}

test_security_options() {
	in_bb --security-opt no-new-privileges -- sed -n 's/^NoNewPrivs:\t//p' /proc/self/status
	out_is 1
	in_bb -- sed -n 's/^\(Seccomp\|NoNewPrivs\):\t//p' /proc/self/status
	out_is $'0\n2'
	in_bb --security-opt seccomp=unconfined -- sed -n 's/^Seccomp:\t//p' /proc/self/status
	out_is 0
	echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":71}]}' >"$work/profile"
	run microvm run --rm --security-opt "seccomp=$work/profile" "$bb" mkdir /x
	[ "$status" != 0 ] || die "mkdir went through"
	err_has 'Protocol error'
	run microvm run --rm --security-opt apparmor=x "$bb" true
	refused 125 apparmor
}

test_seccomp_denies_by_default() {
	in_bb -- sh -c 'unshare -U true 2>&1 || echo denied'
	out_has denied
}

test_name() {
	run microvm run --rm --name first "$bb" true
	status_is 0
	run microvm run --rm --name 'a b' "$bb" true
	refused 125 'a b'
	sleeper taken
	run microvm run --rm --name taken "$bb" true
	refused 125 taken
	microvm rm -f taken
}

test_own_kernel() {
	cp "$MICROVM_BUILD/guest/vmlinux" "$work/mykernel"
	in_bb --kernel "$work/mykernel" -- echo booted
	out_is booted
}

test_timeout() {
	local start=$SECONDS
	run microvm run --rm --timeout 6s "$bb" sleep 1000
	status_is 137
	[ $((SECONDS - start)) -lt 60 ] || die "it took $((SECONDS - start)) s"
	err_has 'timeout'
	in_bb --timeout 5m -- true
}

test_no_network_by_default() {
	in_bb -- ls /sys/class/net
	out_is lo
}

test_standard_devices_and_mounts() {
	in_bb -- sh -c 'ls /dev; for m in /proc /sys /dev /dev/pts /dev/shm /dev/mqueue /sys/fs/cgroup; do grep -q " $m " /proc/mounts || echo no $m; done'
	out_has null
	out_has urandom
	out_has_not 'no /'
	in_bb -- sh -c 'for f in /proc/kcore /proc/keys /proc/timer_list; do head -c 1 $f 2>/dev/null; done | wc -c; ls -A /sys/firmware 2>/dev/null | wc -l
		(echo x >/proc/sys/kernel/hostname) 2>&1; true'
	is "$(head -n 2 <<<"$out" | tr '\n' ,)" 0,0, "bytes and files that can be read below masked paths"
	out_has Read-only
}
