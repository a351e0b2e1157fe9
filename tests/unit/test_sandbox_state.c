/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of sandboxes on disk: made, found, listed, finished, and swept when their supervisor was killed. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "sandbox/state.h"

Suite *test_suite(void);

static char folder[] = "/tmp/test-state-XXXXXX";
static struct state *state;
static struct err e;

static void set_up(void)
{
	strcpy(folder, "/tmp/test-state-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	e = (struct err)ERR_INIT;
	ck_assert_msg(!state_open(folder, &state, &e), "%s", e.msg);
}

static void tear_down(void)
{
	state_close(state);
	remove_tree(AT_FDCWD, folder);
}

static void fill(struct sandbox_record *r, const char *name)
{
	memset(r, 0, sizeof(*r));
	random_id(r->id);
	r->name = xstrdup(name);
	r->image = xstrdup("oci:/x:y");
	strv_push(&r->command, "sh");
	strv_push(&r->command, "a \"b\" \n \xc3\xa9");
	r->created_ns = realtime_ns();
	r->stop_timeout_ns = UINT64_MAX;
}

static size_t entries(const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", folder, name);
	DIR *d = opendir(path);
	struct dirent *ent;
	size_t n = 0;

	ck_assert_ptr_nonnull(d);
	while ((ent = readdir(d)))
		n += ent->d_name[0] != '.';
	closedir(d);
	return n;
}

static void nothing_left(void)
{
	ck_assert_uint_eq(entries("sandboxes"), 0);
	ck_assert_uint_eq(entries("names"), 0);
	ck_assert_uint_eq(entries("uids"), 0);
}

START_TEST(test_record_there_and_back)
{
	struct sandbox_record r, back;
	_cleanup_free_ char *text = NULL;

	fill(&r, "one");
	r.status = SANDBOX_RUNNING;
	r.exit_status = 77;
	r.uid = STATE_UID_BASE + 5;
	text = sandbox_record_to_json(&r);
	ck_assert_msg(!sandbox_record_from_json(text, strlen(text), &back, &e), "%s", e.msg);
	ck_assert_str_eq(back.id, r.id);
	ck_assert_str_eq(back.command.v[1], r.command.v[1]);
	ck_assert_int_eq(back.status, SANDBOX_RUNNING);
	ck_assert_int_eq(back.exit_status, 77);
	ck_assert_uint_eq(back.uid, r.uid);
	ck_assert_uint_eq(back.stop_timeout_ns, UINT64_MAX);
	ck_assert_ptr_null(back.error);
	sandbox_record_free(&r);
	sandbox_record_free(&back);
}
END_TEST

static const char *const bad_records[] = {
	"",
	"{",
	"[]",
	"{}",
	"{\"id\": 5}",
	"{\"id\": \"short\", \"status\": \"running\"}",
	"{\"id\": \"0123456789012345678901234567890123456789012345678901234567890123\"}",
	"{\"id\": \"0123456789012345678901234567890123456789012345678901234567890123\", \"status\": \"flying\"}",
	("{\"id\": \"0123456789012345678901234567890123456789012345678901234567890123\", \"status\": \"exited\", "
	 "\"uid\": -1}"),
};

START_TEST(test_bad_record)
{
	struct sandbox_record r;

	ck_assert_int_lt(sandbox_record_from_json(bad_records[_i], strlen(bad_records[_i]), &r, &e), 0);
	ck_assert_int_ne(e.msg[0], 0);
}
END_TEST

START_TEST(test_life)
{
	struct sandbox_record r;
	struct state_sandbox s;
	struct state_ref ref, *list;
	size_t n;

	fill(&r, "worker");
	ck_assert_msg(!state_create(state, &r, &s, &e), "%s", e.msg);
	ck_assert_uint_ge(r.uid, STATE_UID_BASE);
	ck_assert_int_eq(state_find(state, "worker", &ref, &e), 0);
	ck_assert(ref.alive);
	ck_assert_str_eq(ref.record.id, r.id);
	ck_assert_int_eq(state_remove(state, &ref, &e), -EBUSY);
	state_ref_free(&ref);
	r.status = SANDBOX_EXITED;
	ck_assert_int_eq(state_save(&s, &r, &e), 0);
	state_publish_exit(&s, 3);
	state_finish(&s, &r, false);
	ck_assert_uint_eq(entries("uids"), 0);

	r.id[8] = '\0';
	ck_assert_int_eq(state_find(state, r.id, &ref, &e), 0);
	ck_assert(!ref.alive);
	ck_assert_int_eq(state_wait(&ref, &e), 3);
	ck_assert_int_eq(state_list(state, &list, &n, &e), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(list[0].record.name, "worker");
	state_list_free(list, n);
	ck_assert_int_eq(state_remove(state, &ref, &e), 0);
	state_ref_free(&ref);
	nothing_left();
	ck_assert_int_eq(state_find(state, "worker", &ref, &e), -ENOENT);
	sandbox_record_free(&r);
}
END_TEST

START_TEST(test_names)
{
	struct sandbox_record a, b, c;
	struct state_sandbox sa, sb, sc;

	fill(&a, "taken");
	fill(&b, "taken");
	fill(&c, NULL);
	ck_assert_int_eq(state_create(state, &a, &sa, &e), 0);
	ck_assert_int_eq(state_create(state, &b, &sb, &e), -EEXIST);
	ck_assert_ptr_nonnull(strstr(e.msg, "taken"));
	ck_assert_int_eq(state_create(state, &c, &sc, &e), 0);
	ck_assert(state_name_valid(c.name));
	ck_assert_uint_eq(entries("sandboxes"), 2);
	state_finish(&sa, &a, true);
	/* Free again. */
	ck_assert_int_eq(state_create(state, &b, &sb, &e), 0);
	ck_assert_uint_ne(b.uid, c.uid);
	state_finish(&sb, &b, true);
	state_finish(&sc, &c, true);
	nothing_left();
	sandbox_record_free(&a);
	sandbox_record_free(&b);
	sandbox_record_free(&c);
	ck_assert(!state_name_valid("") && !state_name_valid("-x") && !state_name_valid("a b") &&
		  !state_name_valid("a/b"));
	ck_assert(state_name_valid("a-b_c.9"));
}
END_TEST

START_TEST(test_ambiguous_beginning)
{
	struct sandbox_record a, b;
	struct state_sandbox sa, sb;
	struct state_ref ref;

	fill(&a, "a");
	fill(&b, "b");
	memcpy(a.id, "abcd", 4);
	memcpy(b.id, "abce", 4);
	ck_assert_int_eq(state_create(state, &a, &sa, &e), 0);
	ck_assert_int_eq(state_create(state, &b, &sb, &e), 0);
	ck_assert_int_eq(state_find(state, "abc", &ref, &e), -EEXIST);
	ck_assert_int_eq(state_find(state, "abce", &ref, &e), 0);
	ck_assert_str_eq(ref.record.name, "b");
	state_ref_free(&ref);
	ck_assert_int_eq(state_find(state, "../names", &ref, &e), -ENOENT);
	ck_assert_int_eq(state_find(state, "", &ref, &e), -ENOENT);
	state_finish(&sa, &a, true);
	state_finish(&sb, &b, true);
	sandbox_record_free(&a);
	sandbox_record_free(&b);
}
END_TEST

/* A supervisor of its own process, killed. */
static void killed_supervisor(bool remove, enum sandbox_status status)
{
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		struct sandbox_record r;
		struct state_sandbox s;

		fill(&r, "doomed");
		r.remove = remove;
		if (state_create(state, &r, &s, &e))
			_exit(1);
		r.status = status;
		r.started_ns = status == SANDBOX_RUNNING;
		if (state_save(&s, &r, &e) || write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	state_close(state);
	ck_assert_msg(!state_open(folder, &state, &e), "%s", e.msg);
}

START_TEST(test_sweep_of_one_that_was_to_be_removed)
{
	killed_supervisor(true, SANDBOX_RUNNING);
	nothing_left();
}
END_TEST

START_TEST(test_sweep_of_one_that_never_ran)
{
	killed_supervisor(false, SANDBOX_CREATED);
	nothing_left();
}
END_TEST

START_TEST(test_sweep_keeps_the_record)
{
	struct state_ref ref;

	killed_supervisor(false, SANDBOX_RUNNING);
	ck_assert_uint_eq(entries("uids"), 0);
	ck_assert_int_eq(state_find(state, "doomed", &ref, &e), 0);
	ck_assert(!ref.alive);
	ck_assert_int_eq(ref.record.status, SANDBOX_EXITED);
	ck_assert_int_eq(ref.record.exit_status, 255);
	ck_assert_int_eq(state_wait(&ref, &e), 255);
	ck_assert_int_eq(state_remove(state, &ref, &e), 0);
	state_ref_free(&ref);
	nothing_left();
}
END_TEST

START_TEST(test_folder_of_others)
{
	struct state *other;
	char path[] = "/tmp/test-state-other-XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(path));
	ck_assert_int_eq(chmod(path, 0777), 0);
	ck_assert_int_eq(state_open(path, &other, &e), -EPERM);
	ck_assert_ptr_nonnull(strstr(e.msg, path));
	remove_tree(AT_FDCWD, path);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("sandbox_state");
	TCase *pure = tcase_create("record"), *t = tcase_create("state");

	tcase_add_test(pure, test_record_there_and_back);
	tcase_add_loop_test(pure, test_bad_record, 0, ARRAY_SIZE(bad_records));
	suite_add_tcase(s, pure);
	/* The folder has to be root's. */
	if (!geteuid()) {
		tcase_add_checked_fixture(t, set_up, tear_down);
		tcase_add_test(t, test_life);
		tcase_add_test(t, test_names);
		tcase_add_test(t, test_ambiguous_beginning);
		tcase_add_test(t, test_sweep_of_one_that_was_to_be_removed);
		tcase_add_test(t, test_sweep_of_one_that_never_ran);
		tcase_add_test(t, test_sweep_keeps_the_record);
		tcase_add_test(t, test_folder_of_others);
		suite_add_tcase(s, t);
	}
	return s;
}
