/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of extended attributes, mapped by rules as virtiofsd's documentation has them. A rule is
 *   :TYPE:SCOPE:KEY:PREPEND:
 * with any character for ':', and rules stand one behind the other; the first that fits counts, and what none fits is
 * refused. SCOPE is client (a name from the guest), server (a name from the host) or all. TYPE is
 *   prefix  client: KEY… is known as PREPENDKEY… on the host; server: PREPEND is taken off
 *   ok      as it is                        bad  refused (EPERM; the host's are not listed)
 *   unsupported  ENOTSUP; the host's are not listed
 * and :map:KEY:PREPEND: is short for prefix with all else bad; with an empty KEY all names are prefixed.
 */
#ifndef FSD_XATTRMAP_H
#define FSD_XATTRMAP_H

#include <stddef.h>

#include "base/err.h"

#define XATTR_NAME_BYTES 256u /* with the NUL */

struct xattrmap;

int xattrmap_parse(const char *rules, struct xattrmap **out, struct err *e);
void xattrmap_free(struct xattrmap *map);

/* map NULL: names are the same. Into a buffer of XATTR_NAME_BYTES. Negative errno: the guest may not. */
int xattrmap_to_host(const struct xattrmap *map, const char *name, char *host);
/* NULL: the guest is not shown it. */
const char *xattrmap_to_guest(const struct xattrmap *map, const char *host);

#endif
