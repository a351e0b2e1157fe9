/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/process_caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/capability.h"
#include "base/util.h"

static uint64_t parse_set(char *const *names, size_t n)
{
	uint64_t set = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		int cap = capability_parse(names[i]);

		if (cap >= 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0)
			set |= 1ull << cap;
	}
	return set;
}

void caps_parse(const Microvm__Capabilities *c, struct caps *caps)
{
	*caps = (struct caps){ 0 };
	if (!c)
		return;
	caps->bounding = parse_set(c->bounding, c->n_bounding);
	caps->effective = parse_set(c->effective, c->n_effective);
	caps->inheritable = parse_set(c->inheritable, c->n_inheritable);
	caps->permitted = parse_set(c->permitted, c->n_permitted);
	caps->ambient = parse_set(c->ambient, c->n_ambient);
}

int caps_drop_bounding(const struct caps *caps, struct err *e)
{
	unsigned int cap;

	/* Beyond those with names, too: a newer kernel's capabilities are not for a container that can't ask for them. */
	for (cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(cap < CAPABILITY_COUNT && caps->bounding & (1ull << cap)) &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return err_errno(e, errno, "capabilities: %s can't be dropped", capability_name(cap));
	return 0;
}

int caps_apply(const struct caps *caps, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(caps->effective >> (32 * i));
		data[i].permitted = (uint32_t)(caps->permitted >> (32 * i));
		data[i].inheritable = (uint32_t)(caps->inheritable >> (32 * i));
	}
	if (syscall(SYS_capset, &head, data) < 0)
		return err_errno(e, errno, "capabilities: these sets are not possible together");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return err_errno(e, errno, "capabilities: the ambient set");
	for (i = 0; i < CAPABILITY_COUNT; i++)
		if (caps->ambient & (1ull << i) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return err_errno(e, errno,
					 "capabilities: %s can't be ambient; it has to be permitted and inheritable",
					 capability_name(i));
	return 0;
}
