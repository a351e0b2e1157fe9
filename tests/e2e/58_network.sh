#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Networks that CNI's plugins (Debian's containernetworking-plugins) made, carried into guests by microvm-runtime.
# shellcheck source=tests/e2e/engines.sh
. "$(dirname "${BASH_SOURCE[0]}")/engines.sh"

plugins=/usr/lib/cni
root=$work/root
rt() { microvm-runtime --root "$root" "$@"; }

# As an engine does: `cni ADD|DEL NETNS INTERFACE CONFIG`
cni() {
	CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$2 CNI_IFNAME=$3 CNI_PATH=$plugins \
		"$plugins/$(jq -r .type <<<"$4")" <<<"$4" >"$work/cni.$2.$3"
}
# The page's network, which keeps its addresses here.
bridge_config() {
	from_page "containerd" json | jq -c --arg d "$work/cni" '.cniVersion as $v | .plugins[0] + {cniVersion: $v, name: .name} | .ipam.dataDir = $d'
}
ptp_config() {
	jq -nc --arg d "$work/cni" '{cniVersion: "0.4.0", name: "second", type: "ptp", mtu: 9000, ipam: {type: "host-local", dataDir: $d,
		ranges: [[{subnet: "10.99.0.0/24"}]], routes: [{dst: "10.98.0.0/16"}]}}'
}
in_netns() { nsenter --net="/run/netns/$1" "${@:2}"; }

# A bundle in that network namespace: `bundle NETNS COMMAND…`
bundle() {
	local netns=$1 app at=$work/$1
	shift
	mkdir -p "$at/rootfs"/{bin,tmp,etc,www}
	cp "$(command -v busybox)" "$at/rootfs/bin/"
	for app in sh sleep echo cat ip wget httpd sha256sum; do ln -sf busybox "$at/rootfs/bin/$app"; done
	microvm-runtime spec -b "$at"
	jq --arg n "/run/netns/$netns" '.process.terminal = false | .root.readonly = false | .process.args = $ARGS.positional |
		(.linux.namespaces[] | select(.type == "network")).path = $n' --args -- "$@" <"$at/config.json" >"$at/config.new"
	mv "$at/config.new" "$at/config.json"
}
start() { # NETNS
	rt run -d -b "$work/$1" "$1" </dev/null >"$work/$1.out" 2>&1 || die "$(cat "$work/$1.out")"
}
ended() { [ "$(rt state "$1" | jq -r .status)" = stopped ]; }
ends() { # ID
	rt kill "$1" KILL
	until_ok ended "$1"
	rt delete "$1"
}
# What the kernel has made of an interface, without what is the host's end's alone.
view() { # how to run busybox…
	"$@" ip addr show | sed -n '/: eth0/,$p' | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/<.*> mtu/mtu/; s/ \(qdisc\|qlen\|state\) [^ ]*//g; / valid_lft /d'
	"$@" ip route show | sort
	"$@" ip -6 route show | sed 's/ *error -[0-9]*//; s/ *pref [a-z]*//' | sort
	"$@" ip neigh show nud permanent
}
without_taps() { sed '/^microvm0/,$d'; }

test_interfaces_are_the_same_in_the_guest() { # limit 300 s
	local mac
	ip netns add one
	ip netns add two
	cni ADD one eth0 "$(bridge_config)"
	cni ADD one net1 "$(ptp_config)"
	cni ADD two eth0 "$(bridge_config)"
	in_netns one ip neigh add 10.99.0.77 lladdr 02:00:00:00:00:77 dev net1
	in_netns one ip route add blackhole 10.97.0.0/16
	in_netns one ip route add 10.96.0.0/16 via 192.0.2.1 dev eth0 onlink mtu 1300
	view in_netns one busybox >"$work/wanted"
	bundle one sh -c 'head -c 30000000 /dev/urandom >/www/big; httpd -f -p 8080 -h /www'
	start one
	view rt exec one busybox >"$work/seen"
	diff "$work/wanted" "$work/seen" || die "the guest's interfaces differ from its namespace's"
	ends one
	cni DEL one eth0 "$(bridge_config)"
}
