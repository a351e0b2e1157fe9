/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>

#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/sandbox.h"

#define AT(member) offsetof(struct run_options, member)
#define NO_NETWORK "a sandbox has no network device yet; containers have the loopback only"

static const struct opt opts[] = {
	{ "interactive", 'i', OPT_FLAG, 0, NULL, "connect the container's stdin to ours", AT(process.interactive) },
	{ "tty", 't', OPT_FLAG, 0, NULL, "give the container a terminal", AT(process.tty) },
	{ "detach", 'd', OPT_FLAG, 0, NULL, "leave it in the background and print its id", AT(process.detach) },
	{ "rm", 0, OPT_FLAG, 0, NULL, "forget it as soon as it has ended", AT(remove) },
	{ "name", 0, OPT_STRING, 0, "NAME", "name of the sandbox", AT(name) },
	{ "env", 'e', OPT_LIST, 0, "K=V", "set a variable; K alone passes ours on", AT(process.env) },
	{ "env-file", 0, OPT_LIST, WORD_FILE, "FILE", "variables from a file, one a line", AT(process.env_file) },
	{ "workdir", 'w', OPT_STRING, 0, "DIR", "working directory", AT(process.workdir) },
	{ "user", 'u', OPT_STRING, 0, "USER", "NAME|UID[:GROUP|GID]", AT(process.user) },
	{ "entrypoint", 0, OPT_STRING, 0, "PROGRAM", "in place of the image's", AT(entrypoint) },
	{ "hostname", 'h', OPT_STRING, 0, "NAME", "hostname; the short id if not given", AT(hostname) },
	{ "domainname", 0, OPT_STRING, 0, "NAME", "NIS domain name", AT(domainname) },
	{ "add-host", 0, OPT_LIST, 0, "HOST:IP", "a line for /etc/hosts", AT(add_host) },
	{ "cpus", 0, OPT_CPUS, 0, "N", "CPUs; a fraction is a quota on the next whole number", AT(nano_cpus) },
	{ "memory", 'm', OPT_SIZE, 0, "SIZE", "memory of the VM (256m)", AT(mem_bytes) },
	{ "memory-min", 0, OPT_SIZE, 0, "SIZE", "left to it when the host is short of memory (all)",
	  AT(mem_min_bytes) },
	{ "pids-limit", 0, OPT_NUMBER, 0, "N", "most processes; -1: no limit", AT(pids_limit) },
	{ "rootfs", 0, OPT_STRING, WORD_FILE, "DIR[:O]",
	  "a folder of the host as the root, in place of IMAGE; O: what is written is dropped", AT(rootfs) },
	{ "read-only", 0, OPT_FLAG, 0, NULL, "the root file system can't be written", AT(read_only) },
	{ "tmpfs", 0, OPT_LIST, 0, "PATH[:OPTS]", "mount a tmpfs", AT(tmpfs) },
	{ "volume", 'v', OPT_LIST, WORD_FILE, "[SOURCE:]TARGET[:ro]",
	  "share a folder or file of the host, a volume by its name, or a new volume", AT(volume) },
	{ "mount", 0, OPT_LIST, 0, "type=TYPE,…",
	  "type=bind|volume|tmpfs,source=…,target=…[,readonly][,volume-nocopy][,tmpfs-size=…]", AT(mount) },
	{ "disk", 0, OPT_LIST, WORD_FILE, "FILE[:WORDS]",
	  "a raw disk as /dev/vdb, /dev/vdc …; WORDS: ro, direct, serial=TEXT", AT(disk) },
	{ "shm-size", 0, OPT_SIZE, 0, "SIZE", "size of /dev/shm (64m)", AT(shm_bytes) },
	{ "storage-opt", 0, OPT_LIST, 0, "size=SIZE", "limit of what can be written to the root (half of the memory)",
	  AT(storage_opt) },
	{ "cap-add", 0, OPT_LIST, 0, "CAP", "add a capability, or ALL", AT(cap_add) },
	{ "cap-drop", 0, OPT_LIST, 0, "CAP", "drop a capability, or ALL", AT(cap_drop) },
	{ "security-opt", 0, OPT_LIST, 0, "OPT", "no-new-privileges, seccomp=FILE|unconfined", AT(security_opt) },
	{ "privileged", 0, OPT_FLAG, 0, NULL, "all capabilities and devices of the guest", AT(process.privileged) },
	{ "group-add", 0, OPT_LIST, 0, "GROUP", "further group", AT(group_add) },
	{ "ulimit", 0, OPT_LIST, 0, "NAME=SOFT[:HARD]", "resource limit", AT(ulimit) },
	{ "sysctl", 0, OPT_LIST, 0, "NAME=VALUE", "kernel parameter of the guest", AT(sysctl) },
	{ "oom-score-adj", 0, OPT_STRING, 0, "N", "-1000..1000", AT(oom_score_adj) },
	{ "label", 'l', OPT_LIST, 0, "K=V", "metadata for ps and inspect", AT(labels) },
	{ "annotation", 0, OPT_LIST, 0, "K=V", "annotation of the OCI spec", AT(annotation) },
	{ "stop-signal", 0, OPT_STRING, 0, "SIGNAL", "what asks it to stop (SIGTERM)", AT(stop_signal) },
	{ "stop-timeout", 0, OPT_DURATION, 0, "TIME", "how long it may take to stop (10s)", AT(stop_timeout_ns) },
	{ "timeout", 0, OPT_DURATION, 0, "TIME", "kill it after that time", AT(timeout_ns) },
	{ "sig-proxy", 0, OPT_FLAG, 0, NULL, "pass signals on to the container (true)", AT(sig_proxy) },
	{ "cidfile", 0, OPT_STRING, WORD_FILE, "FILE", "write the id there", AT(cidfile) },
	{ "network", 0, OPT_STRING, 0, "none", "only none is there yet", AT(network) },
	{ "net", 0, OPT_STRING, 0, "none", "the same", AT(network) },
	{ "config", 0, OPT_STRING, WORD_FILE, "FILE", "an OCI config.json in place of the options about the container",
	  AT(config) },
	{ "kernel", 0, OPT_STRING, WORD_FILE, "FILE", "vmlinux with PVH entry in place of ours", AT(kernel) },
	{ "initramfs", 0, OPT_STRING, WORD_FILE, "FILE", "initramfs with a microvm-agent in place of ours",
	  AT(initramfs) },
	{ "rootfs-device", 0, OPT_STRING, WORD_ROOT_DEVICE, "blk|pmem",
	  "how the guest has the image: as a disk (blk), or as memory (pmem)", AT(rootfs_device) },
	{ "kernel-args", 0, OPT_STRING, 0, "WORDS", "more words for the kernel's command line", AT(kernel_args) },
	{ "vsock", 0, OPT_STRING, 0, "PATH", "streams go through the VMM (user), our kernel module (kernel), or vhost",
	  AT(vsock) },
	{ "balloon", 0, OPT_STRING, 0, "PATH", "memory goes back by the VMM (user) or the kernel module (kernel)",
	  AT(balloon) },
	{ "boot-timeout", 0, OPT_DURATION, 0, "TIME", "how long the guest may take to boot (60s)",
	  AT(boot_timeout_ns) },
	{ "debug-console", 0, OPT_FLAG, 0, NULL, "show the guest's console on stderr", AT(debug_console) },
	{ "publish", 'p', OPT_REFUSED, 0, NULL, NO_NETWORK, 0 },
	{ "publish-all", 'P', OPT_REFUSED, 0, NULL, NO_NETWORK, 0 },
	{ "dns", 0, OPT_REFUSED, 0, NULL, NO_NETWORK, 0 },
	{ "device", 0, OPT_REFUSED, 0, NULL, "a guest has no device of the host", 0 },
	{ "gpus", 0, OPT_REFUSED, 0, NULL, "a guest has no device of the host", 0 },
	{ "pid", 0, OPT_REFUSED, 0, NULL, "a guest has no namespace of the host", 0 },
	{ "ipc", 0, OPT_REFUSED, 0, NULL, "a guest has no namespace of the host", 0 },
	{ "userns", 0, OPT_REFUSED, 0, NULL, "a guest has no namespace of the host", 0 },
	{ "restart", 0, OPT_REFUSED, 0, NULL, "there is no daemon that would restart it", 0 },
};

static const struct run_options defaults = RUN_OPTIONS_INIT;

static int run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct sandbox_paths paths = { .state = global->state, .store = global->store };
	struct run_options *o = options;

	if (!o->rootfs && !argc)
		return err_set(e, EINVAL, "run wants an image, or --rootfs DIR; see microvm run --help");
	o->image = o->rootfs ? NULL : argv[0];
	o->command = o->rootfs ? argv : argv + 1;
	return sandbox_run(&paths, o, global->timings, e);
}

const struct command cmd_run = {
	.name = "run",
	.synopsis = "IMAGE|--rootfs DIR [COMMAND [ARG…]]",
	.help = "run a command of an image in a new microVM",
	.opts = opts,
	.opts_n = ARRAY_SIZE(opts),
	.options_size = sizeof(struct run_options),
	.defaults = &defaults,
	.word = WORD_IMAGE,
	.min_args = 0, /* none with --rootfs */
	.max_args = -1,
	.stops_at_argument = true,
	.fail_status = SANDBOX_EXIT_ERROR,
	.run = run,
};
