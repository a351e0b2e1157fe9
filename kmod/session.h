/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session: an open file of /dev/microvm, and what its files share.
 *
 *	main.c		the device and its calls
 *	session.c	life of a session, its thread, what goes up to its owner
 *	vsock.c		the queues: packets from the guest and to it
 *	flow.c		flows: their table, their beginning and end
 *	flow_stream.c	their host streams
 *	message.c	those of messages
 *	balloon.c	pages that the guest gives back
 *	pressure.c	how many of them the host wants
 *	ring.c packet.c	virtqueues; headers and credit (no locks, no session)
 *	pages.c		what the guest names, as ranges of the file that is its memory (the same)
 *
 * Locks. session->lock is a mutex and guards everything but what is said to be somebody else's; the thread holds it for a
 * bounded round of work at a time, in which it may fault pages of the owner's in. session->ready_lock is a spinlock below
 * the locks of wait queues, for what their callbacks touch.
 */
#ifndef MICROVM_SESSION_H
#define MICROVM_SESSION_H

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>

#include "packet.h"
#include "ring.h"
#include "uapi/microvm.h"

#define FLOW_BUCKETS 256u
#define FLOWS_MAX 1024u
#define BUFFER_MIN 4096u	  /* of one flow, and the least that it may have for credit */
#define BUFFERS_MAX (16u << 20)	  /* memory for what waits for slow streams, all flows */
#define EVENTS_MAX 128u		  /* packets that wait for the owner */
#define PACKETS_MAX 256u	  /* of the owner's that wait for buffers */
#define TX_SEGMENTS 32u		  /* of a packet; Linux sends a header and up to 17 fragments */
#define RX_SEGMENTS 4u		  /* of one buffer; Linux gives one or two */
#define RX_BATCH 16u		  /* buffers filled by one read of a stream */
#define RX_PACKET_MAX (64u << 10) /* payload */
#define TX_HOLD           \
	msecs_to_jiffies( \
		4)     /* until the guest gets back what it sent, when there are no other news */
#define TX_BUDGET 256u /* packets of a round */
#define RX_BUDGET 256u
#define TURN_BYTES (64u << 10)

struct session;
struct balloon;

/* An event for the owner; flows have theirs in them, so that an end is never lost. */
struct event {
	struct list_head node;
	struct microvm_event ev;
	struct flow *flow; /* that it is a part of; NULL: one of the session's stock */
};

/* What a flow has to say to the guest, in the order in which that makes sense. Data is before the end of data. */
enum flow_say {
	SAY_CREDIT = 1 << 0,
	SAY_MORE = 1 << 1, /* CREDIT_REQUEST */
	SAY_DATA = 1 << 2, /* its stream is readable */
	SAY_SHUTDOWN = 1 << 3,
};

struct flow {
	struct session *s;
	struct hlist_node hash; /* while the guest can find it */
	struct list_head all;
	struct list_head saying; /* in s->saying while it has something to say */
	struct list_head ready;	 /* in s->ready while its stream has news; ready_lock */
	struct event end;
	u32 guest_port, host_port, turn_bytes;
	u64 cookie;
	struct credit credit;
	u32 closed, peer_closed;
	unsigned int say, batch;
	bool seq;	 /* of messages */
	bool held;	 /* not started yet */
	bool attached;	 /* neither ended nor detached */
	bool reported;	 /* nobody will ask for its end any more */
	bool asked_more; /* CREDIT_REQUEST was sent, no news since */
	bool readable;	 /* since the last read that had nothing, there were news */
	bool write_shut;
	bool ending; /* the end is behind what it has; set without a lock */

	/* The stream; NULL once it is let go. Pipes are opened anew, so that nobody else can make them block. */
	struct file *file;
	struct socket *sock; /* NULL: a pipe */
	wait_queue_head_t *wait_head;
	wait_queue_entry_t wait;
	__poll_t interest; /* which news wake the thread; read without a lock */

	/*
	 * From the guest, not yet taken by the stream: buf[at..at + len). Of messages, these are records, and the last `open`
	 * bytes of them belong to one that has no end yet.
	 */
	u8 *buf;
	u32 size, at, len, open;
	/* A message for the guest, of which out[out_at..out_len) is to be sent. */
	u8 *out;
	u32 out_at, out_len, out_flags;
	u64 to_guest_bytes, from_guest_bytes, to_guest_packets, from_guest_packets;
};

/* An eventfd that wakes the thread. */
struct kick {
	struct session *s;
	struct file *file;
	wait_queue_head_t *head;
	wait_queue_entry_t wait;
	poll_table table;
};

/* Buffers that one read of a stream fills behind their headers. */
struct batch {
	unsigned int n, iov_n, payload_n;
	u32 room[RX_BATCH];
	struct ring_chain chains[RX_BATCH];
	struct iovec iov[RX_BATCH * RX_SEGMENTS];     /* whole buffers */
	struct iovec payload[RX_BATCH * RX_SEGMENTS]; /* without headers, within credit */
};

/* In the list of pressure.c while there is a bell; its lock guards both numbers of pages. */
struct pressure {
	struct list_head node;
	struct eventfd_ctx *bell;
	u64 spare, wanted;
};

struct session {
	struct mutex lock;
	bool ended; /* for good */

	/* Owner, and its thread: set once. */
	struct mm_struct *mm;
	const struct cred *cred;
	fl_owner_t files;
	struct task_struct *owner; /* until the thread has joined its cgroups; the thread's */
	struct mem_map mem;
	struct task_struct *worker;
	unsigned long work; /* bit 0: there is something to do; atomic */

	/* Up. */
	wait_queue_head_t readers;
	struct list_head events, free_events;
	struct event *stock;

	/* vsock */
	bool running;
	u64 guest_cid;
	struct ring rx, tx;
	struct kick rx_kick, tx_kick;
	u32 tx_held; /* descriptors of packets taken that the guest was not shown yet; read without a lock */
	bool tx_due; /* held for long enough; set by the timer, without a lock */
	struct timer_list tx_timer;
	struct eventfd_ctx *rx_call, *tx_call;
	struct virtio_vsock_hdr *packets; /* the owner's, a ring of PACKETS_MAX */
	unsigned int packets_at, packets_n;
	struct iovec tx_iov[TX_SEGMENTS];
	struct batch *batch;

	struct balloon *balloon; /* NULL: none */
	struct pressure pressure;

	/* Flows. */
	struct hlist_head *buckets;
	struct list_head flows, saying;
	spinlock_t ready_lock;
	struct list_head ready;
	u32 flows_n, pending, buffers;
	u64 wakeups, interrupts, to_guest_bytes, from_guest_bytes, to_guest_packets,
		from_guest_packets, events_n, written;
};

/* session.c */
struct session *session_new(void);
void session_free(struct session *s);
/* The owner is gone, or never was: everything is let go of but the session itself. */
void session_end(struct session *s);
int session_set_memory(struct session *s, const struct microvm_memory *memory);
/* Under the lock: 0; -ESHUTDOWN, -ENXIO without memory, -EPERM for others than the owner. */
int session_check_owner(const struct session *s);
/* From anywhere: the thread has something to do. */
void session_wake(struct session *s);
/* Puts an event behind the others. */
void session_tell(struct session *s, struct event *e);
/* A rule of a queue was broken, or guest memory is gone. */
void session_tell_broken(struct session *s, int ret);
/* An event of the stock, or NULL while all of them wait to be read. */
struct event *session_spare_event(struct session *s);
void session_drop_events(struct session *s);
ssize_t session_read(struct file *file, char __user *to, size_t len, loff_t *at);

/* vsock.c; all under the lock */
int vsock_set(struct session *s, const struct microvm_vsock *v);
void vsock_stop(struct session *s);
/* A round of the thread's, which has the owner's memory and credentials. true: there is more to do. */
bool vsock_serve(struct session *s);
/* Not under the lock. */
void vsock_tx_timeout(struct timer_list *timer);
int vsock_write_packet(struct session *s, const struct virtio_vsock_hdr *h);

/* balloon.c; all under the lock */
int balloon_set(struct session *s, const struct microvm_balloon *from);
void balloon_stop(struct session *s);
int balloon_get(const struct session *s, struct microvm_balloon_state *state);
/* A round of the thread's. true: there is more to do. */
bool balloon_serve(struct session *s);

/* pressure.c; what is done to a session under its lock */
int pressure_init(void);
void pressure_exit(void);
int pressure_exchange(struct session *s, struct microvm_pressure *with);
void pressure_end(struct session *s);

/* flow.c; all under the lock */
struct flow *flow_find(struct session *s, u32 guest_port, u32 host_port);
int flow_attach(struct session *s, const struct microvm_flow *from);
int flow_start(struct session *s, const struct microvm_flow_id *id);
int flow_detach(struct session *s, struct microvm_flow *out);
/* The guest knows it no more, and nobody is told. */
void flow_drop(struct flow *f);
void flow_describe(const struct flow *f, struct microvm_flow *out);
/* The guest knows it no more; the owner is told why. */
void flow_end(struct flow *f, enum microvm_flow_end reason);
/* Nobody knows it any more; freed now, or when its stream has taken what is left. */
void flow_forget(struct flow *f);
void flow_free(struct flow *f);
void flow_say(struct flow *f, unsigned int what);
void flow_unsay(struct flow *f, unsigned int what);

/* flow_stream.c; all under the lock */
/* A connected stream socket, or a pipe's writing end, which is opened once more. Negative errno. */
int flow_take_stream(struct flow *f, int fd);
void flow_let_stream_go(struct flow *f);
/* From now on its news wake the thread. */
void flow_listen(struct flow *f);
/* Which of them, as the flow is now. */
void flow_set_interest(struct flow *f);
/* As if there were news; from anywhere. */
void flow_mark_ready(struct flow *f);
/* Serves the streams that have news. */
void flow_serve_ready(struct session *s);
bool flow_reading(const struct flow *f);
/* Payload from the guest, with its packet's flags: 0, or the reason for the flow's end. */
int flow_from_guest(struct flow *f, struct iovec *iov, unsigned int n, u32 len, u32 flags);
/* peer_closed has changed. */
void flow_peer_closed(struct flow *f);
/* Reads into payload segments: bytes, 0 at the end, or negative errno. */
int flow_read(struct flow *f, struct iovec *iov, unsigned int n, size_t len);
/* The stream has reached its end. */
void flow_host_eof(struct flow *f);
void flow_host_gone(struct flow *f);
/* Nothing waits for the stream any more, whether it was taken or not. */
void flow_buffer_free(struct flow *f);
/* The stream has taken len bytes more; the guest is told when it should know. */
void flow_forwarded(struct flow *f, u32 len);

/* message.c; all under the lock */
/* What goes before the payload that is to be kept next, in bytes. */
u32 message_head(const struct flow *f);
/* len bytes, with that head, are behind what the buffer has; flags of their packet. */
void message_kept(struct flow *f, u32 len, u32 flags);
/* The first message in the buffer, and what is before it, in bytes. */
u32 message_next(const struct flow *f, u32 *len, u32 *flags);
/* What has no end will not get one. */
void message_drop_open(struct flow *f);
/* Takes the next message into f->out: 1, 0 at the end, or negative errno; -EMSGSIZE when the guest could not take it. */
int message_read(struct flow *f);
void message_sent(struct flow *f);

#endif
