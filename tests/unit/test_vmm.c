/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory, bus, ends, ports, and what the jail's filters allow. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/seccomp.h"
#include "base/util.h"
#include "vmm/bus.h"
#include "vmm/ending.h"
#include "vmm/memory.h"
#include "vmm/ports.h"
#include "vmm/seccomp.h"

#define MIB (1ull << 20)

static struct guest_mem *new_memory(uint64_t bytes)
{
	struct guest_mem *mem = NULL;
	struct err e = ERR_INIT;

	ck_assert_msg(guest_mem_new(&mem, bytes, &e) == 0, "%s", e.msg);
	return mem;
}

START_TEST(memory_below_the_hole)
{
	struct guest_mem *mem = new_memory(16 * MIB);
	const struct guest_mem_region *r;
	char *base = guest_mem_slice(mem, 0, 1);

	ck_assert_uint_eq(guest_mem_regions(mem, &r), 1);
	ck_assert_ptr_nonnull(base);
	ck_assert_ptr_eq(guest_mem_slice(mem, 0x1234, 16), base + 0x1234);
	ck_assert_ptr_eq(guest_mem_slice(mem, 0, 16 * MIB), base);
	ck_assert_ptr_eq(guest_mem_slice(mem, 16 * MIB - 1, 1), base + 16 * MIB - 1);
	ck_assert_ptr_null(guest_mem_slice(mem, 16 * MIB - 1, 2));
	ck_assert_ptr_null(guest_mem_slice(mem, 16 * MIB, 1));
	ck_assert_ptr_null(guest_mem_slice(mem, 0, 0));
	ck_assert_ptr_null(guest_mem_slice(mem, 1, UINT64_MAX));
	ck_assert_ptr_null(guest_mem_slice(mem, UINT64_MAX, 1));
	ck_assert_ptr_null(guest_mem_slice(mem, UINT64_MAX - 3, 8));
	ck_assert_ptr_null(guest_mem_slice(mem, GUEST_HOLE_END, 1));
	guest_mem_free(mem);
}
END_TEST

START_TEST(memory_around_the_hole)
{
	struct guest_mem *mem = new_memory(GUEST_HOLE_START + 4 * MIB);
	const struct guest_mem_region *r;

	ck_assert_uint_eq(guest_mem_regions(mem, &r), 2);
	ck_assert_uint_eq(r[0].len_bytes, GUEST_HOLE_START);
	ck_assert_uint_eq(r[1].gpa, GUEST_HOLE_END);
	ck_assert_uint_eq(r[1].len_bytes, 4 * MIB);
	ck_assert_uint_eq(r[1].fd_offset, GUEST_HOLE_START);
	ck_assert_ptr_nonnull(guest_mem_slice(mem, GUEST_HOLE_START - 1, 1));
	ck_assert_ptr_null(guest_mem_slice(mem, GUEST_HOLE_START - 1, 2));
	ck_assert_ptr_null(guest_mem_slice(mem, GUEST_HOLE_START, 1));
	ck_assert_ptr_null(guest_mem_slice(mem, GUEST_HOLE_END - 1, 2));
	ck_assert_ptr_eq(guest_mem_slice(mem, GUEST_HOLE_END, 4 * MIB), r[1].hva);
	ck_assert_ptr_null(guest_mem_slice(mem, GUEST_HOLE_END, 4 * MIB + 1));
	ck_assert_ptr_null(guest_mem_slice(mem, GUEST_HOLE_START - MIB, GUEST_HOLE_END - GUEST_HOLE_START + 2 * MIB));
	guest_mem_free(mem);
}
END_TEST

START_TEST(memory_is_sealed_and_shared)
{
	struct guest_mem *mem = new_memory(4 * MIB);
	int fd = guest_mem_fd(mem);
	char *other = mmap(NULL, 4 * MIB, PROT_READ, MAP_SHARED, fd, 0);

	ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	ck_assert_int_ne(ftruncate(fd, 0), 0);
	ck_assert_ptr_ne(other, MAP_FAILED);
	*(char *)guest_mem_slice(mem, 3 * MIB, 1) = 'x';
	ck_assert_int_eq(other[3 * MIB], 'x');
	munmap(other, 4 * MIB);
	guest_mem_free(mem);
}
END_TEST

START_TEST(memory_loads_files)
{
	struct guest_mem *mem = new_memory(4 * MIB);
	_cleanup_close_ int fd = memfd_create("file", MFD_CLOEXEC);
	char bytes[10000];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7);
	ck_assert_int_eq(write_full(fd, bytes, sizeof(bytes)), 0);
	guest_mem_huge(mem, MIB, 3 * MIB); /* done or not, what follows holds */
	ck_assert_int_eq(guest_mem_load(mem, 3 * MIB + 5, fd, 4099, 5000), 0);
	ck_assert_mem_eq(guest_mem_slice(mem, 3 * MIB + 5, 5000), bytes + 4099, 5000);
	ck_assert_int_eq(guest_mem_load(mem, 4 * MIB - 100, fd, 0, 101), -EFAULT);
	ck_assert_int_eq(guest_mem_load(mem, 0, fd, 0, 0), 0);
	guest_mem_free(mem);
}
END_TEST

START_TEST(memory_wants_whole_blocks)
{
	struct guest_mem *mem = NULL;
	struct err e = ERR_INIT;

	ck_assert_int_eq(guest_mem_new(&mem, 3 * MIB, &e), -EINVAL);
	ck_assert_int_eq(guest_mem_new(&mem, 0, &e), -EINVAL);
	ck_assert_ptr_null(mem);
	guest_mem_free(NULL);
}
END_TEST

/* ---- bus ---------------------------------------------------------------------------------------------------------- */

static uint64_t last_offset;
static unsigned int last_len, calls;

static void take_read(void *arg, uint64_t offset, void *data, unsigned int len)
{
	last_offset = offset;
	last_len = len;
	calls++;
	memset(data, *(const int *)arg, len);
}

static void take_write(void *arg, uint64_t offset, const void *data, unsigned int len)
{
	last_offset = offset;
	last_len = len;
	calls++;
}

START_TEST(bus_finds_ranges)
{
	static const int one = 1, two = 2;
	struct bus bus = { .n = 0 };
	const struct bus_range a = { 0x2000, 0x1000, take_read, take_write, (void *)&one };
	const struct bus_range b = { 0x1000, 0x1000, take_read, take_write, (void *)&two };
	const struct bus_range over = { 0x1fff, 2, take_read, take_write, NULL };
	uint32_t v = 0;

	ck_assert_int_eq(bus_add(&bus, &a), 0);
	ck_assert_int_eq(bus_add(&bus, &b), 0);
	ck_assert_int_eq(bus_add(&bus, &over), -EEXIST);
	ck_assert_int_eq(bus_add(&bus, &a), -EEXIST);
	bus_read(&bus, 0x2004, &v, 4);
	ck_assert_uint_eq(v, 0x01010101);
	ck_assert_uint_eq(last_offset, 4);
	bus_read(&bus, 0x1ffc, &v, 4);
	ck_assert_uint_eq(v, 0x02020202);
	calls = 0;
	bus_write(&bus, 0x1ffe, &v, 4); /* over the end of one, into the other */
	bus_write(&bus, 0x3000, &v, 4);
	bus_write(&bus, 0x2000, &v, 3);
	ck_assert_uint_eq(calls, 0);
	bus_read(&bus, 0xfff, &v, 4);
	ck_assert_uint_eq(v, 0xffffffff);
	bus_read(&bus, UINT64_MAX, &v, 4);
	ck_assert_uint_eq(v, 0xffffffff);
}
END_TEST

START_TEST(bus_has_limits)
{
	struct bus bus = { .n = 0 };
	struct bus_range r = { UINT64_MAX - 10, 20, take_read, take_write, NULL };
	unsigned int i;

	ck_assert_int_eq(bus_add(&bus, &r), -EINVAL);
	for (i = 0; i < BUS_RANGES_MAX; i++) {
		r = (struct bus_range){ 0x100000 - 16 * i, 16, take_read, take_write, NULL };
		ck_assert_int_eq(bus_add(&bus, &r), 0);
	}
	r.base = 0;
	ck_assert_int_eq(bus_add(&bus, &r), -ENOSPC);
}
END_TEST

/* ---- ends --------------------------------------------------------------------------------------------------------- */

START_TEST(first_end_counts)
{
	struct vm_report report;
	struct ending end;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, ENDING_SIGNAL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ending_init(&end, -1);
	ck_assert(!ending_is_set(&end));
	ending_set(&end, VM_END_RESET, "%s", "first");
	ending_set(&end, VM_END_ERROR, "%s", "second");
	ck_assert(ending_is_set(&end));
	ending_report(&end, &report);
	ck_assert_uint_eq(report.end, VM_END_RESET);
	ck_assert_str_eq(report.msg, "first");
	ending_console_line(&end, "[  1.0] Kernel panic - not syncing: x");
	ending_report(&end, &report);
	ck_assert_uint_eq(report.end, VM_END_PANIC);
	ck_assert_str_eq(report.msg, "Kernel panic - not syncing: x");
	ck_assert_int_eq(ending_exit_status(VM_END_STOPPED), 0);
	ck_assert_int_eq(ending_exit_status(99), 1);
}
END_TEST

START_TEST(power_off_is_no_panic)
{
	struct vm_report report;
	struct ending end;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, ENDING_SIGNAL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ending_init(&end, -1);
	ending_console_line(&end, "echo Kernel panic - not syncing: said a container");
	ending_set(&end, VM_END_SHUTDOWN, "%s", "");
	ending_report(&end, &report);
	ck_assert_uint_eq(report.end, VM_END_SHUTDOWN);
}
END_TEST

static void send_text(struct ports *ports, const char *s)
{
	for (; *s; s++)
		ports_out(ports, 0x3f8, s, 1);
}

START_TEST(serial_lines_are_bounded_and_printable)
{
	_cleanup_close_ int fd = memfd_create("log", MFD_CLOEXEC);
	struct ending end;
	struct ports ports;
	struct stat st;
	char buf[64] = "";
	unsigned int i;
	uint32_t v = 0;

	ending_init(&end, -1);
	ports_init(&ports, &end, fd);
	send_text(&ports, "a\x1b[31mb\tc\r\n\n");
	send_text(&ports, "no end");
	ports_flush(&ports);
	ck_assert_int_eq(pread(fd, buf, sizeof(buf), 0), 16);
	ck_assert_str_eq(buf, "a[31mb c\nno end\n");
	for (i = 0; i < 3000000; i++)
		ports_out(&ports, 0x3f8, "x", 1);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_lt(st.st_size, 300000);
	ports_in(&ports, 0x3fd, &v, 1);
	ck_assert_uint_eq(v, 0x60);
	ports_in(&ports, 0x123, &v, 4);
	ck_assert_uint_eq(v, 0xffffffff);
}
END_TEST

/* ---- filters -------------------------------------------------------------------------------------------------------- */

START_TEST(filters_are_short)
{
	char text[64];

	ck_assert_uint_le(seccomp_calls(SECCOMP_VCPU), 27);
	ck_assert_uint_le(seccomp_calls(SECCOMP_IO), 35);
	ck_assert_uint_le(seccomp_calls(SECCOMP_MAIN), 50);
	ck_assert_str_eq(seccomp_call_name(41), "socket");
	ck_assert_str_eq(seccomp_call_name(0), "read");
	ck_assert_ptr_null(seccomp_call_name(-1));
	ck_assert_ptr_null(seccomp_call_name(99999));
	ck_assert_uint_eq(seccomp_denied_text(text, sizeof(text), "x", 41), strlen(text));
	ck_assert_str_eq(text, "x made the system call socket, which it may not");
	seccomp_denied_text(text, sizeof(text), "x", 99999);
	ck_assert_str_eq(text, "x made the system call 99999, which it may not");
	ck_assert_uint_eq(seccomp_denied_text(text, 9, "x", 41), 8);
	ck_assert_str_eq(text, "x made t");
}
END_TEST

Suite *test_suite(void);
Suite *test_suite(void)
{
	Suite *s = suite_create("vmm");
	TCase *tc = tcase_create("vmm");

	tcase_add_test(tc, memory_below_the_hole);
	tcase_add_test(tc, memory_around_the_hole);
	tcase_add_test(tc, memory_is_sealed_and_shared);
	tcase_add_test(tc, memory_loads_files);
	tcase_add_test(tc, memory_wants_whole_blocks);
	tcase_add_test(tc, bus_finds_ranges);
	tcase_add_test(tc, bus_has_limits);
	tcase_add_test(tc, first_end_counts);
	tcase_add_test(tc, power_off_is_no_panic);
	tcase_add_test(tc, serial_lines_are_bounded_and_printable);
	tcase_add_test(tc, filters_are_short);
	suite_add_tcase(s, tc);
	return s;
}
