/* SPDX-License-Identifier: Apache-2.0 */
/* microvm-agent: /init of the guest. It never returns, as the end of PID 1 is the end of the kernel. */
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "guest-agent/init.h"
#include "guest-agent/server.h"

#define RING_ENTRIES 64
#define STOP_GRACE_NS 2000000000ull

static struct init_words words;

static void end(const char *reason, void *arg)
{
	log_debug("power off: %s", reason);
	poweroff();
}

static void give_up(const char *what, const struct err *e)
{
	log_error("%s: %s", what, e->msg);
	poweroff();
}

static void connecting(void *arg)
{
	if (words.ready_reboot)
		poweroff();
}

int main(int argc, char **argv)
{
	static struct server server;
	static struct server_config config = {
		.transport = &transport_vsock,
		.transport_arg = &words,
		.connecting = connecting,
		.over = end,
		.stop_grace_ns = STOP_GRACE_NS,
	};
	struct err e = ERR_INIT;
	struct loop *loop;
	int r;

	log_init("microvm-agent", LOG_WARN);
	if (getpid() != 1) {
		log_error("this is the /init of a microvm guest; nothing is for it to do here");
		return 1;
	}
	if (init_early(&words, &e) < 0)
		give_up("init", &e);
	if (words.debug)
		log_init("microvm-agent", LOG_DEBUG);
	config.control_port = words.port;
	/* The order makes the boot short: first the host is told, then all else is done while it answers. */
	if (server_open(&server, &config, &e) < 0) {
		if (words.ready_reboot)
			poweroff();
		give_up("no way to the host", &e);
	}
	if (init_late(&e) < 0)
		give_up("init", &e);
	r = loop_new(&loop, RING_ENTRIES, 0);
	if (r < 0) {
		err_errno(&e, r, "io_uring");
		give_up("event loop", &e);
	}
	if (server_start(&server, loop, &e) < 0)
		give_up("server", &e);
	log_debug("serving");
	r = loop_run(loop);
	log_error("event loop: %s", strerror(-r));
	poweroff();
}
