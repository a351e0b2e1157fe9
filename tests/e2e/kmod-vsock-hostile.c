/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that break every rule they can, and ends of owners, peers and guests wherever a flow stands. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/e2e/kmod-vsock.h"

static void broken_by(struct vring_desc d, uint16_t head)
{
	tx.desc[0] = d;
	tx.avail->ring[tx.avail->idx % SIZE] = head;
	__atomic_store_n(&tx.avail->idx, (uint16_t)(tx.avail->idx + 1), __ATOMIC_RELEASE);
	kick(&tx);
	event(MICROVM_EVENT_BROKEN);
	check(!stats().pending_bytes);
	vsock_down();
	vsock_up();
}

static void test_broken_rings(void)
{
	struct vsock_packet p = {
		.src_cid = CID, .dst_cid = VSOCK_HOST_CID, .type = 1, .op = VIRTIO_VSOCK_OP_RW, .len_bytes = 100
	};

	up();
	broken_by((struct vring_desc){ GPA + TX_AT, 44, 0, 0 }, SIZE);
	broken_by((struct vring_desc){ GPA + TX_AT, 44, VRING_DESC_F_NEXT, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 44, VRING_DESC_F_NEXT, SIZE }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 0, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA - 1, 44, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA + MEM_BYTES - 10, 44, 0, 0 }, 0);
	broken_by((struct vring_desc){ ~0ull, 44, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 43, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 44, VRING_DESC_F_WRITE, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 17, VRING_DESC_F_INDIRECT, 0 }, 0);
	broken_by((struct vring_desc){ GPA, 16, VRING_DESC_F_INDIRECT, 0 }, 0);
	vsock_packet_encode(&p, (uint8_t *)mem + TX_AT);
	broken_by((struct vring_desc){ GPA + TX_AT, 143, 0, 0 }, 0);
	tx.avail->idx = 999;
	broken_by((struct vring_desc){ GPA + TX_AT, 44, 0, 0 }, 0);
	down();
}

/* Memory that goes away below the module, and rings that are one another. */
static void test_lost_memory(void)
{
	struct microvm_vsock v = { .guest_cid = CID };
	struct guest g;
	int host;

	up();
	host = connected(&g);
	check(!mprotect(mem + RX_AT, SIZE * RX_BYTES, PROT_NONE));
	check(write(host, "x", 1) == 1);
	event(MICROVM_EVENT_BROKEN);
	check(!mprotect(mem + RX_AT, SIZE * RX_BYTES, PROT_READ | PROT_WRITE));
	close(host);
	vsock_down();
	ring_make(&rx, 0);
	ring_make(&tx, 0x2000);
	v.rx = queue_of(&rx);
	v.tx = queue_of(&tx);
	v.tx.desc_gpa = v.tx.avail_gpa = v.tx.used_gpa = v.rx.used_gpa = v.rx.desc_gpa;
	check(!ioctl(dev, MICROVM_SET_VSOCK, &v));
	kick(&tx);
	kick(&rx);
	usleep(20000);
	down();
}

/* Random rings and packets, kicks without end: the module goes on, and lets go of all. */
static void test_storm(void)
{
	const char *seed = getenv("KMOD_SEED");
	struct microvm_event e[8];
	struct guest g;
	int i, j, host = -1;

	srandom(seed ? (unsigned int)atoi(seed) : 1);
	up();
	for (i = 0; i < 3000; i++) {
		if (host < 0)
			host = connected(&g);
		for (j = 0; j < 20; j++) {
			long what = random();
			uint32_t at = (uint32_t)random() % 0x4000;

			if (what % 4 == 0)
				mem[at] = (char)random();
			else if (what % 4 == 1)
				kick(what & 64 ? &rx : &tx);
			else if (what % 4 == 2)
				(void)!send(host, mem, (size_t)what % 5000, MSG_DONTWAIT | MSG_NOSIGNAL);
			else
				mem[TX_AT + at % 256] = (char)random();
		}
		if (i % 100 == 99) {
			while (read(dev, e, sizeof(e)) > 0)
				;
			close(host);
			host = -1;
			vsock_down();
			vsock_up();
		}
	}
	down();
}

/* A guest that breaks every rule, beside one that has its own session and notices nothing. */
static void test_two_guests(void)
{
	int i, status;
	pid_t pid = fork();

	if (!pid) {
		for (;;)
			test_storm();
	}
	/* Its own memory, not the other's. */
	mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < 5; i++)
		case_payload();
	check(!waitpid(pid, &status, WNOHANG));
	kill(pid, SIGKILL);
	check(waitpid(pid, &status, 0) == pid);
}

/* ---- ends ---- */

/* Reads what there is to say for a while, as an owner does all its life. */
static void until_no_events(void)
{
	struct microvm_event e[8];
	int i;

	for (i = 0; i < 200 && stats().flows; i++) {
		while (read(dev, e, sizeof(e)) > 0)
			;
		usleep(5000);
	}
}

/* How far a flow has come. Each has what those above it have, but for the first three. */
enum flow_state {
	ASKED,
	HELD,
	HELD_DATA,
	OPEN,
	BOTH_WAYS,
	SLOW_HOST,
	NO_CREDIT,
	GUEST_CLOSED,
	HOST_CLOSED,
	ENDED,
	STATES
};

/* Brings a flow there. */
static void bring(enum flow_state state, struct guest *g, int host)
{
	static char buf[8192];
	int i;

	guest_send(g, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
	event(MICROVM_EVENT_PACKET);
	if (state == ASKED)
		return;
	check(!attach(host, PORT, g));
	if (state == HELD_DATA)
		guest_send(g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	if (state <= HELD_DATA)
		return;
	owner_send(VIRTIO_VSOCK_OP_RESPONSE);
	check(!start(PORT));
	guest_receive(VIRTIO_VSOCK_OP_RESPONSE, NULL);
	if (state >= BOTH_WAYS && state != NO_CREDIT)
		guest_send(g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	for (i = 0; state == SLOW_HOST && i < 7; i++)
		guest_send(g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	if (state == GUEST_CLOSED)
		guest_send(g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	if (state == HOST_CLOSED)
		check(!shutdown(host, SHUT_RD));
	if (state == ENDED)
		guest_send(g, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
}

/* The host's side: a process that writes and, but for the slow one, reads, until it is killed. Its socket's other end. */
static pid_t peer_of(enum flow_state state, int *host)
{
	char buf[4096] = "";
	int pair[2], room = 4096;
	pid_t pid;

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	if (state == SLOW_HOST)
		check(!setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)));
	pid = fork();
	if (pid) {
		close(pair[1]);
		*host = pair[0];
		return pid;
	}
	close(pair[0]);
	close(dev);
	for (;;) {
		if (state == BOTH_WAYS || state == NO_CREDIT)
			(void)!send(pair[1], buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (state == SLOW_HOST || recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT) == 0)
			pause();
		usleep(1000);
	}
}

/* Whoever is killed, wherever a flow stands: nothing is left of it. The guest's agent is killed as its kernel shows it: RST. */
static void test_kill_at_every_state(void)
{
	enum { OWNER, PEER, AGENT, VICTIMS };
	struct guest g;
	int i, host, status, ready[2];
	pid_t owner, peer;
	char c;

	for (i = 0; i < STATES * VICTIMS; i++) {
		const enum flow_state state = (enum flow_state)(i / VICTIMS);

		g = (struct guest){ .buf_alloc = state == NO_CREDIT ? 10 : 256u << 10 };
		dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		check(dev >= 0 && !pipe(ready));
		peer = peer_of(state, &host);
		owner = fork();
		if (!owner) {
			set_memory();
			vsock_up();
			bring(state, &g, host);
			close(host);
			if (i % VICTIMS == OWNER) {
				check(write(ready[1], "x", 1) == 1);
				pause();
			}
			if (i % VICTIMS == PEER) {
				kill(peer, SIGKILL);
				/* What it had written comes before its end, once the guest has room. */
				g.buf_alloc = 1u << 20;
				if (state == NO_CREDIT || state == BOTH_WAYS)
					guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
			} else {
				guest_send(&g, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
				/* What it had sent may wait for a slow reader still. */
				usleep(10000);
				kill(peer, SIGKILL);
			}
			/* A held flow is its owner's to end. */
			if (state == HELD || state == HELD_DATA)
				(void)!start(PORT);
			until_no_events();
			until_no_flows();
			down();
			_exit(0);
		}
		close(host);
		if (i % VICTIMS == OWNER) {
			check(read(ready[0], &c, 1) == 1);
			kill(owner, SIGKILL);
		}
		check(waitpid(owner, &status, 0) == owner);
		if (status && i % VICTIMS != OWNER)
			fprintf(stderr, "state %d, victim %d\n", i / VICTIMS, i % VICTIMS);
		check(i % VICTIMS == OWNER ? WIFSIGNALED(status) : !status);
		kill(peer, SIGKILL);
		check(waitpid(peer, &status, 0) == peer);
		check(close(dev) == 0);
		close(ready[0]);
		close(ready[1]);
	}
}

/* The owner is killed in the midst of it, while another process has the session's file open still. */
static void test_kill(void)
{
	char buf[4096] = "";
	struct microvm_flow f = { .guest_port = PORT, .host_port = 1 };
	int pair[2], ready[2], i, n, status;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC);
		check(dev >= 0);
		check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !pipe(ready));
		pid = fork();
		if (!pid) {
			struct guest g = { .buf_alloc = i < 10 ? 1u << 20 : 10 };

			set_memory();
			vsock_up();
			check(!attach(pair[0], PORT, &g));
			if (i % 4)
				check(!start(PORT));
			close(pair[0]);
			close(pair[1]);
			if (i % 3 == 0)
				guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
			if (i % 5 == 0)
				guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
			check(write(ready[1], "x", 1) == 1);
			for (;;)
				guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, 64);
		}
		close(pair[0]);
		check(read(ready[0], buf, 1) == 1);
		(void)!send(pair[1], buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
		usleep(i * 500);
		kill(pid, SIGKILL);
		check(waitpid(pid, &status, 0) == pid);
		/* It has let go of the socket, and serves nobody. */
		while ((n = (int)recv(pair[1], buf, sizeof(buf), 0)) > 0)
			;
		check(n == 0 || errno == ECONNRESET);
		check(ioctl(dev, MICROVM_GET_FLOW, &f) < 0 && errno == ESHUTDOWN);
		close(dev);
		close(pair[1]);
		close(ready[0]);
		close(ready[1]);
	}
}

/* The session's own file in a socket that it holds: nobody else has it, and still all is let go of. */
static void test_cycle(void)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { .iov_base = (char *)"x", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct guest g = { 0 };
	int pair[2];

	up();
	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	check(!attach(pair[0], PORT, &g));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &dev, sizeof(int));
	check(sendmsg(pair[1], &msg, 0) == 1);
	close(pair[0]);
	close(pair[1]);
	close(dev);
}

const struct kmod_case hostile_cases[] = {
	{ "broken_rings", test_broken_rings },
	{ "lost_memory", test_lost_memory },
	{ "storm", test_storm },
	{ "two_guests", test_two_guests },
	{ "kill", test_kill },
	{ "kill_at_every_state", test_kill_at_every_state },
	{ "cycle", test_cycle },
};
const size_t hostile_cases_n = sizeof(hostile_cases) / sizeof(hostile_cases[0]);
