/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What userland and the kernel module say to each other over /dev/microvm.  The only header that both include.
 *
 * SESSION
 *	An open file of /dev/microvm is a session, which serves one virtual machine. The device is root's (0600); root opens
 *	it and hands the open file to the VMM, which can serve its own guest memory with it and nothing else.
 *
 *	The process that calls MICROVM_SET_MEMORY owns the session from then on: guest memory is reached through its address
 *	space, with its credentials; calls that change anything are refused to other processes (EPERM). The session's work is
 *	over when its owner closes the file or ends, however that happens, even if others have the file open still. All that
 *	it held is freed then. The module can be unloaded when no session is open.
 *
 * VSOCK
 *	MICROVM_SET_VSOCK hands the rx and tx queue of a virtio-vsock device (virtio 1.2, 5.10) to the module, which serves
 *	them in a thread of its own until MICROVM_STOP_VSOCK. Payload goes between the guest and attached host streams
 *	without the owner; packets that open and close connections are the owner's:
 *
 *	read(2) gives whole struct microvm_event, as many as fit, oldest first: packets of the guest that concern no flow
 *	(their headers; what payload they had is dropped), a RESPONSE for a flow that is held, ends of flows, and the ring's
 *	own end. It waits for one unless the file is O_NONBLOCK. While 128 packets wait to be read, the tx queue waits too.
 *
 *	write(2) takes headers of packets to the guest, 44 bytes each, which have no payload. They are sent in their order, and
 *	before anything that flows have to say. The bytes taken are returned, or EAGAIN when 256 of them wait for buffers of
 *	the guest's.
 *
 *	poll(2): POLLIN, there is an event to read; POLLOUT, write(2) takes a packet.
 *
 * FLOWS
 *	A flow is a connection between a guest's port and a host's port. MICROVM_ATTACH_FLOW gives it a host stream: a
 *	connected stream socket, or a pipe's writing end. A Unix socket's send buffer is made as large as buf_alloc, if it
 *	is smaller, so that what the guest may send at once fits in it. With MICROVM_FEATURE_SEQPACKET it may be a connected
 *	Unix seqpacket socket, and the flow is one of messages then (virtio 1.2, 5.10.6.6): each goes whole to the socket,
 *	which has to have room for buf_alloc bytes at once; empty ones are dropped; one that is longer than the guest's
 *	buf_alloc ends the flow. It is held at first: what the guest sends is kept, the stream is not touched. The owner
 *	writes its REQUEST or RESPONSE, and when the connection stands, MICROVM_START_FLOW lets it go.
 *
 *	From there on the module reads the stream when the guest has room (its buf_alloc), writes what the guest sends, keeps
 *	what the stream does not take at once (never over our own buf_alloc, and 16 MiB for all flows together), tells the
 *	guest of room, and passes on half-closes. A flow ends by MICROVM_EVENT_FLOW_END, or by MICROVM_DETACH_FLOW; the
 *	module knows it no more then, and packets of these ports are the owner's. What the stream had not taken yet still goes
 *	to it, also if the owner closes its own descriptor.
 *
 * BALLOON
 *	MICROVM_SET_BALLOON hands queues of a virtio-balloon device (virtio 1.2, 5.5.6) to the module, which serves them in
 *	the session's thread until MICROVM_STOP_BALLOON. Pages that the guest inflates by or reports as free become holes in
 *	the file that is its memory: one for each contiguous range of a request, however the guest ordered its pages. What it
 *	names that is not its memory, or not whole pages, is counted and passed over. Should it break a rule of the queues,
 *	the queues are left alone and read(2) gives MICROVM_EVENT_BROKEN.
 *
 * PRESSURE
 *	MICROVM_PRESSURE tells how many pages the owner's guest could do without (spare_pages), and takes how many the host
 *	has wanted since the call before. When the host reclaims memory, wanted_pages grows by some of them, of every session
 *	that has any, and the eventfd is signalled once for each time. Nothing is taken: that is for the owner to do, and to
 *	undo when the eventfd stays silent. The first call gives the eventfd, later ones -1; 0 spare pages end it.
 *
 * ERRORS
 *	EPERM	another process owns the session
 *	EINVAL	an unknown flag, a field that must be zero, a size or an alignment that can't be; a file that is no eventfd
 *	EFAULT	an address outside of the caller's or of the guest's memory
 *	EBUSY	memory or queues are set already
 *	ENXIO	no memory, or no queues, were set; or a pipe has no reader
 *	EBADF, ENOTSOCK	no such file; it is no connected stream socket and no pipe
 *	EEXIST, ENOENT	such a flow is attached already; is not attached
 *	ENOSPC	1024 flows are attached or have something left for their streams
 *	ESHUTDOWN	the session's owner has closed it
 */
#ifndef MICROVM_UAPI_H
#define MICROVM_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MICROVM_DEVICE "/dev/microvm"

/* Raised when a call is added; a call, once given, never changes its meaning. */
#define MICROVM_ABI_VERSION 4

#define MICROVM_IOC_MAGIC 0xBB

#define MICROVM_FEATURE_VSOCK (1u << 0)
#define MICROVM_FEATURE_BALLOON (1u << 1) /* and pressure */
#define MICROVM_FEATURE_SEQPACKET (1u << 2)

#define MICROVM_REGIONS_MAX 8
#define MICROVM_QUEUE_SIZE_MAX 1024
#define MICROVM_PACKET_BYTES 44 /* struct virtio_vsock_hdr */

/* Guest memory: [gpa, gpa + len_bytes) is at user_addr of the caller. */
struct microvm_region {
	__aligned_u64 gpa;
	__aligned_u64 len_bytes;
	__aligned_u64 user_addr;
};

struct microvm_memory {
	__u32 regions_n; /* 1..MICROVM_REGIONS_MAX */
	__u32 flags;	 /* 0 */
	struct microvm_region regions[MICROVM_REGIONS_MAX];
};

/* A split virtqueue at guest addresses, served from its beginning. */
struct microvm_queue {
	__aligned_u64 desc_gpa;
	__aligned_u64 avail_gpa;
	__aligned_u64 used_gpa;
	__u32 size;	/* a power of two, at most MICROVM_QUEUE_SIZE_MAX */
	__s32 kick_fd;	/* eventfd that the guest's notification signals (KVM's ioeventfd) */
	__s32 call_fd;	/* eventfd that interrupts the guest (KVM's irqfd) */
	__u32 reserved; /* 0 */
};

struct microvm_vsock {
	__aligned_u64 guest_cid;
	__aligned_u64 features; /* negotiated; of the ring's, INDIRECT_DESC and EVENT_IDX count */
	struct microvm_queue rx;
	struct microvm_queue tx;
};

struct microvm_flow_id {
	__u32 guest_port;
	__u32 host_port;
};

/*
 * A flow. MICROVM_ATTACH_FLOW reads all but the counters; the others name it by its ports and get everything. Credit is as
 * in virtio 1.2, 5.10.6.3: free running counts of bytes, which wrap.
 */
struct microvm_flow {
	__u32 guest_port;
	__u32 host_port;
	__aligned_u64 cookie; /* the owner's; comes back with the flow's end */
	__s32 fd;	      /* attach: the host stream; else -1 */
	__u32 flags;	      /* 0 */
	__u32 buf_alloc;      /* room for the guest, 4096..2^20; bytes that a flow holds at most */
	__u32 received;	      /* from the guest */
	__u32 forwarded;      /* and of them, taken by the stream */
	__u32 peer_buf_alloc; /* the guest's room, */
	__u32 peer_forwarded; /* and what it has used up of */
	__u32 sent;	      /* what was sent to it */
	__u32 closed;	      /* VIRTIO_VSOCK_SHUTDOWN_*: what the host does no more */
	__u32 peer_closed;    /* what the guest does no more */
	__u32 pending_bytes;  /* not taken by the stream yet */
	__u32 turn_bytes; /* sent to the guest at most before other flows have their turn; 0: 65536 */
	__aligned_u64 to_guest_bytes;
	__aligned_u64 from_guest_bytes;
	__aligned_u64 to_guest_packets;
	__aligned_u64 from_guest_packets;
};

enum microvm_event_type {
	MICROVM_EVENT_PACKET = 1,   /* packet is a header from the guest */
	MICROVM_EVENT_FLOW_END = 2, /* flow has ended, for that reason */
	MICROVM_EVENT_BROKEN =
		3, /* the guest broke a rule of the queues, which are stopped; reason: -errno */
};

enum microvm_flow_end {
	MICROVM_END_RESET = 1, /* the guest sent RST */
	MICROVM_END_PEER_DONE =
		2, /* the guest neither sends nor receives any more; it waits for an RST */
	MICROVM_END_HOST_GONE =
		3, /* the stream neither gives nor takes any more; the guest is to be told */
	MICROVM_END_RULES = 4,	/* the guest broke the rules of credit or order; an RST is due */
	MICROVM_END_MEMORY = 5, /* too much waits for slow streams; an RST is due */
};

struct microvm_event {
	__u32 type;   /* enum microvm_event_type */
	__s32 reason; /* enum microvm_flow_end, or -errno */
	union {
		__u8 packet[MICROVM_PACKET_BYTES];
		struct microvm_flow flow;
	};
};

/* Of the session, since its beginning. */
struct microvm_stats {
	__aligned_u64 wakeups;	  /* of the module's thread */
	__aligned_u64 interrupts; /* of the guest */
	__aligned_u64 to_guest_bytes;
	__aligned_u64 from_guest_bytes;
	__aligned_u64 to_guest_packets;
	__aligned_u64 from_guest_packets;
	__aligned_u64 events;  /* for the owner */
	__aligned_u64 written; /* packets by the owner */
	__u32 flows;	       /* now, with those that only have something left for their streams */
	__u32 pending_bytes;   /* now */
};

enum microvm_balloon_queue {
	MICROVM_BALLOON_INFLATE = 0,
	MICROVM_BALLOON_DEFLATE = 1,
	MICROVM_BALLOON_REPORTING = 2,
};

#define MICROVM_BALLOON_QUEUES 3

/* Free pages have the guest's own pattern in them, which it would miss (5.5.6.7.2): what it reports stays. */
#define MICROVM_BALLOON_POISONED (1u << 0)

struct microvm_balloon {
	__s32 memory_fd; /* a regular file, open for writing, that guest memory is a mapping of */
	__u32 flags;	 /* MICROVM_BALLOON_* */
	__aligned_u64 features; /* as with vsock */
	/* Where in the file each region begins, a multiple of 4096; else 0. */
	__aligned_u64 offset[MICROVM_REGIONS_MAX];
	struct microvm_queue queues[MICROVM_BALLOON_QUEUES]; /* size 0: stays with the owner */
};

/* Since MICROVM_SET_BALLOON. */
struct microvm_balloon_state {
	__aligned_u64 requests;	      /* of the guest */
	__aligned_u64 punches;	      /* holes asked for */
	__aligned_u64 refused;	      /* not guest memory, or no hole could be made */
	__aligned_u64 returned_bytes; /* inflated, and reported as free */
	__aligned_u64 reported_bytes; /* of them, reported as free */
};

struct microvm_pressure {
	__s32 event_fd;
	__u32 flags;		    /* 0 */
	__aligned_u64 spare_pages;  /* of 4096 bytes */
	__aligned_u64 wanted_pages; /* out */
};

/* Returns MICROVM_ABI_VERSION of the loaded module; takes no argument. */
#define MICROVM_GET_VERSION _IO(MICROVM_IOC_MAGIC, 0x00)
/* MICROVM_FEATURE_* of the loaded module. */
#define MICROVM_GET_FEATURES _IOR(MICROVM_IOC_MAGIC, 0x01, __u32)
/* Once: the caller becomes the owner, and its addresses guest memory. */
#define MICROVM_SET_MEMORY _IOW(MICROVM_IOC_MAGIC, 0x10, struct microvm_memory)
#define MICROVM_SET_VSOCK _IOW(MICROVM_IOC_MAGIC, 0x20, struct microvm_vsock)
/* When it returns nothing touches the queues any more. Flows are gone, events that nobody read too. No argument. */
#define MICROVM_STOP_VSOCK _IO(MICROVM_IOC_MAGIC, 0x21)
#define MICROVM_ATTACH_FLOW _IOW(MICROVM_IOC_MAGIC, 0x22, struct microvm_flow)
#define MICROVM_START_FLOW _IOW(MICROVM_IOC_MAGIC, 0x23, struct microvm_flow_id)
#define MICROVM_DETACH_FLOW _IOWR(MICROVM_IOC_MAGIC, 0x24, struct microvm_flow)
/* The flow goes on. Any process may ask that has the file. */
#define MICROVM_GET_FLOW _IOWR(MICROVM_IOC_MAGIC, 0x25, struct microvm_flow)
#define MICROVM_GET_STATS _IOR(MICROVM_IOC_MAGIC, 0x26, struct microvm_stats)

#define MICROVM_SET_BALLOON _IOW(MICROVM_IOC_MAGIC, 0x30, struct microvm_balloon)
/* When it returns nothing touches the queues any more, and no hole is made. No argument. */
#define MICROVM_STOP_BALLOON _IO(MICROVM_IOC_MAGIC, 0x31)
#define MICROVM_GET_BALLOON _IOR(MICROVM_IOC_MAGIC, 0x32, struct microvm_balloon_state)
#define MICROVM_PRESSURE _IOWR(MICROVM_IOC_MAGIC, 0x33, struct microvm_pressure)

/* The same for callers of 32 bits: there is no compat_ioctl that would translate. */
_Static_assert(sizeof(struct microvm_memory) == 8 + 24 * MICROVM_REGIONS_MAX, "layout");
_Static_assert(sizeof(struct microvm_queue) == 40, "layout");
_Static_assert(sizeof(struct microvm_vsock) == 96, "layout");
_Static_assert(sizeof(struct microvm_flow_id) == 8, "layout");
_Static_assert(sizeof(struct microvm_flow) == 96, "layout");
_Static_assert(sizeof(struct microvm_event) == 104, "layout");
_Static_assert(sizeof(struct microvm_stats) == 72, "layout");
_Static_assert(sizeof(struct microvm_balloon) == 16 + 8 * MICROVM_REGIONS_MAX + 120, "layout");
_Static_assert(sizeof(struct microvm_balloon_state) == 40, "layout");
_Static_assert(sizeof(struct microvm_pressure) == 24, "layout");

#endif
