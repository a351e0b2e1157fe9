/* SPDX-License-Identifier: Apache-2.0 */
/* passwd and group files of an image: the input is the user's name, the passwd and the group file, apart by NULs. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest-agent/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Microvm__User m = MICROVM__USER__INIT;
	char *groups[] = { "wheel", "10" };
	char *text = calloc(1, size + 3), *passwd, *group;
	struct err e = ERR_INIT;
	struct user u;

	if (!text)
		return 0;
	memcpy(text, data, size);
	m.name = text;
	passwd = text + strlen(text) + 1;
	group = passwd + (passwd < text + size ? strlen(passwd) + 1 : 0);
	if (group > text + size)
		group = "";
	m.additional_groups = groups;
	m.n_additional_groups = size & 1 ? 2 : 0;
	if (!user_resolve(&m, passwd <= text + size ? passwd : "", group, &u, &e)) {
		if (u.home[0] != '/' || u.uid == (uid_t)-1)
			abort();
		user_free(&u);
	} else if (!e.msg[0]) {
		abort();
	}
	free(text);
	return 0;
}
