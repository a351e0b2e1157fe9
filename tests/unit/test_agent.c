/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as its host sees it: RPCs, connections, ends. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "guest-agent/server.h"
#include "tests/unit/agent_fixture.h"

static void setup_strangers(void)
{
	world_start(&w, &(struct world_options){ .strangers = true, .grace_ms = 300 });
}

/* ---- the sandbox ---- */

START_TEST(details_are_told)
{
	Microvm__Empty empty = MICROVM__EMPTY__INIT;
	Microvm__GuestDetails *d;

	ck_assert_int_eq(agent_get_details(w.agent, &empty, &d, &e), 0);
	ck_assert_str_eq(d->agent_version, MICROVM_VERSION);
	ck_assert_uint_gt(d->mem_total_bytes, 0);
	ck_assert_uint_le(d->mem_available_bytes, d->mem_total_bytes);
	ck_assert_uint_ge(d->vcpus, 1);
	ck_assert_uint_gt(d->n_features, 0);
	agent_reply_free(d);
}
END_TEST

START_TEST(bad_settings_of_the_sandbox_are_refused)
{
	Microvm__CreateSandboxRequest req = MICROVM__CREATE_SANDBOX_REQUEST__INIT;
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT, *list[] = { &nv };
	Microvm__AddEntropyRequest entropy = MICROVM__ADD_ENTROPY_REQUEST__INIT;
	Microvm__SetTimeRequest when = MICROVM__SET_TIME_REQUEST__INIT;
	char name[100];
	uint8_t data[600] = { 0 };

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	req.hostname = name;
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -EINVAL);
	req.hostname = (char *)"";
	req.sysctl = list;
	req.n_sysctl = 1;
	nv.name = (char *)"net.../../../etc/passwd";
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -EINVAL);
	nv.name = (char *)"net.no.such";
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "net.no.such"));
	nv.name = (char *)"kernel.modprobe";
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(e.msg, "kernel.modprobe"));
	entropy.entropy.data = data;
	entropy.entropy.len = sizeof(data);
	ck_assert_int_eq(agent_add_entropy(w.agent, &entropy, NULL, &e), -EINVAL);
	when.time_ns = -5;
	ck_assert_int_eq(agent_set_time(w.agent, &when, NULL, &e), -EINVAL);
}
END_TEST

/* ---- rules ---- */

START_TEST(mistakes_are_named)
{
	struct run r = RUN(), bad = { .id = "../x" };
	Microvm__CreateContainerRequest empty = MICROVM__CREATE_CONTAINER_REQUEST__INIT;

	ck_assert_int_eq(create(&bad, "true"), -EINVAL);
	empty.id = (char *)"c9";
	ck_assert_int_eq(agent_create_container(w.agent, &empty, NULL, &e), -EINVAL);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "c1"));
	ck_assert_int_eq(create(&r, "exec sleep 1000"), 0);
	ck_assert_int_eq(create(&r, "true"), -EEXIST);
	ck_assert_int_eq(exec(&r, "x1", "true"), -EBUSY);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), 0);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), -EBUSY);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), -EBUSY);
	ck_assert_int_eq(send_signal("c1", "", 0), -EINVAL);
	ck_assert_int_eq(send_signal("c1", "", 65), -EINVAL);
	ck_assert_int_eq(send_signal("c1", "x9", 9), -ENOENT);
	ck_assert_int_eq(exec(&r, "", "true"), -EINVAL);
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), 0);
	ck_assert_int_eq(wait_for("c1", ""), 137);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
	/* The id is free again. */
	ck_assert_int_eq(create(&r, "true"), 0);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
}
END_TEST

START_TEST(a_refused_container_leaves_nothing)
{
	Microvm__CreateContainerRequest req = MICROVM__CREATE_CONTAINER_REQUEST__INIT;
	Microvm__Process process = MICROVM__PROCESS__INIT;
	Microvm__Rootfs rootfs = MICROVM__ROOTFS__INIT;
	Microvm__Spec spec = MICROVM__SPEC__INIT;
	char *args[] = { (char *)"refused" };

	process.args = args;
	process.n_args = 1;
	spec.process = &process;
	req.id = (char *)"c1";
	req.spec = &spec;
	req.rootfs = &rootfs;
	ck_assert_int_eq(agent_create_container(w.agent, &req, NULL, &e), -EOPNOTSUPP);
	ck_assert_str_eq(e.msg, "container c1: refused");
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), -ENOENT);
}
END_TEST

START_TEST(further_processes_have_ids_of_their_own)
{
	struct run r = RUN(), x = RUN();

	start(&r, "", "exec sleep 1000");
	open_streams(&x, "o");
	ck_assert_int_eq(exec(&x, "x1", "echo exec; exit 9"), 0);
	expect_text(x.fds[1], "exec\n");
	ck_assert_int_eq(wait_for("c1", "x1"), 9);
	x.tokens[1] = 0;
	ck_assert_int_eq(exec(&x, "x1", "exec sleep 1000"), 0); /* the first has ended */
	ck_assert_int_eq(exec(&x, "x1", "true"), -EEXIST);
	ck_assert_int_eq(send_signal("c1", "x1", SIGTERM), 0);
	ck_assert_int_eq(wait_for("c1", "x1"), 143);
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), 0);
	ck_assert_int_eq(wait_for("c1", ""), 137);
	ck_assert_int_eq(exec(&x, "x2", "true"), -EBUSY);
}
END_TEST

START_TEST(many_short_processes_are_forgotten_in_order)
{
	struct run r = RUN();
	unsigned int i;
	char id[16];

	start(&r, "", "exec sleep 1000");
	for (i = 0; i < TASK_PROCS_MAX + 5; i++) {
		snprintf(id, sizeof(id), "x%u", i);
		ck_assert_msg(exec(&r, id, "exit 1") == 0, "%s", e.msg);
		/* What has not been reaped yet is not forgotten. */
		ck_assert_int_eq(wait_for("c1", id), 1);
	}
	ck_assert_int_eq(wait_for("c1", "x0"), -ENOENT);
	ck_assert_int_eq(wait_for("c1", id), 1);
}
END_TEST

static Microvm__Event *next_event(void)
{
	Microvm__Event *ev;

	ck_assert_int_eq(agent_next_event(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, &ev, &e), 0);
	return ev;
}

START_TEST(events_are_told_in_order)
{
	struct run r = RUN();
	Microvm__Event *ev;

	start(&r, "", "exit 7");
	ev = next_event();
	ck_assert_int_eq(ev->type, MICROVM__EVENT__TYPE__EXIT);
	ck_assert_str_eq(ev->id, "c1");
	ck_assert_str_eq(ev->exec_id, "");
	ck_assert_uint_eq(ev->exit_status, 7);
	ck_assert_uint_gt(ev->pid, 0);
	agent_reply_free(ev);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
	/* More than the queue holds: the oldest are lost. */
	start(&r, "", "exec sleep 1000");
	{
		unsigned int i, lost = 10;
		char id[16];

		for (i = 0; i < EVENTS_MAX + lost; i++) {
			snprintf(id, sizeof(id), "x%u", i);
			ck_assert_int_eq(exec(&r, id, "exit 1"), 0);
			ck_assert_int_eq(wait_for("c1", id), 1);
		}
		ev = next_event();
		ck_assert_str_eq(ev->exec_id, "x10");
		agent_reply_free(ev);
	}
}
END_TEST

START_TEST(containers_answer_for_themselves)
{
	Microvm__ContainerRequest req = MICROVM__CONTAINER_REQUEST__INIT;
	Microvm__UpdateRequest update = MICROVM__UPDATE_REQUEST__INIT;
	struct run r = RUN();
	Microvm__ProcessList *list;
	Microvm__Stats *stats;

	start(&r, "", "exec sleep 1000");
	req.id = (char *)"c1";
	ck_assert_int_eq(agent_list_processes(w.agent, &req, &list, &e), 0);
	ck_assert_uint_eq(list->n_pids, 1);
	agent_reply_free(list);
	ck_assert_int_eq(agent_stats_container(w.agent, &req, &stats, &e), 0);
	ck_assert_uint_eq(stats->pids, 1);
	agent_reply_free(stats);
	ck_assert_int_eq(by_id(agent_pause_container, "c1"), 0);
	ck_assert_int_eq(by_id(agent_resume_container, "c1"), 0);
	ck_assert_int_eq(by_id(agent_pause_container, "c2"), -ENOENT);
	update.id = (char *)"c1";
	ck_assert_int_eq(agent_update_container(w.agent, &update, NULL, &e), -EINVAL);
	req.id = (char *)"c2";
	ck_assert_int_eq(agent_stats_container(w.agent, &req, NULL, &e), -ENOENT);
	ck_assert_int_eq(agent_list_processes(w.agent, &req, NULL, &e), -ENOENT);
}
END_TEST

/* ---- connections and ends ---- */

START_TEST(further_clients_come_and_go)
{
	struct agent *more[CONNECTIONS_MAX + 1];
	int refused = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(more); i++) {
		int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(agent_new(&more[i], w.loop, fd, NULL), 0);
		refused += agent_get_details(more[i], &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e) < 0;
	}
	ck_assert_int_eq(refused, 2); /* the control connection is one of them */
	for (i = 0; i < ARRAY_SIZE(more); i++)
		agent_free(more[i]);
	ck_assert_int_eq(agent_get_details(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e), 0);
	ck_assert_int_eq(w.closed_n, 0);
}
END_TEST

/* Who joins a sandbox from outside has no other life line; what the control connection made stays. */
START_TEST(a_clients_containers_end_with_it)
{
	struct run r = RUN(), joined = { .id = "c2" }, held = { .id = "c3" };
	struct agent *control = w.agent, *client;
	int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(agent_new(&client, w.loop, fd, NULL), 0);
	start(&r, "", "exec sleep 1000");
	w.agent = client;
	start(&joined, "o", "trap '' TERM; while :; do sleep 0.05; done");
	ck_assert_int_eq(create(&held, "true"), 0);
	w.agent = control;
	agent_free(client);
	expect_text(joined.fds[1], "");
	while (!send_signal("c2", "", SIGCONT) || e.code == ESRCH)
		;
	ck_assert_int_eq(e.code, ENOENT);
	while (!send_signal("c3", "", SIGCONT) || e.code == ESRCH)
		;
	ck_assert_int_eq(e.code, ENOENT);
	ck_assert_int_eq(send_signal("c1", "", SIGCONT), 0);
}
END_TEST

START_TEST(strangers_are_refused)
{
	int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);
	char c;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, &c, 1), 0);
	close(fd);
	fd = agent_connect_unix(w.vsock, GUEST_STDIO_PORT, 5000, &e);
	ck_assert_int_eq(read(fd, &c, 1), 0);
	close(fd);
}
END_TEST

START_TEST(connecting_fails_clearly)
{
	ck_assert_int_eq(agent_connect_unix(w.vsock, 99, 5000, &e), -ECONNREFUSED);
	ck_assert_int_eq(agent_connect_unix("/nonexistent", 99, 5000, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "/nonexistent"));
}
END_TEST

START_TEST(destroying_stops_the_containers_first)
{
	struct run r = RUN();

	start(&r, "o", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
	{
		char line[7] = "";

		ck_assert_int_eq(read_full(r.fds[1], line, 6), 0);
	}
	ck_assert_int_eq(agent_destroy_sandbox(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e), 0);
	ck_assert_int_eq(world_guest_status(&w), 0);
	expect_text(r.fds[1], "bye\n");
}
END_TEST

START_TEST(the_life_lines_end_is_the_sandboxes)
{
	struct run r = RUN(), deaf = { .id = "c2" };

	start(&r, "", "exec sleep 1000");
	start(&deaf, "", "trap '' TERM; while :; do sleep 0.05; done");
	agent_free(w.agent);
	w.agent = NULL;
	loop_run_once(w.loop, false);
	ck_assert_int_eq(world_guest_status(&w), 0);
}
END_TEST

START_TEST(nothing_begins_in_a_sandbox_that_ends)
{
	struct run r = RUN();
	struct agent *other;
	int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(agent_new(&other, w.loop, fd, NULL), 0);
	start(&r, "", "trap '' TERM; while :; do sleep 0.05; done");
	agent_free(w.agent);
	w.agent = other;
	r.id = "c2";
	while (!create(&r, "true") && !by_id(agent_remove_container, "c2"))
		; /* until the end of the other connection is seen, which may be between the two */
	ck_assert(e.code == EPIPE || e.code == ECONNRESET);
	ck_assert_int_eq(world_guest_status(&w), 0);
}
END_TEST

static void ignore(const ProtobufCMessage *reply, const struct err *error, void *arg) {}

START_TEST(a_call_given_up_leaves_nobody_waiting)
{
	struct run r = RUN();
	unsigned int i;

	start(&r, "", "exec sleep 1000");
	/* More clients than calls may be open at a time each leave one behind. */
	for (i = 0; i < TTRPC_CALLS_MAX + 10; i++) {
		Microvm__ProcessRequest req = MICROVM__PROCESS_REQUEST__INIT;
		struct agent *a;
		int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

		ck_assert_int_ge(fd, 0);
		if (agent_new(&a, w.loop, fd, NULL) < 0)
			ck_abort();
		req.id = (char *)"c1";
		agent_wait_process_async(a, &req, ignore, NULL);
		agent_get_details(a, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e);
		agent_free(a);
	}
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), 0);
	ck_assert_int_eq(wait_for("c1", ""), 137);
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("agent");
	TCase *t = tcase_create("agent"), *strangers = tcase_create("strangers");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, details_are_told);
	tcase_add_test(t, bad_settings_of_the_sandbox_are_refused);
	tcase_add_test(t, mistakes_are_named);
	tcase_add_test(t, a_refused_container_leaves_nothing);
	tcase_add_test(t, further_processes_have_ids_of_their_own);
	tcase_add_test(t, many_short_processes_are_forgotten_in_order);
	tcase_add_test(t, events_are_told_in_order);
	tcase_add_test(t, containers_answer_for_themselves);
	tcase_add_test(t, further_clients_come_and_go);
	tcase_add_test(t, a_clients_containers_end_with_it);
	tcase_add_test(t, connecting_fails_clearly);
	tcase_add_test(t, destroying_stops_the_containers_first);
	tcase_add_test(t, the_life_lines_end_is_the_sandboxes);
	tcase_add_test(t, nothing_begins_in_a_sandbox_that_ends);
	tcase_add_test(t, a_call_given_up_leaves_nobody_waiting);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(strangers, setup_strangers, teardown);
	tcase_add_test(strangers, strangers_are_refused);
	suite_add_tcase(s, strangers);
	return s;
}
