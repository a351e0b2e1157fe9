/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel file of one segment at 2 MiB and a PVH note, for tests to damage. */
#ifndef TESTS_ELF_IMAGE_H
#define TESTS_ELF_IMAGE_H

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "vmm/x86/elf.h"

struct elf_image {
	Elf64_Ehdr eh;
	Elf64_Phdr load, note;
	struct {
		Elf64_Nhdr head;
		char name[4];
		uint32_t entry;
	} pvh;
	char text[64];
};

static inline void elf_image_init(struct elf_image *image)
{
	memset(image, 0, sizeof(*image));
	memcpy(image->eh.e_ident, ELFMAG, SELFMAG);
	image->eh.e_ident[EI_CLASS] = ELFCLASS64;
	image->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	image->eh.e_type = ET_EXEC;
	image->eh.e_machine = EM_X86_64;
	image->eh.e_phoff = offsetof(struct elf_image, load);
	image->eh.e_phentsize = sizeof(Elf64_Phdr);
	image->eh.e_phnum = 2;
	image->load = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_offset = offsetof(struct elf_image, text),
				    .p_paddr = 0x200000,
				    .p_filesz = sizeof(image->text),
				    .p_memsz = 0x2000 };
	image->note = (Elf64_Phdr){ .p_type = PT_NOTE,
				    .p_offset = offsetof(struct elf_image, pvh),
				    .p_filesz = sizeof(image->pvh),
				    .p_memsz = sizeof(image->pvh) };
	image->pvh.head = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 4, .n_type = 18 };
	memcpy(image->pvh.name, "Xen", 4);
	image->pvh.entry = 0x200010;
}

struct elf_bytes {
	const uint8_t *data;
	size_t len;
};

static inline int elf_bytes_read(void *arg, void *buf, size_t len, uint64_t off)
{
	const struct elf_bytes *b = arg;

	if (off > b->len || len > b->len - off)
		return -ENODATA;
	memcpy(buf, b->data + off, len);
	return 0;
}

static inline int elf_bytes_parse(const void *data, size_t len, struct elf_kernel *out, struct err *e)
{
	struct elf_bytes bytes = { data, len };
	const struct elf_source src = { .read = elf_bytes_read, .arg = &bytes, .len_bytes = len };

	return elf_parse(&src, out, e);
}

#endif
