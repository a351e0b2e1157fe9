/* SPDX-License-Identifier: Apache-2.0 */
/* What payload guests have instead of a kernel: ports, memory, a serial line, an end. */
#ifndef PAYLOAD_GUEST_H
#define PAYLOAD_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memmap {
	uint64_t gpa, len_bytes;
	uint32_t type, reserved;
};

struct start_info {
	uint32_t magic, version, flags, modules_n;
	uint64_t modules_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
	uint32_t memmap_n, reserved;
};

extern const struct start_info *start_info;

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint32_t read32(uint32_t gpa)
{
	return *(volatile uint32_t *)gpa;
}
static inline void write32(uint32_t gpa, uint32_t v)
{
	*(volatile uint32_t *)gpa = v;
}
static inline uint8_t read8(uint32_t gpa)
{
	return *(volatile uint8_t *)gpa;
}
static inline void write8(uint32_t gpa, uint8_t v)
{
	*(volatile uint8_t *)gpa = v;
}
static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

void print(const char *s);
void print_hex(const char *before, uint32_t v);
/* Ends the guest: "ok" or "FAILED: why" on the serial line, then power off. */
_Noreturn void pass(void);
_Noreturn void fail(const char *why);
_Noreturn void poweroff(void);
#define check(cond)                  \
	do {                         \
		if (!(cond))         \
			fail(#cond); \
	} while (0)

struct payload {
	const char *name;
	void (*run)(void);
};
extern const struct payload virtio_payloads[];
extern const size_t virtio_payloads_n;

#endif
