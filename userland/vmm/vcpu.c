/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "vmm/x86/cpu.h"
#include "vmm/x86/cpuid.h"

/* What a vCPU thread keeps on its stack is small; a thread's share of the VMM's memory is to be, too. */
#define STACK_BYTES (64u << 10)
#define KICK_EVERY_MS 10u

static int create_one(struct vcpu_set *set, struct kvm *kvm, unsigned int id, struct cpuid_table *cpuid, struct err *e)
{
	struct vcpu *v = &set->vcpus[id];

	v->set = set;
	v->id = id;
	v->run_bytes = kvm->run_bytes;
	if (kvm_create_vcpu(kvm, id, &v->fd, &v->run, e))
		return -e->code;
	cpuid_adapt(cpuid, kvm, id, set->n);
	if (ioctl(v->fd, KVM_SET_CPUID2, cpuid))
		return err_errno(e, errno, "KVM_SET_CPUID2");
	return cpu_set_msrs(v->fd, e);
}

int vcpus_create(struct vcpu_set *set, struct kvm *kvm, unsigned int n, const struct boot_entry *entry, struct err *e)
{
	struct cpuid_table cpuid;
	unsigned int i;

	set->vcpus = xcalloc(n, sizeof(*set->vcpus));
	for (i = 0; i < n; i++)
		set->vcpus[i].fd = -1;
	set->n = n;
	if (cpuid_host(kvm, &cpuid, e))
		return -e->code;
	for (i = 0; i < n; i++)
		if (create_one(set, kvm, i, &cpuid, e))
			return err_wrap(e, "vCPU %u", i);
	return cpu_set_entry(set->vcpus[0].fd, entry, e);
}

static void serve_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	char *data = (char *)run + run->io.data_offset;
	uint32_t i;

	/* KVM keeps count * size within its page. */
	for (i = 0; i < run->io.count; i++, data += run->io.size)
		if (run->io.direction == KVM_EXIT_IO_OUT)
			ports_out(v->set->ports, run->io.port, data, run->io.size);
		else
			ports_in(v->set->ports, run->io.port, data, run->io.size);
}

static void serve_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	if (run->mmio.is_write)
		bus_write(v->set->bus, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(v->set->bus, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

/* The instruction that KVM could not go on with, in hex, if it says so. */
static void hex_insn(const struct kvm_run *run, char out[48])
{
	unsigned int i, n = 0;

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->emulation_failure.ndata >= 3 &&
	    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		n = min_t(unsigned int, run->emulation_failure.insn_size, sizeof(run->emulation_failure.insn_bytes));
	out[0] = 0;
	for (i = 0; i < n; i++)
		snprintf(out + 3 * i, 4, " %02x", run->emulation_failure.insn_bytes[i]);
}

static void serve_failure(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	char insn[48];

	switch (run->exit_reason) {
	case KVM_EXIT_FAIL_ENTRY:
		ending_set(v->set->ending, VM_END_ERROR, "vCPU %u: KVM can't enter the guest, reason 0x%llx", v->id,
			   (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		hex_insn(run, insn);
		ending_set(v->set->ending, VM_END_ERROR, "vCPU %u: KVM gave up, internal error %u%s%s", v->id,
			   run->internal.suberror, insn[0] ? " at instruction" : "", insn);
		break;
	default:
		ending_set(v->set->ending, VM_END_ERROR,
			   "vCPU %u: KVM left the guest for a reason that is not known, %u", v->id, run->exit_reason);
		break;
	}
}

static void serve_event(struct vcpu *v)
{
	const bool reset = v->run->system_event.type == KVM_SYSTEM_EVENT_RESET;

	ending_set(v->set->ending, reset ? VM_END_RESET : VM_END_SHUTDOWN, "%s", "");
}

/* One exit. false: this vCPU has nothing more to do. */
static bool serve(struct vcpu *v)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO: serve_io(v); return true;
	case KVM_EXIT_MMIO: serve_mmio(v); return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN: return true;
	case KVM_EXIT_SHUTDOWN: ending_set(v->set->ending, VM_END_TRIPLE_FAULT, "vCPU %u", v->id); return false;
	case KVM_EXIT_SYSTEM_EVENT: serve_event(v); return false;
	default: serve_failure(v); return false;
	}
}

static void run_guest(struct vcpu *v)
{
	/* A guest that has powered off, or reset, runs no further instruction. */
	while (!atomic_load_explicit(&v->set->stop, memory_order_relaxed) && !ending_is_set(v->set->ending)) {
		int r = ioctl(v->fd, KVM_RUN, 0);
		int code = errno;

		/* Only this thread writes it, so this need not be one atomic step. */
		atomic_store_explicit(&v->exits, atomic_load_explicit(&v->exits, memory_order_relaxed) + 1,
				      memory_order_relaxed);
		if (r < 0 && code != EINTR && code != EAGAIN) {
			ending_set(v->set->ending, VM_END_ERROR, "vCPU %u: KVM_RUN: %s", v->id, strerrordesc_np(code));
			break;
		}
		if (r == 0 && !serve(v))
			break;
	}
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct vcpu_set *set = v->set;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	atomic_store(&v->tid, gettid());
	if (set->prepare(set->prepare_arg) == 0)
		run_guest(v);
	if (atomic_fetch_sub(&set->running, 1) == 1)
		tgkill(set->ending->pid, set->ending->main_tid, ENDING_SIGNAL);
	/* The process ends next, so the C library's tidying, and the system calls it takes, are spared. */
	syscall(SYS_exit, 0);
	return NULL;
}

/* Its only purpose is that KVM_RUN, or a write to a log that nobody reads, returns. */
static void on_kick(int sig) {}

int vcpus_start(struct vcpu_set *set, struct err *e)
{
	const struct sigaction kick = { .sa_handler = on_kick };
	sigset_t kicks, old;
	pthread_attr_t attr;
	pthread_t thread;
	unsigned int i;
	int r = 0;

	sigaction(VCPU_KICK_SIGNAL, &kick, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* The threads inherit a mask that lets kicks through. */
	sigemptyset(&kicks);
	sigaddset(&kicks, VCPU_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kicks, &old);
	for (i = 0; i < set->n && !r; i++) {
		atomic_fetch_add(&set->running, 1);
		r = pthread_create(&thread, &attr, vcpu_main, &set->vcpus[i]);
		if (r) {
			atomic_fetch_sub(&set->running, 1);
			err_errno(e, r, "starting the thread of vCPU %u", i);
		}
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r ? -e->code : 0;
}

bool vcpus_stop(struct vcpu_set *set, unsigned int timeout_ms)
{
	const struct timespec every = { .tv_nsec = KICK_EVERY_MS * 1000000l };
	unsigned int waited_ms = 0, i;
	sigset_t left;

	sigemptyset(&left);
	sigaddset(&left, ENDING_SIGNAL);
	atomic_store(&set->stop, true);
	while (atomic_load(&set->running)) {
		if (waited_ms >= timeout_ms)
			return false;
		/* A kick that comes between the check of stop and KVM_RUN is not lost: immediate_exit is read after it. */
		for (i = 0; i < set->n; i++) {
			pid_t tid = atomic_load(&set->vcpus[i].tid);

			set->vcpus[i].run->immediate_exit = 1;
			if (tid)
				tgkill(set->ending->pid, tid, VCPU_KICK_SIGNAL);
		}
		if (sigtimedwait(&left, NULL, &every) < 0)
			waited_ms += KICK_EVERY_MS;
	}
	return true;
}

uint64_t vcpus_exits(const struct vcpu_set *set)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < set->n; i++)
		sum += atomic_load_explicit(&set->vcpus[i].exits, memory_order_relaxed);
	return sum;
}

void vcpus_free(struct vcpu_set *set)
{
	unsigned int i;

	for (i = 0; set->vcpus && i < set->n; i++) {
		if (set->vcpus[i].run)
			munmap(set->vcpus[i].run, set->vcpus[i].run_bytes);
		if (set->vcpus[i].fd >= 0)
			close(set->vcpus[i].fd);
	}
	free(set->vcpus);
	set->vcpus = NULL;
	set->n = 0;
}
