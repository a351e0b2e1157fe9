/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three standard streams of a process in a guest, and what they are connected to here: our own stdin, stdout and
 * stderr, a terminal, or a detached container's log. The same for `run` and `exec`.
 */
#ifndef SANDBOX_STDIO_H
#define SANDBOX_STDIO_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/agent.h"
#include "io/loop.h"
#include "io/forward.h"
#include "sandbox/output_log.h"

struct stdio {
	struct loop *loop;
	int fd[3];    /* our ends of the streams; -1: /dev/null over there */
	int local[3]; /* what they are connected to */
	uint64_t token[3];
	struct stdio_dial {
		struct stdio *io;
		struct loop_op op;
	} dial[3];		     /* of stdio_connect */
	char *socket;		     /* likewise */
	struct forward in, out, err; /* stdin to fd[0], fd[1] to stdout, fd[2] to stderr */
	bool in_open, out_open, err_open;
	bool in_held, in_dialed; /* of stdio_connect: waits for stdio_input() */
	bool raw;		 /* our terminal is */
	struct output_log *log;	 /* where a detached one's output goes; NULL otherwise */
	int write_error;	 /* what our stdout or stderr failed with, but -EPIPE; 0: nothing */
	/* A stream has ended. May free the whole when stdio_idle(). NULL: whoever waits looks. */
	void (*changed)(struct stdio *io);
};

struct stdio_options {
	bool interactive, tty;
	bool inherit; /* the terminal is one that was made for it, and raw */
	struct output_log *log;
	bool quiet; /* detached without a log: no streams at all */
	/* Files in place of our stdin, stdout and stderr; they stay the caller's. -1: no such stream. NULL: ours. */
	const int *fds;
	bool hold_input; /* with fds: its first comes later */
};

/* The tty rules of docker: -it wants a terminal as stdin. -ENOTTY. */
int stdio_check(bool interactive, bool tty, bool detach, struct err *e);

/* Connects the streams to the guest whose VMM listens at `socket`; nothing is read or written yet. */
int stdio_open(struct stdio *io, struct loop *loop, const char *socket, const struct stdio_options *o, struct err *e);
/* The message for the agent. */
void stdio_fill(const struct stdio *io, Microvm__Stdio *msg);
/* Bytes flow from here on; the terminal becomes raw if it has to. */
int stdio_start(struct stdio *io, const struct stdio_options *o, struct err *e);
/*
 * Both, without waiting, for fds: each stream flows when the guest has taken it. stdio_fill() is for a request that is sent
 * meanwhile.
 */
int stdio_connect(struct stdio *io, struct loop *loop, const char *socket, const struct stdio_options *o,
		  struct err *e);
/* What was held: the input comes from there; -1: it is over. */
void stdio_input(struct stdio *io, int fd);
/* Asks for the end of all streams; it has come when stdio_idle(). */
void stdio_end(struct stdio *io);
bool stdio_idle(const struct stdio *io);
/* No more input goes in; output still comes. */
void stdio_stop_input(struct stdio *io);
/* All output has been delivered, or can't be any more. */
bool stdio_drained(const struct stdio *io);
/* Ends what is left and frees; the terminal is as before. */
void stdio_close(struct stdio *io);

/*
 * Waiting for the last of the output of a process that has ended. It comes without a pause from a guest that is sound; one
 * that holds a stream open without a byte for DRAIN_STILL_NS is not waited for. A slow reader of ours is.
 */
#define DRAIN_STILL_NS 3000000000ull
struct drain {
	struct stdio *io;
	struct loop_op op;
	uint64_t bytes;
	bool still;
};
void drain_start(struct drain *d, struct stdio *io);
bool drain_over(const struct drain *d);
/* The loop has forgotten d after it. */
void drain_end(struct drain *d);

#endif
