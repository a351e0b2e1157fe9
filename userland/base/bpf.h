/* SPDX-License-Identifier: Apache-2.0 */
/* BPF programs (bpf(2), linux/bpf.h) written instruction by instruction, as ours have a dozen or so. */
#ifndef BASE_BPF_H
#define BASE_BPF_H

#include <linux/bpf.h>
#include <stddef.h>

#define BPF_INSN(op, d, s, o, i) \
	((struct bpf_insn){ .code = (op), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
/* A register gets 32 bits of memory, a register, a number. */
#define BPF_LOAD(d, s, offset) BPF_INSN(BPF_LDX | BPF_MEM | BPF_W, d, s, offset, 0)
#define BPF_MOVE(d, s) BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define BPF_SET(d, i) BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define BPF_ADD_TO(d, i) BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define BPF_AND_WITH(d, i) BPF_INSN(BPF_ALU | BPF_AND | BPF_K, d, 0, 0, i)
#define BPF_SHIFT_RIGHT(d, i) BPF_INSN(BPF_ALU | BPF_RSH | BPF_K, d, 0, 0, i)
/* Jumps of n instructions, 0 to the next. */
#define BPF_JUMP_IF(condition, d, i, n) BPF_INSN(BPF_JMP | (condition) | BPF_K, d, 0, n, i)
#define BPF_JUMP(n) BPF_INSN(BPF_JMP | BPF_JA, 0, 0, n, 0)
#define BPF_HELPER(i) BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, i)
#define BPF_RETURN() BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* bpf(2); negative errno. */
int bpf_call(int cmd, union bpf_attr *attr);
/* Gives the kernel a program of that type (and expected attach type, 0 if the type has none): an fd or negative errno. */
int bpf_load(enum bpf_prog_type type, enum bpf_attach_type attach, const struct bpf_insn *insns, size_t n);

#endif
