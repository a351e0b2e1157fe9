/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest finds when it starts: the kernel that was loaded, the MP table, CPUID, the I/O APIC. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "elf_image.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/ioapic.h"
#include "vmm/x86/mptable.h"

#define MIB (1ull << 20)

START_TEST(elf_is_taken_apart)
{
	struct err e = ERR_INIT;
	struct elf_image image;
	struct elf_kernel k;

	elf_image_init(&image);
	ck_assert_msg(elf_bytes_parse(&image, sizeof(image), &k, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(k.entry_gpa, 0x200010);
	ck_assert_uint_eq(k.segments_n, 1);
	ck_assert_uint_eq(k.low_gpa, 0x200000);
	ck_assert_uint_eq(k.high_gpa, 0x202000);
}
END_TEST

/* Each row damages the good image in one way, and the message says which. */
static const struct {
	const char *words;
	size_t at, len; /* which bytes become value */
	uint64_t value;
} damages[] = {
#define FIELD(f) offsetof(struct elf_image, f), sizeof(((struct elf_image *)0)->f)
	{ "is no ELF file", FIELD(eh.e_ident[0]), 0 },
	{ "not a 64-bit", FIELD(eh.e_ident[EI_CLASS]), ELFCLASS32 },
	{ "not a 64-bit", FIELD(eh.e_ident[EI_DATA]), ELFDATA2MSB },
	{ "machine 183", FIELD(eh.e_machine), EM_AARCH64 },
	{ "no executable", FIELD(eh.e_type), ET_REL },
	{ "0 program headers", FIELD(eh.e_phnum), 0 },
	{ "program headers", FIELD(eh.e_phnum), 65535 },
	{ "program headers", FIELD(eh.e_phentsize), 1 },
	{ "outside of the file", FIELD(eh.e_phoff), UINT64_MAX },
	{ "outside of the file", FIELD(eh.e_phoff), sizeof(struct elf_image) - 1 },
	{ "outside of the file", FIELD(eh.e_phoff), UINT64_MAX - 56 },
	{ "outside of the file", FIELD(load.p_offset), UINT64_MAX },
	{ "outside of the file", FIELD(load.p_offset), sizeof(struct elf_image) - 63 },
	{ "more bytes in the file", FIELD(load.p_memsz), 1 },
	{ "more bytes in the file", FIELD(load.p_filesz), UINT64_MAX },
	{ "1 MiB", FIELD(load.p_paddr), 0x1000 },
	{ "1 MiB", FIELD(load.p_paddr), UINT64_MAX - 0x1000 },
	{ "no segment to load", FIELD(load.p_type), PT_NULL },
	{ "CONFIG_PVH", FIELD(note.p_type), PT_NULL },
	{ "CONFIG_PVH", FIELD(pvh.head.n_type), 1 },
	{ "CONFIG_PVH", FIELD(pvh.head.n_namesz), UINT32_MAX },
	{ "CONFIG_PVH", FIELD(pvh.head.n_descsz), UINT32_MAX },
	{ "CONFIG_PVH", FIELD(pvh.name[0]), 'Y' },
	{ "CONFIG_PVH", FIELD(note.p_filesz), 3 },
	{ "outside of the file", FIELD(note.p_offset), UINT64_MAX - 10 },
	{ "lies in no segment", FIELD(pvh.entry), 0x200040 },
	{ "lies in no segment", FIELD(pvh.entry), 0x1fffff },
};

START_TEST(damaged_elf_is_refused)
{
	struct err e = ERR_INIT;
	struct elf_image image;
	struct elf_kernel k;

	elf_image_init(&image);
	memcpy((char *)&image + damages[_i].at, &damages[_i].value, damages[_i].len);
	ck_assert_int_eq(elf_bytes_parse(&image, sizeof(image), &k, &e), -ENOEXEC);
	ck_assert_msg(strstr(e.msg, damages[_i].words) != NULL, "%s", e.msg);
}
END_TEST

START_TEST(cut_elf_is_refused)
{
	struct elf_image image;
	struct elf_kernel k;
	size_t len;

	elf_image_init(&image);
	for (len = 0; len < offsetof(struct elf_image, text) + sizeof(image.text); len++) {
		struct err e = ERR_INIT;

		ck_assert_int_lt(elf_bytes_parse(&image, len, &k, &e), 0);
		ck_assert_int_ne(e.msg[0], 0);
	}
}
END_TEST

START_TEST(bzimage_is_named)
{
	struct err e = ERR_INIT;
	char bytes[1024] = "MZ";
	struct elf_kernel k;

	memcpy(bytes + 0x202, "HdrS", 4);
	ck_assert_int_lt(elf_bytes_parse(bytes, sizeof(bytes), &k, &e), 0);
	ck_assert_ptr_nonnull(strstr(e.msg, "bzImage"));
}
END_TEST

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	ck_assert_int_eq(write_full(fd, bytes, len), 0);
	return fd;
}

static uint64_t get64(const struct guest_mem *mem, uint64_t gpa)
{
	uint64_t v;

	memcpy(&v, guest_mem_slice(mem, gpa, 8), 8);
	return v;
}

START_TEST(pvh_finds_everything)
{
	static const char initramfs[5000] = "070701";
	struct elf_image image;
	struct boot_files files;
	struct boot_entry entry;
	struct guest_mem *mem;
	struct err e = ERR_INIT;
	uint64_t module;

	elf_image_init(&image);
	memset(image.text, 0x90, sizeof(image.text));
	files = (struct boot_files){ file_of(&image, sizeof(image)), file_of(initramfs, sizeof(initramfs)) };
	ck_assert_int_eq(guest_mem_new(&mem, 16 * MIB, &e), 0);
	ck_assert_msg(boot_load(mem, &files, 4, 2, &entry, &e) == 0, "%s", e.msg);
	boot_set_cmdline(mem, "quiet");
	ck_assert_uint_eq(entry.rip, 0x200010);
	ck_assert_mem_eq(guest_mem_slice(mem, 0x200000, 64), image.text, 64);
	ck_assert_uint_eq((uint32_t)get64(mem, entry.rbx), 0x336ec578);
	ck_assert_str_eq(guest_mem_slice(mem, get64(mem, entry.rbx + 24), 16), "quiet");
	module = get64(mem, get64(mem, entry.rbx + 16));
	ck_assert_uint_eq(module, 16 * MIB - 8192);
	ck_assert_mem_eq(guest_mem_slice(mem, module, 6), "070701", 6);
	ck_assert_mem_eq(guest_mem_slice(mem, MPTABLE_GPA, 4), "_MP_", 4);
	guest_mem_free(mem);
	close(files.kernel_fd);
	close(files.initramfs_fd);
}
END_TEST

START_TEST(boot_needs_room)
{
	struct boot_files files = { -1, -1 };
	struct elf_image image;
	struct boot_entry entry;
	struct guest_mem *mem;
	struct err e = ERR_INIT;

	ck_assert_int_eq(guest_mem_new(&mem, 4 * MIB, &e), 0);
	elf_image_init(&image);
	image.load.p_memsz = 3 * MIB;
	files.kernel_fd = file_of(&image, sizeof(image));
	ck_assert_int_eq(boot_load(mem, &files, 1, 1, &entry, &e), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(e.msg, "needs memory up to 6 MiB and the guest has 4 MiB"));
	close(files.kernel_fd);
	elf_image_init(&image);
	files = (struct boot_files){ file_of(&image, sizeof(image)), file_of("", 0) };
	ck_assert_int_eq(boot_load(mem, &files, 1, 1, &entry, &e), -ENODATA);
	ck_assert_int_eq(ftruncate(files.initramfs_fd, 3 * MIB), 0);
	ck_assert_int_eq(boot_load(mem, &files, 1, 1, &entry, &e), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(e.msg, "initramfs"));
	guest_mem_free(mem);
	close(files.kernel_fd);
	close(files.initramfs_fd);
}
END_TEST

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

START_TEST(mptable_names_all)
{
	static const unsigned int counts[] = { 1, 2, 3, 32 };
	const unsigned int vcpus = counts[_i];
	uint8_t t[MPTABLE_BYTES];
	uint16_t bytes, entries, i;
	const uint8_t *at;

	mptable_fill(t, vcpus, 1, 24);
	ck_assert_mem_eq(t, "_MP_", 4);
	ck_assert_uint_eq(sum(t, 16), 0);
	memcpy(&bytes, t + 20, 2);
	memcpy(&entries, t + 16 + 34, 2);
	ck_assert_uint_le(16 + bytes, MPTABLE_BYTES);
	ck_assert_uint_eq(sum(t + 16, bytes), 0);
	for (at = t + 16 + 44, i = 0; i < entries; i++) {
		ck_assert_uint_eq(at[0] == 0, i < vcpus);
		if (i < vcpus)
			ck_assert_uint_eq(at[1], i);
		at += at[0] == 0 ? 20 : 8;
	}
	ck_assert_ptr_eq(at, t + 16 + bytes);
}
END_TEST

START_TEST(cpuid_is_each_vcpus_own)
{
	static struct cpuid_table table;
	const struct kvm kvm = { .tsc_deadline = true, .tsc_khz = 2600000 };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		table.head.nent = 6;
		table.entries[0] = (struct kvm_cpuid_entry2){ .function = 1, .ebx = 0xaabbccdd };
		table.entries[1] = (struct kvm_cpuid_entry2){ .function = 0xb, .index = 0 };
		table.entries[2] = (struct kvm_cpuid_entry2){ .function = 0xb, .index = 1 };
		table.entries[3] = (struct kvm_cpuid_entry2){ .function = 0xa, .eax = 7 };
		table.entries[4] = (struct kvm_cpuid_entry2){ .function = 0x15 };
		table.entries[5] = (struct kvm_cpuid_entry2){ .function = 0x80000008, .ecx = 0xff };
		cpuid_adapt(&table, &kvm, i, 3);
		ck_assert_uint_eq(table.entries[0].ebx, i << 24 | 4 << 16 | 0xccdd);
		ck_assert_uint_eq(table.entries[0].ecx, 1u << 31 | 1u << 24);
		ck_assert_uint_eq(table.entries[1].edx, i);
		ck_assert_uint_eq(table.entries[2].eax, 2);
		ck_assert_uint_eq(table.entries[2].ebx, 3);
		ck_assert_uint_eq(table.entries[3].eax, 0);
		ck_assert_uint_eq((uint64_t)table.entries[4].ecx * table.entries[4].ebx / table.entries[4].eax,
				  2600000000ull);
		ck_assert_uint_eq(table.entries[5].ecx, 2 << 12 | 2);
	}
}
END_TEST

static uint32_t ioapic_get(const struct bus *bus, uint32_t index)
{
	uint32_t v;

	bus_write(bus, IOAPIC_GPA, &index, 4);
	bus_read(bus, IOAPIC_GPA + 0x10, &v, 4);
	return v;
}

static void ioapic_put(const struct bus *bus, uint32_t index, uint32_t v)
{
	bus_write(bus, IOAPIC_GPA, &index, 4);
	bus_write(bus, IOAPIC_GPA + 0x10, &v, 4);
}

START_TEST(ioapic_keeps_what_is_written)
{
	struct bus bus = { .n = 0 };
	struct err e = ERR_INIT;
	struct ioapic a;

	/* No VM is told: a route that can't be set is the guest's own loss. */
	ck_assert_int_eq(ioapic_init(&a, -1, 3, &bus, &e), 0);
	ck_assert_uint_eq(ioapic_get(&bus, 1), 2 << 16 | 0x11);
	ck_assert_uint_eq(ioapic_get(&bus, 0x10), 1 << 16);
	ioapic_put(&bus, 0x15, 3u << 24);
	ioapic_put(&bus, 0x14, 0xffffffff);
	ck_assert_uint_eq(ioapic_get(&bus, 0x15), 3u << 24);
	ck_assert_uint_eq(ioapic_get(&bus, 0x14), 0xffffffff & ~(1u << 12 | 1u << 14));
	ioapic_put(&bus, 0x14, 0x31);
	ck_assert_uint_eq(ioapic_get(&bus, 0x14), 0x31);
	ioapic_put(&bus, 0x16, 0x31); /* a pin that is not there */
	ck_assert_uint_eq(ioapic_get(&bus, 0x16), 0);
	ioapic_put(&bus, 0xff, 0x31);
	ck_assert_uint_eq(ioapic_get(&bus, 0xff), 0);
}
END_TEST

Suite *test_suite(void);
Suite *test_suite(void)
{
	Suite *s = suite_create("vmm_x86");
	TCase *tc = tcase_create("vmm_x86");

	tcase_add_test(tc, elf_is_taken_apart);
	tcase_add_loop_test(tc, damaged_elf_is_refused, 0, (int)ARRAY_SIZE(damages));
	tcase_add_test(tc, cut_elf_is_refused);
	tcase_add_test(tc, bzimage_is_named);
	tcase_add_test(tc, pvh_finds_everything);
	tcase_add_test(tc, boot_needs_room);
	tcase_add_loop_test(tc, mptable_names_all, 0, 4);
	tcase_add_test(tc, cpuid_is_each_vcpus_own);
	tcase_add_test(tc, ioapic_keeps_what_is_written);
	suite_add_tcase(s, tc);
	return s;
}
