/* SPDX-License-Identifier: Apache-2.0 */
/* A terminal for an engine: it has the master's side, and what we do at the slave's is what the guest's terminal does. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/terminal.h"

/* The name of the terminal goes with it, as runc does it. */
static int send_fd(const char *path, int fd, char *name, struct err *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = "" };
	struct iovec iov = { .iov_base = name, .iov_len = strlen(name) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(e, ENAMETOOLONG, "--console-socket %s: a socket's path has at most %zu bytes", path,
			       sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sock < 0 || connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    sendmsg(sock, &msg, MSG_NOSIGNAL) < 0)
		return err_errno(e, errno, "--console-socket %s", path);
	return 0;
}

int terminal_to_engine(const char *socket_path, struct err *e)
{
	_cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	_cleanup_close_ int slave = -1;
	struct termios t;
	char name[64];
	int i, r;

	if (master < 0 || grantpt(master) || unlockpt(master) || ptsname_r(master, name, sizeof(name)))
		return err_errno(e, errno, "cannot make a terminal");
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &t) < 0)
		return err_errno(e, errno, "cannot open the terminal %s", name);
	cfmakeraw(&t);
	if (tcsetattr(slave, TCSANOW, &t) < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_errno(e, errno, "cannot take the terminal %s", name);
	r = send_fd(socket_path, master, name, e);
	for (i = 0; !r && i < 3; i++)
		if (dup2(slave, i) < 0)
			r = err_errno(e, errno, "cannot use the terminal %s", name);
	return r;
}
