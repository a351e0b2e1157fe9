/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a container may use: in cgroup v2 a BPF program (BPF_PROG_TYPE_CGROUP_DEVICE) that is asked at every open
 * and mknod. The rules are an ordered list of which the last match counts, so the program tries them from the end.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bpf.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/cgroup.h"

#define RULES_MAX 1024u
#define INSNS_PER_RULE 8u

struct rule {
	bool allow;
	char type;	      /* 'a', 'b', 'c' */
	int64_t major, minor; /* -1: any */
	unsigned int access;  /* BPF_DEVCG_ACC_* */
};

#define ACC_ALL (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE)

/* They follow the container's own, as with runc: the devices that the spec wants in every container, and terminals. */
static const struct rule defaults[] = {
	{ true, 'c', -1, -1, BPF_DEVCG_ACC_MKNOD },
	{ true, 'b', -1, -1, BPF_DEVCG_ACC_MKNOD },
	{ true, 'c', 1, 3, ACC_ALL },
	{ true, 'c', 1, 5, ACC_ALL },
	{ true, 'c', 1, 7, ACC_ALL },
	{ true, 'c', 1, 8, ACC_ALL },
	{ true, 'c', 1, 9, ACC_ALL },
	{ true, 'c', 5, 0, ACC_ALL },
	{ true, 'c', 5, 1, ACC_ALL },
	{ true, 'c', 5, 2, ACC_ALL },
	{ true, 'c', 136, -1, ACC_ALL },
};

#define LOAD_FIELD(d, field) BPF_LOAD(d, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, field))

static size_t put_rule(struct bpf_insn *p, const struct rule *r, bool *always)
{
	size_t n = 0, i, jumps[4], jumps_n = 0;

	if (r->type != 'a') {
		jumps[jumps_n++] = n;
		p[n++] = BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
				  r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	/* Allowed is what lies within the rule's access, denied what touches it. */
	if (r->access != ACC_ALL) {
		p[n++] = BPF_MOVE(BPF_REG_1, BPF_REG_3);
		p[n++] = BPF_AND_WITH(BPF_REG_1, (int)r->access);
		jumps[jumps_n++] = n;
		p[n++] = r->allow ? BPF_INSN(BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0)
				  : BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, 0, 0);
	}
	if (r->major >= 0) {
		jumps[jumps_n++] = n;
		p[n++] = BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (int)r->major);
	}
	if (r->minor >= 0) {
		jumps[jumps_n++] = n;
		p[n++] = BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (int)r->minor);
	}
	*always = !jumps_n;
	p[n++] = BPF_SET(BPF_REG_0, r->allow);
	p[n++] = BPF_RETURN();
	for (i = 0; i < jumps_n; i++)
		p[jumps[i]].off = (short)(n - jumps[i] - 1);
	return n;
}

static size_t put_program(struct bpf_insn *p, const struct rule *rules, size_t n)
{
	bool always = false;
	size_t len = 0;

	p[len++] = LOAD_FIELD(BPF_REG_2, access_type);
	p[len++] = BPF_MOVE(BPF_REG_3, BPF_REG_2);
	p[len++] = BPF_AND_WITH(BPF_REG_2, 0xffff);
	p[len++] = BPF_SHIFT_RIGHT(BPF_REG_3, 16);
	p[len++] = LOAD_FIELD(BPF_REG_4, major);
	p[len++] = LOAD_FIELD(BPF_REG_5, minor);
	/* What follows a rule that always matches would be unreachable, which the verifier refuses. */
	while (n-- && !always)
		len += put_rule(p + len, &rules[n], &always);
	if (!always) {
		p[len++] = BPF_SET(BPF_REG_0, 0);
		p[len++] = BPF_RETURN();
	}
	return len;
}

static int parse_rule(const Microvm__DeviceRule *m, struct rule *r, struct err *e)
{
	const char *a;

	*r = (struct rule){ .allow = m->allow, .type = m->type[0] ? m->type[0] : 'a', .major = -1, .minor = -1 };
	if ((m->type[0] && m->type[1]) || !strchr("abcup", r->type) || r->type == 'p')
		return err_set(e, EINVAL, "resources.devices: \"%s\" is no type; there are a, b and c", m->type);
	if (r->type == 'u')
		r->type = 'c';
	if (m->major && m->major->value >= 0)
		r->major = m->major->value;
	if (m->minor && m->minor->value >= 0)
		r->minor = m->minor->value;
	if (r->major > 0xfff || r->minor > 0xfffff)
		return err_set(e, ERANGE, "resources.devices: there is no device %lld:%lld", (long long)r->major,
			       (long long)r->minor);
	for (a = m->access; *a; a++) {
		if (!strchr("rwm", *a))
			return err_set(e, EINVAL, "resources.devices: access \"%s\" is not made of r, w and m",
				       m->access);
		r->access |= *a == 'r' ? BPF_DEVCG_ACC_READ : *a == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
	}
	if (!r->access)
		r->access = ACC_ALL;
	return 0;
}

int cgroup_devices_apply(struct cgroup *g, Microvm__DeviceRule *const *list, size_t n, struct err *e)
{
	_cleanup_free_ struct rule *rules = NULL;
	_cleanup_free_ struct bpf_insn *program = NULL;
	_cleanup_close_ int fd = -1;
	union bpf_attr attr;
	size_t i;
	int r;

	if (n > RULES_MAX)
		return err_set(e, E2BIG, "resources.devices: %zu rules, at most %u are taken", n, RULES_MAX);
	rules = xcalloc(n + ARRAY_SIZE(defaults), sizeof(*rules));
	for (i = 0; i < n; i++) {
		r = parse_rule(list[i], &rules[i], e);
		if (r)
			return r;
	}
	memcpy(rules + n, defaults, sizeof(defaults));
	n += ARRAY_SIZE(defaults);
	program = xcalloc(n * INSNS_PER_RULE + 8, sizeof(*program));
	fd = bpf_load(BPF_PROG_TYPE_CGROUP_DEVICE, 0, program, put_program(program, rules, n));
	if (fd < 0)
		return err_errno(e, -fd, "cgroup %s: the kernel does not take the program of its devices", g->name);
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)g->dir;
	attr.attach_bpf_fd = (uint32_t)fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI | (g->device_prog >= 0 ? BPF_F_REPLACE : 0);
	attr.replace_bpf_fd = g->device_prog >= 0 ? (uint32_t)g->device_prog : 0;
	r = bpf_call(BPF_PROG_ATTACH, &attr);
	if (r < 0)
		return err_errno(e, -r, "cgroup %s: its devices can't be limited", g->name);
	cleanup_closep(&g->device_prog);
	g->device_prog = take_fd(&fd);
	return 0;
}
