/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "sandbox/remote.h"
#include "sandbox/sandbox_private.h"

#define ANSWER_TIMEOUT_S 180

/* ---- the other side ------------------------------------------------------------------------------------------------ */

int sandbox_control(const struct state_ref *ref, enum control_op op, uint32_t signal, struct err *e)
{
	const struct control_request req = { .op = op, .signal = signal };
	struct control_answer answer = { 0 };
	const ssize_t n =
		remote_ask(ref, STATE_CONTROL_SOCKET, ANSWER_TIMEOUT_S, &req, sizeof(req), &answer, sizeof(answer));

	if (n == -ECONNREFUSED || n == -ENOENT)
		return err_set(e, ESRCH, "%s has ended, or is not one that can be asked that", ref->record.name);
	if (n < 0 && n != -ECONNRESET && n != -EPIPE)
		return err_errno(e, (int)n, "%s: its supervisor does not answer", ref->record.name);
	if (n <= 0)
		return err_set(e, ESRCH, "%s: its supervisor has ended", ref->record.name);
	if (n != sizeof(answer))
		return err_set(e, EPROTO, "%s: its supervisor is of another version", ref->record.name);
	answer.msg[sizeof(answer.msg) - 1] = '\0';
	return answer.error ? err_set(e, answer.error, "%s", answer.msg) : 0;
}

/* ---- the supervisor's ---------------------------------------------------------------------------------------------- */

static void on_caller(struct loop_op *op, int res);

static void wait_for_caller(struct sandbox *s)
{
	loop_op_init(&s->control_op, on_caller);
	loop_poll(s->loop, &s->control_op, s->control_listen_fd, POLLIN);
}

void control_answer(struct sandbox *s, const struct err *error)
{
	struct control_answer a = { 0 };

	if (s->control_conn < 0)
		return;
	if (error) {
		a.error = error->code ? error->code : EIO;
		snprintf(a.msg, sizeof(a.msg), "%s", error->msg);
	}
	/* Who asked may have gone; what was asked for is done all the same. */
	(void)send(s->control_conn, &a, sizeof(a), MSG_NOSIGNAL | MSG_DONTWAIT);
	cleanup_closep(&s->control_conn);
	if (s->control_listen_fd >= 0 && !loop_op_busy(&s->control_op))
		wait_for_caller(s);
}

static void refuse(struct sandbox *s, const char *what, const char *why)
{
	struct err e = ERR_INIT;

	err_set(&e, EBUSY, "%s: cannot %s it: %s", s->record.name, what, why);
	control_answer(s, &e);
}

static void on_paused(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct sandbox *s = arg;
	struct err why = ERR_INIT;

	if (!reply) {
		control_answer(s, e);
		return;
	}
	s->record.status = s->record.status == SANDBOX_PAUSED ? SANDBOX_RUNNING : SANDBOX_PAUSED;
	control_answer(s, state_save(&s->home, &s->record, &why) ? &why : NULL);
}

static void pause_or_resume(struct sandbox *s, bool pause)
{
	const enum sandbox_status from = pause ? SANDBOX_RUNNING : SANDBOX_PAUSED;
	Microvm__ContainerRequest req;

	if (s->record.status != from || s->wait_over) {
		refuse(s, pause ? "pause" : "resume", pause ? "it does not run" : "it is not paused");
		return;
	}
	microvm__container_request__init(&req);
	req.id = s->record.id;
	if (pause)
		agent_pause_container_async(s->agent, &req, on_paused, s);
	else
		agent_resume_container_async(s->agent, &req, on_paused, s);
}

static void serve(struct sandbox *s, const struct control_request *req)
{
	switch (req->op) {
	case CONTROL_START:
		if (s->holding)
			s->start_wanted = true; /* the answer is given by what starts it */
		else
			refuse(s, "start", s->started ? "it was started before" : "it is still being created");
		break;
	case CONTROL_PAUSE:
	case CONTROL_RESUME: pause_or_resume(s, req->op == CONTROL_PAUSE); break;
	case CONTROL_END:
		if (s->started || s->start_wanted) {
			refuse(s, "end", "it was started");
			break;
		}
		control_answer(s, NULL);
		signals_cancel(s, (int)min_t(uint32_t, req->signal, 64));
		break;
	default: refuse(s, "do that to", "its supervisor is of another version"); break;
	}
}

static void on_request(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, control_op);
	struct control_request req;

	if (res == -ECANCELED)
		return;
	if (recv(s->control_conn, &req, sizeof(req), MSG_DONTWAIT) == sizeof(req)) {
		serve(s, &req);
		return;
	}
	cleanup_closep(&s->control_conn);
	wait_for_caller(s);
}

/* One at a time: the next one waits in the queue. */
static void on_caller(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, control_op);

	if (res == -ECANCELED)
		return;
	s->control_conn = accept4(s->control_listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (s->control_conn < 0) {
		wait_for_caller(s);
		return;
	}
	loop_op_init(op, on_request);
	loop_poll(s->loop, op, s->control_conn, POLLIN);
}

int control_listen(struct sandbox *s, struct err *e)
{
	int r = sandbox_listen(s, SOCK_SEQPACKET | SOCK_NONBLOCK, STATE_CONTROL_SOCKET, &s->control_listen_fd, e);

	if (!r)
		wait_for_caller(s);
	return r;
}

void control_stop(struct sandbox *s)
{
	int i;

	if (loop_op_busy(&s->control_op))
		loop_cancel(s->loop, &s->control_op);
	for (i = 0; i < 64 && loop_op_busy(&s->control_op); i++)
		if (loop_run_once(s->loop, true) < 0)
			break;
	cleanup_closep(&s->control_listen_fd);
}
