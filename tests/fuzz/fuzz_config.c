/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: whatever it says, it's a checked spec or an error with a message; and a spec survives being sent. */
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "oci/spec.h"
#include "sandbox/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sendable(const Microvm__Spec *spec)
{
	size_t len = microvm__spec__get_packed_size(spec);
	uint8_t *buf = malloc(len ? len : 1);
	Microvm__Spec *copy;

	if (!buf || microvm__spec__pack(spec, buf) != len)
		abort();
	copy = microvm__spec__unpack(NULL, len, buf);
	if (!copy)
		abort();
	oci_spec_free(copy);
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	Microvm__Resources *res;
	Microvm__Process *p;
	Microvm__Spec *spec;
	struct bundle b = { .joins = true };

	log_init("fuzz", LOG_ERROR);
	if (!oci_spec_parse((const char *)data, size, &spec, &e)) {
		check_sendable(spec);
		oci_spec_free(spec);
	} else if (!e.code || !e.msg[0]) {
		abort();
	}
	e = (struct err)ERR_INIT;
	if (!bundle_parse("/bundle", (const char *)data, size, &b, &e))
		check_sendable(b.spec);
	else if (!e.code || !e.msg[0])
		abort();
	bundle_free(&b);
	if (!oci_process_parse((const char *)data, size, &p, NULL))
		oci_process_free(p);
	if (!oci_resources_parse((const char *)data, size, &res, NULL))
		oci_resources_free(res);
	return 0;
}
