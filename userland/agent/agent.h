/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed calls to a guest's agent (guest-agent/agent.proto) and the streams that go with them. Every method of the
 * service has two functions here, made from one table:
 *
 *   int agent_create_container(struct agent *a, const Microvm__CreateContainerRequest *req,
 *                              Microvm__ProcessReply **reply, struct err *e);
 *   void agent_create_container_async(struct agent *a, const Microvm__CreateContainerRequest *req,
 *                                     agent_done_fn done, void *arg);
 *
 * The first runs the loop until the answer is there (so it is not for use inside a done() of that loop). *reply is freed
 * with agent_reply_free(); reply may be NULL. The second calls done() once: with the reply, which is freed after done()
 * returns, or with NULL and an error. Errors of the guest keep its message and the errno that its code stands for
 * (rpc/ttrpc.h); they come from a guest, so only printable text arrives.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdint.h>

#include "base/err.h"
#include "base/guest.h"
#include "guest-agent/agent.pb-c.h"
#include "io/loop.h"

/*
 * In the order of agent.proto: function, request, reply, seconds to wait (0: as long as it takes). create_sandbox is asked before the
 * guest is up: its limit is the boot's, which its caller counts.
 */
#define AGENT_METHODS(X)                                               \
	X(create_sandbox, CreateSandboxRequest, GuestDetails, 0)       \
	X(destroy_sandbox, Empty, Empty, 60)                           \
	X(set_time, SetTimeRequest, Empty, 60)                         \
	X(add_entropy, AddEntropyRequest, Empty, 60)                   \
	X(get_details, Empty, GuestDetails, 60)                        \
	X(set_online_cpus, SetOnlineCpusRequest, Empty, 60)            \
	X(create_container, CreateContainerRequest, ProcessReply, 120) \
	X(start_container, ContainerRequest, Empty, 120)               \
	X(exec_process, ExecRequest, ProcessReply, 60)                 \
	X(signal_process, SignalRequest, Empty, 15)                    \
	X(wait_process, ProcessRequest, WaitReply, 0)                  \
	X(resize_tty, ResizeRequest, Empty, 60)                        \
	X(close_stdin, ProcessRequest, Empty, 60)                      \
	X(pause_container, ContainerRequest, Empty, 60)                \
	X(resume_container, ContainerRequest, Empty, 60)               \
	X(update_container, UpdateRequest, Empty, 60)                  \
	X(stats_container, ContainerRequest, Stats, 60)                \
	X(list_processes, ContainerRequest, ProcessList, 60)           \
	X(remove_container, ContainerRequest, Empty, 120)              \
	X(next_event, Empty, Event, 0)

struct agent;

typedef void (*agent_done_fn)(const ProtobufCMessage *reply, const struct err *e, void *arg);

struct agent_config {
	/* The stream ended (0) or broke (negative errno); calls that were open have failed before. May be NULL. */
	void (*closed)(struct agent *a, int reason, void *arg);
	void *arg;
};

/*
 * Speaks to the agent over fd: the control stream (the host's end of what the guest's port GUEST_CONTROL_PORT leads to;
 * requests may be sent before the guest is up), or what agent_connect_unix() gave. Takes ownership of fd on success.
 */
int agent_new(struct agent **out, struct loop *loop, int fd, const struct agent_config *config);
/* Open calls fail with -ECANCELED first. Safe from within callbacks. */
void agent_free(struct agent *a);

void agent_reply_free(void *reply);

#define AGENT_DECLARE(fn, Request, Reply, timeout_s)                                                             \
	int agent_##fn(struct agent *a, const Microvm__##Request *req, Microvm__##Reply **reply, struct err *e); \
	void agent_##fn##_async(struct agent *a, const Microvm__##Request *req, agent_done_fn done, void *arg);
AGENT_METHODS(AGENT_DECLARE)
#undef AGENT_DECLARE

/* ---- streams: the VMM's Unix socket, one per sandbox -------------------------------------------- */

/*
 * Connects to a port of the guest through the VMM's socket at path ("CONNECT <port>\n", answered by "OK …\n"). Returns
 * the connected fd (close-on-exec, blocking). -ECONNREFUSED if nobody listens there or the sandbox is gone, -ENOENT if
 * the socket isn't there, -ETIMEDOUT when timeout_ms have passed. path may be longer than sun_path allows.
 *
 * Where a link of AGENT_CID_LINK and a number is at path, the guest is behind vhost-vsock and has that CID: the stream is a
 * socket of AF_VSOCK then, of a port that only root can have (GUEST_RESERVED_PORTS).
 */
#define AGENT_CID_LINK "cid:"
int agent_connect_unix(const char *path, uint32_t port, unsigned int timeout_ms, struct err *e);

/* A random token for one standard stream; never 0. */
uint64_t agent_stdio_token(void);

/*
 * Opens n standard streams at once (n at most 3): fds[i] is connected for tokens[i], or -1 where that is 0. Name the
 * tokens in a CreateContainer or Exec request within GUEST_STDIO_CLAIM_S. On failure all are closed.
 */
int agent_stdio_open(const char *path, const uint64_t *tokens, int *fds, unsigned int n, unsigned int timeout_ms,
		     struct err *e);
/*
 * Its halves, for who can't wait: an fd that becomes readable when the guest has answered; then the rest of it, which waits
 * until deadline_ns (monotonic; 0: not at all).
 */
int agent_stdio_dial(const char *path, struct err *e);
int agent_stdio_finish(int fd, const char *path, uint64_t token, uint64_t deadline_ns, struct err *e);
/* Likewise, a connection to a TCP port of the guest's loopback. That nobody listens there shows as its end. */
int agent_tcp_dial(const char *path, struct err *e);
int agent_tcp_finish(int fd, const char *path, uint16_t port, uint64_t deadline_ns, struct err *e);

#endif
