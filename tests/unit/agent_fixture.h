/* SPDX-License-Identifier: Apache-2.0 */
/* The one agent that a test talks to, and short ways to ask it for something. */
#ifndef AGENT_FIXTURE_H
#define AGENT_FIXTURE_H

#include "tests/unit/agent_world.h"

extern struct world w;
extern struct err e; /* of what failed last */

void setup(void);
void teardown(void);

/* A process that is asked for, and our ends of its streams: -1 for those it has not. */
struct run {
	const char *id;
	bool terminal, exec;
	uint64_t tokens[3];
	int fds[3];
};

#define RUN(...)                                               \
	{                                                      \
		.id = "c1", .fds = { -1, -1, -1 }, __VA_ARGS__ \
	}

/* `sh -c script` as r's container, and as one more process of it. 0, or negative errno with e, as all that follow. */
int create(struct run *r, const char *script);
int exec(struct run *r, const char *exec_id, const char *script);
int by_id(int (*call)(struct agent *, const Microvm__ContainerRequest *, Microvm__Empty **, struct err *),
	  const char *id);
int send_signal(const char *id, const char *exec_id, unsigned int sig);
/* The exit status, or negative errno. */
int wait_for(const char *id, const char *exec_id);
/* Opens the streams named by "i", "o", "e". */
void open_streams(struct run *r, const char *which);
/* Streams, container, start: all have to succeed. */
void start(struct run *r, const char *streams, const char *script);
/* All that comes until the end of the stream, up to max bytes; how many came. */
size_t read_all(int fd, char *buf, size_t max);
void expect_text(int fd, const char *text);

#endif
