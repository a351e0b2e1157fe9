/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that say anything, against a share with a few files. Each has a byte for its operation, one for its node, one
 * for where numbers of open files are put in, one for its length, and its arguments. What lies beside the share must be
 * as it was at the end. Locks that are waited for have the uniques 1 to 4.
 */
#include "tests/unit/fsd_front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NODES 8u
#define WAITS 4u

struct known {
	uint64_t nodes[NODES], fhs[NODES];
	unsigned int nodes_n, fhs_n;
};

/* Answered at once, later, or at the end: past the queue, as front_call() waits for one answer. */
static struct wait {
	struct fs_req req;
	struct iovec iov[2];
	struct fuse_out_header out;
	uint8_t in[sizeof(struct fuse_in_header) + 256];
	bool waits;
} waits[WAITS];

static void wait_done(struct fs_req *req, uint32_t written)
{
	struct wait *w = container_of(req, struct wait, req);

	if (!w->waits || written != sizeof(w->out) || w->out.len != written || w->out.error > 0)
		abort();
	w->waits = false;
}

static void ask_for_lock(struct front *f, uint64_t node, const uint8_t *arg, uint32_t len)
{
	struct fuse_in_header head = { .len = (uint32_t)sizeof(head) + len, .opcode = FUSE_SETLKW, .nodeid = node };
	struct wait *w = waits;

	while (w < waits + WAITS && w->waits)
		w++;
	if (w == waits + WAITS)
		return;
	head.unique = (uint64_t)(w - waits) + 1;
	memcpy(w->in, &head, sizeof(head));
	memcpy(w->in + sizeof(head), arg, len);
	w->iov[0] = (struct iovec){ w->in, head.len };
	w->iov[1] = (struct iovec){ &w->out, sizeof(w->out) };
	w->req = (struct fs_req){ .out = &w->iov[0], .out_n = 1, .in = &w->iov[1], .in_n = 1, .done = wait_done };
	w->waits = true;
	fs_serve(f->fs, &w->req);
}

static void make_file(const char *dir, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, "content", 7) != 7)
		abort();
	close(fd);
}

/* Later requests can name what this one brought. */
static void learn(struct known *k, uint32_t op, const uint8_t *answer, int len)
{
	struct fuse_entry_out entry;

	if ((op == FUSE_OPEN || op == FUSE_OPENDIR) && len >= 8)
		memcpy(&k->fhs[k->fhs_n++ % NODES], answer, 8);
	if (len < (int)sizeof(entry))
		return;
	memcpy(&entry, answer, sizeof(entry));
	if (op == FUSE_LOOKUP || op == FUSE_MKDIR || op == FUSE_SYMLINK || op == FUSE_MKNOD || op == FUSE_CREATE)
		k->nodes[k->nodes_n++ % NODES] = entry.nodeid;
	if (op == FUSE_CREATE && len >= (int)sizeof(entry) + 8)
		memcpy(&k->fhs[k->fhs_n++ % NODES], answer + sizeof(entry), 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fs_config config = { .cache = FS_CACHE_AUTO,
					  .attr_timeout_ns = UINT64_MAX,
					  .xattr = true,
					  .locks = FS_LOCKS_REMOTE,
					  .fd_limit = 64,
					  .announce_submounts = true };
	int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r, rounds = 0;
	struct known k = { .nodes = { FUSE_ROOT_ID } };
	uint8_t arg[256], answer[4096];
	char path[96];
	struct front f;
	struct stat st;
	unsigned int i;

	front_new(&f, &config);
	make_file(f.dir, "beside");
	snprintf(path, sizeof(path), "%s/share", f.dir);
	make_file(path, "a");
	front_connect(&f);
	front_init(&f, ~0ull, NULL);
	while (size >= 4 && rounds++ < 64) {
		uint32_t op = data[0], len = min_t(size_t, data[3], size - 4);
		uint64_t node = data[1] & 0x80 ? data[1] : k.nodes[data[1] % NODES];

		memcpy(arg, data + 4, len);
		if (len >= 8 && (data[2] & 1))
			memcpy(arg, &k.fhs[(data[2] >> 1) % NODES], 8);
		if (op == FUSE_SETLKW) {
			ask_for_lock(&f, node, arg, len);
		} else {
			r = front_call_raw(&f, op, node, arg, len, answer, sizeof(answer));
			if (r == -1001 && op != FUSE_FORGET && op != FUSE_BATCH_FORGET && op != FUSE_INTERRUPT)
				abort();
			learn(&k, op, answer, r);
		}
		data += 4 + len;
		size -= 4 + len;
	}
	snprintf(path, sizeof(path), "%s/beside", f.dir);
	if (stat(path, &st) || st.st_size != 7 || st.st_nlink != 1)
		abort();
	front_free(&f);
	for (i = 0; i < WAITS; i++)
		if (waits[i].waits)
			abort();
	if (fchdir(cwd))
		abort();
	close(cwd);
	return 0;
}
