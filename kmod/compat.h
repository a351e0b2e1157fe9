/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that the module builds for (6.1 and 6.12) is settled here.
 */
#ifndef MICROVM_COMPAT_H
#define MICROVM_COMPAT_H

#include <linux/eventfd.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "microvm needs Linux 6.1 or newer"
#endif

static inline void compat_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx, 1);
#else
	eventfd_signal(ctx);
#endif
}

typedef unsigned long compat_shrink_fn(struct shrinker *shrinker, struct shrink_control *sc);

/* NULL: no memory. */
static inline struct shrinker *compat_shrinker_new(const char *name, compat_shrink_fn *count,
						   compat_shrink_fn *scan, long batch)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	struct shrinker *s = kzalloc(sizeof(*s), GFP_KERNEL);
#else
	struct shrinker *s = shrinker_alloc(0, "%s", name);
#endif

	if (!s)
		return NULL;
	s->count_objects = count;
	s->scan_objects = scan;
	s->batch = batch;
	s->seeks = DEFAULT_SEEKS;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	if (register_shrinker(s, "%s", name)) {
		kfree(s);
		return NULL;
	}
#else
	shrinker_register(s);
#endif
	return s;
}

static inline void compat_shrinker_free(struct shrinker *s)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	unregister_shrinker(s);
	kfree(s);
#else
	shrinker_free(s);
#endif
}

#endif
