/* SPDX-License-Identifier: Apache-2.0 */
/* Building messages by hand, so that protobuf_c_message_free_unpacked() can free them: everything malloc'd on its own. */
#ifndef OCI_PB_H
#define OCI_PB_H

#include <stdlib.h>

#include <protobuf-c/protobuf-c.h>

#include "base/util.h"
#include "guest-agent/agent.pb-c.h"

/* pb_new(Microvm__Mount, microvm__mount): an initialised, malloc'd message. */
#define pb_new(type, name)                          \
	__extension__({                             \
		type *_m = xcalloc(1, sizeof(*_m)); \
		name##__init(_m);                   \
		_m;                                 \
	})

/* pb_append(spec->n_mounts, spec->mounts, mount): the repeated field owns item afterwards. */
#define pb_append(n, list, item)                                          \
	do {                                                              \
		(list) = xreallocarray((list), (n) + 1, sizeof(*(list))); \
		(list)[(n)++] = (item);                                   \
	} while (0)

/* A string field takes s (malloc'd); what it had goes. */
static inline void pb_set(char **field, char *s)
{
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = s;
}

static inline Microvm__Int64Value *pb_i64(int64_t v)
{
	Microvm__Int64Value *m = pb_new(Microvm__Int64Value, microvm__int64_value);

	m->value = v;
	return m;
}

static inline Microvm__UInt64Value *pb_u64(uint64_t v)
{
	Microvm__UInt64Value *m = pb_new(Microvm__UInt64Value, microvm__uint64_value);

	m->value = v;
	return m;
}

static inline Microvm__NameValue *pb_name_value(char *name, char *value)
{
	Microvm__NameValue *m = pb_new(Microvm__NameValue, microvm__name_value);

	m->name = name;
	m->value = value;
	return m;
}

#endif
