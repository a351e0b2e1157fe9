/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMM is told: one struct vmspec, read from an inherited fd (`microvm-vmm --spec-fd N`), and open fds that it
 * names by number. The VMM opens nothing itself. The parent is trusted, but the struct is checked all the same
 * (vmspec_check), so that a mistake is an error with a name and not a strange guest.
 *
 * Who writes: sandbox (from userland/oci's pure functions), tests, bench. Who reads: userland/vmm.
 */
#ifndef BASE_VMSPEC_H
#define BASE_VMSPEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define VMSPEC_MAGIC 0x6d76736bu /* "mvsk" */
#define VMSPEC_VERSION 5u
#define VMSPEC_VCPUS_MAX 32u
#define VMSPEC_CMDLINE_MAX 2048u /* with the NUL */
#define VMSPEC_DEVICES_MAX 32u
#define VMSPEC_PORTS_MAX 4u
#define VMSPEC_MEM_MIN (16ull << 20)
#define VMSPEC_MEM_MAX (1ull << 40)
#define VMSPEC_FS_TAG_MAX 36u /* virtio-fs's name of a file system, virtio 1.2, 5.11.4 */
#define VMSPEC_FS_QUEUE_SIZE_MAX 1024u
#define VMSPEC_NET_PAIRS_MAX 8u /* of queues, each of which is a file */
#define VMSPEC_NET_MTU_MIN 68u	/* the least that IPv4 works with (RFC 791), virtio 1.2, 5.1.4.1 */
#define VMSPEC_NET_MTU_MAX 65535u
#define VMSPEC_SERIAL_MAX 20u /* virtio-blk's serial number, virtio 1.2, 5.2.6 */

enum vmspec_device_type { /* virtio device ids, virtio 1.2, 5 */
			  VMSPEC_NET = 1,
			  VMSPEC_BLK = 2,
			  VMSPEC_CONSOLE = 3,
			  VMSPEC_RNG = 4,
			  VMSPEC_BALLOON = 5,
			  VMSPEC_VSOCK = 19,
			  VMSPEC_FS = 26,
			  VMSPEC_PMEM = 27,
};

enum vmspec_blk_flags {
	VMSPEC_BLK_READONLY = 1 << 0,
	VMSPEC_BLK_DIRECT = 1 << 1, /* the fd was opened with O_DIRECT */
	VMSPEC_BLK_SLOT = 1 << 2,   /* the fd is a socket, by which a disk comes later (base/blk_slot.h) */
};

enum vmspec_pmem_flags {
	VMSPEC_PMEM_READONLY = 1 << 0,
};

/* A guest's connect to host port `port` gets this connected stream or seqpacket socket; once, then the port refuses. */
struct vmspec_port {
	uint32_t port;
	int32_t fd;
};

struct vmspec_device {
	uint32_t type;	/* enum vmspec_device_type */
	uint32_t flags; /* by type; unknown bits are refused */
	union {
		struct {
			int32_t fd; /* a regular file or a block device; the format is always raw; of a slot its socket */
			uint32_t queues; /* 1..vcpus; 0 means 1 */
			char serial[VMSPEC_SERIAL_MAX];
		} blk;
		struct {
			uint64_t guest_cid; /* 3 or more */
			int32_t listen_fd; /* listening Unix stream socket: "CONNECT <port>\n" is answered "OK <port>\n"; -1: none */
			int32_t seq_listen_fd; /* the same for messages: a Unix seqpacket socket; -1: none */
			uint32_t ports_n;
			struct vmspec_port ports[VMSPEC_PORTS_MAX];
			int32_t module_fd; /* /dev/microvm, which then moves the payload; -1: the VMM does it */
			/* /dev/vhost-vsock that has the CID, in place of all other files here; -1: not by it */
			int32_t vhost_fd;
		} vsock;
		struct {
			int32_t out_fd; /* where the guest's console goes; -1: nowhere */
			int32_t in_fd;	/* what it reads; -1: nothing */
		} console;
		struct {
			int32_t listen_fd; /* listening Unix seqpacket socket for base/balloon.h's requests; -1: none */
			int32_t module_fd; /* /dev/microvm, which then has the queues of pages; -1: the VMM has them */
			/* What the guest keeps when the host is short of memory; 0: all, so that nobody asks. */
			uint64_t min_bytes;
		} balloon;
		struct {
			int32_t fd; /* /dev/urandom */
		} rng;
		struct {
			int32_t fd; /* a regular file, which the guest has as memory; writable: a multiple of 2 MiB */
		} pmem;
		struct {
			int32_t fd;	     /* connected stream socket to a vhost-user back end */
			uint32_t queues;     /* for requests, 1..vcpus; one more is for what overtakes */
			uint32_t queue_size; /* a power of two; 0: the device's own choice */
			char tag[VMSPEC_FS_TAG_MAX];
		} fs;
		struct {
			/* Of one tap, a queue each: O_NONBLOCK, IFF_NO_PI, IFF_VNET_HDR with a header of 12 bytes. */
			int32_t fds[VMSPEC_NET_PAIRS_MAX];
			uint32_t pairs; /* 1..vcpus */
			uint32_t mtu;
			uint8_t mac[6];
		} net;
		uint8_t reserved[120];
	};
};

struct vmspec {
	uint32_t magic, version, size_bytes; /* size_bytes: sizeof(struct vmspec) */
	uint32_t vcpus;
	uint64_t mem_bytes;	/* a multiple of 2 MiB */
	int32_t kvm_fd;		/* /dev/kvm */
	int32_t kernel_fd;	/* vmlinux, ELF with a PVH note */
	int32_t initramfs_fd;	/* -1: none */
	int32_t report_fd;	/* pipe or socket: one struct vm_report is written at the end; -1: none */
	int32_t log_fd;		/* diagnostics and early console; -1: stderr */
	int32_t parent_fd;	/* pidfd of the process whose end is the VM's end too; -1: none is watched for */
	uint32_t uid, gid;	/* to run as; 0: only where the jail is off */
	uint32_t flags;		/* enum vmspec_flags */
	uint32_t stop_grace_ms; /* SIGTERM: this long for the guest to stop by itself */
	uint32_t devices_n;
	char cmdline[VMSPEC_CMDLINE_MAX]; /* the VMM appends the virtio_mmio.device= words, but of slots */
	struct vmspec_device devices[VMSPEC_DEVICES_MAX];
};

enum vmspec_flags {
	VMSPEC_NO_JAIL = 1 << 0, /* for debuggers and sanitizers; the front ends never set it */
};

enum vm_end {
	VM_END_SHUTDOWN = 1, /* the guest asked for power off */
	VM_END_RESET,	     /* the guest asked for a reset */
	VM_END_TRIPLE_FAULT,
	VM_END_PANIC,	/* the guest's kernel said so on its console before it reset; msg has the line */
	VM_END_STOPPED, /* SIGTERM, and the guest stopped within its grace */
	VM_END_KILLED,	/* SIGTERM, and it did not */
	VM_END_SECCOMP, /* the VMM made a system call it may not; msg names it */
	VM_END_ERROR,	/* msg says what */
};

struct vm_report {
	uint32_t end; /* enum vm_end */
	uint32_t reserved;
	uint64_t exits; /* KVM_RUN returns to userspace, all vCPUs */
	char msg[512];	/* one line, printable, may be empty */
};

/* Every fd that a spec can name: where its number stands, so that a parent can renumber them and the VMM close all others. */
#define VMSPEC_FDS_MAX (6u + VMSPEC_DEVICES_MAX * (4u + VMSPEC_PORTS_MAX))
size_t vmspec_fds(struct vmspec *spec, int32_t *fds[VMSPEC_FDS_MAX]);

/* "shutdown", "reset", "triple fault" …; never NULL. */
const char *vm_end_name(uint32_t end);

/* Everything that can be checked without the fds' files: ranges, flags, NULs, duplicate ports. */
int vmspec_check(const struct vmspec *spec, struct err *e);

/* A spec with all fds -1 and the header filled in. */
void vmspec_init(struct vmspec *spec);
/* The next free device, zeroed with fds -1; NULL when there is no room. */
struct vmspec_device *vmspec_add(struct vmspec *spec, enum vmspec_device_type type);

#endif
