/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console (virtio 1.2, 5.3), one port: the guest kernel's log, and its lines for whoever looks for a panic.
 *
 * Linux waits with a spinning CPU until its output is taken, so all of it is taken at once. What the file behind cannot
 * take in time is dropped and counted, with a note in the output: a flood costs CONSOLE_BUFFER bytes of memory, and on
 * disk (a regular file) CONSOLE_FILE_MAX bytes.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio/devices.h"
#include "virtio/iov.h"

enum { CONSOLE_RX, CONSOLE_TX, CONSOLE_QUEUES };

#define CONSOLE_QUEUE_SIZE 64u
#define CONSOLE_SEGMENTS 64u
#define CONSOLE_BUFFER 16384u	 /* a power of two */
#define CONSOLE_NOTE 64u	 /* kept free in the buffer for "bytes dropped" */
#define CONSOLE_CHAIN_MAX 65536u /* more of one chain is dropped, so that one request stays short */
#define CONSOLE_FILE_MAX (16ull << 20)
#define CONSOLE_LINE_MAX 512u
#define CONSOLE_INPUT 256u
#define CONSOLE_DRAIN_NS 500000000ull

struct console {
	struct virtio_device dev;
	int out_fd, in_fd;
	bool out_regular, ending;

	struct loop_op out_op, out_poll, drain_timer;
	char *out;		     /* ring buffer, allocated with the first byte */
	uint32_t out_head, out_tail; /* free running; what is between them waits */
	uint32_t out_writing;	     /* bytes of the write in flight */
	uint64_t out_taken;	     /* bytes accepted since the start */
	uint64_t dropped;	     /* since the last note */

	struct loop_op in_op;
	uint32_t in_len, in_at;
	char in[CONSOLE_INPUT];

	void (*on_line)(void *arg, const char *line);
	void *on_line_arg;
	uint32_t line_len;
	char line[CONSOLE_LINE_MAX];
};

static struct console *to_console(struct virtio_device *dev)
{
	return container_of(dev, struct console, dev);
}

/* ---- output ---------------------------------------------------------------------------------------------------- */

static void write_more(struct console *c)
{
	uint32_t at = c->out_tail % CONSOLE_BUFFER, len = c->out_head - c->out_tail;

	if (!len || c->ending || c->out_fd < 0 || loop_op_busy(&c->out_op) || loop_op_busy(&c->out_poll))
		return;
	c->out_writing = min_t(uint32_t, len, CONSOLE_BUFFER - at);
	loop_write(c->dev.loop, &c->out_op, c->out_fd, c->out + at, c->out_writing, -1);
}

static void buffer(struct console *c, const char *s, uint32_t len)
{
	uint32_t at = c->out_head % CONSOLE_BUFFER, first = min_t(uint32_t, len, CONSOLE_BUFFER - at);

	memcpy(c->out + at, s, first);
	memcpy(c->out, s + first, len - first);
	c->out_head += len;
}

static void note_dropped(struct console *c)
{
	char note[CONSOLE_NOTE];
	int n;

	if (!c->dropped || CONSOLE_BUFFER - (c->out_head - c->out_tail) < CONSOLE_NOTE)
		return;
	n = snprintf(note, sizeof(note), "\n[console: %llu bytes dropped]\n", (unsigned long long)c->dropped);
	c->dropped = 0;
	buffer(c, note, n);
}

static void written(struct loop_op *op, int res)
{
	struct console *c = container_of(op, struct console, out_op);

	if (c->ending)
		return;
	if (res == -EAGAIN) { /* the file was given to us non-blocking */
		loop_poll(c->dev.loop, &c->out_poll, c->out_fd, POLLOUT);
		return;
	}
	if (res < 0 && res != -EINTR) { /* nobody reads it any more, or the disk is full */
		c->out_tail = c->out_head;
		c->out_regular = true;
		c->out_taken = CONSOLE_FILE_MAX;
		return;
	}
	if (res > 0)
		c->out_tail += min_t(uint32_t, res, c->out_writing);
	note_dropped(c);
	write_more(c);
}

static void writable(struct loop_op *op, int res)
{
	write_more(container_of(op, struct console, out_poll));
}

static void add_output(struct console *c, const char *s, uint32_t len)
{
	uint32_t room, part;

	if (c->out_fd < 0 || (c->out_regular && c->out_taken >= CONSOLE_FILE_MAX))
		return;
	if (!c->out)
		c->out = malloc(CONSOLE_BUFFER);
	if (!c->out)
		return;
	room = CONSOLE_BUFFER - (c->out_head - c->out_tail);
	room -= min_t(uint32_t, room, CONSOLE_NOTE);
	/* Once bytes were dropped the next ones are, too, until the note of it stands before them. */
	part = c->dropped ? 0 : min_t(uint32_t, room, len);
	c->dropped += len - part;
	c->out_taken += part;
	buffer(c, s, part);
	if (c->out_regular && c->out_taken >= CONSOLE_FILE_MAX) {
		static const char last[] = "\n[console: full, nothing more is kept]\n";

		c->dropped = 0;
		c->out_taken = CONSOLE_FILE_MAX;
		/* The room kept for a note is there for it. */
		buffer(c, last, sizeof(last) - 1);
	}
}

static void add_to_line(struct console *c, const char *s, uint32_t len)
{
	uint32_t i;

	if (!c->on_line)
		return;
	for (i = 0; i < len; i++) {
		if (s[i] == '\n') {
			c->line[c->line_len] = 0;
			c->line_len = 0;
			c->on_line(c->on_line_arg, c->line);
		} else if (c->line_len < CONSOLE_LINE_MAX - 1 && s[i] != '\r') {
			c->line[c->line_len++] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
		}
	}
}

static void take_output(struct console *c, const struct virtq_chain *chain)
{
	uint32_t skip, part, end = min_t(uint32_t, chain->out_bytes, CONSOLE_CHAIN_MAX);
	char copy[512];

	for (skip = 0; skip < end; skip += part) {
		part = iov_get(chain->iov, chain->out_n, skip, copy, min_t(uint32_t, end - skip, sizeof(copy)));
		add_to_line(c, copy, part);
		add_output(c, copy, part);
	}
	if (c->out_fd >= 0)
		c->dropped += chain->out_bytes - end;
}

static void serve_tx(struct console *c)
{
	struct iovec iov[CONSOLE_SEGMENTS];
	struct virtq_chain chain;
	unsigned int i;

	for (i = 0; i < CONSOLE_QUEUE_SIZE && virtio_pop(&c->dev, CONSOLE_TX, &chain, iov, CONSOLE_SEGMENTS); i++) {
		if (chain.in_n) {
			virtio_broken(&c->dev, "writable buffer in the transmit queue");
			return;
		}
		take_output(c, &chain);
		virtq_push(c->dev.vq[CONSOLE_TX], chain.head, 0);
	}
	virtio_flush(&c->dev, CONSOLE_TX);
	write_more(c);
	if (virtq_kicks_on(c->dev.vq[CONSOLE_TX]))
		virtio_kick_later(&c->dev, CONSOLE_TX);
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

static void serve_rx(struct console *c)
{
	struct iovec iov[CONSOLE_SEGMENTS];
	struct virtq_chain chain;
	uint32_t n;

	while (c->in_at < c->in_len && virtio_pop(&c->dev, CONSOLE_RX, &chain, iov, CONSOLE_SEGMENTS)) {
		if (chain.out_n) {
			virtio_broken(&c->dev, "readable buffer in the receive queue");
			return;
		}
		n = iov_put(chain.iov, chain.in_n, 0, c->in + c->in_at, c->in_len - c->in_at);
		c->in_at += n;
		virtq_push(c->dev.vq[CONSOLE_RX], chain.head, n);
	}
	virtio_flush(&c->dev, CONSOLE_RX);
	if (c->in_at < c->in_len) {
		if (virtq_kicks_on(c->dev.vq[CONSOLE_RX]))
			virtio_kick_later(&c->dev, CONSOLE_RX);
		return;
	}
	if (c->in_fd >= 0 && !c->ending && !loop_op_busy(&c->in_op))
		loop_read(c->dev.loop, &c->in_op, c->in_fd, c->in, sizeof(c->in), -1);
}

static void have_input(struct loop_op *op, int res)
{
	struct console *c = container_of(op, struct console, in_op);

	if (c->ending || (res <= 0 && res != -EINTR)) { /* end of input; the fd is closed at the end */
		c->in_len = c->in_at = 0;
		return;
	}
	c->in_at = 0;
	c->in_len = res > 0 ? res : 0;
	serve_rx(c);
}

/* ---- device ---------------------------------------------------------------------------------------------------- */

static int console_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct console *c = calloc(1, sizeof(*c));
	struct stat st;

	if (!c)
		return err_set(e, ENOMEM, "console: no memory");
	c->out_fd = spec->console.out_fd;
	c->in_fd = spec->console.in_fd;
	c->out_regular = c->out_fd >= 0 && fstat(c->out_fd, &st) == 0 && S_ISREG(st.st_mode);
	loop_op_init(&c->out_op, written);
	loop_op_init(&c->out_poll, writable);
	loop_op_init(&c->in_op, have_input);
	c->dev.ops = &virtio_console;
	c->dev.queues_n = CONSOLE_QUEUES;
	c->dev.queue_size[CONSOLE_RX] = c->dev.queue_size[CONSOLE_TX] = CONSOLE_QUEUE_SIZE;
	*out = &c->dev;
	return 0;
}

static int console_attach(struct virtio_device *dev, struct err *e)
{
	struct console *c = to_console(dev);
	int r = 0;

	if (c->out_fd >= 0)
		r = loop_add_fd(dev->loop, c->out_fd);
	if (!r && c->in_fd >= 0 && c->in_fd != c->out_fd)
		r = loop_add_fd(dev->loop, c->in_fd);
	return r < 0 ? err_errno(e, r, "console: registering its files") : 0;
}

void virtio_console_on_line(struct virtio_device *dev, void (*fn)(void *arg, const char *line), void *arg)
{
	to_console(dev)->on_line = fn;
	to_console(dev)->on_line_arg = arg;
}

static void console_kick(struct virtio_device *dev, unsigned int queue)
{
	if (queue == CONSOLE_TX)
		serve_tx(to_console(dev));
	else
		serve_rx(to_console(dev));
}

static bool console_reset(struct virtio_device *dev)
{
	return true; /* what is in flight reads and writes our own buffers */
}

static void drain_timed_out(struct loop_op *op, int res) {}

static void console_drain(struct virtio_device *dev)
{
	struct console *c = to_console(dev);

	serve_tx(c);
	loop_op_init(&c->drain_timer, drain_timed_out);
	loop_timer(dev->loop, &c->drain_timer, CONSOLE_DRAIN_NS);
	while (c->out_head != c->out_tail && loop_op_busy(&c->drain_timer))
		if (loop_run_once(dev->loop, true) < 0)
			return;
	loop_cancel(dev->loop, &c->drain_timer);
}

static bool cancelled(struct loop *loop, struct loop_op *op, bool first)
{
	if (first)
		loop_cancel(loop, op);
	return !loop_op_busy(op);
}

static bool console_quiesce(struct virtio_device *dev)
{
	struct console *c = to_console(dev);
	bool first = !c->ending, idle;

	c->ending = true;
	idle = cancelled(dev->loop, &c->out_op, first);
	idle &= cancelled(dev->loop, &c->out_poll, first);
	idle &= cancelled(dev->loop, &c->in_op, first);
	idle &= cancelled(dev->loop, &c->drain_timer, first);
	return idle;
}

static void console_destroy(struct virtio_device *dev)
{
	struct console *c = to_console(dev);

	if (c->out_fd >= 0)
		close(c->out_fd);
	if (c->in_fd >= 0 && c->in_fd != c->out_fd)
		close(c->in_fd);
	free(c->out);
	free(c);
}

const struct virtio_device_ops virtio_console = {
	.name = "console",
	.id = VMSPEC_CONSOLE,
	.create = console_create,
	.attach = console_attach,
	.kick = console_kick,
	.reset = console_reset,
	.drain = console_drain,
	.quiesce = console_quiesce,
	.destroy = console_destroy,
};
