/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio-mmio driver of one queue, well-behaved and not (virtio 1.2, 2.7 and 4.2). The device under test is always the first. */
#include "guest.h"

#define DEV 0xd0000000u
enum {
	REG_MAGIC = 0x0,
	REG_VERSION = 0x4,
	REG_DEVICE = 0x8,
	REG_FEATURES = 0x10,
	REG_FEATURES_SEL = 0x14,
	REG_DRIVER = 0x20,
	REG_DRIVER_SEL = 0x24,
	REG_QUEUE_SEL = 0x30,
	REG_QUEUE_MAX = 0x34,
	REG_QUEUE_NUM = 0x38,
	REG_QUEUE_READY = 0x44,
	REG_NOTIFY = 0x50,
	REG_INT_STATUS = 0x60,
	REG_INT_ACK = 0x64,
	REG_STATUS = 0x70,
	REG_DESC = 0x80,
	REG_AVAIL = 0x90,
	REG_USED = 0xa0,
	REG_CONFIG = 0x100,
};
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64 };
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { FEATURE_INDIRECT = 1u << 28, FEATURE_EVENT_IDX = 1u << 29 };

#define SIZE 8u
#define PATIENCE 3000000u

struct desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

static struct {
	struct desc desc[SIZE] __attribute__((aligned(16)));
	struct {
		uint16_t flags, idx, ring[SIZE];
	} avail;
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[SIZE];
	} used __attribute__((aligned(4)));
} vq __attribute__((aligned(4096)));

static volatile uint16_t *const used_idx = &vq.used.idx;
static uint8_t data[4096] __attribute__((aligned(4096)));
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} blk_header __attribute__((aligned(16)));
static volatile uint8_t blk_status;

static uint32_t ptr(const volatile void *p)
{
	return (uint32_t)(uintptr_t)p;
}

static void clear(void *p, size_t n)
{
	volatile uint8_t *b = p;

	while (n--)
		*b++ = 0;
}

static void reset_device(void)
{
	uint32_t i;

	write32(DEV + REG_STATUS, 0);
	for (i = 0; i < PATIENCE / 100 && read32(DEV + REG_STATUS); i++)
		pause();
	check(read32(DEV + REG_STATUS) == 0);
	clear(&vq, sizeof(vq));
}

/* Up to FEATURES_OK. */
static void negotiate(uint32_t low)
{
	check(read32(DEV + REG_MAGIC) == 0x74726976 && read32(DEV + REG_VERSION) == 2 && read32(DEV + REG_DEVICE));
	reset_device();
	write32(DEV + REG_STATUS, ACKNOWLEDGE);
	write32(DEV + REG_STATUS, ACKNOWLEDGE | DRIVER);
	write32(DEV + REG_FEATURES_SEL, 1);
	check(read32(DEV + REG_FEATURES) & 1); /* VERSION_1 */
	write32(DEV + REG_DRIVER_SEL, 0);
	write32(DEV + REG_DRIVER, low);
	write32(DEV + REG_DRIVER_SEL, 1);
	write32(DEV + REG_DRIVER, 1);
	write32(DEV + REG_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	check(read32(DEV + REG_STATUS) & FEATURES_OK);
}

static void set_queue(uint32_t desc, uint32_t avail, uint32_t used)
{
	write32(DEV + REG_QUEUE_SEL, 0);
	check(read32(DEV + REG_QUEUE_MAX) >= SIZE);
	write32(DEV + REG_QUEUE_NUM, SIZE);
	write32(DEV + REG_DESC, desc);
	write32(DEV + REG_AVAIL, avail);
	write32(DEV + REG_USED, used);
	write32(DEV + REG_QUEUE_READY, 1);
}

static void start_device(uint32_t low)
{
	negotiate(low);
	set_queue(ptr(vq.desc), ptr(&vq.avail), ptr(&vq.used));
	write32(DEV + REG_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	check(!(read32(DEV + REG_STATUS) & NEEDS_RESET));
}

/* All that was written so far is in memory when the device hears of it. */
static void notify(uint32_t queue)
{
	__asm__ volatile("" : : : "memory");
	write32(DEV + REG_NOTIFY, queue);
}

static void offer(uint16_t head)
{
	vq.avail.ring[vq.avail.idx % SIZE] = head;
	__asm__ volatile("" : : : "memory");
	vq.avail.idx++;
	notify(0);
}

static bool wait_used(uint16_t idx)
{
	uint32_t i;

	for (i = 0; i < PATIENCE && *used_idx != idx; i++)
		pause();
	return *used_idx == idx;
}

/* The device has had enough, says so, and gives nothing back; after a reset it works again. */
static void expect_broken(void (*again)(void))
{
	const uint16_t before = *used_idx;
	uint32_t i;

	for (i = 0; i < PATIENCE && !(read32(DEV + REG_STATUS) & NEEDS_RESET); i += 100)
		pause();
	check(read32(DEV + REG_STATUS) & NEEDS_RESET);
	/* The configuration interrupt follows. */
	for (i = 0; i < PATIENCE && !(read32(DEV + REG_INT_STATUS) & 2); i += 100)
		pause();
	check(read32(DEV + REG_INT_STATUS) & 2);
	check(*used_idx == before);
	again();
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static void blk_chain(uint32_t type, uint64_t sector, uint32_t len)
{
	blk_header.type = type;
	blk_header.sector = sector;
	blk_status = 0xff;
	vq.desc[0] = (struct desc){ ptr(&blk_header), 16, DESC_NEXT, 1 };
	vq.desc[1] = (struct desc){ ptr(data), len, DESC_NEXT | (type == 0 ? DESC_WRITE : 0), 2 };
	vq.desc[2] = (struct desc){ ptr(&blk_status), 1, DESC_WRITE, 0 };
}

static uint8_t blk_do(uint32_t type, uint64_t sector, uint32_t len)
{
	const uint16_t next = (uint16_t)(*used_idx + 1);

	blk_chain(type, sector, len);
	offer(0);
	check(wait_used(next));
	return blk_status;
}

static void blk_works(void)
{
	start_device(0);
	clear(data, sizeof(data));
	check(blk_do(0, 1, 512) == 0);
	check(data[0] == 'B' && data[511] == 'B'); /* the harness fills sector n with the letter 'A' + n */
}

static void rng_works(void)
{
	start_device(0);
	clear(data, sizeof(data));
	vq.desc[0] = (struct desc){ ptr(data), 64, DESC_WRITE, 0 };
	offer(0);
	check(wait_used(1));
	check(vq.used.ring[0].id == 0 && vq.used.ring[0].len > 0 && vq.used.ring[0].len <= 64);
}

/* ---- the payloads -------------------------------------------------------------------------------------------------- */

static void virtio_rng(void)
{
	rng_works();
	pass();
}

static void virtio_blk(void)
{
	uint32_t i;

	blk_works();
	check(vq.used.ring[0].len == 513);
	for (i = 0; i < 1024; i++)
		data[i] = 'z';
	check(blk_do(1, 2, 1024) == 0); /* write, flush, read back */
	check(blk_do(4, 0, 0x200) != 0xff);
	clear(data, sizeof(data));
	check(blk_do(0, 3, 512) == 0 && data[0] == 'z');
	check(blk_do(0, read32(DEV + REG_CONFIG), 512) == 1); /* past the end: an I/O error */
	check(blk_do(0, ~0ull, 512) == 1);
	check(blk_do(99, 0, 512) == 2); /* no such request */
	pass();
}

static void virtio_blk_readonly(void)
{
	blk_works();
	check(blk_do(1, 1, 512) == 1);
	check(blk_do(0, 1, 512) == 0 && data[0] == 'B');
	pass();
}

static void virtio_indirect(void)
{
	static struct desc table[3] __attribute__((aligned(16)));

	start_device(FEATURE_INDIRECT);
	clear(data, sizeof(data));
	blk_chain(0, 4, 512);
	table[0] = vq.desc[0];
	table[1] = vq.desc[1];
	table[2] = vq.desc[2];
	vq.desc[0] = (struct desc){ ptr(table), sizeof(table), DESC_INDIRECT, 0 };
	offer(0);
	check(wait_used(1) && blk_status == 0 && data[0] == 'E');
	pass();
}

/* A pin of the I/O APIC, programmed, turns the queue's interrupt into a vector that waits at the local APIC. */
static void virtio_interrupt(void)
{
	const uint32_t ioapic = 0xfec00000, lapic = 0xfee00000, vector = 0x41;
	uint32_t i;

	write32(lapic + 0xf0, 0x1ff);
	write32(ioapic, 1);
	check((read32(ioapic + 0x10) & 0xff) == 0x11 && (read32(ioapic + 0x10) >> 16 & 0xff) >= 1);
	write32(ioapic, 0x13); /* pin 1, where the first device is */
	write32(ioapic + 0x10, 0);
	write32(ioapic, 0x12);
	write32(ioapic + 0x10, vector);
	check(read32(ioapic + 0x10) == vector);
	rng_works();
	for (i = 0; i < PATIENCE / 100 && !(read32(lapic + 0x220) & 2); i++)
		pause();
	check(read32(lapic + 0x220) & 2); /* IRR, vectors 0x40 to 0x5f */
	check(read32(DEV + REG_INT_STATUS) & 1);
	write32(DEV + REG_INT_ACK, 1); /* the bit may stay: acknowledging costs no exit (userland/virtio/mmio.h) */
	check(!(read32(DEV + REG_INT_STATUS) & 2));
	pass();
}

static void chain_cycle(void)
{
	blk_works();
	blk_chain(0, 1, 512);
	vq.desc[2] = (struct desc){ ptr(&blk_status), 1, DESC_WRITE | DESC_NEXT, 1 };
	offer(0);
	expect_broken(blk_works);
	pass();
}

static void chain_index(void)
{
	blk_works();
	blk_chain(0, 1, 512);
	vq.desc[0].next = 0xfff0;
	offer(0);
	expect_broken(blk_works);
	offer(SIZE + 3);
	expect_broken(blk_works);
	pass();
}

static void chain_past_memory(void)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {
		{ 0xc0000000ull, 512 }, { 0xffffffffffffff00ull, 512 }, { 0xfff000, 0x10000 },
		{ 0xd0000000ull, 512 }, { 0x200000, 0xffffffff },	{ 0x7fffffffffffffffull, 0xffffffff },
	};
	size_t i;

	blk_works();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		blk_chain(0, 1, 512);
		vq.desc[1].gpa = bad[i].gpa;
		vq.desc[1].len = bad[i].len;
		offer(0);
		expect_broken(blk_works);
	}
	pass();
}

static void avail_jump(void)
{
	blk_works();
	vq.avail.idx += 1000;
	notify(0);
	expect_broken(blk_works);
	pass();
}

static void queue_outside(void)
{
	static const uint32_t bad[] = { 0xbffff000, 0xd0000000, 0xfffffff0, 0x200001 };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		negotiate(0);
		set_queue(bad[i], bad[i] + 0x400, bad[i] + 0x800);
		write32(DEV + REG_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
		/* Such a queue does not become ready, and what is offered in it is not looked at. */
		check(read32(DEV + REG_QUEUE_READY) == 0);
		offer(0);
	}
	blk_works();
	pass();
}

static void reset_mid_request(void)
{
	unsigned int i;

	for (i = 0; i < 50; i++) {
		start_device(0);
		blk_chain(0, 0, 4096);
		offer(0);
		if (i % 3)
			offer(0);
		reset_device();
	}
	blk_works();
	pass();
}

/* Descriptors and rings change while the device looks at them. */
static void rewrite_after_kick(void)
{
	unsigned int i, j;

	for (i = 0; i < 40; i++) {
		start_device(0);
		blk_chain(0, 0, 4096);
		offer(0);
		for (j = 0; j < 200; j++) {
			volatile struct desc *d = &vq.desc[j % 3];

			d->gpa = j * 0x9e3779b97f4a7c15ull;
			d->len = j * 0x9e3779b9u;
			d->flags = (uint16_t)(j * 7);
			d->next = (uint16_t)j;
			*(volatile uint16_t *)&vq.avail.idx = (uint16_t)(j & 7);
		}
		write32(DEV + REG_NOTIFY, 0);
	}
	blk_works();
	pass();
}

/* Registers, written and read in any order and width. */
static void register_storm(void)
{
	uint32_t seed = 12345, i;

	for (i = 0; i < 20000; i++) {
		seed = seed * 1664525 + 1013904223;
		switch (seed >> 30) {
		case 0: write32(DEV + (seed >> 8 & 0x1fc), seed * 2654435761u); break;
		case 1: (void)read32(DEV + (seed >> 8 & 0xffc)); break;
		case 2: write8(DEV + (seed >> 8 & 0x1ff), (uint8_t)seed); break;
		default: write32(DEV + REG_STATUS, seed >> 8 & 0xff); break;
		}
	}
	blk_works();
	pass();
}

static void kick_storm(void)
{
	uint32_t i;

	blk_works();
	for (i = 0; i < 20000; i++)
		write32(DEV + REG_NOTIFY, i % 3);
	check(blk_do(0, 1, 512) == 0);
	pass();
}

/*
 * Long mode's page tables, from which 32-bit code reaches beyond 4 GiB: addresses are as they were, but [0x80000000,
 * +4 MiB) is memory from gpa on.
 */
static void page_in(uint64_t gpa)
{
	static uint64_t top[512] __attribute__((aligned(4096)));
	static uint64_t table[512] __attribute__((aligned(4096)));
	static uint64_t dirs[4 * 512] __attribute__((aligned(4096)));
	uint32_t i, v;

	for (i = 0; i < 4 * 512; i++)
		dirs[i] = (uint64_t)i << 21 | 0x83; /* present, writable, 2 MiB */
	for (i = 0; i < 2; i++)
		dirs[1024 + i] = (gpa + ((uint64_t)i << 21)) | 0x83;
	for (i = 0; i < 4; i++)
		table[i] = ptr(&dirs[i * 512]) | 3;
	top[0] = ptr(table) | 3;
	__asm__ volatile("mov %%cr4, %0; or $0x20, %0; mov %0, %%cr4" : "=r"(v) : : "memory");
	__asm__ volatile("mov %0, %%cr3" : : "r"(top) : "memory");
	__asm__ volatile("wrmsr" : : "c"(0xc0000080), "a"(0x100), "d"(0) : "memory"); /* EFER.LME */
	__asm__ volatile("mov %%cr0, %0; or $0x80000000, %0; mov %0, %%cr0" : "=r"(v) : : "memory");
}

/* The harness gives a read-only file of 2 MiB and 100 bytes: 'p', 'm', 'e', 'm', and 'z' at 2 MiB. */
static void virtio_pmem(void)
{
	const uint32_t at = 0x80000000u;
	static uint32_t request, answer;

	start_device(0);
	check(read32(DEV + REG_CONFIG + 8) == 4u << 20 && read32(DEV + REG_CONFIG + 12) == 0);
	page_in(read32(DEV + REG_CONFIG) | (uint64_t)read32(DEV + REG_CONFIG + 4) << 32);
	check(read32(at) == 0x6d656d70);
	check(read8(at + (2u << 20)) == 'z');
	check(read32(at + (2u << 20) + 100) == 0);  /* behind the end, in the file's last page */
	check(read32(at + (2u << 20) + 8192) == 0); /* … and past it */
	check(read32(at + (4u << 20) - 4) == 0);
	write32(at, 0x12345678); /* goes nowhere */
	write32(at + (2u << 20) + 8192, 0x12345678);
	check(read32(at) == 0x6d656d70 && read32(at + (2u << 20) + 8192) == 0);
	answer = 0xffffffff;
	vq.desc[0] = (struct desc){ ptr(&request), 4, DESC_NEXT, 1 };
	vq.desc[1] = (struct desc){ ptr(&answer), 4, DESC_WRITE, 0 };
	offer(0);
	check(wait_used(1) && *(volatile uint32_t *)&answer == 0);
	pass();
}

/* A file server behind vhost-user answers FUSE's first request (linux/fuse.h: struct fuse_in_header and fuse_init_in). */
static void fuse_init(void)
{
	static struct {
		uint32_t len, opcode;
		uint64_t unique, nodeid;
		uint32_t uid, gid, pid, padding;
		uint32_t major, minor, max_readahead, flags, flags2, unused[11];
	} request;
	static struct {
		uint32_t len;
		int32_t error;
		uint64_t unique;
		uint32_t major, minor, rest[14];
	} answer;
	uint16_t next;

	negotiate(0);
	write32(DEV + REG_QUEUE_SEL, 1);
	write32(DEV + REG_QUEUE_NUM, SIZE);
	write32(DEV + REG_DESC, ptr(vq.desc));
	write32(DEV + REG_AVAIL, ptr(&vq.avail));
	write32(DEV + REG_USED, ptr(&vq.used));
	write32(DEV + REG_QUEUE_READY, 1);
	write32(DEV + REG_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	check(!(read32(DEV + REG_STATUS) & NEEDS_RESET));
	clear(&answer, sizeof(answer));
	request.len = sizeof(request);
	request.opcode = 26; /* FUSE_INIT */
	request.unique = 4711;
	request.major = 7;
	request.minor = 38;
	request.max_readahead = 131072;
	vq.desc[0] = (struct desc){ ptr(&request), sizeof(request), DESC_NEXT, 1 };
	vq.desc[1] = (struct desc){ ptr(&answer), sizeof(answer), DESC_WRITE, 0 };
	next = (uint16_t)(*used_idx + 1);
	vq.avail.ring[vq.avail.idx % SIZE] = 0;
	__asm__ volatile("" : : : "memory");
	vq.avail.idx++;
	notify(1);
	check(wait_used(next));
	check(answer.len >= 24 && answer.error == 0 && answer.unique == 4711 && answer.major == 7);
}

static void virtio_fs(void)
{
	check(read32(DEV + REG_CONFIG) == 0x72616873 && read32(DEV + REG_CONFIG + 36) == 1); /* "shar", queues */
	fuse_init();
	fuse_init(); /* after a reset it has its queues again */
	pass();
}

/* It says when its file server has been killed, which the harness does. */
static void virtio_fs_killed(void)
{
	uint32_t i;

	fuse_init();
	print("ready\n");
	for (i = 0; i < PATIENCE && !(read32(DEV + REG_STATUS) & NEEDS_RESET); i++)
		pause();
	check(read32(DEV + REG_STATUS) & NEEDS_RESET);
	reset_device();
	pass();
}

/* Writes text to the console's transmit queue, then panics as a kernel does. */
static void console_panic(void)
{
	static const char text[] = "hello\n[    1.000000] Kernel panic - not syncing: on the console\n";

	negotiate(0);
	write32(DEV + REG_QUEUE_SEL, 1);
	write32(DEV + REG_QUEUE_NUM, SIZE);
	write32(DEV + REG_DESC, ptr(vq.desc));
	write32(DEV + REG_AVAIL, ptr(&vq.avail));
	write32(DEV + REG_USED, ptr(&vq.used));
	write32(DEV + REG_QUEUE_READY, 1);
	write32(DEV + REG_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	vq.desc[0] = (struct desc){ ptr(text), sizeof(text) - 1, 0, 0 };
	vq.avail.ring[0] = 0;
	vq.avail.idx = 1;
	notify(1);
	outb(0x64, 0xfe); /* at once: the VMM still shows what was queued */
}

const struct payload virtio_payloads[] = {
	{ "virtio-rng", virtio_rng },
	{ "virtio-blk", virtio_blk },
	{ "virtio-blk-readonly", virtio_blk_readonly },
	{ "virtio-indirect", virtio_indirect },
	{ "virtio-interrupt", virtio_interrupt },
	{ "chain-cycle", chain_cycle },
	{ "chain-index", chain_index },
	{ "chain-past-memory", chain_past_memory },
	{ "avail-jump", avail_jump },
	{ "queue-outside", queue_outside },
	{ "reset-mid-request", reset_mid_request },
	{ "rewrite-after-kick", rewrite_after_kick },
	{ "register-storm", register_storm },
	{ "kick-storm", kick_storm },
	{ "console-panic", console_panic },
	{ "virtio-pmem", virtio_pmem },
	{ "virtio-fs", virtio_fs },
	{ "virtio-fs-killed", virtio_fs_killed },
};
const size_t virtio_payloads_n = sizeof(virtio_payloads) / sizeof(virtio_payloads[0]);
