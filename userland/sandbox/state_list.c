/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at the sandboxes of other processes: finding, listing, waiting, and sweeping those whose supervisor died. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/state_private.h"

static bool id_valid(const char *name)
{
	return strlen(name) == STATE_ID_LEN && strspn(name, "0123456789abcdef") == STATE_ID_LEN;
}

static bool locked_by_other(int lockfd)
{
	if (flock(lockfd, LOCK_SH | LOCK_NB) < 0)
		return errno == EWOULDBLOCK;
	flock(lockfd, LOCK_UN);
	return false;
}

static int load_record(int dirfd, struct sandbox_record *r, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int q = read_file(dirfd, "state.json", STATE_JSON_MAX, &text, &len);

	if (q)
		return err_errno(e, q, "state.json");
	return sandbox_record_from_json(text, len, r, e);
}

/* The supervisor of id is dead and didn't finish. What it left goes; without --rm the record stays, as an exit. */
static void sweep_one(struct state *state, const char *id, int dirfd, int lockfd)
{
	struct sandbox_record r = { 0 };
	struct err e = ERR_INIT;
	bool known = !load_record(dirfd, &r, &e);

	if (known)
		state_uid_release(state, r.uid, id);
	if (!known || (!r.bundle && (r.remove || r.status == SANDBOX_CREATED))) {
		if (known && r.name)
			state_link_release(state->names, r.name, id);
		remove_tree(state->sandboxes, id);
	} else {
		_cleanup_free_ char *text = NULL;

		r.status = SANDBOX_EXITED;
		r.exit_status = 255;
		r.finished_ns = realtime_ns();
		free(r.error);
		r.error = xstrdup("its supervisor was killed");
		text = sandbox_record_to_json(&r);
		if (!state_write(dirfd, "state.json", text, strlen(text)) && pwrite(lockfd, "255\n", 4, 0) == 4)
			state_drop_live(dirfd);
	}
	sandbox_record_free(&r);
}

/* Whether id is to be swept: nobody holds its lock, and nobody wrote a status there. Called with the state locked. */
static void sweep_if_dead(struct state *state, const char *id)
{
	_cleanup_close_ int dirfd = openat(state->sandboxes, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int lockfd = -1;
	struct stat st;

	if (dirfd < 0)
		return;
	lockfd = openat(dirfd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (lockfd >= 0 && (fstat(lockfd, &st) < 0 || st.st_size > 0 || locked_by_other(lockfd)))
		return;
	sweep_one(state, id, dirfd, lockfd);
}

static DIR *open_sandboxes(struct state *state)
{
	return open_dir(state->sandboxes, ".", 0);
}

int state_sweep(struct state *state, struct err *e)
{
	_cleanup_closedir_ DIR *d = open_sandboxes(state);
	struct dirent *ent;

	if (!d)
		return err_errno(e, errno, "cannot list %s/sandboxes", state->path);
	state_lock(state);
	while ((ent = readdir(d)))
		if (id_valid(ent->d_name))
			sweep_if_dead(state, ent->d_name);
	state_unlock(state);
	return 0;
}

void state_ref_free(struct state_ref *ref)
{
	cleanup_closep(&ref->dirfd);
	cleanup_closep(&ref->lockfd);
	free(ref->path);
	ref->path = NULL;
	sandbox_record_free(&ref->record);
}

static int ref_open(struct state *state, const char *id, struct state_ref *ref, struct err *e)
{
	int q;

	*ref = (struct state_ref){ .dirfd = -1, .lockfd = -1 };
	ref->path = xasprintf("%s/sandboxes/%s", state->path, id);
	ref->dirfd = openat(state->sandboxes, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (ref->dirfd >= 0)
		ref->lockfd = openat(ref->dirfd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	q = ref->lockfd < 0 ? -errno : load_record(ref->dirfd, &ref->record, e);
	if (!q)
		ref->alive = locked_by_other(ref->lockfd);
	else
		state_ref_free(ref);
	return q;
}

/* By name: its link says the id. */
static bool id_of_name(struct state *state, const char *name, char id[STATE_ID_LEN + 1])
{
	ssize_t n;

	if (!state_name_valid(name))
		return false;
	n = readlinkat(state->names, name, id, STATE_ID_LEN + 1);
	if (n != STATE_ID_LEN)
		return false;
	id[n] = '\0';
	return id_valid(id) && !faccessat(state->sandboxes, id, F_OK, 0);
}

/* How many ids begin with text; the last of them into id. */
static size_t ids_of_prefix(struct state *state, const char *text, char id[STATE_ID_LEN + 1])
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *ent;
	size_t n = 0;

	if (!*text || strspn(text, "0123456789abcdef") != strlen(text))
		return 0;
	d = open_sandboxes(state);
	while (d && (ent = readdir(d))) {
		if (!id_valid(ent->d_name) || !str_starts(ent->d_name, text))
			continue;
		memcpy(id, ent->d_name, STATE_ID_LEN + 1);
		n++;
	}
	return n;
}

int state_find(struct state *state, const char *text, struct state_ref *ref, struct err *e)
{
	char id[STATE_ID_LEN + 1];
	struct err why = ERR_INIT;
	int q = -ENOENT;

	*ref = (struct state_ref){ .dirfd = -1, .lockfd = -1 };
	state_lock(state);
	if (!id_of_name(state, text, id)) {
		size_t n = ids_of_prefix(state, text, id);

		if (n > 1) {
			state_unlock(state);
			return err_set(e, EEXIST, "'%s' is the beginning of %zu ids; give more of it", text, n);
		}
		id[0] = n ? id[0] : '\0';
	}
	if (id[0])
		q = ref_open(state, id, ref, &why);
	state_unlock(state);
	if (q == -ENOENT)
		return err_set(e, ENOENT, "no such sandbox: %s; microvm ps -a lists them", text);
	if (q) {
		*e = why;
		return err_wrap(e, "sandbox %s", text);
	}
	return 0;
}

static int newer_first(const void *a, const void *b)
{
	const struct state_ref *x = a, *y = b;

	return (x->record.created_ns < y->record.created_ns) - (x->record.created_ns > y->record.created_ns);
}

int state_list(struct state *state, struct state_ref **list, size_t *n, struct err *e)
{
	_cleanup_closedir_ DIR *d = open_sandboxes(state);
	struct state_ref *all = NULL;
	struct dirent *ent;
	size_t used = 0;

	if (!d)
		return err_errno(e, errno, "cannot list %s/sandboxes", state->path);
	state_lock(state);
	while ((ent = readdir(d))) {
		struct state_ref ref;
		struct err why = ERR_INIT;

		if (!id_valid(ent->d_name))
			continue;
		if (ref_open(state, ent->d_name, &ref, &why)) {
			if (why.code && why.code != ENOENT)
				log_warn("sandbox %.12s: %s", ent->d_name, why.msg);
			continue;
		}
		/* A listing needs no files; a thousand sandboxes would be two thousand of them. */
		cleanup_closep(&ref.dirfd);
		cleanup_closep(&ref.lockfd);
		all = xreallocarray(all, used + 1, sizeof(*all));
		all[used++] = ref;
	}
	state_unlock(state);
	if (used)
		qsort(all, used, sizeof(*all), newer_first);
	*list = all;
	*n = used;
	return 0;
}

void state_list_free(struct state_ref *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		state_ref_free(&list[i]);
	free(list);
}

int state_claim(struct state *state, struct state_ref *ref, struct err *e)
{
	bool there;

	while (flock(ref->lockfd, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_errno(e, errno, "cannot wait for %s", ref->record.name);
	/* Who had it may still be removing it. */
	state_lock(state);
	there = !faccessat(state->sandboxes, ref->record.id, F_OK, 0);
	state_unlock(state);
	return there ? 0 : err_set(e, ENOENT, "%s was removed by somebody else", ref->record.name);
}

int state_remove(struct state *state, struct state_ref *ref, struct err *e)
{
	int q;

	state_lock(state);
	if (locked_by_other(ref->lockfd)) {
		state_unlock(state);
		return err_set(e, EBUSY, "sandbox %s is running; stop it first, or use -f", ref->record.name);
	}
	state_link_release(state->names, ref->record.name, ref->record.id);
	state_uid_release(state, ref->record.uid, ref->record.id);
	q = remove_tree(state->sandboxes, ref->record.id);
	state_unlock(state);
	return q ? err_errno(e, q, "cannot remove %s", ref->path) : 0;
}

int state_wait(struct state_ref *ref, struct err *e)
{
	char text[16] = "";
	uint64_t status;
	ssize_t n;

	while (flock(ref->lockfd, LOCK_SH) < 0)
		if (errno != EINTR)
			return err_errno(e, errno, "cannot wait for %s", ref->record.name);
	n = pread(ref->lockfd, text, sizeof(text) - 1, 0);
	flock(ref->lockfd, LOCK_UN);
	if (n > 0 && text[n - 1] == '\n')
		text[n - 1] = '\0';
	if (n <= 0 || parse_u64(text, 0, 255, &status))
		return err_set(e, EOWNERDEAD, "the supervisor of %s was killed", ref->record.name);
	return (int)status;
}
