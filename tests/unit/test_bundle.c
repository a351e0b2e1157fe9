/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's bundle: what of its config.json becomes whose business. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "base/vmspec.h"
#include "sandbox/bundle.h"
#include "sandbox/host_cgroup.h"
#include "sandbox/join.h"
#include "sandbox/oci_state.h"
#include "sandbox/shares.h"

Suite *test_suite(void);

#define NAMESPACES "{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"mount\"}"
#define NETWORK ",{\"type\":\"network\"}"

static char *config(const char *namespaces, const char *linux_part, const char *top)
{
	return xasprintf("{\"ociVersion\":\"1.0.2-dev\",\"root\":{\"path\":\"r\",\"readonly\":true},%s%s"
			 "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},"
			 "\"linux\":{%s%s\"namespaces\":[%s]}}",
			 top, *top ? "," : "", linux_part, *linux_part ? "," : "", namespaces);
}

static void take(const char *namespaces, const char *linux_part, const char *top, struct bundle *b)
{
	_cleanup_free_ char *text = config(namespaces, linux_part, top);
	struct err e = ERR_INIT;

	*b = (struct bundle){ 0 };
	ck_assert_msg(!bundle_parse("/b", text, strlen(text), b, &e), "%s", e.msg);
}

static void refuse(const char *namespaces, const char *linux_part, const char *top, int code, const char *says)
{
	_cleanup_free_ char *text = config(namespaces, linux_part, top);
	struct bundle b = { 0 };
	struct err e = ERR_INIT;

	ck_assert_msg(bundle_parse("/b", text, strlen(text), &b, &e) == -code, "%s", e.msg);
	ck_assert_msg(strstr(e.msg, says) != NULL, "\"%s\" does not say \"%s\"", e.msg, says);
	bundle_free(&b);
}

START_TEST(namespaces)
{
	struct bundle b;

	take(NAMESPACES NETWORK, "", "", &b);
	ck_assert_ptr_null(b.netns);
	ck_assert_str_eq(b.rootfs, "/b/r");
	bundle_free(&b);
	take(NAMESPACES ",{\"type\":\"network\",\"path\":\"/run/netns/x\"}", "", "", &b);
	ck_assert_str_eq(b.netns, "/run/netns/x");
	ck_assert_str_eq(b.spec->linux->namespaces[4]->path, "");
	bundle_free(&b);
	refuse(NAMESPACES, "", "", ENOTSUP, "no network namespace");
	refuse("{\"type\":\"mount\"}" NETWORK, "", "", ENOTSUP, "no pid namespace");
	refuse(NAMESPACES NETWORK ",{\"type\":\"user\",\"path\":\"/proc/1/ns/user\"}", "", "", ENOTSUP, "user");
}
END_TEST

/* A path of a container of a pod means the pod's first one; its network namespace is the guest's own. */
START_TEST(namespaces_of_a_pod)
{
	static const char paths[] =
		"{\"type\":\"pid\"},{\"type\":\"ipc\",\"path\":\"/proc/7/ns/ipc\"},{\"type\":\"uts\","
		"\"path\":\"/proc/7/ns/uts\"},{\"type\":\"mount\"},{\"type\":\"network\",\"path\":\"/n\"}";
	_cleanup_free_ char *text = config(paths, "", "\"annotations\":{\"" BUNDLE_POD_ID "\":\"p1\"}");
	struct bundle b = { .in_pod = true };
	struct err e = ERR_INIT;

	ck_assert_msg(!bundle_parse("/b", text, strlen(text), &b, &e), "%s", e.msg);
	ck_assert_str_eq(bundle_annotation(&b, BUNDLE_POD_ID), "p1");
	ck_assert_str_eq(b.netns, "/n");
	ck_assert_uint_eq(b.spec->linux->n_namespaces, 4);
	bundle_enter_pod(&b, 42);
	ck_assert_str_eq(b.spec->linux->namespaces[0]->path, "");
	ck_assert_str_eq(b.spec->linux->namespaces[1]->path, "/proc/42/ns/ipc");
	ck_assert_str_eq(b.spec->linux->namespaces[2]->path, "/proc/42/ns/uts");
	ck_assert_str_eq(b.spec->linux->namespaces[3]->type, "mount");
	bundle_free(&b);
	/* Who has no pods, and who is in none, can't join anything. */
	refuse(paths, "", "\"annotations\":{\"" BUNDLE_POD_ID "\":\"p1\"}", ENOTSUP, "/proc/7/ns/ipc");
	refuse(paths, "", "", ENOTSUP, "/proc/7/ns/ipc");
}
END_TEST

static pid_t pid_of(const char *type, const char *path)
{
	Microvm__Namespace ns = MICROVM__NAMESPACE__INIT;

	ns.type = (char *)(uintptr_t)type;
	ns.path = (char *)(uintptr_t)path;
	return bundle_namespace_pid(&ns);
}

START_TEST(namespaces_of_processes)
{
	static const char *const none[] = {
		"",
		"/run/netns/x",
		"/proc/self/ns/net",
		"/proc/0/ns/net",
		"/proc/-7/ns/net",
		"/proc/7 /ns/net",
		"/proc/7/ns/ipc",
		"/proc/7/ns/net/",
		"/proc/7/task/7/ns/net",
		"/proc/99999999999/ns/net",
		"/proc//ns/net",
		"proc/7/ns/net",
	};
	size_t i;

	ck_assert_int_eq(pid_of("network", "/proc/7/ns/net"), 7);
	ck_assert_int_eq(pid_of("ipc", "/proc/2147483647/ns/ipc"), INT32_MAX);
	for (i = 0; i < ARRAY_SIZE(none); i++)
		ck_assert_msg(!pid_of("network", none[i]), "%s", none[i]);
}
END_TEST

/* Containers that run: two in one VM, and one in another. */
static struct state_ref others[] = {
	{ .alive = true, .record = { .id = "first", .name = (char *)"n1", .supervisor_pid = 7, .init_pid = 41 } },
	{ .alive = true,
	  .record = { .id = "second",
		      .name = (char *)"n2",
		      .vm = (char *)"first",
		      .supervisor_pid = 8,
		      .init_pid = 42 } },
	{ .alive = true, .record = { .id = "third", .name = (char *)"n3", .supervisor_pid = 9, .init_pid = 43 } },
	{ .record = { .id = "dead", .name = (char *)"n4", .supervisor_pid = 10, .init_pid = 44 } },
	{ .alive = true, .record = { .id = "new", .name = (char *)"n5", .supervisor_pid = 11 } },
};

/* 0 and whose VM it is, or the error's code; the spec's namespaces are pid, ipc, uts, mount, network. */
static int resolve(const char *ipc, const char *uts, const char *network, struct bundle *b, const char **vm,
		   struct err *e)
{
	_cleanup_free_ char *list =
		xasprintf("{\"type\":\"pid\"},{\"type\":\"ipc\",\"path\":\"%s\"},{\"type\":\"uts\",\"path\":\"%s\"},"
			  "{\"type\":\"mount\"},{\"type\":\"network\",\"path\":\"%s\"}",
			  ipc, uts, network);
	_cleanup_free_ char *text = config(list, "", "");
	int r;

	*b = (struct bundle){ .joins = true };
	*e = (struct err)ERR_INIT;
	*vm = NULL;
	r = bundle_parse("/b", text, strlen(text), b, e);
	return r ? r : join_resolve(others, ARRAY_SIZE(others), b, vm, e);
}

static const char *path_of(const struct bundle *b, size_t i)
{
	return b->spec->linux->namespaces[i]->path;
}

START_TEST(namespaces_of_containers)
{
	struct err e = ERR_INIT;
	const char *vm;
	struct bundle b;

	ck_assert_msg(!resolve("/proc/7/ns/ipc", "", "/proc/8/ns/net", &b, &vm, &e), "%s", e.msg);
	ck_assert_str_eq(vm, "first");
	ck_assert_str_eq(path_of(&b, 1), "/proc/41/ns/ipc");
	ck_assert_str_eq(path_of(&b, 2), "");
	ck_assert_str_eq(path_of(&b, 4), "/proc/42/ns/net");
	ck_assert_str_eq(b.netns, "/proc/8/ns/net");
	bundle_free(&b);
	/* A network that is no container's is the engine's, with or without others. */
	ck_assert_msg(!resolve("", "/proc/9/ns/uts", "/run/netns/x", &b, &vm, &e), "%s", e.msg);
	ck_assert_str_eq(vm, "third");
	ck_assert_str_eq(path_of(&b, 4), "");
	ck_assert_str_eq(b.netns, "/run/netns/x");
	bundle_free(&b);
	ck_assert_msg(!resolve("", "", "/proc/1/ns/net", &b, &vm, &e), "%s", e.msg);
	ck_assert_ptr_null(vm);
	ck_assert_str_eq(path_of(&b, 4), "");
	ck_assert_str_eq(b.netns, "/proc/1/ns/net");
	bundle_free(&b);
}
END_TEST

START_TEST(namespaces_of_others)
{
	static const struct {
		const char *ipc, *uts, *network, *says;
	} cases[] = {
		{ "/proc/7/ns/ipc", "/proc/9/ns/uts", "", "uts of /proc/9/ns/uts: container n3" },
		{ "/proc/8/ns/ipc", "", "/proc/9/ns/net", "network of /proc/9/ns/net: container n3" },
		{ "/proc/1/ns/ipc", "", "", "ipc of /proc/1/ns/ipc" },	 /* the host's */
		{ "/proc/10/ns/ipc", "", "", "ipc of /proc/10/ns/ipc" }, /* of one that has ended */
		{ "/proc/11/ns/ipc", "", "", "ipc of /proc/11/ns/ipc" }, /* of one that is still being made */
		{ "/run/ipcns/x", "", "", "ipc of /run/ipcns/x" },
	};
	struct err e = ERR_INIT;
	const char *vm;
	struct bundle b;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_int_eq(resolve(cases[i].ipc, cases[i].uts, cases[i].network, &b, &vm, &e), -ENOTSUP);
		ck_assert_msg(strstr(e.msg, cases[i].says) != NULL, "\"%s\" does not say \"%s\"", e.msg, cases[i].says);
		bundle_free(&b);
	}
}
END_TEST

START_TEST(devices)
{
	struct bundle b;

	take(NAMESPACES NETWORK, "\"devices\":[{\"path\":\"/dev/null\",\"type\":\"c\",\"major\":1,\"minor\":3}]", "",
	     &b);
	bundle_free(&b);
	refuse(NAMESPACES NETWORK, "\"devices\":[{\"path\":\"/dev/kvm\",\"type\":\"c\",\"major\":10,\"minor\":232}]",
	       "", ENOTSUP, "/dev/kvm");
}
END_TEST

START_TEST(sizes)
{
	struct bundle b;
	int i;

	take(NAMESPACES NETWORK, "", "", &b);
	ck_assert_uint_eq(b.mem_bytes, 0);
	ck_assert_uint_eq(b.nano_cpus, 0);
	bundle_free(&b);
	take(NAMESPACES NETWORK,
	     "\"resources\":{\"memory\":{\"limit\":1073741824},\"cpu\":{\"quota\":150000,\"period\":100000}}", "", &b);
	ck_assert_uint_eq(b.mem_bytes, (1024ull << 20) + BUNDLE_MEM_OVERHEAD);
	ck_assert_uint_eq(b.nano_cpus, 2000000000);
	bundle_free(&b);
	take(NAMESPACES NETWORK, "\"resources\":{\"memory\":{\"limit\":4194304}}",
	     "\"annotations\":{\"io.microvm.cpus\":\"3\"}", &b);
	ck_assert_uint_eq(b.mem_bytes, SANDBOX_MEM_DEFAULT);
	ck_assert_uint_eq(b.nano_cpus, 3000000000);
	bundle_free(&b);
	take(NAMESPACES NETWORK, "\"resources\":{\"memory\":{\"limit\":9223372036854775807}}", "", &b);
	ck_assert_uint_eq(b.mem_bytes, INT64_MAX + BUNDLE_MEM_OVERHEAD);
	bundle_free(&b);
	/* A pod of podman's; who can't have others in its VM needs no more than any. */
	for (i = 0; i < 2; i++) {
		_cleanup_free_ char *text =
			xasprintf("{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":"
				  "[\"/catatonit\",\"-P\"],\"cwd\":\"/\"},\"linux\":{\"namespaces\":[%s]}}",
				  NAMESPACES NETWORK);
		struct err e = ERR_INIT;

		b = (struct bundle){ .joins = i };
		ck_assert_msg(!bundle_parse("/b", text, strlen(text), &b, &e), "%s", e.msg);
		ck_assert_uint_eq(b.mem_bytes, i ? BUNDLE_POD_MEM : 0);
		bundle_free(&b);
	}
	refuse(NAMESPACES NETWORK, "", "\"annotations\":{\"io.microvm.memory\":\"much\"}", EINVAL, BUNDLE_MEMORY);
	refuse(NAMESPACES NETWORK, "", "\"annotations\":{\"io.microvm.cpus\":\"0\"}", EINVAL, BUNDLE_CPUS);
}
END_TEST

#define CRI "io.kubernetes.cri.sandbox-"

/* As containerd says it of a pod; a VM's own annotations go before. */
START_TEST(sizes_of_a_pod)
{
	static const struct {
		const char *annotations;
		uint64_t mib, cpus;
	} cases[] = {
		{ "\"" CRI "memory\":\"629145600\",\"" CRI "cpu-quota\":\"250000\",\"" CRI "cpu-period\":\"100000\"",
		  664, 3 },
		{ "\"" CRI "memory\":\"0\",\"" CRI "cpu-quota\":\"-1\",\"" CRI "cpu-period\":\"100000\"", 0, 0 },
		{ "\"" CRI "cpu-quota\":\"0\",\"" CRI "cpu-period\":\"100000\",\"" CRI "cpu-shares\":\"102\"", 0, 0 },
		{ "\"" CRI "cpu-shares\":\"2049\"", 0, 3 },
		{ "\"" CRI "cpu-shares\":\"9000000000000000000\"", 0, VMSPEC_VCPUS_MAX },
		{ "\"" CRI "memory\":\"629145600\",\"io.microvm.memory\":\"1g\",\"io.microvm.cpus\":\"2\"", 1024, 2 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *top = xasprintf("\"annotations\":{%s}", cases[i].annotations);
		struct bundle b;

		take(NAMESPACES NETWORK, "", top, &b);
		ck_assert_uint_eq(b.mem_bytes, cases[i].mib << 20);
		ck_assert_uint_eq(b.nano_cpus, cases[i].cpus * 1000000000);
		bundle_free(&b);
	}
	refuse(NAMESPACES NETWORK, "", "\"annotations\":{\"" CRI "memory\":\"1e9\"}", EINVAL, CRI "memory");
}
END_TEST

START_TEST(hooks)
{
	static const char all[] = "\"hooks\":{\"prestart\":[{\"path\":\"/a\"}],\"createRuntime\":[{\"path\":\"/b\"}],"
				  "\"startContainer\":[{\"path\":\"/c\"}],\"poststop\":[{\"path\":\"/d\"}]}";
	_cleanup_free_ char *text = config(NAMESPACES NETWORK, "", all);
	struct err e = ERR_INIT;
	Microvm__Hooks *saved;
	struct bundle b;
	char *cgroup;

	take(NAMESPACES NETWORK, "", all, &b);
	ck_assert_uint_eq(b.hooks->n_prestart, 1);
	ck_assert_uint_eq(b.hooks->n_create_runtime, 1);
	ck_assert_uint_eq(b.hooks->n_start_container, 0);
	ck_assert_str_eq(b.spec->hooks->start_container[0]->path, "/c");
	ck_assert_uint_eq(b.spec->hooks->n_poststop, 0);
	bundle_free(&b);
	ck_assert_int_eq(bundle_saved(text, strlen(text), &saved, &cgroup, &e), 0);
	ck_assert_ptr_null(cgroup);
	ck_assert_str_eq(saved->poststop[0]->path, "/d");
	bundle_hooks_free(saved);
}
END_TEST

START_TEST(cgroups)
{
	static const struct {
		const char *path, *folder; /* NULL: none; "": refused */
	} cases[] = {
		{ "", NULL },
		{ "/", NULL },
		{ "/k8s.io/abc", "k8s.io/abc" },
		{ "kubepods/pod1/abc", "kubepods/pod1/abc" },
		{ "machine.slice:libpod:abc", "machine.slice/libpod-abc.scope" },
		{ "kubepods-burstable-pod1_2.slice:cri-containerd:abc",
		  "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-abc.scope" },
		{ ":docker:abc", "system.slice/docker-abc.scope" },
		{ "-.slice::abc", "abc.scope" },
		{ "/a/../../b", "" },
		{ "..", "" },
		{ "/a/./b", "" },
		{ "a.slice:b:", "" },
		{ "a.slice:b:c:d", "" },
		{ "a:b:c", "" },
		{ "a/b.slice:b:c", "" },
		{ "a.slice:../b:c", "" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = ERR_INIT;
		_cleanup_free_ char *folder = NULL;
		const bool refused = cases[i].folder && !*cases[i].folder;

		ck_assert_msg(host_cgroup_folder(cases[i].path, &folder, &e) == (refused ? -EINVAL : 0), "%s: %s",
			      cases[i].path, e.msg);
		ck_assert_pstr_eq(folder, refused ? NULL : cases[i].folder);
	}
}
END_TEST

static bool is_in(const char *folder)
{
	_cleanup_free_ char *text = NULL;

	ck_assert_int_eq(read_file(AT_FDCWD, "/proc/self/cgroup", 65536, &text, NULL), 0);
	return strstr(text, folder);
}

/* It goes when its last process leaves, with those above it that were made for it; what somebody else made stays. */
START_TEST(cgroup_entered_and_left)
{
	static const char folder[] = "microvm-unit/pod1//c1/", top[] = "/sys/fs/cgroup/microvm-unit";
	struct host_cgroup c = HOST_CGROUP_INIT;
	struct err e = ERR_INIT;

	/* Whatever the machine has there. */
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	host_cgroup_leave(&c);
	ck_assert_int_eq(mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, NULL), 0);
	ck_assert_int_eq(host_cgroup_enter(&c, folder, &e), 0);
	ck_assert_ptr_null(c.folder);
	ck_assert_int_eq(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL), 0);
	ck_assert_msg(!host_cgroup_enter(&c, folder, &e), "%s", e.msg);
	ck_assert_pstr_eq(c.folder, folder);
	ck_assert(is_in("microvm-unit/pod1/c1"));
	host_cgroup_leave(&c);
	ck_assert(!is_in("microvm-unit"));
	ck_assert_int_lt(access(top, F_OK), 0);
	host_cgroup_remove(folder);
	host_cgroup_remove(NULL);
	ck_assert_int_eq(mkdir(top, 0755), 0);
	ck_assert_msg(!host_cgroup_enter(&c, folder, &e), "%s", e.msg);
	host_cgroup_leave(&c);
	host_cgroup_remove("microvm-unit");
	ck_assert_int_lt(access("/sys/fs/cgroup/microvm-unit/pod1", F_OK), 0);
	ck_assert_int_eq(rmdir(top), 0);
	/* One that can't be made is named. */
	ck_assert_int_eq(mount(NULL, "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_RDONLY | MS_BIND, NULL), 0);
	ck_assert_int_eq(host_cgroup_enter(&c, folder, &e), -EROFS);
	ck_assert_ptr_nonnull(strstr(e.msg, "/sys/fs/cgroup/microvm-unit"));
	ck_assert_ptr_null(c.folder);
}
END_TEST

START_TEST(mounts)
{
	struct run_options o = RUN_OPTIONS_INIT;
	struct err e = ERR_INIT;
	struct shares s;
	struct bundle b;

	take(NAMESPACES NETWORK, "",
	     "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
	     "{\"destination\":\"/x\",\"type\":\"none\",\"source\":\"x\",\"options\":[\"rbind\",\"ro\"]},"
	     "{\"destination\":\"/y\",\"type\":\"bind\",\"source\":\"/y\",\"options\":[\"ro\",\"rw\"]}]",
	     &b);
	bundle_options(&b, &o);
	ck_assert_msg(!shares_parse(&o, &s, &e), "%s", e.msg);
	ck_assert_uint_eq(s.n, 3);
	ck_assert_int_eq(s.v[0].kind, SHARE_ROOTFS);
	ck_assert(s.v[0].overlay);
	ck_assert_str_eq(s.v[1].source, "/b/x");
	ck_assert(s.v[1].read_only);
	ck_assert_uint_eq(s.v[1].mount, 1);
	ck_assert(!s.v[2].read_only);
	shares_free(&s);
	bundle_free(&b);
	refuse(NAMESPACES NETWORK, "", "\"mounts\":[{\"destination\":\"/x\",\"type\":\"bind\"}]", EINVAL, "mounts[0]");
}
END_TEST

START_TEST(state)
{
	struct sandbox_record r = { .name = (char *)"c1", .bundle = (char *)"/b", .supervisor_pid = 7 };
	struct state_ref ref = { .alive = true };
	char *text;

	strv_push(&r.annotations, "a=b=c");
	text = oci_state_text(&r, OCI_CREATED);
	ck_assert_str_eq(text,
			 "{\"ociVersion\":\"1.1.0\",\"id\":\"c1\",\"status\":\"created\",\"pid\":7,\"bundle\":\"/b\","
			 "\"annotations\":{\"a\":\"b=c\"}}");
	free(text);
	strv_clear(&r.annotations);
	text = oci_state_text(&r, OCI_STOPPED);
	ck_assert_ptr_nonnull(strstr(text, "\"pid\":0,"));
	free(text);
	ck_assert_int_eq(oci_status_of(&ref), OCI_CREATING);
	ref.record.init_pid = 9;
	ck_assert_int_eq(oci_status_of(&ref), OCI_CREATED);
	ref.record.status = SANDBOX_PAUSED;
	ck_assert_int_eq(oci_status_of(&ref), OCI_PAUSED);
	ref.alive = false;
	ck_assert_int_eq(oci_status_of(&ref), OCI_STOPPED);
}
END_TEST

START_TEST(limit_of_cpu_time)
{
	static const struct {
		int64_t quota;
		uint64_t period, thousandths;
	} rows[] = {
		{ 150000, 100000, 1500 }, { 100001, 100000, 1001 },
		{ 20000, 0, 200 }, /* the kernel's own period */
		{ -1, 100000, 0 },	  { 0, 100000, 0 },
		{ 1, 1000000, 1 },	  { INT64_MAX, 1000, UINT64_MAX / 1000 * 1000 / 1000 },
	};
	Microvm__Int64Value quota = MICROVM__INT64_VALUE__INIT;
	Microvm__UInt64Value period = MICROVM__UINT64_VALUE__INIT;
	Microvm__CPU cpu = MICROVM__CPU__INIT;
	Microvm__Resources res = MICROVM__RESOURCES__INIT;
	size_t i;

	ck_assert_uint_eq(bundle_cpu_limit(NULL), 0);
	ck_assert_uint_eq(bundle_cpu_limit(&res), 0);
	res.cpu = &cpu;
	ck_assert_uint_eq(bundle_cpu_limit(&res), 0);
	cpu.quota = &quota;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		quota.value = rows[i].quota;
		period.value = rows[i].period;
		cpu.period = rows[i].period ? &period : NULL;
		ck_assert_uint_eq(bundle_cpu_limit(&res), rows[i].thousandths);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("config.json of an engine");

	log_init("test", LOG_ERROR);
	tcase_add_test(t, namespaces);
	tcase_add_test(t, namespaces_of_a_pod);
	tcase_add_test(t, namespaces_of_processes);
	tcase_add_test(t, namespaces_of_containers);
	tcase_add_test(t, namespaces_of_others);
	tcase_add_test(t, devices);
	tcase_add_test(t, sizes);
	tcase_add_test(t, sizes_of_a_pod);
	tcase_add_test(t, limit_of_cpu_time);
	tcase_add_test(t, hooks);
	tcase_add_test(t, cgroups);
	tcase_add_test(t, cgroup_entered_and_left);
	tcase_add_test(t, mounts);
	tcase_add_test(t, state);
	suite_add_tcase(s, t);
	return s;
}
