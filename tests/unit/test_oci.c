/* SPDX-License-Identifier: Apache-2.0 */
/* config.json to a checked spec: what is taken, and what is said about what isn't. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "oci/spec.h"

Suite *test_suite(void);

/* %s in a whole config: before process' members, linux' members, and at the top. */
static char *config(const char *process, const char *linux_part, const char *top)
{
	return xasprintf("{\"ociVersion\":\"1.1.0\",\"root\":{\"path\":\"rootfs\"},%s%s"
			 "\"process\":{%s%s\"args\":[\"sh\"],\"cwd\":\"/\"},"
			 "\"linux\":{%s%s\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"uts\"}]}}",
			 top, *top ? "," : "", process, *process ? "," : "", linux_part, *linux_part ? "," : "");
}

static Microvm__Spec *parse(const char *process, const char *linux_part, const char *top)
{
	_cleanup_free_ char *text = config(process, linux_part, top);
	struct err e = ERR_INIT;
	Microvm__Spec *spec;

	ck_assert_msg(!oci_spec_parse(text, strlen(text), &spec, &e), "%s\n%s", e.msg, text);
	return spec;
}

static void refuse_text(const char *text, int code, const char *says)
{
	struct err e = ERR_INIT;
	Microvm__Spec *spec;

	ck_assert_msg(oci_spec_parse(text, strlen(text), &spec, &e) == -code, "%s\n%s", e.msg, text);
	ck_assert_msg(strstr(e.msg, says) != NULL, "\"%s\" does not say \"%s\"", e.msg, says);
}

static void refuse(const char *process, const char *linux_part, const char *top, int code, const char *says)
{
	_cleanup_free_ char *text = config(process, linux_part, top);

	refuse_text(text, code, says);
}

START_TEST(least)
{
	Microvm__Spec *s = parse("", "", "");

	ck_assert_str_eq(s->oci_version, "1.1.0");
	ck_assert_str_eq(s->root->path, "rootfs");
	ck_assert(!s->root->readonly);
	ck_assert_uint_eq(s->process->n_args, 1);
	ck_assert_str_eq(s->process->args[0], "sh");
	ck_assert_ptr_null(s->process->capabilities);
	ck_assert_ptr_null(s->linux->resources);
	ck_assert_ptr_null(s->linux->seccomp);
	ck_assert_uint_eq(s->linux->n_namespaces, 2);
	oci_spec_free(s);
}
END_TEST

START_TEST(whole)
{
	_cleanup_free_ char *text = NULL;
	struct err e = ERR_INIT;
	Microvm__Spec *s;
	size_t len;

	ck_assert_int_eq(read_file(AT_FDCWD, "tests/fuzz/corpus/config/full.json", OCI_SPEC_MAX, &text, &len), 0);
	ck_assert_msg(!oci_spec_parse(text, len, &s, &e), "%s", e.msg);
	ck_assert_str_eq(s->hostname, "box");
	ck_assert_uint_eq(s->process->console_rows, 25);
	ck_assert_uint_eq(s->process->console_cols, 80);
	ck_assert_uint_eq(s->process->user->umask->value, 077);
	ck_assert_uint_eq(s->process->user->additional_gids[1], 6);
	ck_assert_uint_eq(s->process->rlimits[1]->hard, UINT64_MAX);
	ck_assert_int_eq(s->process->scheduler->nice, 5);
	ck_assert_str_eq(s->process->io_priority->class_, "IOPRIO_CLASS_BE");
	ck_assert_str_eq(s->mounts[1]->destination, "/data");
	ck_assert_uint_eq(s->mounts[1]->n_options, 3);
	ck_assert_uint_eq(s->mounts[1]->uid_mappings[0]->host_id, 1000);
	ck_assert_uint_eq(s->hooks->create_container[0]->timeout_s->value, 5);
	ck_assert_str_eq(s->annotations[0]->value, "value");
	ck_assert_str_eq(s->linux->namespaces[4]->path, "/run/netns/x");
	ck_assert_int_eq(s->linux->time_offsets[1]->secs, -1);
	ck_assert_int_eq(s->linux->devices[0]->minor, 229);
	ck_assert_uint_eq(s->linux->devices[0]->file_mode->value, 0666);
	ck_assert_int_eq(s->linux->resources->memory->limit->value, 64 << 20);
	ck_assert_uint_eq(s->linux->resources->cpu->shares->value, 1024);
	ck_assert_uint_eq(s->linux->resources->block_io->n_throttle, 1);
	ck_assert_uint_eq(s->linux->resources->block_io->throttle[0]->read_bps->value, 600);
	ck_assert_uint_eq(s->linux->resources->block_io->throttle[0]->write_iops->value, 300);
	ck_assert_str_eq(s->linux->resources->unified[0]->name, "memory.high");
	ck_assert_uint_gt(s->linux->seccomp->bpf.len, 8);
	oci_spec_free(s);
}
END_TEST

START_TEST(unknown_is_ignored)
{
	oci_spec_free(parse("\"newThing\":{\"a\":1}", "\"other\":[1,2]", "\"org.example\":null"));
	/* null is what Go writes for what isn't there. */
	oci_spec_free(parse("\"capabilities\":null,\"rlimits\":null,\"selinuxLabel\":null", "\"resources\":null",
			    "\"hooks\":null"));
	/* "unconfined" asks for nothing. */
	oci_spec_free(
		parse("\"apparmorProfile\":\"unconfined\"", "\"mountLabel\":\"\"", "\"hooks\":{\"prestart\":[]}"));
}
END_TEST

START_TEST(wrong_types)
{
	static const struct {
		const char *process, *linux_part, *top, *says;
	} cases[] = {
		{ "\"env\":[\"A=B\",7]", "", "", "process.env[1]: expected string, got integer" },
		{ "\"env\":[\"A=B\",\"AB\"]", "", "", "process.env[1]: \"AB\" is not NAME=VALUE" },
		{ "\"user\":[]", "", "", "process.user: expected object, got array" },
		{ "\"terminal\":1", "", "", "process.terminal: expected boolean, got integer" },
		{ "\"rlimits\":[{\"type\":\"RLIMIT_X\"}]", "", "",
		  "process.rlimits[0]: there is no limit \"RLIMIT_X\"" },
		{ "\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":2,\"hard\":1}]", "", "", "soft is above hard" },
		{ "\"rlimits\":[{\"type\":\"RLIMIT_CPU\"},{\"type\":\"RLIMIT_CPU\"}]", "", "",
		  "RLIMIT_CPU is there twice" },
		{ "\"capabilities\":{\"bounding\":\"CAP_KILL\"}", "", "",
		  "process.capabilities.bounding: expected array" },
		{ "\"scheduler\":{\"policy\":\"SCHED_FAST\"}", "", "", "no policy \"SCHED_FAST\"" },
		{ "\"ioPriority\":{\"class\":\"x\"}", "", "", "no class \"x\"" },
		{ "\"user\":{\"umask\":1024}", "", "", "process.user.umask: 1024 is not within 0 and 511" },
		{ "", "\"devices\":[{\"path\":\"dev/x\",\"type\":\"c\"}]", "",
		  "linux.devices[0].path: \"dev/x\" is not an absolute path" },
		{ "", "\"devices\":[{\"path\":\"/dev/x\",\"type\":\"c\"}]", "",
		  "linux.devices[0]: needs major and minor" },
		{ "", "\"devices\":[{\"path\":\"/dev/x\",\"type\":\"z\"}]", "", "no type \"z\"" },
		{ "", "\"maskedPaths\":[\"/a\",\"b\"]", "", "linux.maskedPaths[1]: \"b\" is not an absolute path" },
		{ "", "\"rootfsPropagation\":\"wild\"", "", "linux.rootfsPropagation: there is no \"wild\"" },
		{ "", "\"uidMappings\":[{\"containerID\":0,\"hostID\":0}]", "", "linux.uidMappings[0]: needs" },
		{ "", "\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}]", "", "need a user namespace" },
		{ "", "\"timeOffsets\":{\"monotonic\":{\"secs\":1}}", "", "need a new time namespace" },
		{ "", "\"timeOffsets\":{\"monotonic\":{\"nanosecs\":1000000000}}", "",
		  "linux.timeOffsets.monotonic.nanosecs" },
		{ "", "\"personality\":{\"domain\":\"BSD\"}", "", "no domain \"BSD\"" },
		{ "", "\"resources\":{\"devices\":[{\"access\":\"rwm\"}]}", "",
		  "linux.resources.devices[0]: has no allow" },
		{ "", "\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"x\"}]}", "",
		  "\"x\" is not made of r, w and m" },
		{ "", "\"resources\":{\"pids\":{}}", "", "linux.resources.pids: has no limit" },
		{ "", "\"resources\":{\"memory\":{\"swap\":1}}", "", "swap needs a limit" },
		{ "", "\"resources\":{\"unified\":{\"../x\":\"1\"}}", "", "\"../x\" is no file of a cgroup" },
		{ "", "\"resources\":{\"memory\":{\"limit\":1.5}}", "",
		  "linux.resources.memory.limit: expected integer, got fraction" },
		{ "", "", "\"mounts\":[{\"source\":\"x\"}]", "mounts[0].destination: is missing" },
		{ "", "", "\"hooks\":{\"poststop\":[{\"path\":\"rel\"}]}",
		  "hooks.poststop[0].path: \"rel\" is not an absolute path" },
		{ "", "", "\"hooks\":{\"poststop\":[{\"path\":\"/a\",\"timeout\":0}]}",
		  "timeout: must be greater than 0" },
		{ "", "", "\"annotations\":{\"a\":1}", "annotations.a: expected string" },
		{ "", "\"seccomp\":{}", "", "linux.seccomp: has no defaultAction" },
		{ "",
		  "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
		  "\"NO\"}]}",
		  "", "linux.seccomp.syscalls[0].action: \"NO\" is no action" },
		{ "",
		  "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
		  "\"SCMP_ACT_LOG\","
		  "\"args\":[{\"index\":6,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}]}",
		  "", "args[0].index: 6 is not within 0 and 5" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = config(cases[i].process, cases[i].linux_part, cases[i].top);
		struct err e = ERR_INIT;
		Microvm__Spec *spec;

		ck_assert_msg(oci_spec_parse(text, strlen(text), &spec, &e) < 0, "taken: %s", text);
		ck_assert_msg(strstr(e.msg, cases[i].says) != NULL, "\"%s\" does not say \"%s\"", e.msg, cases[i].says);
	}
}
END_TEST

START_TEST(refused_by_name)
{
	refuse("\"apparmorProfile\":\"strict\"", "", "", ENOTSUP, "process.apparmorProfile");
	refuse("\"selinuxLabel\":\"x:y:z\"", "", "", ENOTSUP, "process.selinuxLabel");
	refuse("", "\"mountLabel\":\"x:y:z\"", "", ENOTSUP, "linux.mountLabel");
	refuse("", "\"intelRdt\":{\"closID\":\"x\"}", "", ENOTSUP, "linux.intelRdt");
	refuse("", "\"resources\":{\"network\":{\"classID\":1}}", "", ENOTSUP, "linux.resources.network");
	refuse("", "\"resources\":{\"rdma\":{\"mlx\":{}}}", "", ENOTSUP, "linux.resources.rdma");
	refuse("", "\"resources\":{\"cpu\":{\"realtimeRuntime\":5}}", "", ENOTSUP,
	       "linux.resources.cpu.realtimeRuntime");
	refuse("", "\"resources\":{\"memory\":{\"swappiness\":60}}", "", ENOTSUP, "linux.resources.memory.swappiness");
	refuse("", "\"resources\":{\"memory\":{\"disableOOMKiller\":true}}", "", ENOTSUP,
	       "linux.resources.memory.disableOOMKiller");
	refuse("", "\"resources\":{\"blockIO\":{\"weightDevice\":[{\"major\":1}]}}", "", ENOTSUP, "weightDevice");
	refuse("", "", "\"hooks\":{\"prestart\":[{\"path\":\"/x\"}]}", ENOTSUP, "hooks.prestart");
	refuse("", "", "\"hooks\":{\"createRuntime\":[{\"path\":\"/x\"}]}", ENOTSUP, "hooks.createRuntime");
	refuse("", "", "\"windows\":{}", ENOTSUP, "windows");
	refuse("", "", "\"vm\":{\"kernel\":{}}", ENOTSUP, "vm");
	refuse("", "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "", ENOTSUP, "linux.seccomp.defaultAction");
	refuse("", "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\"}", "", ENOTSUP,
	       "listenerPath");
}
END_TEST

START_TEST(whole_documents)
{
	_cleanup_free_ char *deep = xcalloc(1, 20001);
	int i;

	refuse_text("", EINVAL, "not JSON");
	refuse_text("[]", EINVAL, "expected object, got array");
	refuse_text("{}", EINVAL, "ociVersion: is missing");
	refuse_text("{\"ociVersion\":\"2.0.0\"}", ENOTSUP, "\"2.0.0\" is not a version 1.x");
	refuse_text("{\"ociVersion\":\"1.0.0\"}", EINVAL, "root: is missing");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"\"}}", EINVAL, "root.path: must not be empty");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"}}", EINVAL, "process: is missing");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[\"a\"]}}", EINVAL,
		    "process.cwd: is missing");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[],\"cwd\":\"/\"}}",
		    EINVAL, "process.args: names no program");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[\"a\"],\"cwd\":\"b\"}}",
		    EINVAL, "process.cwd: \"b\" is not an absolute path");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"}}",
		    EINVAL, "linux: is missing");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"},"
		    "\"linux\":{\"namespaces\":[{\"type\":\"pid\"}]}}",
		    ENOTSUP, "mount namespace");
	refuse_text("{\"ociVersion\":\"1.0.0\",\"hostname\":\"x\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":["
		    "\"a\"],\"cwd\":\"/\"},"
		    "\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]}}",
		    EINVAL, "hostname: needs a uts namespace");
	for (i = 0; i < 10000; i++)
		deep[i] = '[';
	refuse_text(deep, EINVAL, "not JSON");
}
END_TEST

START_TEST(parts)
{
	static const char process[] = "{\"args\":[\"ls\"],\"cwd\":\"/\",\"env\":[\"A=1\"]}";
	static const char resources[] = "{\"pids\":{\"limit\":7},\"cpu\":{\"quota\":-1}}";
	struct err e = ERR_INIT;
	Microvm__Resources *res;
	Microvm__Process *p;

	ck_assert_int_eq(oci_process_parse(process, strlen(process), &p, &e), 0);
	ck_assert_str_eq(p->env[0], "A=1");
	oci_process_free(p);
	ck_assert_int_eq(oci_process_parse("[]", 2, &p, &e), -EINVAL);
	ck_assert_int_eq(oci_resources_parse(resources, strlen(resources), &res, &e), 0);
	ck_assert_int_eq(res->pids_limit->value, 7);
	ck_assert_int_eq(res->cpu->quota->value, -1);
	oci_resources_free(res);
	ck_assert_int_eq(oci_resources_parse("{\"pids\":7}", 10, &res, &e), -EINVAL);
	ck_assert_str_eq(e.msg, "resources: pids: expected object, got integer");
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("oci");
	TCase *t = tcase_create("config.json");

	log_init("test", LOG_ERROR);
	tcase_add_test(t, least);
	tcase_add_test(t, whole);
	tcase_add_test(t, unknown_is_ignored);
	tcase_add_test(t, wrong_types);
	tcase_add_test(t, refused_by_name);
	tcase_add_test(t, whole_documents);
	tcase_add_test(t, parts);
	suite_add_tcase(s, t);
	return s;
}
