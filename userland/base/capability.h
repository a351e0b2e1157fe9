/* SPDX-License-Identifier: Apache-2.0 */
/* Names of capabilities, the same on the host (options, config.json) and in the guest. */
#ifndef BASE_CAPABILITY_H
#define BASE_CAPABILITY_H

#include <stdint.h>

#define CAPABILITY_COUNT 41
#define CAPABILITY_ALL ((1ull << CAPABILITY_COUNT) - 1)

/* "CAP_CHOWN" for 0; NULL beyond CAPABILITY_COUNT. */
const char *capability_name(unsigned int cap);

/* With or without CAP_, in any case. -EINVAL if there is none of that name. */
int capability_parse(const char *name);

#endif
