/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/ports.h"

#include <string.h>
#include <unistd.h>

#include "base/guest.h"
#include "base/util.h"

#define RESET_PORT 0x64u /* the keyboard controller's command 0xfe pulses the CPU's reset line */
#define RESET_COMMAND 0xfeu
/*
 * Its status. A driver that probes for a keyboard reads output without end, and so finds none; a kernel that waits to
 * reset sees room for its command at once.
 */
#define RESET_PORT_STATUS 0xfdu

/* 16550's registers, by offset from the port; DLAB in LCR makes the first two a divisor. */
#define UART_PORT 0x3f8u
#define UART_PORTS 8u
enum { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };
#define LCR_DLAB 0x80u
#define IIR_NO_INTERRUPT 0x01u
#define LSR_EMPTY 0x60u /* transmitter empty, in both places */
#define MSR_READY 0xb0u /* carrier, data set ready, clear to send */

/* A guest that talks without end must not fill the host's disk. */
#define LOG_MAX_BYTES (256u << 10)

void ports_init(struct ports *ports, struct ending *ending, int log_fd)
{
	memset(ports, 0, sizeof(*ports));
	ports->ending = ending;
	ports->log_fd = log_fd;
	pthread_mutex_init(&ports->lock, NULL);
}

static void log_bytes(struct ports *ports, const char *data, size_t len)
{
	/* A log that can't be written is no reason to stop the guest. */
	if (ports->log_fd >= 0 && write(ports->log_fd, data, len) < 0)
		return;
}

static void end_line(struct ports *ports)
{
	static const char full[] = "(more from the guest's serial port is not kept)\n";

	if (!ports->line_n)
		return;
	ports->line[ports->line_n] = 0;
	ending_console_line(ports->ending, ports->line);
	if (ports->logged_bytes < LOG_MAX_BYTES) {
		ports->logged_bytes += ports->line_n + 1;
		ports->line[ports->line_n++] = '\n';
		log_bytes(ports, ports->line, ports->line_n);
		if (ports->logged_bytes >= LOG_MAX_BYTES)
			log_bytes(ports, full, sizeof(full) - 1);
	}
	ports->line_n = 0;
}

static void uart_send(struct ports *ports, unsigned char c)
{
	if (c == '\n' || ports->line_n == UART_LINE_MAX - 2)
		end_line(ports);
	if (c == '\t')
		c = ' ';
	/* Nothing reaches a terminal that could drive it. */
	if (c >= 0x20 && c < 0x7f)
		ports->line[ports->line_n++] = (char)c;
}

static void uart_write(struct ports *ports, unsigned int reg, uint8_t value)
{
	switch (reg) {
	case UART_DATA:
		if (!(ports->lcr & LCR_DLAB))
			uart_send(ports, value);
		break;
	case UART_IER:
		if (!(ports->lcr & LCR_DLAB))
			ports->ier = value & 0xf;
		break;
	case UART_LCR: ports->lcr = value; break;
	case UART_MCR: ports->mcr = value & 0x1f; break;
	case UART_SCRATCH: ports->scratch = value; break;
	default: break;
	}
}

static uint8_t uart_read(const struct ports *ports, unsigned int reg)
{
	switch (reg) {
	case UART_IER: return ports->lcr & LCR_DLAB ? 0 : ports->ier;
	case UART_IIR: return IIR_NO_INTERRUPT;
	case UART_LCR: return ports->lcr;
	case UART_MCR: return ports->mcr;
	case UART_LSR: return LSR_EMPTY;
	case UART_MSR: return MSR_READY;
	case UART_SCRATCH: return ports->scratch;
	default: return 0;
	}
}

static bool is_uart(uint16_t port)
{
	return port >= UART_PORT && port < UART_PORT + UART_PORTS;
}

void ports_in(struct ports *ports, uint16_t port, void *data, unsigned int len)
{
	memset(data, 0xff, len);
	if (port == RESET_PORT)
		*(uint8_t *)data = RESET_PORT_STATUS;
	if (!is_uart(port))
		return;
	pthread_mutex_lock(&ports->lock);
	*(uint8_t *)data = uart_read(ports, port - UART_PORT);
	pthread_mutex_unlock(&ports->lock);
}

void ports_out(struct ports *ports, uint16_t port, const void *data, unsigned int len)
{
	uint32_t value = 0;

	memcpy(&value, data, min_t(unsigned int, len, sizeof(value)));
	if (is_uart(port)) {
		pthread_mutex_lock(&ports->lock);
		uart_write(ports, port - UART_PORT, (uint8_t)value);
		pthread_mutex_unlock(&ports->lock);
	} else if (port == RESET_PORT && (uint8_t)value == RESET_COMMAND) {
		ending_set(ports->ending, VM_END_RESET, "%s", "");
	} else if (port == GUEST_POWEROFF_PORT && value == GUEST_POWEROFF_VALUE) {
		ending_set(ports->ending, VM_END_SHUTDOWN, "%s", "");
	}
}

void ports_flush(struct ports *ports)
{
	pthread_mutex_lock(&ports->lock);
	end_line(ports);
	pthread_mutex_unlock(&ports->lock);
}
