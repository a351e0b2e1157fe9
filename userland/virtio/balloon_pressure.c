/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the host is short of memory the kernel's module tells every VMM how much it wants. Each VMM decides for its own
 * guest: an idle one gives at once, a busy one waits and gives only if the host still asks then, by which time the idle ones
 * have given. None is left with less than its minimum. Once the host has asked for nothing for a while, all goes back.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "kmod/uapi/microvm.h"
#include "virtio/balloon.h"

#define SAMPLE_NS (200ull * 1000000)
#define PATIENT_NS (2000ull * 1000000)
#define HOLD_NS (1000ull * 1000000)
#define HOLD_ROUNDS 10u	  /* without a sound until all is given back */
#define IDLE_PER_CENT 10u /* of one CPU, at most */

static struct balloon *balloon_of(struct balloon_pressure *p)
{
	return container_of(p, struct balloon, pressure);
}

/* Of guest and VMM together. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Takes what the host wanted since the last time, and says what it may want from now on. */
static void exchange(struct balloon_pressure *p, int event_fd, uint64_t spare_bytes)
{
	struct microvm_pressure x = { .event_fd = event_fd, .spare_pages = spare_bytes / BALLOON_PAGE };

	if (ioctl(balloon_of(p)->module_fd, MICROVM_PRESSURE, &x)) {
		log_error("balloon: the kernel module does not say what the host wants: %s", strerror(errno));
		return;
	}
	p->wanted_bytes += x.wanted_pages * BALLOON_PAGE;
}

static uint64_t spare(const struct balloon *b)
{
	const uint64_t left = b->asked_bytes - b->pressure.taken_bytes, min = b->pressure.min_bytes;

	return left > min ? left - min : 0;
}

/*
 * What the guest has never touched, or has given back, is not the host's to gain: the balloon has to grow past that, so the
 * guest's new size is counted from what the host has pages for.
 */
static void take(struct balloon *b)
{
	struct balloon_pressure *p = &b->pressure;
	const uint64_t touched = guest_mem_touched(b->dev.mem) & ~(BALLOON_PAGE - 1);
	const uint64_t from = min_t(uint64_t, b->asked_bytes - p->taken_bytes, touched);
	const uint64_t to = from > p->wanted_bytes ? from - p->wanted_bytes : 0;
	const uint64_t bytes = to > p->min_bytes ? to : p->min_bytes;

	p->wanted_bytes = 0;
	if (bytes < b->asked_bytes - p->taken_bytes && bytes < from) {
		p->taken_bytes = b->asked_bytes - bytes;
		balloon_retarget(b);
	}
}

static void enter(struct balloon_pressure *p, enum balloon_pressure_state state, uint64_t after_ns)
{
	p->state = state;
	p->rung = false;
	if (state != PRESSURE_NONE)
		loop_timer(balloon_of(p)->dev.loop, &p->timer, after_ns);
}

static void begin_sample(struct balloon_pressure *p)
{
	/* Deaf until we know. */
	exchange(p, -1, 0);
	p->cpu_ns = cpu_ns();
	p->quiet = 0;
	enter(p, PRESSURE_SAMPLE, SAMPLE_NS);
}

static void hold(struct balloon *b)
{
	exchange(&b->pressure, -1, spare(b));
	enter(&b->pressure, PRESSURE_HOLD, HOLD_NS);
}

static void timer_done(struct loop_op *op, int res)
{
	struct balloon_pressure *p = container_of(op, struct balloon_pressure, timer);
	struct balloon *b = balloon_of(p);

	if (res || b->ending)
		return;
	switch (p->state) {
	case PRESSURE_SAMPLE:
		if (cpu_ns() - p->cpu_ns <= SAMPLE_NS * IDLE_PER_CENT / 100) {
			take(b);
			hold(b);
			break;
		}
		exchange(p, -1, spare(b));
		enter(p, PRESSURE_PATIENT, PATIENT_NS);
		break;
	case PRESSURE_PATIENT:
		if (p->rung) {
			exchange(p, -1, 0);
			take(b);
		}
		p->wanted_bytes = 0;
		hold(b);
		break;
	case PRESSURE_HOLD:
		if (p->rung) {
			begin_sample(p);
		} else if (++p->quiet < HOLD_ROUNDS) {
			enter(p, PRESSURE_HOLD, HOLD_NS);
		} else {
			if (p->taken_bytes) {
				p->taken_bytes = 0;
				balloon_retarget(b);
			}
			exchange(p, -1, spare(b));
			p->wanted_bytes = 0;
			enter(p, PRESSURE_NONE, 0);
		}
		break;
	default: break;
	}
}

void balloon_pressure_rung(struct balloon *b)
{
	struct balloon_pressure *p = &b->pressure;
	uint64_t n;

	if (read(p->bell_fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return;
	p->rung = true;
	if (p->state == PRESSURE_NONE && !loop_op_busy(&p->timer))
		begin_sample(p);
}

int balloon_pressure_init(struct balloon *b, uint64_t min_bytes)
{
	struct balloon_pressure *p = &b->pressure;

	p->bell_fd = -1;
	loop_op_init(&p->timer, timer_done);
	p->min_bytes = min_bytes;
	if (!min_bytes || b->module_fd < 0)
		return 0;
	p->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return p->bell_fd < 0 ? -errno : 0;
}

void balloon_pressure_start(struct balloon *b)
{
	if (b->pressure.bell_fd >= 0)
		exchange(&b->pressure, b->pressure.bell_fd, spare(b));
}

void balloon_pressure_end(struct balloon *b)
{
	if (b->pressure.bell_fd >= 0)
		close(b->pressure.bell_fd);
}
