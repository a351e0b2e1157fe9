/* SPDX-License-Identifier: Apache-2.0 */
/* What host and agent agree on beside agent.proto: numbers that stand in that file's comments, and paths in the guest. */
#ifndef BASE_GUEST_H
#define BASE_GUEST_H

#define GUEST_SERVICE "microvm.Agent"
#define GUEST_CONTROL_PORT 1u  /* on the host; the agent connects to it */
#define GUEST_RPC_PORT 1024u   /* on the guest */
#define GUEST_STDIO_PORT 1025u /* on the guest */
#define GUEST_TCP_PORT 1026u   /* on the guest */
#define GUEST_RESERVED_PORTS \
	1024u /* on the host, behind vhost-vsock: those below are root's, and only those are let in */
#define GUEST_STDIO_TOKEN_LEN 8u
#define GUEST_STDIO_CLAIM_S 10u

/* Where the agent mounts the one file system of shared folders that a sandbox has. */
#define GUEST_SHARE_TAG "share"
#define GUEST_SHARE_PATH "/run/share"

/* How the agent's errors begin that say why a program can't be executed, be it at creation or at the start. */
#define GUEST_EXEC_ERROR "exec: "

/* Virtio-mmio device i of a vmspec is at base + i * stride, with GSI first + i. */
#define GUEST_MMIO_BASE 0xd0000000ull
#define GUEST_MMIO_STRIDE 0x1000ull
#define GUEST_GSI_FIRST 1u /* Linux takes 0 for no interrupt; guests visit each pin, so none is left out */
#define GUEST_GSI_LAST 23u

/* Port of the VMM: outw(0x2000) there powers off, as on QEMU's q35. The agent's last act. */
#define GUEST_POWEROFF_PORT 0x604u
#define GUEST_POWEROFF_VALUE 0x2000u

#endif
