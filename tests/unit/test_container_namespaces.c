/* SPDX-License-Identifier: Apache-2.0 */
/* A container's namespaces: users and their files' owners, and what others hold. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/pb.h"
#include "tests/unit/container_fixture.h"

Suite *test_suite(void);

/* ---- user namespaces ---- */

static void add_userns(struct box *b, uint32_t first)
{
	Microvm__Namespace *ns = pb_new(Microvm__Namespace, microvm__namespace);
	Microvm__IDMapping *u = pb_new(Microvm__IDMapping, microvm__idmapping);
	Microvm__IDMapping *g = pb_new(Microvm__IDMapping, microvm__idmapping);
	Microvm__Linux *l = b->spec->linux;

	ns->type = xstrdup("user");
	pb_append(l->n_namespaces, l->namespaces, ns);
	u->host_id = g->host_id = first;
	u->size = g->size = 65536;
	pb_append(l->n_uid_mappings, l->uid_mappings, u);
	pb_append(l->n_gid_mappings, l->gid_mappings, g);
}

START_TEST(user_namespace)
{
	struct box *b = box_new(
		"id -u; cat /proc/self/uid_map | tr -s ' '; stat -c %u /bin/sh; touch /new; stat -c %u:%g /new; "
		"echo x > /dev/null; ls -l /dev/null | cut -c1; hostname x 2>&1 | sed 's/.*: //'",
		NULL);
	pid_t pid;

	add_userns(b, 100000);
	ck_assert_msg(box_create(b) == 0 && box_start(b) == 0, "%s", b->e.msg);
	ck_assert_int_eq(box_finish(b, b->pid), 0);
	ck_assert_str_eq(b->output, "0\n 0 100000 65536\n0\n0:0\nc\nOperation not permitted\n");
	box_free(b);
	b = box_new("sleep 1000", NULL);
	add_userns(b, 200000);
	ck_assert_msg(box_create(b) == 0 && box_start(b) == 0, "%s", b->e.msg);
	ck_assert_msg(box_exec(b, LIST("sh", "-c", "id -u; tr -s ' ' < /proc/self/uid_map"), NULL, &pid) == 0, "%s",
		      b->e.msg);
	ck_assert_int_eq(box_finish(b, pid), 0);
	ck_assert_str_eq(b->output, "0\n 0 200000 65536\n");
	box_free(b);
}
END_TEST

START_TEST(mapping_without_root)
{
	struct box *b = box_new("true", NULL);

	add_userns(b, 100000);
	b->spec->linux->uid_mappings[0]->container_id = 1;
	box_expect_refused(b, -EINVAL, "do the mappings have 0?");
}
END_TEST

START_TEST(idmapped_bind)
{
	struct box *b = box_new("stat -c %u:%g /m/file; touch /m/new; stat -c %u /m/new", NULL);
	Microvm__IDMapping *u = pb_new(Microvm__IDMapping, microvm__idmapping);
	Microvm__IDMapping *g = pb_new(Microvm__IDMapping, microvm__idmapping);
	Microvm__Mount *m;
	struct stat st;

	make_folder("/run/data", 0777);
	make_file("/run/data/file", "x");
	ck_assert_int_eq(chown("/run/data/file", 1000, 1000), 0);
	ck_assert_int_eq(chown("/run/data", 1000, 1000), 0);
	box_mount(b, "/m", "bind", "/run/data", LIST("bind"));
	m = b->spec->mounts[b->spec->n_mounts - 1];
	u->container_id = g->container_id = 1000;
	u->size = g->size = 1;
	pb_append(m->n_uid_mappings, m->uid_mappings, u);
	pb_append(m->n_gid_mappings, m->gid_mappings, g);
	box_expect(b, "0:0\n0\n");
	ck_assert_int_eq(stat("/run/data/new", &st), 0);
	ck_assert_uint_eq(st.st_uid, 1000);
}
END_TEST

/* ---- other namespaces' contents ---- */

START_TEST(sysctl)
{
	struct oci_options o = { .sysctl = LIST("kernel.msgmax=4096", "kernel.shm_rmid_forced=1",
						"fs.mqueue.msg_max=12") };
	struct oci_options bad = { .sysctl = LIST("kernel.panic=1") };
	struct oci_options dots = { .sysctl = LIST("net/../kernel/panic=1") };

	expect_output("cat /proc/sys/kernel/msgmax /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max", &o,
		      "4096\n1\n12\n");
	box_expect_refused(box_new("true", &bad), -ENOTSUP,
			   "kernel.panic does not belong to a namespace of this container");
	box_expect_refused(box_new("true", &dots), -ENOTSUP, "net/../kernel/panic");
}
END_TEST

START_TEST(time_namespace)
{
	struct box *b = box_new("cut -d. -f1 /proc/uptime", NULL);
	Microvm__Namespace *ns = pb_new(Microvm__Namespace, microvm__namespace);
	Microvm__TimeOffset *t = pb_new(Microvm__TimeOffset, microvm__time_offset);
	Microvm__Linux *l = b->spec->linux;

	ns->type = xstrdup("time");
	pb_append(l->n_namespaces, l->namespaces, ns);
	t->clock = xstrdup("boottime");
	t->secs = 1000000000;
	pb_append(l->n_time_offsets, l->time_offsets, t);
	ck_assert_msg(box_run(b) == 0, "%s", b->e.msg);
	ck_assert_int_gt(atol(b->output), 999999999);
	box_free(b);
}
END_TEST

START_TEST(joined_namespaces)
{
	struct box *b = box_new("readlink /proc/self/ns/ipc; cat /proc/sys/kernel/msgmax", NULL);
	Microvm__Linux *l = b->spec->linux;
	char want[64];
	struct stat st;
	size_t i;

	/* This process has an IPC namespace of its own: the container gets that one. */
	ck_assert_int_eq(stat("/proc/self/ns/ipc", &st), 0);
	snprintf(want, sizeof(want), "ipc:[%lu]\n8192\n", (unsigned long)st.st_ino);
	for (i = 0; i < l->n_namespaces; i++)
		if (str_eq(l->namespaces[i]->type, "ipc"))
			pb_set(&l->namespaces[i]->path, xasprintf("/proc/%d/ns/ipc", getpid()));
	box_expect(b, want);
	b = box_new("true", NULL);
	pb_set(&b->spec->linux->namespaces[0]->path, xstrdup("/no/such/ns"));
	box_expect_refused(b, -ENOENT, "namespace /no/such/ns");
}
END_TEST

START_TEST(propagation)
{
	static const struct {
		char *kind;
		const char *want;
	} cases[] = {
		{ "private", "" },
		{ "shared", "shared" },
		{ "unbindable", "unbindable" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct box *b =
			box_new("grep ' / / ' /proc/self/mountinfo | cut -d' ' -f7 | sed 's/:.*//; s/^-$//'", NULL);

		pb_set(&b->spec->linux->rootfs_propagation, xstrdup(cases[i].kind));
		ck_assert_msg(box_run(b) == 0, "%s", b->e.msg);
		ck_assert_msg(!strncmp(b->output, cases[i].want, strlen(cases[i].want)), "%s: %s", cases[i].kind,
			      b->output);
		box_free(b);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("container_namespaces");
	TCase *t = tcase_create("namespaces");

	tcase_add_checked_fixture(t, fixture_begin, NULL);
	tcase_add_test(t, user_namespace);
	tcase_add_test(t, mapping_without_root);
	tcase_add_test(t, idmapped_bind);
	tcase_add_test(t, sysctl);
	tcase_add_test(t, time_namespace);
	tcase_add_test(t, joined_namespaces);
	tcase_add_test(t, propagation);
	suite_add_tcase(s, t);
	return s;
}
