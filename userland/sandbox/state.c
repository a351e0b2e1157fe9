/* SPDX-License-Identifier: Apache-2.0 */
/* The folder that says what runs: how it is opened, swept, and how a supervisor keeps its own part. */
#include "sandbox/state_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

int64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int open_folder(int dirfd, const char *name)
{
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* The folder is ours alone: what lies in it is believed. */
static int check_owner(const struct state *state, struct err *e)
{
	struct stat st;

	if (fstat(state->dirfd, &st) < 0)
		return err_errno(e, errno, "%s", state->path);
	if (st.st_uid != geteuid() || st.st_mode & 022)
		return err_set(e, EPERM,
			       "%s belongs to uid %u with mode %04o; it has to be ours, and writable by nobody else",
			       state->path, st.st_uid, st.st_mode & 07777);
	return 0;
}

int state_open(const char *path, struct state **out, struct err *e)
{
	struct state *state;
	int r;

	if (!path)
		path = getenv("MICROVM_STATE");
	if (!path || !*path)
		path = STATE_DEFAULT;
	if (geteuid())
		return err_set(e, EPERM, "microvm needs root for /dev/kvm, namespaces and %s; call it with sudo", path);
	r = mkdir_p(AT_FDCWD, path, 0700);
	if (r)
		return err_errno(e, r, "cannot make %s", path);
	state = xcalloc(1, sizeof(*state));
	state->dirfd = state->sandboxes = state->names = state->uids = state->lockfd = -1;
	state->path = realpath(path, NULL);
	if (!state->path)
		state->path = xstrdup(path);
	state->dirfd = open(state->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state->dirfd >= 0) {
		state->sandboxes = open_folder(state->dirfd, "sandboxes");
		state->names = open_folder(state->dirfd, "names");
		state->uids = open_folder(state->dirfd, "uids");
		state->lockfd = openat(state->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (state->dirfd < 0 || state->sandboxes < 0 || state->names < 0 || state->uids < 0 || state->lockfd < 0)
		r = err_errno(e, errno, "cannot open the state in %s", state->path);
	else
		r = check_owner(state, e);
	if (!r)
		r = state_sweep(state, e);
	if (r) {
		state_close(state);
		return r;
	}
	*out = state;
	return 0;
}

void state_close(struct state *state)
{
	if (!state)
		return;
	cleanup_closep(&state->sandboxes);
	cleanup_closep(&state->names);
	cleanup_closep(&state->uids);
	cleanup_closep(&state->lockfd);
	cleanup_closep(&state->dirfd);
	free(state->path);
	free(state);
}

const char *state_path(const struct state *state)
{
	return state->path;
}

void state_lock(struct state *state)
{
	while (flock(state->lockfd, LOCK_EX) < 0 && errno == EINTR)
		;
}

void state_unlock(struct state *state)
{
	flock(state->lockfd, LOCK_UN);
}

/* names/X or uids/X -> ID. A link to a folder that isn't there any more is replaced. -EEXIST: taken. */
static int link_claim(struct state *state, int dirfd, const char *name, const char *id)
{
	char target[STATE_ID_LEN + 1];
	ssize_t n;

	if (!symlinkat(id, dirfd, name))
		return 0;
	if (errno != EEXIST)
		return -errno;
	n = readlinkat(dirfd, name, target, sizeof(target));
	if (n != STATE_ID_LEN)
		return -EEXIST;
	target[STATE_ID_LEN] = '\0';
	if (!faccessat(state->sandboxes, target, F_OK, 0) || errno != ENOENT)
		return -EEXIST;
	unlinkat(dirfd, name, 0);
	return symlinkat(id, dirfd, name) < 0 ? -errno : 0;
}

void state_link_release(int dirfd, const char *name, const char *id)
{
	char target[STATE_ID_LEN];

	if (readlinkat(dirfd, name, target, sizeof(target)) == STATE_ID_LEN && !memcmp(target, id, STATE_ID_LEN))
		unlinkat(dirfd, name, 0);
}

void state_uid_release(struct state *state, uint32_t uid, const char *id)
{
	char name[16];

	if (uid < STATE_UID_BASE)
		return;
	snprintf(name, sizeof(name), "%u", uid - STATE_UID_BASE);
	state_link_release(state->uids, name, id);
}

static int claim_name(struct state *state, struct sandbox_record *r, struct err *e)
{
	unsigned int attempt;
	int q = -EEXIST;

	if (r->name) {
		if (!state_name_valid(r->name))
			return err_set(e, EINVAL,
				       "name '%s' is not valid: letters, digits, '_', '.' and '-', the first a letter "
				       "or digit, at most %u",
				       r->name, STATE_NAME_MAX);
		q = link_claim(state, state->names, r->name, r->id);
		if (q == -EEXIST)
			return err_set(e, EEXIST,
				       "name '%s' is in use; remove that sandbox (microvm rm %s) or take another name",
				       r->name, r->name);
		return q ? err_errno(e, q, "cannot take the name '%s'", r->name) : 0;
	}
	for (attempt = 0; q == -EEXIST && attempt < 1000; attempt++) {
		free(r->name);
		r->name = state_name_random(attempt);
		q = link_claim(state, state->names, r->name, r->id);
	}
	return q ? err_errno(e, q, "cannot find a free name") : 0;
}

static int claim_uid(struct state *state, struct sandbox_record *r, struct err *e)
{
	uint16_t first = 0;
	uint32_t i;
	int q = -EEXIST;

	/* From a random place on, so that a uid is not soon used again and the first try is nearly always good. */
	if (getrandom(&first, sizeof(first), 0) != sizeof(first))
		return err_set(e, EIO, "no random numbers");
	for (i = 0; i < STATE_UID_COUNT && q == -EEXIST; i++) {
		uint32_t n = (first + i) % STATE_UID_COUNT;
		char name[16];

		snprintf(name, sizeof(name), "%u", n);
		q = link_claim(state, state->uids, name, r->id);
		if (!q)
			r->uid = STATE_UID_BASE + n;
	}
	return q ? err_errno(e, q, "cannot find a free uid") : 0;
}

int state_write(int dirfd, const char *name, const char *text, size_t len)
{
	_cleanup_free_ char *tmp = xasprintf("%s.new", name);
	_cleanup_close_ int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = write_full(fd, text, len);
	/* No fsync: the state is of this boot, in a tmpfs. */
	if (!r && renameat(dirfd, tmp, dirfd, name) < 0)
		r = -errno;
	if (r)
		unlinkat(dirfd, tmp, 0);
	return r;
}

int state_save(struct state_sandbox *s, const struct sandbox_record *r, struct err *e)
{
	_cleanup_free_ char *text = sandbox_record_to_json(r);
	int q = state_write(s->dirfd, "state.json", text, strlen(text));

	return q ? err_errno(e, q, "cannot write %s/state.json", s->path) : 0;
}

static int create_locked(struct state *state, struct sandbox_record *r, struct state_sandbox *s, struct err *e)
{
	int q;

	if (mkdirat(state->sandboxes, r->id, 0700) < 0)
		return err_errno(e, errno, "cannot make %s", s->path);
	s->dirfd = openat(state->sandboxes, r->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		return err_errno(e, errno, "cannot open %s", s->path);
	s->lockfd = openat(s->dirfd, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->lockfd < 0 || flock(s->lockfd, LOCK_EX | LOCK_NB) < 0)
		return err_errno(e, errno, "cannot lock %s", s->path);
	q = claim_name(state, r, e);
	if (!q) {
		s->name_held = true;
		q = claim_uid(state, r, e);
	}
	return q ? q : state_save(s, r, e);
}

int state_create(struct state *state, struct sandbox_record *r, struct state_sandbox *s, struct err *e)
{
	int q;

	*s = (struct state_sandbox){ .state = state, .dirfd = -1, .lockfd = -1 };
	s->path = xasprintf("%s/sandboxes/%s", state->path, r->id);
	state_lock(state);
	q = create_locked(state, r, s, e);
	state_unlock(state);
	s->uid = r->uid;
	if (q)
		state_finish(s, r, true);
	return q;
}

void state_publish_exit(struct state_sandbox *s, int exit_status)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", exit_status);

	/* Who waits sees "no status" if this fails, and the lock's release all the same. */
	if (s->lockfd >= 0 && pwrite(s->lockfd, text, n, 0) < 0)
		return;
}

/* What only a live sandbox needs. */
static const char *const live_files[] = {
	"vsock",      STATE_SEQPACKET_SOCKET, STATE_BALLOON_SOCKET, STATE_CONTROL_SOCKET,
	"process.pb", "state.json.new",	      "process.pb.new"
};

void state_drop_live(int dirfd)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(live_files); i++)
		unlinkat(dirfd, live_files[i], 0);
}

void state_finish(struct state_sandbox *s, const struct sandbox_record *r, bool all)
{
	if (!s->state)
		return;
	state_lock(s->state);
	state_uid_release(s->state, r->uid, r->id);
	if (all) {
		if (s->name_held)
			state_link_release(s->state->names, r->name, r->id);
		if (s->dirfd >= 0)
			remove_tree(s->state->sandboxes, r->id);
	} else if (s->dirfd >= 0) {
		state_drop_live(s->dirfd);
	}
	state_unlock(s->state);
	cleanup_closep(&s->dirfd);
	cleanup_closep(&s->lockfd);
	free(s->path);
	s->path = NULL;
	s->state = NULL;
}
