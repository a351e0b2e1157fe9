#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Locks of files in what sandboxes and the host share: one holds them, all others see that, and whoever waits can be ended.
# shellcheck source=tests/e2e/scratch.sh
. "$(dirname "${BASH_SOURCE[0]}")/scratch.sh"

volume=$store/volumes/locked/_data

# What Python has no flock(1) for: `python3 lock.py WHAT FILE`.
make_program() {
	cat >"$work/lock.py" <<-'END'
		import fcntl, os, signal, struct, sys, time

		what, path = sys.argv[1:]
		fd = os.open(path, os.O_RDWR | os.O_CREAT)

		def free():  # for another process
		    pid = os.fork()
		    if not pid:
		        try:
		            fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
		        except BlockingIOError:
		            os._exit(1)
		        os._exit(0)
		    return os.waitpid(pid, 0)[1] == 0

		def alarm(*_):
		    signal.setitimer(signal.ITIMER_REAL, 0)
		    raise TimeoutError

		if what == "hold":  # both kinds
		    fcntl.flock(fd, fcntl.LOCK_EX)
		    fcntl.lockf(fd, fcntl.LOCK_EX)
		    print("held", flush=True)
		    time.sleep(1000)
		elif what == "try":
		    try:
		        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
		        print("mine")
		    except BlockingIOError:
		        print("taken")
		elif what == "wait":
		    fcntl.lockf(fd, fcntl.LOCK_EX)
		elif what == "interrupts":  # at any moment of a request's life
		    signal.signal(signal.SIGALRM, alarm)
		    ended = 0
		    for i in range(60):
		        try:
		            # Again and again, as the first may come before the call, which knows nothing of it.
		            signal.setitimer(signal.ITIMER_REAL, 0.0005 + i % 20 * 0.0005, 0.05)
		            [fcntl.lockf, fcntl.flock][i % 2](fd, fcntl.LOCK_EX)
		        except TimeoutError:
		            ended += 1
		    print("ended", ended)
		elif what == "count":  # what another one wrote under the lock is seen, however much of the file is in memory
		    for i in range(25):
		        fcntl.lockf(fd, fcntl.LOCK_EX)
		        n = int(os.pread(fd, 9, 0) or 0)
		        os.pwrite(fd, b"%05d" % (n + 1), 0)
		        fcntl.lockf(fd, fcntl.LOCK_UN)
		elif what == "ends":
		    fcntl.lockf(fd, fcntl.LOCK_EX)
		    print(free(), end=" ")
		    os.close(os.open(path, os.O_RDONLY))  # POSIX: any close ends all of the process's locks
		    print(free(), end=" ")
		    # An open file's own end with the last descriptor of it, and not before.
		    own = os.open(path, os.O_RDWR)
		    fcntl.fcntl(own, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))  # F_OFD_SETLK
		    os.close(os.open(path, os.O_RDONLY))
		    print(free(), end=" ")
		    os.close(own)
		    print(free())
	END
}

locker() { # NAME COMMAND…
	local name=$1
	shift
	run microvm run -d --name "$name" "${tools[@]}" -v locked:/data -v "$work/lock.py:/lock.py:ro" "$deb" "$@"
	status_is 0
	until_ok running "$name"
}

in_other() { run timeout 60 microvm exec other "$@"; }

test_locks_between_sandboxes() { # limit 300 s
	local host
	make_program
	locker other sleep 1000
	in_other python3 /lock.py ends /data/file
	out_is 'False True False True'
	locker holder python3 /lock.py hold /data/file
	until_ok eval 'microvm logs holder | grep -q held'
	microvm exec holder python3 /lock.py count /data/count &
	in_other python3 /lock.py count /data/count
	wait $! || die "counting failed"
	is "$(cat "$volume/count")" 00050 "what two sandboxes counted to"
	in_other flock -n /data/file true
	status_is 1
	in_other flock -w 1 /data/file true
	status_is 1
	in_other python3 /lock.py try /data/file
	out_is taken
	! flock -n "$volume/file" true || die "the host does not see the lock"
	# Whoever waits ends by any signal, and at once.
	in_other timeout -s TERM 1 flock /data/file true
	status_is 124
	in_other timeout -s KILL 1 python3 /lock.py wait /data/file
	status_is 137
	in_other python3 /lock.py interrupts /data/file
	out_is 'ended 60'
	# What a dead sandbox held is free.
	kill -9 "$(inspect holder .Sandbox.VmmPid)"
	in_other flock -w 50 /data/file python3 /lock.py wait /data/file
	status_is 0
	# A process of the host's holds as well as another sandbox does.
	flock --no-fork "$volume/file" sleep 1000 &
	host=$!
	until_ok eval '! flock -n "$volume/file" true'
	in_other flock -n /data/file true
	status_is 1
	kill "$host"
	in_other flock -w 50 /data/file true
	status_is 0
	wait "$host" || true
	run microvm rm -f holder other
	run microvm volume rm locked
	status_is 0
}
