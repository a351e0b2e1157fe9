/* SPDX-License-Identifier: Apache-2.0 */
/* Payload guests. The command line's first word says which. */
#include "guest.h"

#define LAPIC 0xfee00000u
#define LAPIC_SPURIOUS 0xf0u
#define LAPIC_ICR_LOW 0x300u
#define LAPIC_ICR_HIGH 0x310u

const struct start_info *start_info;

void print(const char *s)
{
	for (; *s; s++)
		outb(0x3f8, (uint8_t)*s);
}

void print_hex(const char *before, uint32_t v)
{
	char hex[11] = "0x", *p = hex + 2;
	int i;

	for (i = 28; i >= 0; i -= 4)
		*p++ = "0123456789abcdef"[v >> i & 15];
	*p = 0;
	print(before);
	print(hex);
	print("\n");
}

_Noreturn void poweroff(void)
{
	outw(0x604, 0x2000);
	for (;;)
		__asm__ volatile("hlt");
}

_Noreturn void pass(void)
{
	print("ok\n");
	poweroff();
}

_Noreturn void fail(const char *why)
{
	print("FAILED: ");
	print(why);
	print("\n");
	poweroff();
}

static bool same(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return !*b && (!*a || *a == ' ');
}

static void hello(void)
{
	check(start_info->magic == 0x336ec578 && start_info->version == 1);
	pass();
}

static void reset(void)
{
	check(!(inb(0x64) & 2)); /* room for a command */
	outb(0x64, 0xfe);
	fail("still here after a reset");
}

static void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
	fail("still here after a triple fault");
}

static void panic(void)
{
	print("[    0.123456] Kernel panic - not syncing: out of payload\n");
	outb(0x64, 0xfe);
}

static void spin(void)
{
	print("spinning\n");
	for (;;)
		pause();
}

static void sleep_forever(void)
{
	print("sleeping\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void flood(void)
{
	unsigned int i;

	for (i = 0; i < 8000; i++)
		print("0123456789012345678901234567890123456789012345678901234567890123456789\n");
	poweroff();
}

static void binary_serial(void)
{
	print("\x1b]0;title\x07 \x80\xff before\tafter\n");
	poweroff();
}

static void ports(void)
{
	uint32_t port;

	for (port = 0; port < 0x10000; port += 37)
		if (port != 0x64 && (port < 0x3f8 || port > 0x3ff))
			check(inb((uint16_t)port) == 0xff);
	check(inb(0x3fd) == 0x60);
	outb(0x3fb, 0x80);
	outb(0x3f8, 'x'); /* a divisor now, no character */
	outb(0x3fb, 0x03);
	check(inb(0x3fb) == 0x03);
	outw(0x604, 0x1234); /* not the magic value */
	pass();
}

/* Each region's ends are memory, and what lies between them is not. */
static void memory(void)
{
	const struct memmap *map = (const struct memmap *)(uint32_t)start_info->memmap_gpa;
	uint64_t sum = 0, top = 0;
	uint32_t i;

	check(start_info->memmap_n >= 3);
	for (i = 0; i < start_info->memmap_n; i++) {
		const uint64_t end = map[i].gpa + map[i].len_bytes;

		print_hex("region ", (uint32_t)map[i].gpa);
		print_hex("    to ", (uint32_t)end);
		if (map[i].type != 1)
			continue;
		sum += map[i].len_bytes;
		if (map[i].gpa >= 0x100000 && end <= 0x100000000ull) {
			write8((uint32_t)end - 1, 0xa5);
			check(read8((uint32_t)end - 1) == 0xa5);
			top = end;
		}
	}
	print_hex("MiB ", (uint32_t)(sum >> 20));
	check(top && top <= 0xc0000000);
	check(read32((uint32_t)top) == 0xffffffff);
	write32((uint32_t)top, 0);
	check(read32((uint32_t)top) == 0xffffffff);
	check(read32(0xcffffffc) == 0xffffffff);
	pass();
}

/* Starts all other CPUs as the MP table names them. */
static void cpus(void)
{
	extern const uint8_t ap_code[], ap_code_end[];
	const uint8_t *entry = (const uint8_t *)0x9fc10 + 44;
	volatile uint16_t *up = (volatile uint16_t *)0x7000;
	uint32_t i, n = 0, spins;

	check(read32(0x9fc00) == 0x5f504d5f && read32(0x9fc10) == 0x504d4350); /* _MP_, PCMP */
	for (; entry[0] == 0; entry += 20)
		n += entry[3] & 1;
	print_hex("cpus ", n);
	for (i = 0; i < (uint32_t)(ap_code_end - ap_code); i++)
		write8(0x8000 + i, ap_code[i]);
	*up = 0;
	write32(LAPIC + LAPIC_SPURIOUS, 0x1ff);
	for (i = 1; i < n; i++) {
		write32(LAPIC + LAPIC_ICR_HIGH, i << 24);
		write32(LAPIC + LAPIC_ICR_LOW, 0x4500); /* INIT */
		write32(LAPIC + LAPIC_ICR_HIGH, i << 24);
		write32(LAPIC + LAPIC_ICR_LOW, 0x4608); /* start at 0x8000 */
		for (spins = 0; *up != i && spins < 20000000; spins++)
			pause();
		check(*up == i);
	}
	pass();
}

/* Undefined for KVM's emulator and for hardware: an instruction in a place where nothing is. */
static void jump_to_hole(void)
{
	((void (*)(void))0xcff00000)();
	fail("code ran in the hole");
}

static const struct payload payloads[] = {
	{ "hello", hello },
	{ "reset", reset },
	{ "triple-fault", triple_fault },
	{ "panic", panic },
	{ "spin", spin },
	{ "sleep", sleep_forever },
	{ "flood", flood },
	{ "binary-serial", binary_serial },
	{ "ports", ports },
	{ "memory", memory },
	{ "cpus", cpus },
	{ "jump-to-hole", jump_to_hole },
};

void payload_main(const struct start_info *info);
void payload_main(const struct start_info *info)
{
	const char *cmdline = (const char *)(uint32_t)info->cmdline_gpa;
	size_t i;

	start_info = info;
	for (i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		if (same(cmdline, payloads[i].name))
			payloads[i].run();
	for (i = 0; i < virtio_payloads_n; i++)
		if (same(cmdline, virtio_payloads[i].name))
			virtio_payloads[i].run();
	fail("no such payload");
}
