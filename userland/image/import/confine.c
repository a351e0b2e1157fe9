/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"

/* ABI 2, Linux 5.19: below it no file can be renamed from one folder to another, and the store is made of that. */
#define LANDLOCK_ABI_MIN 2
#define LANDLOCK_ACCESS_ALL (LANDLOCK_ACCESS_FS_REFER * 2 - 1)
#define LANDLOCK_ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* The rights that a rule for a file, not a folder, may have. */
#define LANDLOCK_ACCESS_OF_FILE \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE)

static const cap_value_t kept[] = {
	CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP,
};

/* What mkfs.erofs, its loader and libcrypto read. */
static const char *const system_paths[] = {
	"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/proc/self",
};

static void allow(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access };
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	/* What isn't there can't be allowed, and who needs it will say so. */
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= LANDLOCK_ACCESS_OF_FILE;
	rule.parent_fd = fd;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		log_info("landlock: %s: %s", path, strerror(errno));
}

static void restrict_files(const char *store, const char *source)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = LANDLOCK_ACCESS_ALL };
	_cleanup_close_ int ruleset = -1;
	size_t i;

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < LANDLOCK_ABI_MIN)
		return;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return;
	for (i = 0; i < ARRAY_SIZE(system_paths); i++)
		allow(ruleset, system_paths[i], LANDLOCK_ACCESS_READ | LANDLOCK_ACCESS_FS_EXECUTE);
	allow(ruleset, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
	allow(ruleset, source, LANDLOCK_ACCESS_READ);
	allow(ruleset, store, LANDLOCK_ACCESS_ALL & ~LANDLOCK_ACCESS_FS_EXECUTE);
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		log_info("landlock: %s", strerror(errno));
}

static void drop_capabilities(void)
{
	cap_t caps = cap_init();
	int cap;

	for (cap = 0; cap_valid(cap); cap++) {
		bool keep = false;
		size_t i;

		for (i = 0; i < ARRAY_SIZE(kept); i++)
			keep |= kept[i] == cap;
		if (!keep)
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	if (!caps || cap_set_flag(caps, CAP_PERMITTED, ARRAY_SIZE(kept), kept, CAP_SET) < 0 ||
	    cap_set_flag(caps, CAP_EFFECTIVE, ARRAY_SIZE(kept), kept, CAP_SET) < 0 || cap_set_proc(caps) < 0)
		log_info("dropping capabilities: %s", strerror(errno));
	if (caps)
		cap_free(caps);
}

void import_confine(const char *store, const char *source)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0)
		log_info("a network namespace of its own: %s", strerror(errno));
	restrict_files(store, source);
	drop_capabilities();
}
