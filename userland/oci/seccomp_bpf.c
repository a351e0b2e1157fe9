/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/seccomp_bpf.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "oci/pb.h"

#define X32_BIT 0x40000000u

/*
 * A profile that denies what it doesn't list answers EPERM to system calls that are newer than itself. C libraries take
 * ENOSYS for "not there, do it the old way", but not EPERM; so what lies beyond the newest call that the profile names is
 * answered in front of it.
 */
static size_t put_enosys(struct sock_filter *f, int ends_at)
{
	const struct sock_filter stub[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)ends_at, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	memcpy(f, stub, sizeof(stub));
	return ARRAY_SIZE(stub);
}

int oci_seccomp_export(scmp_filter_ctx ctx, int ends_at, uint32_t flags, Microvm__Seccomp **out, struct err *e)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct sock_filter program[BPF_MAXINSNS];
	Microvm__Seccomp *s;
	size_t n = 0, len;
	struct stat st;
	int r;

	if (fd < 0)
		return err_errno(e, errno, "seccomp: no memory for its program");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_errno(e, -r, "seccomp: the profile can't be compiled");
	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "seccomp: the compiled program can't be read");
	if (ends_at >= 0)
		n = put_enosys(program, ends_at);
	len = (size_t)st.st_size;
	if (len > sizeof(program) - n * sizeof(program[0]))
		return err_set(e, E2BIG,
			       "seccomp: the profile compiles to %zu instructions, the kernel takes %u; "
			       "name fewer system calls",
			       len / sizeof(program[0]), BPF_MAXINSNS);
	r = pread_full(fd, program + n, len, 0);
	if (r)
		return err_errno(e, -r, "seccomp: the compiled program can't be read");
	len += n * sizeof(program[0]);
	s = pb_new(Microvm__Seccomp, microvm__seccomp);
	s->bpf.data = xcalloc(1, len);
	s->bpf.len = len;
	memcpy(s->bpf.data, program, len);
	s->flags = flags;
	*out = s;
	return 0;
}
