/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel files. What the parser accepts has to hold: everything lies in the file, and the entry in a segment. */
#include <stdint.h>
#include <stdlib.h>

#include "tests/unit/elf_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct elf_kernel k;
	bool entry = false;
	size_t i;

	if (elf_bytes_parse(data, size, &k, &e)) {
		if (!e.code || !e.msg[0])
			abort();
		return 0;
	}
	for (i = 0; i < k.segments_n; i++) {
		const struct elf_segment *s = &k.segments[i];

		if (s->file_off > size || s->file_bytes > size - s->file_off || s->file_bytes > s->mem_bytes ||
		    s->gpa < 0x100000 || s->gpa + s->mem_bytes < s->gpa || s->gpa < k.low_gpa ||
		    s->gpa + s->mem_bytes > k.high_gpa)
			abort();
		entry |= k.entry_gpa >= s->gpa && k.entry_gpa - s->gpa < s->file_bytes;
	}
	if (!entry || !k.segments_n)
		abort();
	return 0;
}
