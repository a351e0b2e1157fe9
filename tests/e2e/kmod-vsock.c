/* SPDX-License-Identifier: Apache-2.0 */
/* A guest and an owner that behave. `kmod-vsock` runs all cases, the hostile ones too; `kmod-vsock NAME…` those. Needs /dev/microvm. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/e2e/kmod-vsock.h"

static void test_refusals(void)
{
	struct microvm_memory m = { .regions_n = 1, .regions = { { GPA, MEM_BYTES, (uintptr_t)mem } } };
	struct microvm_vsock v = { .guest_cid = CID };
	struct guest g = { 0 };
	uint32_t features;
	int pair[2], status;
	pid_t pid;

	dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	check(ioctl(dev, MICROVM_GET_VERSION, 0) == MICROVM_ABI_VERSION);
	check(!ioctl(dev, MICROVM_GET_FEATURES, &features) && (features & MICROVM_FEATURE_VSOCK));
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == ENXIO);
	m.regions[0].user_addr = ~0xfffull;
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EFAULT);
	m.regions[0].gpa = ~0ull;
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EINVAL);
	m.regions_n = MICROVM_REGIONS_MAX + 1;
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EINVAL);
	set_memory();
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EBUSY);
	check(attach(0, PORT, &g) < 0 && errno == ENXIO);
	check(ioctl(dev, _IOW(MICROVM_IOC_MAGIC, 0x55, int), &v) < 0 && errno == ENOTTY);
	ring_make(&rx, 0);
	ring_make(&tx, 0x2000);
	v.rx = queue_of(&rx);
	v.tx = queue_of(&tx);
	v.tx.used_gpa = GPA + MEM_BYTES - 8;
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == EFAULT);
	v.tx = queue_of(&tx);
	v.tx.size = 63;
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == EINVAL);
	v.tx = queue_of(&tx);
	v.tx.kick_fd = 0;
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && (errno == EINVAL || errno == EBADF));
	vsock_up();
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == EBUSY);
	check(attach(dev, PORT, &g) < 0 && errno == ENOTSOCK);
	check(attach(99, PORT, &g) < 0 && errno == EBADF);
	check(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	check(attach(pair[0], PORT, &g) < 0 && errno == ENOTSOCK);
	check(start(PORT) < 0 && errno == ENOENT);
	pid = fork();
	if (!pid)
		_exit(!(ioctl(dev, MICROVM_STOP_VSOCK, 0) < 0 && errno == EPERM));
	check(waitpid(pid, &status, 0) == pid && !status);
	down();
}

void case_payload(void)
{
	const uint32_t total = 1u << 20;
	uint32_t got_host = 0, sent_host = 0, got_guest = 0, sent_guest = 0, credit = BUF_ALLOC, fwd = 0, n;
	char buf[8192], expect[8192];
	struct vsock_packet p;
	struct guest g;
	ssize_t r;
	int host;

	up();
	host = connected(&g);
	while (got_host < total || got_guest < total) {
		while (sent_guest < total && sent_guest - fwd + sizeof(buf) <= credit) {
			fill(buf, sent_guest, sizeof(buf));
			guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
			sent_guest += sizeof(buf);
		}
		fill(buf, sent_host, sizeof(buf));
		r = sent_host < total ? send(host, buf, sizeof(buf), MSG_DONTWAIT) : 0;
		sent_host += r > 0 ? (uint32_t)r : 0;
		r = recv(host, buf, sizeof(buf), MSG_DONTWAIT);
		if (r > 0) {
			fill(expect, got_host, (uint32_t)r);
			check(!memcmp(buf, expect, (size_t)r));
			got_host += (uint32_t)r;
		}
		while (guest_receive_in(&p, buf, r > 0 ? 0 : 1)) {
			credit = p.buf_alloc;
			fwd = p.fwd_cnt;
			n = p.op == VIRTIO_VSOCK_OP_RW ? p.len_bytes : 0;
			fill(expect, got_guest, n);
			check(!memcmp(buf, expect, n));
			got_guest += n;
			g.forwarded += n;
			if (n && g.forwarded % 32 == 0)
				guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
			if (p.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
				guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
		}
	}
	check(stats().to_guest_bytes == total && stats().from_guest_bytes == total);
	/* Half-closes: first the host's, then the guest's. */
	shutdown(host, SHUT_WR);
	/* News of room that the host's last reads made may be before it. */
	do {
		check(guest_receive_in(&p, NULL, TIMEOUT_MS));
	} while (p.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	check(p.op == VIRTIO_VSOCK_OP_SHUTDOWN && p.flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "last", 4);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	check(recv(host, buf, 5, MSG_WAITALL) == 4 && !memcmp(buf, "last", 4));
	end_is(MICROVM_END_HOST_GONE);
	until_no_flows();
	close(host);
	down();
}

static void test_held(void)
{
	struct guest g = { .buf_alloc = 1000 };
	struct vsock_packet p;
	struct microvm_event e;
	char buf[64];
	int pair[2];

	up();
	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	check(!attach(pair[0], PORT, &g));
	check(attach(pair[0], PORT, &g) < 0 && errno == EEXIST);
	check(write(pair[1], "early", 5) == 5);
	owner_send(VIRTIO_VSOCK_OP_REQUEST);
	guest_receive(VIRTIO_VSOCK_OP_REQUEST, NULL);
	guest_send(&g, VIRTIO_VSOCK_OP_RESPONSE, 0, NULL, 0);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "payload", 7);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	e = event(MICROVM_EVENT_PACKET);
	vsock_packet_decode(&p, e.packet);
	check(p.op == VIRTIO_VSOCK_OP_RESPONSE);
	no_event();
	check(recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT) < 0);
	check(!guest_receive_in(&p, NULL, 20));
	check(write(pair[0], "OK\n", 3) == 3);
	check(!start(PORT));
	check(start(PORT) < 0 && errno == EBUSY);
	check(recv(pair[1], buf, 11, MSG_WAITALL) == 10 && !memcmp(buf, "OK\npayload", 10));
	p = guest_receive(VIRTIO_VSOCK_OP_RW, buf);
	check(p.len_bytes == 5 && !memcmp(buf, "early", 5));
	/* The host's end. */
	close(pair[0]);
	close(pair[1]);
	end_is(MICROVM_END_HOST_GONE);
	until_no_flows();
	down();
}

/* What the guest sent reaches a slow reader, though the flow is over; and more than its credit ends it. */
static void test_slow_host(void)
{
	char buf[8192], expect[8192];
	uint32_t sent = 0, got = 0;
	struct microvm_flow f = { .guest_port = PORT, .host_port = 1 };
	struct guest g;
	ssize_t r;
	int host;

	up();
	host = connected(&g);
	do {
		fill(buf, sent, sizeof(buf));
		guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
		sent += sizeof(buf);
		usleep(2000);
		check(!ioctl(dev, MICROVM_GET_FLOW, &f));
	} while (f.pending_bytes + sizeof(buf) <= BUF_ALLOC && sent < (4u << 20));
	check(f.pending_bytes && f.received - f.forwarded == f.pending_bytes);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	end_is(MICROVM_END_RULES);
	forget_events();
	check(ioctl(dev, MICROVM_GET_FLOW, &f) < 0 && errno == ENOENT);
	check(stats().flows == 1 && stats().pending_bytes);
	while ((r = recv(host, buf, sizeof(buf), 0)) > 0) {
		fill(expect, got, (uint32_t)r);
		if (got + (uint32_t)r <= sent)
			check(!memcmp(buf, expect, (size_t)r));
		got += (uint32_t)r;
	}
	check(r == 0 && got >= sent);
	until_no_flows();
	close(host);
	while (guest_receive_in(&(struct vsock_packet){ 0 }, NULL, 0))
		;
	/* Detached: the same. */
	host = connected(&g);
	for (sent = 0; sent < 8; sent++)
		guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	usleep(50000);
	check(!ioctl(dev, MICROVM_DETACH_FLOW, &f));
	check(f.received == 8 * sizeof(buf) && f.peer_buf_alloc == 256u << 10);
	for (got = 0; (r = recv(host, buf, sizeof(buf), 0)) > 0;)
		got += (uint32_t)r;
	check(got == 8 * sizeof(buf));
	close(host);
	until_no_flows();
	down();
}

static void test_credit(void)
{
	struct vsock_packet p;
	struct guest g;
	char buf[4096];
	int host;

	up();
	/* A room that shrinks below what is under way stops the stream, and is asked about once. */
	host = connected(&g);
	g.buf_alloc = 100;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	usleep(20000);
	memset(buf, 'x', sizeof(buf));
	check(write(host, buf, 1000) == 1000);
	p = guest_receive(VIRTIO_VSOCK_OP_RW, NULL);
	check(p.len_bytes == 100);
	g.buf_alloc = 10;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	do
		check(guest_receive_in(&p, NULL, TIMEOUT_MS));
	while (p.op != VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	while (guest_receive_in(&p, NULL, 50))
		check(p.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* A huge one is used no further than there is data. */
	g.buf_alloc = UINT32_MAX;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	p = guest_receive(VIRTIO_VSOCK_OP_RW, NULL);
	check(p.len_bytes == 900);
	/* What was never sent can't have been forwarded. */
	g.forwarded = 1001;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	end_is(MICROVM_END_RULES);
	close(host);
	/* And it can't be taken back. */
	host = connected(&g);
	check(write(host, buf, 1000) == 1000);
	guest_receive(VIRTIO_VSOCK_OP_RW, NULL);
	g.forwarded = 500;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	g.forwarded = 499;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	end_is(MICROVM_END_RULES);
	close(host);
	until_no_flows();
	down();
}

static void test_resets(void)
{
	struct guest g;
	char c;
	int host;

	up();
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
	end_is(MICROVM_END_RESET);
	check(recv(host, &c, 1, 0) == 0);
	close(host);
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
	end_is(MICROVM_END_RULES);
	close(host);
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "x", 1);
	end_is(MICROVM_END_RULES);
	close(host);
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	check(recv(host, &c, 1, 0) == 0);
	no_event();
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV, NULL, 0);
	end_is(MICROVM_END_PEER_DONE);
	check(write(host, &c, 1) < 0 && errno == EPIPE);
	close(host);
	/* Of no flow: the owner's. Not from this guest: nobody's. */
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "x", 1);
	event(MICROVM_EVENT_PACKET);
	until_no_flows();
	down();
}

static void test_pipe(void)
{
	struct guest g = { .buf_alloc = 1000 };
	int p[2];
	char buf[8];

	up();
	check(!pipe2(p, O_CLOEXEC));
	check(attach(p[0], PORT, &g) < 0 && errno == ENOTSOCK);
	check(!attach(p[1], PORT, &g));
	check(!start(PORT));
	close(p[1]);
	check(guest_receive(VIRTIO_VSOCK_OP_SHUTDOWN, NULL).flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "output", 6);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	check(read(p[0], buf, sizeof(buf)) == 6 && !memcmp(buf, "output", 6));
	check(read(p[0], buf, sizeof(buf)) == 0);
	end_is(MICROVM_END_HOST_GONE);
	until_no_flows();
	close(p[0]);
	down();
}

static void expect_message(int fd, const char *text, size_t len)
{
	static char got[BUF_ALLOC];

	wait_for(fd, POLLIN);
	check(recv(fd, got, sizeof(got), MSG_TRUNC) == (ssize_t)len && !memcmp(got, text, len));
}

/* A guest of messages: whole on the host's socket, also when they come in parts, early, or to somebody slow. */
static void test_messages(void)
{
	struct guest g = { .buf_alloc = 10000, .seq = true };
	static char data[BUF_ALLOC], got[BUF_ALLOC];
	int pair[2], i, n, room = 4096;
	struct vsock_packet p;
	uint32_t at;

	fill(data, 0, sizeof(data));
	up();
	check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	check(!setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)));
	check(!attach(pair[0], PORT, &g));
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "ear", 3);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM, "ly", 2);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM, NULL, 0);
	check(!start(PORT));
	close(pair[0]);
	expect_message(pair[1], "early", 5);
	/* More than the socket takes at once, in parts and whole. */
	for (i = 0; i < 15; i++) {
		guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, data + 2000 * i, 1000);
		guest_send(&g, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM, data + 2000 * i + 1000, 1000);
		guest_send(&g, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR, data + i, 1);
	}
	for (i = 0; i < 15; i++) {
		expect_message(pair[1], data + 2000 * i, 2000);
		expect_message(pair[1], data + i, 1);
	}
	while (guest_receive_in(&p, NULL, 20))
		check(p.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	/* A packet of streams is not for it. */
	g.seq = false;
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "x", 1);
	event(MICROVM_EVENT_PACKET);
	g.seq = true;
	/* To the guest: no further than its credit, and EOM where the message ends. */
	check(send(pair[1], data, 9000, 0) == 9000);
	check(send(pair[1], data, 5000, 0) == 5000);
	for (n = 0, at = 0; at < 9000; n++) {
		p = guest_receive(VIRTIO_VSOCK_OP_RW, got + at);
		check(p.type == VIRTIO_VSOCK_TYPE_SEQPACKET);
		at += p.len_bytes;
		check(p.flags == (at == 9000 ? VIRTIO_VSOCK_SEQ_EOM : 0u));
	}
	check(n >= 3 && !memcmp(got, data, 9000));
	p = guest_receive(VIRTIO_VSOCK_OP_RW, got);
	check(p.len_bytes == 1000 && !p.flags);
	guest_receive(VIRTIO_VSOCK_OP_CREDIT_REQUEST, NULL);
	g.forwarded = 10000;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	p = guest_receive(VIRTIO_VSOCK_OP_RW, got + 1000);
	check(p.len_bytes == 4000 && p.flags == VIRTIO_VSOCK_SEQ_EOM && !memcmp(got, data, 5000));
	/* What has no end when the guest's end comes is nobody's; and what the guest can't take ends the flow. */
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "part", 4);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	check(recv(pair[1], got, sizeof(got), 0) == 0);
	check(send(pair[1], data, 10001, 0) == 10001);
	end_is(MICROVM_END_MEMORY);
	close(pair[1]);
	until_no_flows();
	down();
}

static void test_connects(void)
{
	const char *rounds = getenv("MICROVM_KMOD_CONNECTS"); /* fewer, where each is slow */
	const int n = rounds ? atoi(rounds) : 10000;
	struct guest g;
	int i, host;

	up();
	for (i = 0; i < n; i++) {
		host = connected(&g);
		if (i % 2)
			check(write(host, "x", 1) == 1);
		if (i % 3)
			close(host);
		if (i % 2 == 0)
			guest_send(&g, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
		if (!(i % 3))
			close(host);
		event(MICROVM_EVENT_FLOW_END);
		forget_events();
		while (guest_receive_in(&(struct vsock_packet){ 0 }, NULL, 0))
			;
	}
	until_no_flows();
	down();
}

static const struct kmod_case cases[] = {
	{ "refusals", test_refusals },	 { "payload", case_payload },	{ "held", test_held },
	{ "slow_host", test_slow_host }, { "credit", test_credit },	{ "resets", test_resets },
	{ "pipe", test_pipe },		 { "messages", test_messages }, { "connects", test_connects },
};

static int run(const struct kmod_case *c, char **names)
{
	bool wanted = !*names;
	int status = 0;
	pid_t pid;

	for (; *names; names++)
		wanted |= !strcmp(*names, c->name);
	if (!wanted)
		return 0;
	pid = fork();
	if (!pid) {
		current_case = c->name;
		alarm(400);
		c->fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("%s %s\n", status ? "FAILED" : "ok", c->name);
	fflush(stdout);
	return !!status;
}

int main(int argc, char **argv)
{
	int failed = 0;
	size_t i;

	signal(SIGPIPE, SIG_IGN);
	mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		failed += run(&cases[i], argv + 1);
	for (i = 0; i < hostile_cases_n; i++)
		failed += run(&hostile_cases[i], argv + 1);
	return failed != 0;
}
