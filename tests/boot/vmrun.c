/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmrun: boots a kernel under microvm-vmm and says how that ended and how long it took. For developers, tests and bench;
 * it is what `microvm run` does below the image and above the VMM, without the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"
#include "base/vmspec.h"
#include "sandbox/module_path.h"
#include "sandbox/vhost.h"
#include "sandbox/vmm.h"

#define DISKS_MAX 8
#define AGENT_LIMIT_MS 120000

static const char help[] =
	"usage: vmrun --kernel FILE [option…]\n"
	"  --vmm FILE          microvm-vmm (beside vmrun's folder, in bin/)\n"
	"  --initramfs FILE\n"
	"  --append WORDS      kernel command line\n"
	"  --mem SIZE          guest memory (128m)\n"
	"  --cpus N            vCPUs (1)\n"
	"  --disk FILE[:ro][:direct]\n"
	"                      a virtio-blk device; may be repeated\n"
	"  --blk-queues N      queues of each disk (1)\n"
	"  --fs-socket PATH    a virtio-fs device, tag \"share\"; its vhost-user back end listens at PATH\n"
	"  --pmem FILE         a virtio-pmem device, read-only; may be repeated\n"
	"  --vsock PATH        a virtio-vsock device; host side: a Unix socket made at PATH\n"
	"  --vsock-path PATH   user (the VMM), kernel (the module moves the payload), or vhost (a link \"cid:N\" is "
	"made\n"
	"                      at --vsock's PATH then; without --agent)\n"
	"  --balloon PATH      a virtio-balloon device; base/balloon.h's socket is made at PATH\n"
	"  --balloon-path PATH user (the VMM), or kernel (the module serves its queues)\n"
	"  --rng               a virtio-rng device\n"
	"  --console           a virtio console on stdout\n"
	"  --agent             wait for the agent on host port 1, say when it answered, then let it power off\n"
	"  --agent-stay        the same, and leave the guest as it is until vmrun's stdin ends\n"
	"  --term-after MS     SIGTERM to the VMM after that time\n"
	"  --grace MS          how long a guest may take to stop (10000)\n"
	"  --uid N             uid and gid in the jail (65533)\n"
	"  --no-jail           for debuggers\n"
	"Exit status: microvm-vmm's.\n";

struct options {
	const char *vmm, *kernel, *initramfs, *append, *vsock, *vsock_path, *fs_socket, *balloon, *balloon_path;
	const char *disks[DISKS_MAX];
	const char *pmems[DISKS_MAX];
	size_t disks_n, pmems_n;
	uint64_t mem_bytes, cpus, blk_queues, term_after_ms, grace_ms, uid;
	bool rng, console, agent, agent_stay, no_jail;
};

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "vmrun: %s: %s\n", what, why);
	exit(125);
}

static int open_or_fail(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		fail(path, strerror(errno));
	return fd;
}

/* FILE with words behind colons, which are taken off. */
static void add_disk(struct vmspec *spec, const char *arg, uint64_t queues)
{
	_cleanup_free_ char *path = xstrdup(arg);
	struct vmspec_device *dev = vmspec_add(spec, VMSPEC_BLK);
	char *word;

	while ((word = strrchr(path, ':')) && (str_eq(word, ":ro") || str_eq(word, ":direct"))) {
		dev->flags |= str_eq(word, ":ro") ? VMSPEC_BLK_READONLY : VMSPEC_BLK_DIRECT;
		*word = 0;
	}
	dev->blk.fd = open_or_fail(path, (dev->flags & VMSPEC_BLK_READONLY ? O_RDONLY : O_RDWR) |
						 (dev->flags & VMSPEC_BLK_DIRECT ? O_DIRECT : 0));
	dev->blk.queues = (uint32_t)queues;
}

static void fill_addr(struct sockaddr_un *addr, const char *path)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path))
		fail(path, "too long for a socket");
	memcpy(addr->sun_path, path, strlen(path));
}

static void add_fs(struct vmspec *spec, const char *path)
{
	struct vmspec_device *dev = vmspec_add(spec, VMSPEC_FS);
	struct sockaddr_un addr;

	fill_addr(&addr, path);
	dev->fs.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (dev->fs.fd < 0 || connect(dev->fs.fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(path, strerror(errno));
	dev->fs.queues = 1;
	snprintf(dev->fs.tag, sizeof(dev->fs.tag), "share");
}

static void add_pmem(struct vmspec *spec, const char *path)
{
	struct vmspec_device *dev = vmspec_add(spec, VMSPEC_PMEM);

	dev->pmem.fd = open_or_fail(path, O_RDONLY);
	dev->flags = VMSPEC_PMEM_READONLY;
}

static int listen_at(const char *path, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;

	fill_addr(&addr, path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 16))
		fail(path, strerror(errno));
	return fd;
}

static void add_balloon(struct vmspec *spec, const struct options *o)
{
	struct vmspec_device *dev = vmspec_add(spec, VMSPEC_BALLOON);
	struct err e = ERR_INIT;

	dev->balloon.listen_fd = listen_at(o->balloon, SOCK_SEQPACKET);
	if (!module_path_choose(MODULE_BALLOON, o->balloon_path, MODULE_PATH_USER, &dev->balloon.module_fd, &e))
		fail("--balloon-path", e.msg);
}

/* The guest's CID is then in the place of the socket. */
static void give_to_vhost(struct vmspec_device *dev, const char *place)
{
	struct err e = ERR_INIT;
	uint32_t cid;

	if (!place)
		fail("--vsock-path vhost", "needs --vsock");
	unlink(place);
	if (vhost_take_cid(dev->vsock.module_fd, &cid, &e) || vhost_publish(AT_FDCWD, place, cid, &e))
		fail("--vsock-path vhost", e.msg);
	dev->vsock.guest_cid = cid;
	dev->vsock.vhost_fd = dev->vsock.module_fd;
	dev->vsock.module_fd = -1;
}

/* Returns our end of the stream that the agent's connect to host port 1 becomes, or -1. */
static int add_vsock(struct vmspec *spec, const struct options *o)
{
	struct vmspec_device *dev;
	struct err e = ERR_INIT;
	const char *path;
	int pair[2];

	if (!o->vsock && !o->agent)
		return -1;
	dev = vmspec_add(spec, VMSPEC_VSOCK);
	dev->vsock.guest_cid = 3;
	path = module_path_choose(MODULE_VSOCK, o->vsock_path, MODULE_PATH_USER, &dev->vsock.module_fd, &e);
	if (!path)
		fail("--vsock-path", e.msg);
	if (str_eq(path, MODULE_PATH_VHOST)) {
		give_to_vhost(dev, o->vsock);
		return -1;
	}
	if (o->vsock)
		dev->vsock.listen_fd = listen_at(o->vsock, SOCK_STREAM);
	if (!o->agent)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		fail("socketpair", strerror(errno));
	dev->vsock.ports_n = 1;
	dev->vsock.ports[0] = (struct vmspec_port){ .port = GUEST_CONTROL_PORT, .fd = pair[1] };
	return pair[0];
}

static int fill_spec(struct vmspec *spec, const struct options *o, int report_fd)
{
	size_t i;

	vmspec_init(spec);
	spec->vcpus = (uint32_t)o->cpus;
	spec->mem_bytes = ALIGN_UP(o->mem_bytes, 2ull << 20);
	spec->kvm_fd = open_or_fail("/dev/kvm", O_RDWR);
	spec->kernel_fd = open_or_fail(o->kernel, O_RDONLY);
	if (o->initramfs)
		spec->initramfs_fd = open_or_fail(o->initramfs, O_RDONLY);
	spec->report_fd = report_fd;
	spec->log_fd = 2;
	spec->parent_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	spec->uid = spec->gid = (uint32_t)o->uid;
	spec->flags = o->no_jail ? VMSPEC_NO_JAIL : 0;
	spec->stop_grace_ms = (uint32_t)o->grace_ms;
	if (snprintf(spec->cmdline, sizeof(spec->cmdline), "%s", o->append) >= (int)sizeof(spec->cmdline))
		fail("--append", "too long");
	for (i = 0; i < o->disks_n; i++)
		add_disk(spec, o->disks[i], o->blk_queues);
	if (o->fs_socket)
		add_fs(spec, o->fs_socket);
	for (i = 0; i < o->pmems_n; i++)
		add_pmem(spec, o->pmems[i]);
	if (o->balloon)
		add_balloon(spec, o);
	if (o->rng)
		vmspec_add(spec, VMSPEC_RNG)->rng.fd = open_or_fail("/dev/urandom", O_RDONLY);
	if (o->console)
		vmspec_add(spec, VMSPEC_CONSOLE)->console.out_fd = 1;
	return add_vsock(spec, o);
}

/* GetDetails as one ttrpc frame: length, stream 1, a request without flags; then Request{service, method}. */
static size_t make_request(char *frame)
{
	static const char service[] = GUEST_SERVICE, method[] = "GetDetails";
	const size_t service_n = sizeof(service) - 1, method_n = sizeof(method) - 1, len = 4 + service_n + method_n;
	char *p = frame;

	memcpy(p, (const char[]){ 0, 0, 0, (char)len, 0, 0, 0, 1, 1, 0 }, 10);
	p += 10;
	*p++ = 0x0a;
	*p++ = (char)service_n;
	memcpy(p, service, service_n);
	p += service_n;
	*p++ = 0x12;
	*p++ = (char)method_n;
	memcpy(p, method, method_n);
	return 10 + len;
}

static bool agent_answers(int fd)
{
	struct pollfd answer = { .fd = fd, .events = POLLIN };
	char frame[64], reply[4096];
	size_t len = make_request(frame);

	if (send(fd, frame, len, MSG_NOSIGNAL) != (ssize_t)len || poll(&answer, 1, AGENT_LIMIT_MS) != 1)
		return false;
	return recv(fd, reply, sizeof(reply), 0) > 10;
}

static double ms_since(uint64_t start_ns)
{
	return (double)(monotonic_ns() - start_ns) / 1e6;
}

static int watch(struct vmm *vmm, const struct options *o, int agent, int report_fd, uint64_t start_ns)
{
	struct pollfd ended = { .fd = vmm->pidfd, .events = POLLIN };
	struct vm_report report = { 0 };
	char c;

	if (agent >= 0) {
		if (agent_answers(agent))
			fprintf(stderr, "vmrun: agent ready after %.3f ms\n", ms_since(start_ns));
		else
			fprintf(stderr, "vmrun: no answer from the agent after %.3f ms\n", ms_since(start_ns));
		while (o->agent_stay && read(0, &c, 1) > 0)
			;
		close(agent);
	}
	if (o->term_after_ms && poll(&ended, 1, (int)o->term_after_ms) == 0)
		kill(vmm->pid, SIGTERM);
	vmm_reap(vmm);
	if (read(report_fd, &report, sizeof(report)) == (ssize_t)sizeof(report))
		fprintf(stderr, "vmrun: %s%s%s; %llu exits to userspace, %.3f ms\n", vm_end_name(report.end),
			report.msg[0] ? ": " : "", report.msg, (unsigned long long)report.exits, ms_since(start_ns));
	else
		fprintf(stderr, "vmrun: no report, status %d, %.3f ms\n", vmm->status, ms_since(start_ns));
	return vmm->status;
}

static uint64_t number(const char *name, const char *arg, uint64_t lo, uint64_t hi)
{
	uint64_t v;

	if (parse_u64(arg, lo, hi, &v))
		fail(name, "not a number in its range");
	return v;
}

enum {
	KERNEL = 256,
	VMM,
	INITRAMFS,
	APPEND,
	MEM,
	CPUS,
	DISK,
	PMEM,
	QUEUES,
	FS,
	VSOCK,
	VSOCK_PATH,
	BALLOON,
	BALLOON_PATH,
	RNG,
	CONSOLE,
	AGENT,
	STAY,
	TERM,
	GRACE,
	ID,
	FREE,
	HELP
};

static void set_option(struct options *o, int c)
{
	switch (c) {
	case KERNEL: o->kernel = optarg; break;
	case VMM: o->vmm = optarg; break;
	case INITRAMFS: o->initramfs = optarg; break;
	case APPEND: o->append = optarg; break;
	case FS: o->fs_socket = optarg; break;
	case VSOCK: o->vsock = optarg; break;
	case VSOCK_PATH: o->vsock_path = optarg; break;
	case BALLOON: o->balloon = optarg; break;
	case BALLOON_PATH: o->balloon_path = optarg; break;
	case RNG: o->rng = true; break;
	case CONSOLE: o->console = true; break;
	case STAY: o->agent_stay = true; /* fall through */
	case AGENT: o->agent = true; break;
	case FREE: o->no_jail = true; break;
	case CPUS: o->cpus = number("--cpus", optarg, 1, VMSPEC_VCPUS_MAX); break;
	case QUEUES: o->blk_queues = number("--blk-queues", optarg, 1, VMSPEC_VCPUS_MAX); break;
	case TERM: o->term_after_ms = number("--term-after", optarg, 1, 3600000); break;
	case GRACE: o->grace_ms = number("--grace", optarg, 0, 3600000); break;
	case ID: o->uid = number("--uid", optarg, 1, UINT32_MAX - 1); break;
	case MEM:
		if (parse_size(optarg, &o->mem_bytes))
			fail("--mem", "not a size");
		break;
	case DISK:
		if (o->disks_n == DISKS_MAX)
			fail("--disk", "too many");
		o->disks[o->disks_n++] = optarg;
		break;
	case PMEM:
		if (o->pmems_n == DISKS_MAX)
			fail("--pmem", "too many");
		o->pmems[o->pmems_n++] = optarg;
		break;
	default: fputs(help, c == HELP ? stdout : stderr); exit(c == HELP ? 0 : 125);
	}
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "kernel", 1, NULL, KERNEL },
		{ "vmm", 1, NULL, VMM },
		{ "initramfs", 1, NULL, INITRAMFS },
		{ "append", 1, NULL, APPEND },
		{ "mem", 1, NULL, MEM },
		{ "cpus", 1, NULL, CPUS },
		{ "disk", 1, NULL, DISK },
		{ "pmem", 1, NULL, PMEM },
		{ "blk-queues", 1, NULL, QUEUES },
		{ "fs-socket", 1, NULL, FS },
		{ "vsock", 1, NULL, VSOCK },
		{ "vsock-path", 1, NULL, VSOCK_PATH },
		{ "balloon", 1, NULL, BALLOON },
		{ "balloon-path", 1, NULL, BALLOON_PATH },
		{ "rng", 0, NULL, RNG },
		{ "console", 0, NULL, CONSOLE },
		{ "agent", 0, NULL, AGENT },
		{ "agent-stay", 0, NULL, STAY },
		{ "term-after", 1, NULL, TERM },
		{ "grace", 1, NULL, GRACE },
		{ "uid", 1, NULL, ID },
		{ "no-jail", 0, NULL, FREE },
		{ "help", 0, NULL, HELP },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		set_option(o, c);
	if (!o->kernel || optind < argc)
		set_option(o, '?');
}

/* build/tests/vmrun has its VMM in build/bin. */
static char *find_vmm(void)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	int i;

	if (n < 0)
		fail("/proc/self/exe", strerror(errno));
	self[n] = 0;
	for (i = 0; i < 2 && (slash = strrchr(self, '/')); i++)
		*slash = 0;
	return xasprintf("%s/bin/microvm-vmm", self);
}

int main(int argc, char **argv)
{
	struct options o = {
		.append = "", .mem_bytes = 128ull << 20, .cpus = 1, .blk_queues = 1, .grace_ms = 10000, .uid = 65533
	};
	struct err e = ERR_INIT;
	struct vmm vmm = VMM_INIT;
	static struct vmspec spec;
	_cleanup_free_ char *beside = find_vmm();
	int report[2], agent;
	uint64_t start_ns;

	parse(argc, argv, &o);
	if (pipe2(report, O_CLOEXEC))
		fail("pipe", strerror(errno));
	agent = fill_spec(&spec, &o, report[1]);
	start_ns = monotonic_ns();
	if (vmm_spawn(o.vmm ? o.vmm : beside, &spec, 2, &vmm, &e))
		fail("microvm-vmm", e.msg);
	close(report[1]);
	/* The VMM's end is the only one left, so that its death is the stream's end. */
	if (agent >= 0)
		close(spec.devices[spec.devices_n - 1].vsock.ports[0].fd);
	return watch(&vmm, &o, agent, report[0], start_ns);
}
