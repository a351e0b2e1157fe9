/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18u /* Xen's public/elfnote.h */
#define NOTES_MAX_BYTES 65536u	     /* Linux has some hundred */
#define FIRST_GPA 0x100000ull	     /* below it lie the boot structures and the ISA hole */

static int read_at(const struct elf_source *src, void *buf, size_t len, uint64_t off, const char *what, struct err *e)
{
	int r;

	if (off > src->len_bytes || len > src->len_bytes - off)
		return err_set(e, ENOEXEC, "%s lies outside of the file; it is cut short or damaged", what);
	r = src->read(src->arg, buf, len, off);
	return r < 0 ? err_errno(e, r, "reading %s", what) : 0;
}

/* What else people have lying around under the name of a kernel. */
static int not_elf(const struct elf_source *src, const unsigned char *magic, struct err *e)
{
	char hdrs[4] = "";

	if (src->len_bytes > 0x206 && !src->read(src->arg, hdrs, sizeof(hdrs), 0x202) && !memcmp(hdrs, "HdrS", 4))
		return err_set(e, ENOEXEC,
			       "is a bzImage; microvm boots the uncompressed vmlinux (linux/scripts/extract-vmlinux "
			       "makes it)");
	if (magic[0] == 0x1f && magic[1] == 0x8b)
		return err_set(e, ENOEXEC, "is compressed by gzip; microvm boots the uncompressed vmlinux");
	return err_set(e, ENOEXEC, "is no ELF file; microvm boots an uncompressed x86-64 vmlinux");
}

static int check_header(const struct elf_source *src, Elf64_Ehdr *h, struct err *e)
{
	unsigned char magic[EI_NIDENT] = { 0 };

	if (src->len_bytes < sizeof(*h))
		return err_set(e, ENOEXEC, "has %llu bytes, too few for a kernel", (unsigned long long)src->len_bytes);
	if (read_at(src, magic, sizeof(magic), 0, "the ELF header", e))
		return -e->code;
	if (memcmp(magic, ELFMAG, SELFMAG) != 0)
		return not_elf(src, magic, e);
	if (magic[EI_CLASS] != ELFCLASS64 || magic[EI_DATA] != ELFDATA2LSB)
		return err_set(e, ENOEXEC, "is not a 64-bit little-endian ELF file; microvm boots an x86-64 vmlinux");
	if (read_at(src, h, sizeof(*h), 0, "the ELF header", e))
		return -e->code;
	if (h->e_machine != EM_X86_64)
		return err_set(e, ENOEXEC, "is built for ELF machine %u, not x86-64", h->e_machine);
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return err_set(e, ENOEXEC, "is no executable (ELF type %u); microvm boots a linked vmlinux", h->e_type);
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > ELF_SEGMENTS_MAX * 2)
		return err_set(e, ENOEXEC, "has %u program headers of %u bytes; it is damaged", h->e_phnum,
			       h->e_phentsize);
	return 0;
}

static int add_segment(const struct elf_source *src, const Elf64_Phdr *p, struct elf_kernel *out, struct err *e)
{
	uint64_t end;

	if (!p->p_memsz)
		return 0;
	if (p->p_filesz > p->p_memsz)
		return err_set(e, ENOEXEC, "a segment has more bytes in the file than in memory; it is damaged");
	if (p->p_offset > src->len_bytes || p->p_filesz > src->len_bytes - p->p_offset)
		return err_set(e, ENOEXEC, "a segment lies outside of the file; it is cut short or damaged");
	if (__builtin_add_overflow(p->p_paddr, p->p_memsz, &end) || p->p_paddr < FIRST_GPA)
		return err_set(e, ENOEXEC,
			       "a segment of 0x%llx bytes is linked at 0x%llx; from 1 MiB up is room for it",
			       (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr);
	if (out->segments_n == ELF_SEGMENTS_MAX)
		return err_set(e, ENOEXEC, "has more than %u segments to load", ELF_SEGMENTS_MAX);
	out->segments[out->segments_n++] = (struct elf_segment){
		.gpa = p->p_paddr,
		.file_off = p->p_offset,
		.file_bytes = p->p_filesz,
		.mem_bytes = p->p_memsz,
	};
	out->low_gpa = out->segments_n == 1 ? p->p_paddr : min_t(uint64_t, out->low_gpa, p->p_paddr);
	out->high_gpa = max_t(uint64_t, out->high_gpa, end);
	return 0;
}

/* Looks through one PT_NOTE. *entry is set when the PVH note is there; a note that runs past the end ends the search. */
static bool find_entry(const char *notes, size_t len, uint64_t *entry)
{
	size_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		size_t name_bytes, desc_bytes;
		Elf64_Nhdr n;

		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		name_bytes = ALIGN_UP((size_t)n.n_namesz, (size_t)4);
		desc_bytes = ALIGN_UP((size_t)n.n_descsz, (size_t)4);
		if (name_bytes > len - at || desc_bytes > len - at - name_bytes)
			return false;
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 && !memcmp(notes + at, "Xen", 4) &&
		    (n.n_descsz == 4 || n.n_descsz == 8)) {
			*entry = 0;
			memcpy(entry, notes + at + name_bytes, n.n_descsz);
			return true;
		}
		at += name_bytes + desc_bytes;
	}
	return false;
}

static int check_entry(struct elf_kernel *out, uint64_t entry, struct err *e)
{
	size_t i;

	for (i = 0; i < out->segments_n; i++) {
		const struct elf_segment *s = &out->segments[i];

		if (entry <= UINT32_MAX && entry >= s->gpa && entry - s->gpa < s->file_bytes) {
			out->entry_gpa = (uint32_t)entry;
			return 0;
		}
	}
	return err_set(e, ENOEXEC, "its PVH entry 0x%llx lies in no segment; it is damaged", (unsigned long long)entry);
}

int elf_parse(const struct elf_source *src, struct elf_kernel *out, struct err *e)
{
	char notes[4096];
	_cleanup_free_ char *large = NULL;
	bool found = false;
	uint64_t entry = 0;
	Elf64_Ehdr h;
	unsigned int i;

	memset(out, 0, sizeof(*out));
	if (check_header(src, &h, e))
		return -e->code;
	for (i = 0; i < h.e_phnum; i++) {
		char *buf = notes;
		Elf64_Phdr p;

		if (__builtin_add_overflow(h.e_phoff, (uint64_t)i * sizeof(p), &p.p_offset))
			return err_set(e, ENOEXEC, "its program headers lie outside of the file; it is damaged");
		if (read_at(src, &p, sizeof(p), p.p_offset, "a program header", e))
			return -e->code;
		if (p.p_type == PT_LOAD && add_segment(src, &p, out, e))
			return -e->code;
		if (p.p_type != PT_NOTE || found || p.p_filesz > NOTES_MAX_BYTES)
			continue;
		if (p.p_filesz > sizeof(notes)) {
			if (!large)
				large = xcalloc(1, NOTES_MAX_BYTES);
			buf = large;
		}
		if (read_at(src, buf, p.p_filesz, p.p_offset, "a note segment", e))
			return -e->code;
		found = find_entry(buf, p.p_filesz, &entry);
	}
	if (!out->segments_n)
		return err_set(e, ENOEXEC, "has no segment to load; it is no kernel");
	if (!found)
		return err_set(e, ENOEXEC, "has no PVH entry; build it with CONFIG_PVH=y");
	return check_entry(out, entry, e);
}
