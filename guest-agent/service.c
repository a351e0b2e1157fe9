/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of agent.proto, one function each, and the table of them. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/guest.h"
#include "base/util.h"
#include "guest-agent/container_setup.h"
#include "guest-agent/guest.h"
#include "guest-agent/network.h"
#include "guest-agent/server.h"

#define PIDS_MAX 65536u

static void reply_empty(struct ttrpc_call *call, int r, const struct err *e)
{
	Microvm__Empty empty = MICROVM__EMPTY__INIT;

	if (r < 0)
		ttrpc_fail(call, e);
	else
		ttrpc_reply(call, &empty.base);
}

static void reply_pid(struct ttrpc_call *call, int r, pid_t pid, const struct err *e)
{
	Microvm__ProcessReply m = MICROVM__PROCESS_REPLY__INIT;

	m.pid = pid;
	if (r < 0)
		ttrpc_fail(call, e);
	else
		ttrpc_reply(call, &m.base);
}

static void reply_details(struct ttrpc_call *call)
{
	struct guest_details d;

	guest_get_details(&d);
	ttrpc_reply(call, &d.message.base);
}

/* Nothing new begins in a sandbox that ends. */
static bool refuse_new(struct server *s, struct ttrpc_call *call)
{
	struct err e = ERR_INIT;

	if (!s->stopping)
		return false;
	err_set(&e, ESHUTDOWN, "sandbox: it is being stopped");
	ttrpc_fail(call, &e);
	return true;
}

/* ---- the sandbox -------------------------------------------------------------------------------- */

/* What belongs to a namespace is the sandbox's, whose containers have those of the guest; the rest is the kernel's own. */
static int set_sysctl(const Microvm__NameValue *v, struct err *e)
{
	if (!namespaces_sysctl_allowed(v->name, CLONE_NEWIPC | CLONE_NEWUTS))
		return err_set(e, ENOTSUP, "sysctl %.200s: it does not belong to a namespace of the pod", v->name);
	return guest_set_sysctl(v->name, v->value, e);
}

static int create_sandbox(const Microvm__CreateSandboxRequest *req, struct err *e)
{
	size_t i;
	int r = 0;

	if (req->time_ns)
		r = guest_set_time(req->time_ns, e);
	if (!r && req->entropy.len)
		r = guest_add_entropy(req->entropy.data, req->entropy.len, e);
	if (!r && req->hostname[0])
		r = guest_set_hostname(req->hostname, e);
	if (!r && req->share_tag[0])
		r = guest_mount_share(req->share_tag, e);
	if (!r && req->network)
		r = network_set_up(req->network, e);
	for (i = 0; i < req->n_sysctl && !r; i++)
		r = set_sysctl(req->sysctl[i], e);
	return r;
}

static void serve_create_sandbox(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;

	if (create_sandbox((const Microvm__CreateSandboxRequest *)req, &e) < 0)
		ttrpc_fail(call, &e);
	else
		reply_details(call);
}

static void serve_destroy_sandbox(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	server_destroy(server_of(arg), call);
}

static void serve_set_time(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;

	reply_empty(call, guest_set_time(((const Microvm__SetTimeRequest *)req)->time_ns, &e), &e);
}

static void serve_add_entropy(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const ProtobufCBinaryData *entropy = &((const Microvm__AddEntropyRequest *)req)->entropy;
	struct err e = ERR_INIT;

	reply_empty(call, guest_add_entropy(entropy->data, entropy->len, &e), &e);
}

static void serve_get_details(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	reply_details(call);
}

static void serve_set_online_cpus(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;

	reply_empty(call, guest_set_online_cpus(((const Microvm__SetOnlineCpusRequest *)req)->count, &e), &e);
}

static void serve_next_event(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	events_next(&server_of(arg)->tasks.events, call);
}

/* ---- containers and processes ------------------------------------------------------------------- */

static void serve_create_container(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct server *s = server_of(arg);
	struct err e = ERR_INIT;
	pid_t pid = 0;
	int r;

	if (refuse_new(s, call))
		return;
	r = tasks_create(&s->tasks, (const Microvm__CreateContainerRequest *)req, server_keeper(arg), &pid, &e);
	reply_pid(call, r, pid, &e);
}

static void serve_start_container(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct server *s = server_of(arg);
	struct err e = ERR_INIT;

	if (!refuse_new(s, call))
		reply_empty(call, tasks_start(&s->tasks, ((const Microvm__ContainerRequest *)req)->id, &e), &e);
}

static void serve_exec_process(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct server *s = server_of(arg);
	struct err e = ERR_INIT;
	pid_t pid = 0;
	int r;

	if (refuse_new(s, call))
		return;
	r = tasks_exec(&s->tasks, (const Microvm__ExecRequest *)req, &pid, &e);
	reply_pid(call, r, pid, &e);
}

static void serve_signal_process(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;

	reply_empty(call, tasks_signal(&server_of(arg)->tasks, (const Microvm__SignalRequest *)req, &e), &e);
}

static void serve_wait_process(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const Microvm__ProcessRequest *m = (const Microvm__ProcessRequest *)req;

	tasks_wait(&server_of(arg)->tasks, m->id, m->exec_id, call);
}

static void serve_resize_tty(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const Microvm__ResizeRequest *m = (const Microvm__ResizeRequest *)req;
	struct err e = ERR_INIT;
	struct task_proc *p;
	int r = tasks_find_proc(&server_of(arg)->tasks, m->id, m->exec_id, &p, &e);

	reply_empty(call, r < 0 ? r : stdio_resize(p->stdio, m->rows, m->cols, &e), &e);
}

static void serve_close_stdin(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const Microvm__ProcessRequest *m = (const Microvm__ProcessRequest *)req;
	struct err e = ERR_INIT;
	struct task_proc *p;
	int r = tasks_find_proc(&server_of(arg)->tasks, m->id, m->exec_id, &p, &e);

	if (r == 0)
		stdio_close_stdin(p->stdio);
	reply_empty(call, r, &e);
}

static void serve_pause_container(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;
	struct task *t;
	int r = tasks_find(&server_of(arg)->tasks, ((const Microvm__ContainerRequest *)req)->id, &t, &e);

	reply_empty(call, r < 0 ? r : container_pause(t->container, &e), &e);
}

static void serve_resume_container(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;
	struct task *t;
	int r = tasks_find(&server_of(arg)->tasks, ((const Microvm__ContainerRequest *)req)->id, &t, &e);

	reply_empty(call, r < 0 ? r : container_resume(t->container, &e), &e);
}

static void serve_update_container(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const Microvm__UpdateRequest *m = (const Microvm__UpdateRequest *)req;
	struct err e = ERR_INIT;
	struct task *t;
	int r = tasks_find(&server_of(arg)->tasks, m->id, &t, &e);

	if (r == 0 && !m->resources)
		r = err_set(&e, EINVAL, "container %s: the request has no resources", m->id);
	reply_empty(call, r < 0 ? r : container_update(t->container, m->resources, &e), &e);
}

static void serve_stats_container(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Microvm__Stats stats = MICROVM__STATS__INIT;
	struct err e = ERR_INIT;
	struct task *t;
	int r = tasks_find(&server_of(arg)->tasks, ((const Microvm__ContainerRequest *)req)->id, &t, &e);

	if (r < 0 || container_stats(t->container, &stats, &e) < 0)
		ttrpc_fail(call, &e);
	else
		ttrpc_reply(call, &stats.base);
}

static void serve_list_processes(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Microvm__ProcessList list = MICROVM__PROCESS_LIST__INIT;
	struct err e = ERR_INIT;
	struct task *t;
	int r = tasks_find(&server_of(arg)->tasks, ((const Microvm__ContainerRequest *)req)->id, &t, &e);

	if (r == 0) {
		list.pids = xcalloc(PIDS_MAX, sizeof(*list.pids));
		r = container_pids(t->container, list.pids, PIDS_MAX, &list.n_pids, &e);
	}
	if (r < 0)
		ttrpc_fail(call, &e);
	else
		ttrpc_reply(call, &list.base);
	free(list.pids);
}

static void serve_remove_container(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;

	reply_empty(call, tasks_remove(&server_of(arg)->tasks, ((const Microvm__ContainerRequest *)req)->id, &e), &e);
}

#define METHOD(Name, fn, req, resp)                                                                                 \
	{                                                                                                           \
		.name = Name, .request = &microvm__##req##__descriptor, .response = &microvm__##resp##__descriptor, \
		.serve = serve_##fn                                                                                 \
	}

static const struct ttrpc_method methods[] = {
	METHOD("CreateSandbox", create_sandbox, create_sandbox_request, guest_details),
	METHOD("DestroySandbox", destroy_sandbox, empty, empty),
	METHOD("SetTime", set_time, set_time_request, empty),
	METHOD("AddEntropy", add_entropy, add_entropy_request, empty),
	METHOD("GetDetails", get_details, empty, guest_details),
	METHOD("SetOnlineCpus", set_online_cpus, set_online_cpus_request, empty),
	METHOD("CreateContainer", create_container, create_container_request, process_reply),
	METHOD("StartContainer", start_container, container_request, empty),
	METHOD("ExecProcess", exec_process, exec_request, process_reply),
	METHOD("SignalProcess", signal_process, signal_request, empty),
	METHOD("WaitProcess", wait_process, process_request, wait_reply),
	METHOD("ResizeTty", resize_tty, resize_request, empty),
	METHOD("CloseStdin", close_stdin, process_request, empty),
	METHOD("PauseContainer", pause_container, container_request, empty),
	METHOD("ResumeContainer", resume_container, container_request, empty),
	METHOD("UpdateContainer", update_container, update_request, empty),
	METHOD("StatsContainer", stats_container, container_request, stats),
	METHOD("ListProcesses", list_processes, container_request, process_list),
	METHOD("RemoveContainer", remove_container, container_request, empty),
	METHOD("NextEvent", next_event, empty, event),
};

const struct ttrpc_service agent_service = { .name = GUEST_SERVICE,
					     .methods = methods,
					     .methods_n = ARRAY_SIZE(methods) };
