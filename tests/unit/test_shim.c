/* SPDX-License-Identifier: Apache-2.0 */
/* The shim without a VM: its command line, where streams go, its tables against containerd's, and a service without a guest. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "shim/events.h"
#include "shim/metrics.h"
#include "shim/options.h"
#include "shim/serve.h"
#include "shim/service.h"
#include "shim/streams.h"
#include "shim/uri.h"

Suite *test_suite(void);

/* ---- the command line ------------------------------------------------------------------------------------------------ */

START_TEST(options_as_containerd_writes_them)
{
	char *argv[] = { (char *)"shim", (char *)"-namespace", (char *)"k8s.io",  (char *)"-address",
			 (char *)"/a",	 (char *)"-id=x",      (char *)"--debug", (char *)"start" };
	char *bare[] = { (char *)"shim", (char *)"-v" };
	char *off[] = { (char *)"shim", (char *)"-debug=false", (char *)"delete" };
	struct shim_options o;
	struct err e = ERR_INIT;

	ck_assert(!shim_options_parse(ARRAY_SIZE(argv), argv, &o, &e));
	ck_assert_str_eq(o.namespace, "k8s.io");
	ck_assert_str_eq(o.id, "x");
	ck_assert_str_eq(o.command, "start");
	ck_assert(o.debug && !o.version);
	ck_assert(!shim_options_parse(ARRAY_SIZE(bare), bare, &o, &e));
	ck_assert(o.version && !o.command);
	ck_assert(!shim_options_parse(ARRAY_SIZE(off), off, &o, &e));
	ck_assert(!o.debug);
	ck_assert_str_eq(o.command, "delete");
}
END_TEST

START_TEST(options_refused)
{
	static const struct {
		char *arg;
		const char *says;
	} bad[] = { { (char *)"-nosuch", "-nosuch" }, { (char *)"-id", "-id" }, { (char *)"-debug=maybe", "maybe" } };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		char *argv[] = { (char *)"shim", bad[i].arg };
		struct shim_options o;
		struct err e = ERR_INIT;

		ck_assert_int_eq(shim_options_parse(2, argv, &o, &e), -EINVAL);
		ck_assert_msg(strstr(e.msg, bad[i].says) != NULL, "%s", e.msg);
	}
}
END_TEST

/* ---- where streams go ------------------------------------------------------------------------------------------------ */

START_TEST(uris)
{
	struct uri u;
	struct err e = ERR_INIT;

	ck_assert(!uri_parse("", &u, &e));
	ck_assert_int_eq(u.kind, URI_NONE);
	ck_assert(!uri_parse("/run/a b?c", &u, &e));
	ck_assert_int_eq(u.kind, URI_PATH);
	ck_assert_str_eq(u.path, "/run/a b?c");
	uri_free(&u);
	ck_assert(!uri_parse("file:///var/log/a%20b", &u, &e));
	ck_assert_int_eq(u.kind, URI_FILE);
	ck_assert_str_eq(u.path, "/var/log/a b");
	uri_free(&u);
	ck_assert(!uri_parse("binary:///bin/log?--tag=a+b%3D&&-q", &u, &e));
	ck_assert_int_eq(u.kind, URI_BINARY);
	ck_assert_str_eq(u.path, "/bin/log");
	ck_assert_uint_eq(u.args_n, 4);
	ck_assert_str_eq(u.args[0], "--tag");
	ck_assert_str_eq(u.args[1], "a b=");
	ck_assert_str_eq(u.args[2], "-q");
	ck_assert_str_eq(u.args[3], "");
	ck_assert_ptr_null(u.args[4]);
	uri_free(&u);
}
END_TEST

START_TEST(uris_refused)
{
	static const char *const bad[] = { "relative",	  "npipe:////./x", "file://host/x", "file:///%",
					   "file:///%0g", "file:///%00x",  "binary:///x?%2" };
	_cleanup_free_ char *longest = xcalloc(1, URI_MAX + 2);
	struct uri u;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = ERR_INIT;

		ck_assert_msg(uri_parse(bad[i], &u, &e) < 0 && e.msg[0], "%s", bad[i]);
		ck_assert_ptr_null(u.path);
	}
	memset(longest, '/', URI_MAX + 1);
	ck_assert_int_eq(uri_parse(longest, &u, NULL), -E2BIG);
}
END_TEST

/* A FIFO that nobody reads takes what fits, and then says so; nothing waits for its reader. */
START_TEST(streams_without_a_reader)
{
	char folder[] = "/tmp/shim-XXXXXX", byte;
	_cleanup_free_ char *in = NULL, *out = NULL;
	struct streams_config c = { .err = "", .id = "x", .namespace = "n" };
	struct streams s;
	struct err e = ERR_INIT;
	static char block[65536];
	ssize_t n;

	ck_assert(mkdtemp(folder));
	in = xasprintf("%s/in", folder);
	c.out = out = xasprintf("%s/out", folder);
	ck_assert(!mkfifo(in, 0600) && !mkfifo(out, 0600));
	ck_assert_msg(!streams_open(&s, &c, &e), "%s", e.msg);
	ck_assert_msg(!streams_open_input(&s, in, &e), "%s", e.msg);
	ck_assert_int_eq(s.fds[2], -1);
	while ((n = write(s.fds[1], block, sizeof(block))) > 0)
		;
	ck_assert(n < 0 && errno == EAGAIN);
	/* The input is not over before somebody says so. */
	ck_assert(read(s.fds[0], &byte, 1) < 0 && errno == EAGAIN);
	streams_close_input(&s);
	ck_assert_int_eq(read(s.fds[0], &byte, 1), 0);
	streams_close(&s);
	c.out = "/dev/null";
	ck_assert_int_eq(streams_open(&s, &c, &e), -EINVAL);
	ck_assert_int_eq(s.fds[1], -1);
	ck_assert_int_eq(streams_open_input(&s, "/dev/null", &e), -EINVAL);
	streams_close(&s);
	unlink(in);
	unlink(out);
	rmdir(folder);
}
END_TEST

/* Who has opened a FIFO before us reads to the end: there is none before the process has ended. */
START_TEST(streams_with_a_reader_end_once)
{
	char folder[] = "/tmp/shim-XXXXXX", event[4096];
	_cleanup_free_ char *out = NULL;
	struct streams_config c = { .err = "", .id = "x", .namespace = "n" };
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), reader;
	struct streams s;
	struct err e = ERR_INIT;

	ck_assert(mkdtemp(folder));
	c.out = out = xasprintf("%s/out", folder);
	ck_assert(!mkfifo(out, 0600));
	reader = open(out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_ge(reader, 0);
	ck_assert_int_ge(inotify_add_watch(watch, out, IN_CLOSE_WRITE), 0);
	ck_assert_msg(!streams_open(&s, &c, &e), "%s", e.msg);
	ck_assert(read(watch, event, sizeof(event)) < 0 && errno == EAGAIN);
	streams_close(&s);
	ck_assert_int_gt(read(watch, event, sizeof(event)), 0);
	close(reader);
	close(watch);
	unlink(out);
	rmdir(folder);
}
END_TEST

START_TEST(streams_to_a_program)
{
	char folder[] = "/tmp/shim-XXXXXX", text[64] = "";
	_cleanup_free_ char *uri = NULL, *program = NULL, *log = NULL;
	struct streams_config c = { .err = "", .id = "c1", .namespace = "ns" };
	struct streams s;
	struct err e = ERR_INIT;
	int fd, i;

	ck_assert(mkdtemp(folder));
	program = xasprintf("%s/log.sh", folder);
	log = xasprintf("%s/log", folder);
	fd = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	ck_assert_int_gt(
		dprintf(fd,
			"#!/bin/sh\n{ /bin/cat <&3; /bin/cat <&4; echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\"; } "
			">$2.new\n/bin/mv $2.new $2\n"),
		0);
	close(fd);
	uri = xasprintf("binary://%s?to=%s", program, log);
	c.out = uri;
	ck_assert_msg(!streams_open(&s, &c, &e), "%s", e.msg);
	ck_assert_int_eq(write(s.fds[1], "out ", 4), 4);
	ck_assert_int_eq(write(s.fds[2], "err ", 4), 4);
	streams_close(&s);
	for (i = 0; i < 1000 && (fd = open(log, O_RDONLY | O_CLOEXEC)) < 0; i++)
		usleep(10000);
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	ck_assert_msg(str_starts(text, "out err c1 ns to "), "%s", text);
	unlink(program);
	unlink(log);
	rmdir(folder);
	c.out = "binary:///nosuch/program";
	ck_assert_int_eq(streams_open(&s, &c, &e), -ENOENT);
}
END_TEST

/* ---- tables against what containerd's own files say ---------------------------------------------------------------------- */

START_TEST(every_rpc_has_its_row)
{
	const ProtobufCServiceDescriptor *d = &containerd__task__v2__task__descriptor;
	size_t i;

	ck_assert_str_eq(task_service.name, d->name);
	ck_assert_uint_eq(task_service.methods_n, d->n_methods);
	for (i = 0; i < d->n_methods; i++) {
		const struct ttrpc_method *m = task_method(d->methods[i].name);

		ck_assert_msg(m != NULL, "%s", d->methods[i].name);
		ck_assert_ptr_eq(m->request, d->methods[i].input);
		ck_assert_ptr_eq(m->response, d->methods[i].output);
	}
}
END_TEST

START_TEST(events_have_their_names)
{
	size_t i;

	for (i = 0; i < EVENT_KINDS; i++) {
		ck_assert(str_starts(event_rows[i].topic, "/tasks/"));
		ck_assert(str_starts(event_rows[i].message->name, "containerd.events.Task"));
	}
	ck_assert_str_eq(event_rows[EVENT_EXEC_STARTED].topic, "/tasks/exec-started");
}
END_TEST

START_TEST(metrics)
{
	Microvm__Stats stats = MICROVM__STATS__INIT;
	Io__Containerd__Cgroups__V2__Metrics *m;
	Google__Protobuf__Any any;

	stats.cpu_usage_ns = 5000;
	stats.memory_usage_bytes = 7;
	stats.pids = 3;
	stats.oom_kills = 2;
	stats.io_read_bytes = 9;
	metrics_pack(&stats, &any);
	ck_assert_str_eq(any.type_url, "io.containerd.cgroups.v2.Metrics");
	m = io__containerd__cgroups__v2__metrics__unpack(NULL, any.value.len, any.value.data);
	ck_assert_uint_eq(m->cpu->usage_usec, 5);
	ck_assert_uint_eq(m->memory->usage, 7);
	ck_assert_uint_eq(m->memory->usage_limit, UINT64_MAX);
	ck_assert_uint_eq(m->memory_events->oom_kill, 2);
	ck_assert_uint_eq(m->pids->current, 3);
	ck_assert_uint_eq(m->io->usage[0]->rbytes, 9);
	io__containerd__cgroups__v2__metrics__free_unpacked(m, NULL);
	free(any.value.data);
}
END_TEST

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, path, strlen(path) + 1);
	ck_assert(!bind(fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(fd, 8));
	return fd;
}

static struct loop *loop;

/* What ended peers had in flight ends, too. */
static void settle(void)
{
	int i;

	for (i = 0; i < 100; i++) {
		loop_run_once(loop, false);
		usleep(100);
	}
}

/* ---- events: a containerd that is away, comes, goes, and comes again --------------------------------------------------- */

static char heard[512];
static struct ttrpc_peer *hearer;
static int hearer_fd = -1;
static bool deaf; /* hangs up in place of an answer */

static void serve_forward(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const Containerd__Services__Events__Ttrpc__V1__Envelope *ev =
		((const Containerd__Services__Events__Ttrpc__V1__ForwardRequest *)m)->envelope;
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	ck_assert_str_eq(ev->namespace_, "ns");
	ck_assert_int_gt(ev->timestamp->seconds, 0);
	if (deaf) {
		deaf = false;
		strcat(heard, "!");
		ttrpc_peer_free(take_ptr(hearer));
		ttrpc_reply(call, &empty.base);
		return;
	}
	strcat(heard, ev->topic);
	strcat(heard, "=");
	strcat(heard, ev->event->type_url);
	strcat(heard, " ");
	ttrpc_reply(call, &empty.base);
}

static void on_hearer(struct loop_op *op, int res)
{
	static struct ttrpc_method method = { .name = "Forward", .serve = serve_forward };
	static const struct ttrpc_service service = { .name = "containerd.services.events.ttrpc.v1.Events",
						      .methods = &method,
						      .methods_n = 1 };
	const struct ttrpc_peer_config config = { .services = &service, .services_n = 1 };

	method.request = &containerd__services__events__ttrpc__v1__forward_request__descriptor;
	method.response = &google__protobuf__empty__descriptor;
	if (res < 0)
		return;
	ck_assert(!ttrpc_peer_new(&hearer, loop, res, &config));
	loop_accept(loop, op, hearer_fd);
}

START_TEST(events_wait_for_containerd)
{
	char where[] = "/tmp/shim-events-XXXXXX";
	_cleanup_free_ char *path = NULL;
	EVENT(TaskCreate) create = CONTAINERD__EVENTS__TASK_CREATE__INIT;
	EVENT(TaskExit) end = CONTAINERD__EVENTS__TASK_EXIT__INIT;
	struct loop_op accept_op;
	struct events *ev;

	ck_assert(mkdtemp(where));
	path = xasprintf("%s/s", where);
	ck_assert(!loop_new(&loop, 16, 0));
	ev = events_new(loop, path, "ns");
	events_publish(ev, EVENT_CREATE, &create.base);
	events_publish(ev, EVENT_EXIT, &end.base);
	ck_assert(!events_all_sent(ev));
	hearer_fd = listen_at(path);
	deaf = true;
	loop_op_init(&accept_op, on_hearer);
	loop_accept(loop, &accept_op, hearer_fd);
	while (!events_all_sent(ev))
		ck_assert_int_ge(loop_run_once(loop, true), 0);
	ck_assert_str_eq(heard, "!/tasks/create=containerd.events.TaskCreate /tasks/exit=containerd.events.TaskExit ");
	events_free(ev);
	ttrpc_peer_free(hearer);
	settle();
	loop_free(loop);
	close(hearer_fd);
	remove_tree(AT_FDCWD, where);
}
END_TEST

/* ---- a service whose VM could not be made ----------------------------------------------------------------------------------- */

static char folder[] = "/tmp/shim-serve-XXXXXX";
static char *socket_path;
static pid_t shim;
static int told[2]; /* who started it may say that it was found */

static const char config_json[] =
	"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},"
	"\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"mount\"},"
	"{\"type\":\"network\"}]}}";

static void serve_setup(void)
{
	_cleanup_free_ char *root = NULL, *config = NULL;
	struct err e = ERR_INIT;
	struct bundle b;
	int fd;

	ck_assert(mkdtemp(folder));
	root = xasprintf("%s/rootfs", folder);
	config = xasprintf("%s/config.json", folder);
	socket_path = xasprintf("%s/s", folder);
	ck_assert(!mkdir(root, 0700));
	ck_assert(!write_file_atomic(AT_FDCWD, config, config_json, strlen(config_json), 0600));
	ck_assert_msg(!bundle_load_in_pod(folder, &b, &e), "%s", e.msg);
	fd = listen_at(socket_path);
	/* No VMM is there, whatever this machine has. */
	setenv("MICROVM_LIBEXEC", folder, 1);
	setenv("MICROVM_STATE", folder, 1);
	ck_assert(!pipe2(told, O_CLOEXEC));
	shim = fork();
	if (!shim) {
		const struct serve_config c = { .id = "c1",
						.namespace = "ns",
						.bundle = &b,
						.socket_path = socket_path,
						.listen_fd = fd,
						.told_fd = told[0] };

		close(told[1]);

		log_to_fd(-1);
		_exit(shim_serve(&c, &e) ? 1 : 0);
	}
	close(fd);
	close(told[0]);
	bundle_free(&b);
}

static void serve_teardown(void)
{
	int status;

	kill(shim, SIGKILL);
	waitpid(shim, &status, 0);
	close(told[1]);
	remove_tree(AT_FDCWD, folder);
	free(socket_path);
}

static struct ttrpc_peer *client;

static void connect_client(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, socket_path, strlen(socket_path) + 1);
	ck_assert(!connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	ck_assert(!loop_new(&loop, 8, 0));
	ck_assert(!ttrpc_peer_new(&client, loop, fd, &(struct ttrpc_peer_config){ 0 }));
}

static void disconnect_client(void)
{
	ttrpc_peer_free(client);
	settle();
	loop_free(loop);
}

static int ask(const char *method, const ProtobufCMessage *req, struct err *e)
{
	*e = (struct err)ERR_INIT;
	return ttrpc_call_sync(client, TASK_SERVICE, task_method(method), req, 10000000000ull, NULL, e);
}

START_TEST(serve_without_a_vm)
{
	const struct ttrpc_method nosuch = { .name = "Nosuch",
					     .request = &google__protobuf__empty__descriptor,
					     .response = &google__protobuf__empty__descriptor };
	Containerd__Task__V2__CreateTaskRequest create = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	Containerd__Task__V2__StateRequest state = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	Containerd__Task__V2__KillRequest kill_it = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
	Containerd__Task__V2__ConnectRequest connect_it = CONTAINERD__TASK__V2__CONNECT_REQUEST__INIT;
	Containerd__Task__V2__CheckpointTaskRequest checkpoint = CONTAINERD__TASK__V2__CHECKPOINT_TASK_REQUEST__INIT;
	Containerd__Task__V2__ShutdownRequest shutdown_it = CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct err e = ERR_INIT;
	int status;

	connect_client();
	ck_assert_int_eq(ttrpc_call_sync(client, TASK_SERVICE, &nosuch, &empty.base, 0, NULL, &e), -EOPNOTSUPP);
	state.id = kill_it.id = connect_it.id = (char *)"c1";
	ck_assert_int_eq(ask("Connect", &connect_it.base, &e), -ENOENT);
	ck_assert_int_eq(ask("State", &state.base, &e), -ENOENT);
	ck_assert_int_eq(ask("Kill", &kill_it.base, &e), -ENOENT);
	ck_assert_int_eq(ask("Checkpoint", &checkpoint.base, &e), -EOPNOTSUPP);
	create.id = (char *)"../c1";
	create.bundle = folder;
	ck_assert_int_eq(ask("Create", &create.base, &e), -EINVAL);
	create.id = (char *)"c1";
	create.checkpoint = (char *)"/x";
	ck_assert_int_eq(ask("Create", &create.base, &e), -EOPNOTSUPP);
	create.checkpoint = (char *)"";
	ck_assert_int_lt(ask("Create", &create.base, &e), 0);
	ck_assert_msg(strstr(e.msg, "microvm-vmm") || strstr(e.msg, "/dev/kvm"), "%s", e.msg);
	ck_assert(!ask("Shutdown", &shutdown_it.base, &e));
	disconnect_client();
	ck_assert_int_eq(waitpid(shim, &status, 0), shim);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	ck_assert(access(socket_path, F_OK) < 0);
}
END_TEST

/* A frame that only claims to be large ends its connection, and nobody else's. */
START_TEST(serve_survives_bad_frames)
{
	static const uint8_t large[] = { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0 };
	static const uint8_t garbage[] = { 0, 0, 0, 3, 0, 0, 0, 1, 1, 0, 0xff, 0xff, 0xff };
	Containerd__Task__V2__ShutdownRequest req = CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct err e = ERR_INIT;
	char answer[512];
	int i, fd;

	memcpy(addr.sun_path, socket_path, strlen(socket_path) + 1);
	for (i = 0; i < 2; i++) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert(!connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
		ck_assert_int_gt(send(fd, i ? garbage : large, i ? sizeof(garbage) : sizeof(large), 0), 0);
		ck_assert_int_gt(recv(fd, answer, sizeof(answer), 0), 10);
		close(fd);
	}
	connect_client();
	ck_assert_msg(!ask("Shutdown", &req.base, &e), "%s", e.msg);
	disconnect_client();
}
END_TEST

/* Who started it was killed: nobody will ever come. */
START_TEST(serve_ends_when_nobody_was_told)
{
	int status;

	close(told[1]);
	ck_assert_int_eq(waitpid(shim, &status, 0), shim);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	ck_assert(access(socket_path, F_OK) < 0);
	told[1] = -1;
}
END_TEST

START_TEST(serve_goes_on_when_somebody_was_told)
{
	Containerd__Task__V2__ShutdownRequest req = CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
	struct err e = ERR_INIT;

	ck_assert_int_eq(write(told[1], "", 1), 1);
	close(told[1]);
	told[1] = -1;
	connect_client();
	ck_assert_msg(!ask("Shutdown", &req.base, &e), "%s", e.msg);
	disconnect_client();
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("shim");
	TCase *parts = tcase_create("parts"), *serve = tcase_create("serve");

	tcase_add_test(parts, options_as_containerd_writes_them);
	tcase_add_test(parts, options_refused);
	tcase_add_test(parts, uris);
	tcase_add_test(parts, uris_refused);
	tcase_add_test(parts, streams_without_a_reader);
	tcase_add_test(parts, streams_with_a_reader_end_once);
	tcase_add_test(parts, streams_to_a_program);
	tcase_add_test(parts, every_rpc_has_its_row);
	tcase_add_test(parts, events_have_their_names);
	tcase_add_test(parts, metrics);
	tcase_add_test(parts, events_wait_for_containerd);
	suite_add_tcase(s, parts);
	tcase_add_checked_fixture(serve, serve_setup, serve_teardown);
	tcase_add_test(serve, serve_without_a_vm);
	tcase_add_test(serve, serve_survives_bad_frames);
	tcase_add_test(serve, serve_ends_when_nobody_was_told);
	tcase_add_test(serve, serve_goes_on_when_somebody_was_told);
	suite_add_tcase(s, serve);
	return s;
}
