/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard streams: connections of the host that begin with a token, joined with the pipes or the terminal of the
 * process whose request named the token. What a process writes is carried until its last writer is gone, whether or not
 * the process itself has ended; nothing here ever blocks, and nothing is buffered beyond one chunk a stream.
 */
#ifndef AGENT_STDIO_H
#define AGENT_STDIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"
#include "guest-agent/container.h"
#include "io/loop.h"

#define STDIO_UNCLAIMED_MAX 64u

struct stdio_stream; /* a connection whose process is not known yet */
struct stdio_pump;

struct stdio {
	struct loop *loop;
	uint64_t claim_ns; /* how long either side waits for the other */
	struct stdio_stream *streams;
	unsigned int streams_n;
	struct stdio_pump *waiting; /* that have no connection yet */
};

struct stdio_set; /* the streams of one process */

void stdio_init(struct stdio *s, struct loop *loop);

/* A host's connection; takes ownership of fd. */
void stdio_accepted(struct stdio *s, int fd);

/*
 * Makes the pipes of a process: io->stdio are the child's ends (or /dev/null) afterwards. req may be NULL. -EINVAL for
 * tokens that are claimed already, or that a terminal doesn't have.
 */
int stdio_prepare(struct stdio *s, const Microvm__Stdio *req, bool terminal, struct stdio_set **out,
		  struct container_io *io, struct err *e);
/* The process is there: closes the child's ends, takes io->console_master, carries from now on. */
void stdio_begin(struct stdio_set *set, struct container_io *io);
/* There is no process: closes all. */
void stdio_abandon(struct stdio_set *set, struct container_io *io);

int stdio_resize(struct stdio_set *set, uint32_t rows, uint32_t cols, struct err *e);
/* What the host has sent already is still delivered, then the process reads an end of file. */
void stdio_close_stdin(struct stdio_set *set);
/* The process has ended: its terminal can't be resized any more. */
void stdio_exited(struct stdio_set *set);
/* The set is no longer referred to; streams that are not drained yet go on by themselves. */
void stdio_release(struct stdio_set *set);

/* Inside: claims.c finds a pump for a stream and the other way round. */
struct stdio_pump {
	struct stdio_set *set;
	struct stdio_pump *next_waiting;
	uint64_t token;	   /* 0: not used */
	bool input;	   /* from the host to the process */
	bool active;	   /* not over yet */
	bool closing;	   /* ends when nothing more is there to be read */
	int local, remote; /* pipe or terminal; the host's connection, -1 until it comes */
	uint8_t *left;	   /* what was read but could not be written yet */
	size_t left_len, left_off;
	struct loop_op poll, timer;
};

void stdio_pump_attach(struct stdio_pump *p, int fd);
/* The connection with that token, or -1. It leaves the list of the unclaimed. */
int stdio_claim(struct stdio *s, uint64_t token);
bool stdio_token_waiting(const struct stdio *s, uint64_t token);

#endif
