#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A host that changes a share while a guest uses it: nothing outside of the share is reached, and changes are seen.
# shellcheck source=tests/e2e/scratch.sh
. "$(dirname "${BASH_SOURCE[0]}")/scratch.sh"

test_names_swapped_under_a_guest() { # limit 300 s
	local before attacker
	mkdir -p "$work/pair/share" "$work/pair/outside"
	echo OUTSIDE >"$work/pair/outside/secret"
	mkdir "$work/pair/outside/OUTSIDE" "$work/pair/outside/deep"
	before=$(find "$work/pair/outside" -printf '%P %y %m %U %G %n %s %T@ %C@\n' | sort)
	# It never rests: with a CPU for all of them it would leave the guest none.
	nice -n 10 "$tests/storage-race" swap "$work/pair/share" "$work/pair/outside" >"$work/attacker" 2>&1 &
	attacker=$!
	until_ok grep -q made "$work/attacker"
	run microvm run --rm --privileged -v "$work/pair/share:/data" -v "$tests:/tests:ro" "$bb" /tests/storage-race walk /data 5 200
	status_is 0
	kill $attacker || die "the attacker has ended: $(cat "$work/attacker")"
	wait $attacker || true
	is "$(cat "$work/attacker")" made "what the attacker says"
	is "$(find "$work/pair/outside" -printf '%P %y %m %U %G %n %s %T@ %C@\n' | sort)" "$before" "what is outside"
	no_vmm || die "a VMM is left over"
}

# What a ConfigMap does: a new folder beside the old one, and a link that is replaced.
publish() { # VERSION
	mkdir "$work/config/..$1"
	echo "$1" >"$work/config/..$1/key"
	ln -s "..$1" "$work/config/..new"
	mv -T "$work/config/..new" "$work/config/..data"
}

test_changes_on_the_host_are_seen() { # limit 300 s
	mkdir -p "$work/config"
	publish first
	ln -s ..data/key "$work/config/key"
	echo first >"$work/config/plain"
	echo first >"$work/config/replaced"
	# The reader has all of it in memory, and open, before anything changes.
	cat >"$work/reader" <<-'END'
		exec 5</config/plain
		cat /config/key /config/plain /config/replaced
		ls /config >/dev/null
		echo READY
		until_is() { # at most 60 s
			i=0
			until [ "$("$@" 2>/dev/null)" = second ]; do
				i=$((i + 1))
				[ $i -lt 600 ] || { echo "never seen by: $*"; return; }
				usleep 100000
			done
		}
		until_is cat /config/key
		until_is cat /config/plain
		until_is cat /config/replaced
		until_is cat /config/made
		until_is sh -c 'test -e /config/gone || echo second'
		until_is stat -c second -L /config/longer/more
		head -n 1 <&5
		echo ALL
	END
	echo first >"$work/config/gone"
	microvm run --rm -v "$work/config:/config:ro" -v "$work/reader:/reader:ro" "$bb" sh /reader >"$work/o" 2>&1 &
	until_ok grep -q READY "$work/o"
	publish second
	rm -r "$work/config/..first"
	echo second >"$work/config/plain"
	echo second >"$work/config/.tmp"
	mv "$work/config/.tmp" "$work/config/replaced"
	echo second >"$work/config/made"
	rm "$work/config/gone"
	mkdir "$work/config/longer"
	: >"$work/config/longer/more"
	wait $! || die "the reader failed: $(cat "$work/o")"
	is "$(cat "$work/o")" $'first\nfirst\nfirst\nREADY\nsecond\nALL' "what the reader saw"
}
