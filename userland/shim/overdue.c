/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL is not a guest's to refuse. Once each container that is in it was killed and the time is over, its VM is ended, whatever
 * keeps the guest from answering. While one of them is meant to go on, the others wait for it.
 */
#include <errno.h>

#include "base/util.h"
#include "shim/task.h"

#define LIMIT_S 10u
#define LIMIT_NS (LIMIT_S * 1000000000ull)

static void on_overdue(struct loop_op *op, int res)
{
	struct shim *s = container_of(op, struct shim, overdue_op);
	const uint64_t now = monotonic_ns();
	const struct task *t;
	uint64_t wait_ns = 0;
	bool overdue = false;
	struct err e = ERR_INIT;

	for (t = s->tasks; t; t = t->next) {
		if (!t->in_guest || t->first.state == PROCESS_STOPPED)
			continue;
		if (!t->killed_ns)
			wait_ns = LIMIT_NS;
		else if (now - t->killed_ns < LIMIT_NS)
			wait_ns = max_t(uint64_t, wait_ns, LIMIT_NS - (now - t->killed_ns));
		overdue = overdue || t->killed_ns;
	}
	if (!overdue)
		return;
	if (wait_ns) {
		loop_timer(s->loop, op, wait_ns);
	} else {
		err_set(&e, ESRCH, "the guest did not end in %u s what was killed, so its VM was ended", LIMIT_S);
		pod_end(s->pod);
		tasks_pod_ended(s, &e);
	}
}

void tasks_init(struct shim *s)
{
	loop_op_init(&s->overdue_op, on_overdue);
}

void task_killed(struct task *t)
{
	struct shim *s = t->shim;

	if (!t->killed_ns)
		t->killed_ns = monotonic_ns();
	if (!loop_op_busy(&s->overdue_op))
		loop_timer(s->loop, &s->overdue_op, LIMIT_NS);
}
