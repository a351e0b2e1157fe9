/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent_fixture.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

struct world w;
struct err e;

void setup(void)
{
	world_start(&w, &(struct world_options){ .claim_ms = 300, .grace_ms = 300 });
	e = (struct err)ERR_INIT;
}

void teardown(void)
{
	world_stop(&w);
}

static void fill_args(Microvm__Process *p, const char *script, char **args)
{
	args[0] = (char *)"sh";
	args[1] = (char *)"-c";
	args[2] = (char *)script;
	p->args = args;
	p->n_args = 3;
	p->cwd = (char *)"/";
}

int create(struct run *r, const char *script)
{
	Microvm__CreateContainerRequest req = MICROVM__CREATE_CONTAINER_REQUEST__INIT;
	Microvm__Process process = MICROVM__PROCESS__INIT;
	Microvm__Rootfs rootfs = MICROVM__ROOTFS__INIT;
	Microvm__Stdio stdio = MICROVM__STDIO__INIT;
	Microvm__Spec spec = MICROVM__SPEC__INIT;
	char *args[3];

	fill_args(&process, script, args);
	process.terminal = r->terminal;
	spec.process = &process;
	stdio.stdin = r->tokens[0];
	stdio.stdout = r->tokens[1];
	stdio.stderr = r->tokens[2];
	req.id = (char *)r->id;
	req.spec = &spec;
	req.rootfs = &rootfs;
	req.stdio = &stdio;
	return agent_create_container(w.agent, &req, NULL, &e);
}

int exec(struct run *r, const char *exec_id, const char *script)
{
	Microvm__ExecRequest req = MICROVM__EXEC_REQUEST__INIT;
	Microvm__Process process = MICROVM__PROCESS__INIT;
	Microvm__Stdio stdio = MICROVM__STDIO__INIT;
	char *args[3];

	fill_args(&process, script, args);
	stdio.stdout = r->tokens[1];
	req.id = (char *)r->id;
	req.exec_id = (char *)exec_id;
	req.process = &process;
	req.stdio = &stdio;
	return agent_exec_process(w.agent, &req, NULL, &e);
}

int by_id(int (*call)(struct agent *, const Microvm__ContainerRequest *, Microvm__Empty **, struct err *),
	  const char *id)
{
	Microvm__ContainerRequest req = MICROVM__CONTAINER_REQUEST__INIT;

	req.id = (char *)id;
	return call(w.agent, &req, NULL, &e);
}

int send_signal(const char *id, const char *exec_id, unsigned int sig)
{
	Microvm__SignalRequest req = MICROVM__SIGNAL_REQUEST__INIT;

	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	req.signal = sig;
	return agent_signal_process(w.agent, &req, NULL, &e);
}

int wait_for(const char *id, const char *exec_id)
{
	Microvm__ProcessRequest req = MICROVM__PROCESS_REQUEST__INIT;
	Microvm__WaitReply *reply;
	int r, status;

	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	r = agent_wait_process(w.agent, &req, &reply, &e);
	if (r < 0)
		return r;
	status = reply->exit_status;
	ck_assert_int_gt(reply->exited_at_ns, 0);
	agent_reply_free(reply);
	return status;
}

void open_streams(struct run *r, const char *which)
{
	size_t i;

	for (i = 0; i < 3; i++)
		r->tokens[i] = strchr(which, "ioe"[i]) ? agent_stdio_token() : 0;
	ck_assert_int_eq(agent_stdio_open(w.vsock, r->tokens, r->fds, 3, 5000, &e), 0);
}

void start(struct run *r, const char *streams, const char *script)
{
	open_streams(r, streams);
	ck_assert_msg(create(r, script) == 0, "%s", e.msg);
	ck_assert_msg(by_id(agent_start_container, r->id) == 0, "%s", e.msg);
}

size_t read_all(int fd, char *buf, size_t max)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, buf + len, max - len)) > 0)
		len += n;
	ck_assert_int_eq(n, 0);
	return len;
}

void expect_text(int fd, const char *text)
{
	char buf[4096] = "";

	read_all(fd, buf, sizeof(buf) - 1);
	ck_assert_str_eq(buf, text);
}
