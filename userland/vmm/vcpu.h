/* SPDX-License-Identifier: Apache-2.0 */
/* vCPUs: one thread each, that enters the guest, and serves what it leaves it for. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "vmm/bus.h"
#include "vmm/ending.h"
#include "vmm/kvm.h"
#include "vmm/ports.h"
#include "vmm/x86/boot.h"

#define VCPU_KICK_SIGNAL SIGUSR1

struct vcpu_set;

struct vcpu {
	struct vcpu_set *set;
	unsigned int id;
	int fd;
	uint32_t run_bytes;
	struct kvm_run *run;
	_Atomic pid_t tid;
	atomic_ullong exits; /* returns of KVM_RUN */
};

struct vcpu_set {
	struct vcpu *vcpus;
	unsigned int n;
	struct bus *bus;
	struct ports *ports;
	struct ending *ending;
	/* Called in each vCPU's thread before the guest's first instruction; 0, or the thread leaves. May wait. */
	int (*prepare)(void *arg);
	void *prepare_arg;
	atomic_bool stop;
	atomic_uint running;
};

/* Creates n vCPUs, the first at entry. set's bus, ports, ending and prepare are filled by the caller. */
int vcpus_create(struct vcpu_set *set, struct kvm *kvm, unsigned int n, const struct boot_entry *entry, struct err *e);
/* Starts the threads. On failure those that run are stopped by vcpus_stop. */
int vcpus_start(struct vcpu_set *set, struct err *e);
/* No vCPU enters its guest again. Returns when all have left it, or false after timeout_ms. */
bool vcpus_stop(struct vcpu_set *set, unsigned int timeout_ms);
uint64_t vcpus_exits(const struct vcpu_set *set);
void vcpus_free(struct vcpu_set *set);

#endif
