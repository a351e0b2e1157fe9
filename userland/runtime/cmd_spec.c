/* SPDX-License-Identifier: Apache-2.0 */
/* spec, features: what a bundle looks like, and what of the runtime spec there is. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/capability.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "runtime/runtime.h"

/* A shell in ./rootfs, as other runtimes write it. */
static const char example[] =
	"{\n"
	"\t\"ociVersion\": \"1.1.0\",\n"
	"\t\"process\": {\n"
	"\t\t\"terminal\": true,\n"
	"\t\t\"user\": {\"uid\": 0, \"gid\": 0},\n"
	"\t\t\"args\": [\"sh\"],\n"
	"\t\t\"env\": [\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\", \"TERM=xterm\"],\n"
	"\t\t\"cwd\": \"/\",\n"
	"\t\t\"capabilities\": {\n"
	"\t\t\t\"bounding\": [\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"],\n"
	"\t\t\t\"effective\": [\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"],\n"
	"\t\t\t\"permitted\": [\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"]\n"
	"\t\t},\n"
	"\t\t\"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"hard\": 1024, \"soft\": 1024}],\n"
	"\t\t\"noNewPrivileges\": true\n"
	"\t},\n"
	"\t\"root\": {\"path\": \"rootfs\", \"readonly\": true},\n"
	"\t\"hostname\": \"microvm\",\n"
	"\t\"mounts\": [\n"
	"\t\t{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"},\n"
	"\t\t{\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\",\n"
	"\t\t\t\"options\": [\"nosuid\", \"strictatime\", \"mode=755\", \"size=65536k\"]},\n"
	"\t\t{\"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\",\n"
	"\t\t\t\"options\": [\"nosuid\", \"noexec\", \"newinstance\", \"ptmxmode=0666\", \"mode=0620\", \"gid=5\"]},\n"
	"\t\t{\"destination\": \"/dev/shm\", \"type\": \"tmpfs\", \"source\": \"shm\",\n"
	"\t\t\t\"options\": [\"nosuid\", \"noexec\", \"nodev\", \"mode=1777\", \"size=65536k\"]},\n"
	"\t\t{\"destination\": \"/dev/mqueue\", \"type\": \"mqueue\", \"source\": \"mqueue\",\n"
	"\t\t\t\"options\": [\"nosuid\", \"noexec\", \"nodev\"]},\n"
	"\t\t{\"destination\": \"/sys\", \"type\": \"sysfs\", \"source\": \"sysfs\",\n"
	"\t\t\t\"options\": [\"nosuid\", \"noexec\", \"nodev\", \"ro\"]},\n"
	"\t\t{\"destination\": \"/sys/fs/cgroup\", \"type\": \"cgroup\", \"source\": \"cgroup\",\n"
	"\t\t\t\"options\": [\"nosuid\", \"noexec\", \"nodev\", \"relatime\", \"ro\"]}\n"
	"\t],\n"
	"\t\"linux\": {\n"
	"\t\t\"resources\": {\"devices\": [{\"allow\": false, \"access\": \"rwm\"}]},\n"
	"\t\t\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"network\"}, {\"type\": \"ipc\"}, {\"type\": \"uts\"},\n"
	"\t\t\t{\"type\": \"mount\"}, {\"type\": \"cgroup\"}],\n"
	"\t\t\"maskedPaths\": [\"/proc/acpi\", \"/proc/asound\", \"/proc/kcore\", \"/proc/keys\", "
	"\"/proc/latency_stats\",\n"
	"\t\t\t\"/proc/timer_list\", \"/proc/timer_stats\", \"/proc/sched_debug\", \"/sys/firmware\", "
	"\"/proc/scsi\"],\n"
	"\t\t\"readonlyPaths\": [\"/proc/bus\", \"/proc/fs\", \"/proc/irq\", \"/proc/sys\", \"/proc/sysrq-trigger\"]\n"
	"\t}\n"
	"}\n";

struct spec_options {
	char *bundle;
	bool rootless;
};

static int spec_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	const struct spec_options *o = options;
	_cleanup_free_ char *path = xasprintf("%s/config.json", o->bundle ? o->bundle : ".");
	_cleanup_close_ int fd = -1;
	int r;

	if (o->rootless)
		return err_set(e, ENOTSUP, "--rootless: VMs need root for /dev/kvm and their jails; leave it out");
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, errno, "%s%s", path, errno == EEXIST ? ": remove it, or change it" : "");
	r = write_full(fd, example, sizeof(example) - 1);
	return r ? err_errno(e, r, "%s", path) : 0;
}

static struct json_object *strings(const char *const *list, size_t n)
{
	struct json_object *a = json_object_new_array();
	size_t i;

	for (i = 0; i < n; i++)
		json_object_array_add(a, json_object_new_string(list[i]));
	return a;
}

static struct json_object *enabled(bool is)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "enabled", json_object_new_boolean(is));
	return o;
}

/* "Features Structure" of the runtime spec. */
static int features_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	static const char *const hooks[] = { "prestart",       "createRuntime", "createContainer",
					     "startContainer", "poststart",	"poststop" };
	static const char *const mount_options[] = {
		"async",	  "atime",	"bind",		"defaults",    "dev",
		"diratime",	  "dirsync",	"exec",		"lazytime",    "noatime",
		"nodev",	  "nodiratime", "noexec",	"nolazytime",  "norelatime",
		"nostrictatime",  "nosuid",	"nosymfollow",	"private",     "ratime",
		"rbind",	  "rdev",	"rdiratime",	"relatime",    "rexec",
		"rnoatime",	  "rnodev",	"rnodiratime",	"rnoexec",     "rnorelatime",
		"rnostrictatime", "rnosuid",	"rnosymfollow", "ro",	       "rprivate",
		"rrelatime",	  "rro",	"rrw",		"rshared",     "rslave",
		"rstrictatime",	  "rsuid",	"rsymfollow",	"runbindable", "rw",
		"shared",	  "slave",	"strictatime",	"suid",	       "symfollow",
		"sync",		  "unbindable",
	};
	static const char *const namespaces[] = { "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts" };
	struct json_object *o = json_object_new_object(), *l = json_object_new_object(), *c = json_object_new_object();
	struct json_object *caps = json_object_new_array();
	unsigned int cap;

	for (cap = 0; capability_name(cap); cap++)
		json_object_array_add(caps, json_object_new_string(capability_name(cap)));
	json_object_object_add(o, "ociVersionMin", json_object_new_string("1.0.0"));
	json_object_object_add(o, "ociVersionMax", json_object_new_string("1.1.0"));
	json_object_object_add(o, "hooks", strings(hooks, ARRAY_SIZE(hooks)));
	json_object_object_add(o, "mountOptions", strings(mount_options, ARRAY_SIZE(mount_options)));
	json_object_object_add(l, "namespaces", strings(namespaces, ARRAY_SIZE(namespaces)));
	json_object_object_add(l, "capabilities", caps);
	json_object_object_add(c, "v1", json_object_new_boolean(false));
	json_object_object_add(c, "v2", json_object_new_boolean(true));
	json_object_object_add(c, "systemd", json_object_new_boolean(false));
	json_object_object_add(c, "systemdUser", json_object_new_boolean(false));
	json_object_object_add(l, "cgroup", c);
	json_object_object_add(l, "seccomp", enabled(true));
	json_object_object_add(l, "apparmor", enabled(false));
	json_object_object_add(l, "selinux", enabled(false));
	json_object_object_add(o, "linux", l);
	return runtime_print_json(o, true, e);
}

static const struct opt spec_opts[] = {
	{ "bundle", 'b', OPT_STRING, WORD_FILE, "DIR", "where it is written (.)",
	  offsetof(struct spec_options, bundle) },
	{ "rootless", 0, OPT_FLAG, 0, NULL, "refused: VMs need root", offsetof(struct spec_options, rootless) },
};

const struct runtime_command runtime_spec = {
	.name = "spec",
	.synopsis = "",
	.help = "write a config.json to begin with",
	.opts = spec_opts,
	.opts_n = ARRAY_SIZE(spec_opts),
	.options_size = sizeof(struct spec_options),
	.run = spec_run,
};

const struct runtime_command runtime_features = {
	.name = "features",
	.synopsis = "",
	.help = "print what of the OCI runtime spec there is",
	.run = features_run,
};
