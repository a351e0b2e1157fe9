/* SPDX-License-Identifier: Apache-2.0 */
/* Names of sandboxes: which are valid, and how one is made up. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"
#include "sandbox/state.h"

static const char *const adjectives[] = {
	"agile",   "amber",  "bold",   "brave",	 "bright", "brisk",  "calm",	"clear", "clever", "cosy",   "crisp",
	"curious", "daring", "deft",   "eager",	 "early",  "fair",   "fleet",	"fond",	 "fresh",  "gentle", "glad",
	"golden",  "grand",  "happy",  "hardy",	 "honest", "jolly",  "keen",	"kind",	 "lively", "lucid",  "lucky",
	"mellow",  "merry",  "mild",   "neat",	 "nimble", "noble",  "patient", "plain", "proud",  "quick",  "quiet",
	"rapid",   "ready",  "robust", "serene", "sharp",  "silent", "sleek",	"smart", "snug",   "solid",  "spry",
	"steady",  "sunny",  "swift",  "tidy",	 "vivid",  "warm",   "wise",	"witty", "zesty",
};

static const char *const nouns[] = {
	"acorn", "alder",   "anchor", "aspen",	 "badger", "beacon", "beech", "birch",	"bison",   "brook",   "cedar",
	"cliff", "comet",   "crane",  "cricket", "curlew", "dune",   "ember", "falcon", "fern",	   "finch",   "fjord",
	"flint", "gale",    "glade",  "harbor",	 "hawk",   "hazel",  "heron", "ibis",	"juniper", "kestrel", "lantern",
	"lark",	 "linden",  "lynx",   "maple",	 "marten", "meadow", "moss",  "oriole", "osprey",  "otter",   "pebble",
	"pine",	 "plover",  "quail",  "quartz",	 "raven",  "reed",   "robin", "rowan",	"sparrow", "spruce",  "stoat",
	"swan",	 "thistle", "tide",   "vale",	 "walnut", "willow", "wren",  "yarrow", "zephyr",
};

char *state_name_random(unsigned int attempt)
{
	uint32_t r = 0;
	const char *adjective, *noun;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = (uint32_t)realtime_ns();
	adjective = adjectives[r % ARRAY_SIZE(adjectives)];
	noun = nouns[(r >> 16) % ARRAY_SIZE(nouns)];
	if (attempt)
		return xasprintf("%s_%s%u", adjective, noun, attempt);
	return xasprintf("%s_%s", adjective, noun);
}

bool state_name_valid(const char *name)
{
	size_t i;

	for (i = 0; name[i]; i++) {
		char c = name[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!alnum && (!i || !strchr("_.-", c)))
			return false;
	}
	return i > 0 && i <= STATE_NAME_MAX;
}
