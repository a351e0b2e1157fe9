/* SPDX-License-Identifier: Apache-2.0 */
/* What concerns the guest as a whole: its clock, randomness, name, settings, and what there is to know about it. */
#ifndef AGENT_GUEST_H
#define AGENT_GUEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/utsname.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

#define GUEST_ENTROPY_MAX 512u

int guest_set_time(int64_t time_ns, struct err *e);
/* Credited as if all its bits were random: the host says so. */
int guest_add_entropy(const uint8_t *data, size_t len, struct err *e);
int guest_set_hostname(const char *name, struct err *e);
/* Name with dots or slashes, as sysctl(8) takes it. */
int guest_set_sysctl(const char *name, const char *value, struct err *e);
/* The first so many CPUs are online (at least 1; more than there are: all), and no others. */
int guest_set_online_cpus(uint32_t count, struct err *e);

/* Memory that details point to. */
struct guest_details {
	struct utsname uts;
	Microvm__GuestDetails message;
};
void guest_get_details(struct guest_details *d);

/* Mounts the virtiofs of that tag where containers take their shares from (base/guest.h). */
int guest_mount_share(const char *tag, struct err *e);

#endif
