/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few I/O ports that there are: a reset (0x64), power off (GUEST_POWEROFF_PORT) and a serial port that only speaks,
 * for what a kernel has to say before it has a console, and when it panics. All other ports read as ones.
 */
#ifndef VMM_PORTS_H
#define VMM_PORTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/ending.h"

#define UART_LINE_MAX 512u

struct ports {
	struct ending *ending;
	int log_fd;	      /* where serial lines go */
	pthread_mutex_t lock; /* guards the rest: several vCPUs may write */
	uint8_t lcr, ier, mcr, scratch;
	char line[UART_LINE_MAX];
	uint32_t line_n;
	uint32_t logged_bytes;
};

void ports_init(struct ports *ports, struct ending *ending, int log_fd);
/* len: 1, 2 or 4 bytes at data. From any vCPU thread. */
void ports_in(struct ports *ports, uint16_t port, void *data, unsigned int len);
void ports_out(struct ports *ports, uint16_t port, const void *data, unsigned int len);
/* What of a last line is still without its end. */
void ports_flush(struct ports *ports);

#endif
