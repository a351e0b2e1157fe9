// SPDX-License-Identifier: GPL-2.0-only
/*
 * When the host is short of memory: each session that has pages to spare hears how many are wanted, by its eventfd. What
 * its guest can do without takes time to come, so nothing is freed here. A shrinker runs wherever memory is asked for,
 * also below a session's lock; what it touches has a spinlock of its own.
 */
#include <linux/eventfd.h>

#include "compat.h"
#include "session.h"

#define BATCH_PAGES 512

static LIST_HEAD(sessions);
static DEFINE_SPINLOCK(pressure_lock);
static struct shrinker *shrinker;

static unsigned long count(struct shrinker *unused, struct shrink_control *sc)
{
	struct pressure *p;
	u64 n = 0;

	spin_lock(&pressure_lock);
	list_for_each_entry(p, &sessions, node)
		n += p->spare;
	spin_unlock(&pressure_lock);
	return min_t(u64, n, LONG_MAX);
}

/* All hear the same: who is to go first is decided by those who know whether their guests are idle. */
static unsigned long scan(struct shrinker *unused, struct shrink_control *sc)
{
	unsigned long n, most = 0;
	struct pressure *p;

	spin_lock(&pressure_lock);
	list_for_each_entry(p, &sessions, node) {
		n = min_t(u64, sc->nr_to_scan, p->spare);
		if (!n)
			continue;
		p->spare -= n;
		p->wanted += n;
		most = max(most, n);
		compat_eventfd_signal(p->bell);
	}
	spin_unlock(&pressure_lock);
	return most ?: SHRINK_STOP;
}

int pressure_exchange(struct session *s, struct microvm_pressure *with)
{
	struct pressure *p = &s->pressure;
	struct eventfd_ctx *bell = NULL;

	if (with->flags || (p->bell ? with->event_fd != -1 : with->event_fd < 0))
		return -EINVAL;
	if (!p->bell) {
		bell = eventfd_ctx_fdget(with->event_fd);
		if (IS_ERR(bell))
			return PTR_ERR(bell);
	}
	spin_lock(&pressure_lock);
	if (bell) {
		p->bell = bell;
		list_add_tail(&p->node, &sessions);
	}
	p->spare = min_t(u64, with->spare_pages, U32_MAX);
	with->wanted_pages = p->wanted;
	p->wanted = 0;
	spin_unlock(&pressure_lock);
	return 0;
}

void pressure_end(struct session *s)
{
	struct pressure *p = &s->pressure;

	if (!p->bell)
		return;
	spin_lock(&pressure_lock);
	list_del(&p->node);
	spin_unlock(&pressure_lock);
	eventfd_ctx_put(p->bell);
	p->bell = NULL;
}

int pressure_init(void)
{
	shrinker = compat_shrinker_new("microvm", count, scan, BATCH_PAGES);
	return shrinker ? 0 : -ENOMEM;
}

void pressure_exit(void)
{
	compat_shrinker_free(shrinker);
}
