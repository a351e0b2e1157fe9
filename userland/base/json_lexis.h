/* SPDX-License-Identifier: Apache-2.0 */
/* The part of RFC 8259 that json-c lets pass even when it is strict. */
#ifndef BASE_JSON_LEXIS_H
#define BASE_JSON_LEXIS_H

#include <stddef.h>

/*
 * Looks through the text's tokens, not at how they stand together: the offset of the first that RFC 8259 does not know, or
 * of a whole number that 64 bits can't hold (json-c would take the nearest one); len when all is well.
 */
size_t json_first_odd(const char *text, size_t len);

#endif
