/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a pid namespace is spared every signal that it has no handler for (signal(7), pid_namespaces(7)),
 * so `sleep` as a container's command would hear no SIGTERM and no Ctrl-C. Here it ends as it would anywhere else.
 */
#ifndef AGENT_INIT_SIGNAL_H
#define AGENT_INIT_SIGNAL_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Whether signal would end process pid by its default action, and the kernel spares it only as PID 1 of its namespace:
 * it neither handles, nor ignores, nor blocks it.
 */
bool init_signal_spared(pid_t pid, int signal);
/* The same, of the text of /proc/PID/status. For tests. */
bool init_signal_spared_status(const char *status, int signal);

#endif
