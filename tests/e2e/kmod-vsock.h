/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module's vsock, without a virtual machine: this process is its owner, and with rings in its own memory the guest, too.
 * What the cases share: kmod-vsock.c is a guest that behaves, kmod-vsock-hostile.c one that does not, and ends of all kinds.
 */
#ifndef TESTS_KMOD_VSOCK_H
#define TESTS_KMOD_VSOCK_H

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kmod/uapi/microvm.h"
#include "tests/e2e/kmod.h"
#include "virtio/vsock_packet.h"

#define GPA 0x100000u
#define MEM_BYTES (4u << 20)
#define SIZE 64u
#define RX_BYTES 4096u
#define RX_AT 0x10000u /* rings, then rx buffers, then what is sent */
#define TX_AT 0x100000u
#define CID 3u
#define PORT 1024u
#define TIMEOUT_MS 20000
#define BUF_ALLOC (64u << 10)

struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint32_t at;
	uint16_t seen;
	int kick, call;
};

struct guest {
	uint32_t forwarded, sent, buf_alloc;
	bool seq; /* of messages */
};

struct kmod_case {
	const char *name;
	void (*fn)(void);
};
extern const struct kmod_case hostile_cases[];
extern const size_t hostile_cases_n;

extern char *mem;
extern int dev;
extern struct ring rx, tx;

void ring_make(struct ring *r, uint32_t at);
void kick(struct ring *r);
struct microvm_queue queue_of(const struct ring *r);
void vsock_up(void);
void vsock_down(void);
void set_memory(void);
/* A session with memory and queues, and its end. */
void up(void);
void down(void);

/* Sends without looking at credit. */
void guest_send(const struct guest *g, uint16_t op, uint32_t flags, const void *data, uint32_t bytes);
/* The next packet; its payload is copied, its buffer given back. false: none within ms. */
bool guest_receive_in(struct vsock_packet *p, void *data, int ms);
struct vsock_packet guest_receive(uint16_t op, void *data);

struct microvm_event event(uint32_t type);
void no_event(void);
int attach(int fd, uint32_t port, const struct guest *g);
int start(uint32_t port);
void owner_send(uint16_t op);
struct microvm_stats stats(void);
/* A connection that the guest asks for, over a socket pair whose other end is returned. */
int connected(struct guest *g);
/* All that the guest has sent, and what became of it. */
void forget_events(void);
void end_is(int32_t reason);
void until_no_flows(void);
void wait_for(int fd, short events);
/* Bytes that say where in a stream they are. */
void fill(char *to, uint32_t at, uint32_t n);
/* One MiB each way at once, credit as it is given, and half-closes. */
void case_payload(void);

#endif
