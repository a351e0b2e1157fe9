/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock in userspace: what its files share. All in the io thread.
 *
 *   vsock.c       the device: packets from the guest
 *   vsock_rx.c    packets to the guest: who has something to say, and the buffers it goes into
 *   vsock_flow.c  connections: their table, their beginning and end
 *   vsock_host.c  the host's end of them: a Unix socket each
 *   vsock_vhost.c   another device, for comparison: all of it is the kernel's vhost-vsock's
 *   vsock_seq.c   the same for sockets of messages (SOCK_SEQPACKET)
 *   vsock_module.c  the same device with the kernel's module between: it has the queues, and the sockets of open flows
 *
 * The sockets stand in one epoll set, and the loop waits for that. In the loop's own table of files they could not be
 * closed: a file that is taken out of it stays open until all requests that are older than that have ended, and a queue's
 * eventfd may be waited for as long as the guest lives (Linux before 6.13).
 *
 * A flow never reads more from its socket than the guest has credit and buffers for, and never holds more from the
 * guest than the credit we gave (VSOCK_BUF_ALLOC), so each side's slowness reaches the other and memory is bounded.
 */
#ifndef VIRTIO_VSOCK_H
#define VIRTIO_VSOCK_H

#include "virtio/devices.h"
#include "virtio/vsock_packet.h"

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

#define VSOCK_RX_QUEUE_SIZE 32u /* our guest kernel's buffers are of 16 KiB */
#define VSOCK_TX_QUEUE_SIZE 128u
#define VSOCK_EVENT_QUEUE_SIZE 8u
#define VSOCK_SEGMENTS 32u		  /* of one packet; Linux sends a header and up to 17 fragments */
#define VSOCK_FLOWS_MAX 768u		  /* below JAIL_FDS, the files that the VMM may have open */
#define VSOCK_BUF_ALLOC (256u << 10)	  /* credit of a flow; memory is taken only when its socket is slow */
#define VSOCK_SEQ_BUF_ALLOC (128u << 10)  /* of a flow of messages */
#define VSOCK_BUFFERED_MAX (16u << 20)	  /* of all flows together; a flow that needs more is reset */
#define VSOCK_FIRST_HOST_PORT 0x40000000u /* of connections from the host; well above any port of a vmspec */
#define VSOCK_BUCKETS 64u
#define VSOCK_RESETS_MAX 64u		      /* answers to packets of no flow that wait for buffers */
#define VSOCK_LINE_MAX 32u		      /* "CONNECT 4294967295\n" and some */
#define VSOCK_TIMEOUT_NS (10ull * 1000000000) /* for the CONNECT line, the guest's answer, and its last RST */

enum vsock_state {
	VSOCK_HELLO,   /* the host's client has not said CONNECT yet */
	VSOCK_WAITING, /* it has, the guest's driver is not there yet */
	VSOCK_ASKED,   /* REQUEST goes to the guest, or has gone */
	VSOCK_OPEN,
	VSOCK_DRAINING, /* over for the guest; what it sent still goes to the socket */
	VSOCK_DEAD,	/* its socket is closed; freed as soon as nothing points to it */
};

/* What a flow has to say to the guest. */
enum vsock_say {
	VSOCK_SAY_REQUEST = 1 << 0,
	VSOCK_SAY_RESPONSE = 1 << 1,
	VSOCK_SAY_RST = 1 << 2,	     /* the flow ends with it */
	VSOCK_SAY_SHUTDOWN = 1 << 3, /* with the flags in `closed` */
	VSOCK_SAY_CREDIT = 1 << 4,
	VSOCK_SAY_MORE = 1 << 5, /* CREDIT_REQUEST */
	VSOCK_SAY_DATA = 1 << 6, /* its socket is readable */
};

struct vsock_flow {
	struct vsock *v;
	struct vsock_flow *hash_next;
	struct vsock_flow *next, *prev;		/* among all flows, or the dead */
	struct vsock_flow *say_next, *say_prev; /* among those that have something to say; NULL: not there */
	enum vsock_state state;
	unsigned int say;
	int fd;
	uint32_t guest_port, host_port;
	uint32_t closed;      /* VIRTIO_VSOCK_SHUTDOWN_*: what the host does no more */
	uint32_t peer_closed; /* what the guest does no more */
	struct vsock_credit credit;
	bool asked_more; /* CREDIT_REQUEST was sent, no news since */
	bool write_shut; /* shutdown(fd, SHUT_WR) is done */
	bool readable;	 /* since recvmsg had nothing, there were news */
	bool ending;	 /* the end is behind what it has */
	bool hung_up;	 /* it neither reads nor writes any more */
	bool in_module;	 /* the module has its payload */
	uint64_t cookie; /* by which the module names it */
	uint8_t batch;	 /* buffers worth filling with one recvmsg */

	struct loop_op timer;
	uint8_t *buf; /* from the guest, not yet taken by the socket: buf[at..at+len) */
	uint32_t buf_size, buf_at, buf_len;
	/* Messages only (vsock_seq.c). In buf are records then, of which the last open_bytes belong to one without its end. */
	bool seq;
	uint32_t open_bytes;
	uint8_t *out; /* a message for the guest: out[out_at..out_len) is still to be sent */
	uint32_t out_at, out_len, out_flags;
	uint8_t line_len;
	char line[VSOCK_LINE_MAX];
};

/* Where clients connect: one for streams, one for messages. */
struct vsock_listener {
	struct vsock *v;
	int fd;
	bool seq;
	struct loop_op accept, pause;
};

/* An RST that waits for a buffer. */
struct vsock_reset {
	uint16_t type;
	uint32_t guest_port, host_port;
	uint64_t host_cid;
};

struct vsock {
	struct virtio_device dev;
	uint64_t guest_cid;
	struct vsock_listener listeners[2];
	int epoll_fd;			      /* of all flows' sockets */
	int module_fd;			      /* -1: we serve the queues */
	bool module_has_memory, module_waits; /* waits: it took no more packets */
	uint64_t next_cookie;
	uint32_t ports_n;
	struct vmspec_port ports[VMSPEC_PORTS_MAX];
	bool port_seq[VMSPEC_PORTS_MAX]; /* a seqpacket socket */
	bool active, was_active, tell_reset, ending, tx_waits;

	struct loop_op epoll_op, reap_op, pump_op;
	uint32_t next_port; /* for connections from the host */
	unsigned int flows_n;
	uint32_t buffered;
	struct vsock_flow *buckets[VSOCK_BUCKETS];
	struct vsock_flow all, dead, saying; /* list heads */

	unsigned int resets_n, resets_at;
	struct vsock_reset resets[VSOCK_RESETS_MAX];
};

/* vsock_rx.c */
/* The flow has one more thing to say; sent when buffers are there. */
void vsock_say(struct vsock_flow *f, unsigned int what);
void vsock_unsay(struct vsock_flow *f, unsigned int what);
/* RST to a packet that belongs to no flow. The caller has checked vsock_can_reset(). */
void vsock_reset_packet(struct vsock *v, const struct vsock_packet *p);
static inline bool vsock_can_reset(const struct vsock *v)
{
	return v->resets_n < VSOCK_RESETS_MAX;
}
/* Payload into one of the guest's buffers, as far as there is room: bytes; 0: there is no buffer. */
uint32_t vsock_put_data(struct vsock_flow *f, const uint8_t *data, uint32_t len_bytes, uint32_t last_flags);
/* Fills the guest's buffers with what there is to say. */
void vsock_pump(struct vsock *v);

/* vsock.c */
/* A packet whose payload, if any, went elsewhere. */
void vsock_take_header(struct vsock *v, const struct vsock_packet *p);

/* vsock_vhost.c */
extern const struct virtio_device_ops virtio_vsock_vhost; /* but for create() */
int vsock_vhost_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e);

/* vsock_module.c: nothing of this without v->module_fd */
bool vsock_module_has_seqpacket(int module_fd);
/* Hands the queues over, and takes them back. Negative errno. */
int vsock_module_start(struct vsock *v);
void vsock_module_stop(struct vsock *v);
/* It has something to read, or takes packets again. */
void vsock_module_news(struct vsock *v);
/* A packet without payload. false: it takes no more for now; news come when it does. */
bool vsock_module_send(struct vsock *v, const struct vsock_packet *p);
/* The module keeps what the guest sends on the flow; lets the flow go; takes it back, with its credit. */
int vsock_module_attach(struct vsock_flow *f);
void vsock_module_open(struct vsock_flow *f);
void vsock_module_detach(struct vsock_flow *f);

/* vsock_flow.c */
void vsock_flows_init(struct vsock *v);
/* A new flow with that socket, which is the flow's from then on. NULL: no memory or room; the socket is still the caller's. */
struct vsock_flow *vsock_flow_new(struct vsock *v, int fd, bool seq, enum vsock_state state);
struct vsock_flow *vsock_find(struct vsock *v, uint32_t guest_port, uint32_t host_port);
/* Gives it its ports. */
void vsock_hash(struct vsock_flow *f, uint32_t guest_port, uint32_t host_port);
/* A guest's REQUEST to a port of the vmspec takes its fd. NULL: there is none, or one of another type. */
struct vsock_flow *vsock_attach(struct vsock *v, uint32_t guest_port, uint32_t host_port, uint16_t type);
/* Was it negotiated? */
static inline bool vsock_type_is_known(const struct vsock *v, uint16_t type)
{
	return type == VIRTIO_VSOCK_TYPE_STREAM ||
	       (type == VIRTIO_VSOCK_TYPE_SEQPACKET && v->dev.driver_features & 1ull << VIRTIO_VSOCK_F_SEQPACKET);
}
/* VIRTIO_VSOCK_TYPE_* */
uint16_t vsock_type(const struct vsock_flow *f);
/* Over for the guest: no packet finds it again; what it has sent still goes to the host. */
void vsock_detach(struct vsock_flow *f);
/* Over for both. The memory lasts until the end of the loop's round. */
void vsock_kill(struct vsock_flow *f);
void vsock_set_timer(struct vsock_flow *f);
void vsock_ask_guest(struct vsock_flow *f);
void vsock_driver_up(struct vsock *v);
void vsock_driver_down(struct vsock *v);
bool vsock_flows_quiesce(struct vsock *v, bool first);

/* vsock_host.c */
void vsock_host_init(struct vsock *v);
/* Waits for clients, where there is room for more. */
void vsock_listen(struct vsock *v);
/* Waits for news of the sockets. */
void vsock_watch(struct vsock *v);
/* The guest's RESPONSE came. */
void vsock_opened(struct vsock_flow *f);
/* Does the guest want what the socket has, and may it have more? */
bool vsock_reading(const struct vsock_flow *f);
/* Bytes from the guest. false: no memory for them. */
bool vsock_to_host(struct vsock_flow *f, struct iovec *iov, unsigned int n, uint32_t len_bytes);
/* The guest will send or receive no more (peer_closed has changed). */
void vsock_peer_closed(struct vsock_flow *f);
/* The socket has reached its end, or is gone. */
void vsock_host_eof(struct vsock_flow *f);
void vsock_host_gone(struct vsock_flow *f);
void vsock_buffer_free(struct vsock_flow *f);
/* Room for len more bytes behind those that wait. false: no memory, or more than all flows may hold. */
bool vsock_buffer_room(struct vsock_flow *f, uint32_t len);
/* Bytes that the socket took, 0 for now; negative when it never will again. */
ssize_t vsock_send(struct vsock_flow *f, struct iovec *iov, unsigned int n, int flags);
void vsock_watch_for_room(struct vsock_flow *f, bool wanted);
/* The socket has taken, or nobody will take, so many of the guest's bytes. */
void vsock_forwarded(struct vsock_flow *f, uint32_t len);
/* buf is empty: goes on with what was to come after it. gone: the socket takes nothing any more. */
void vsock_drained(struct vsock_flow *f, bool gone);

/* vsock_seq.c: the same for messages */
bool vsock_seq_to_host(struct vsock_flow *f, struct iovec *iov, unsigned int n, uint32_t len_bytes, uint32_t flags);
void vsock_seq_drain(struct vsock_flow *f);
/* What has no end will not get one. */
void vsock_seq_drop_open(struct vsock_flow *f);
/* Reads from the socket into the guest's buffers. Packets sent; -ENOBUFS when there were no buffers. */
int vsock_seq_say_data(struct vsock_flow *f);
void vsock_seq_free(struct vsock_flow *f);

#endif
