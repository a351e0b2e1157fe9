#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Networks that CNI's plugins (Debian's containernetworking-plugins) made, carried into guests by microvm-runtime.
# shellcheck source=tests/e2e/engines.sh
. "$(dirname "${BASH_SOURCE[0]}")/engines.sh"

plugins=/usr/lib/cni
root=$work/root
rt() { microvm-runtime --root "$root" "$@"; }

# As an engine does: cni ADD|DEL NETNS INTERFACE CONFIG
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
	for app in sh sleep echo cat head ip wget httpd sha256sum; do ln -sf busybox "$at/rootfs/bin/$app"; done
	rm -f "$at/config.json"
	microvm-runtime spec -b "$at"
	jq --arg n "/run/netns/$netns" '.process.terminal = false | .root.readonly = false | .process.args = $ARGS.positional |
		(.linux.namespaces[] | select(.type == "network")).path = $n' --args -- "$@" <"$at/config.json" >"$at/config.new"
	mv "$at/config.new" "$at/config.json"
}
edit() { # NETNS JQ-FILTER
	jq "$2" "$work/$1/config.json" >"$work/$1/config.new"
	mv "$work/$1/config.new" "$work/$1/config.json"
}
start() { # NETNS
	rt create -b "$work/$1" "$1" </dev/null >"$work/$1.out" 2>&1 || die "$(cat "$work/$1.out")"
	rt start "$1"
}
ended() { [ "$(rt state "$1" | jq -r .status)" = stopped ]; }
no_tap() { [[ $(in_netns "$1" ip -o link show) != *microvm* ]]; }

# What the kernel has made of its interfaces, without what only the host's end of a veth has, and without taps.
view() { # how to run busybox…
	"$@" ip addr show | sed -n '/: lo/d; /: microvm/,$d; /: eth0/,$p' | sed 's/^[0-9]*: //; s/@[a-z0-9]*:/:/; s/<.*> mtu/mtu/
		s/ *\(qdisc\|qlen\|state\|flags\) [^ ]*//g; s/ noprefixroute//; s/ tentative//; s/ *$//; / valid_lft /d'
	"$@" ip route show | sed 's/ *$//' | sort
	"$@" ip -6 route show | grep -v microvm | sed 's/ *error -[0-9]*//; s/ *pref [a-z]*//; s/ *$//' | sort
	"$@" ip neigh show nud permanent | sed 's/ used .* PERMANENT//'
}
# Larger than a wire takes: segmentation is left to whoever is last.
statistics() { rt exec one sh -c "cd /sys/class/net/eth0/statistics && echo \$(cat $1_bytes) \$(cat $1_packets)"; }
frames_are_large() { # DIRECTION BYTES-BEFORE PACKETS-BEFORE
	local now average
	read -ra now < <(statistics "$1")
	average=$(((now[0] - $2) / (now[1] - $3)))
	echo "$1: $average bytes a frame"
	[ $average -gt 1514 ] || die "$average bytes a frame, $1"
}

test_a_network_of_cni() { # limit 500 s
	local sum address sent
	mkdir -p /run/netns
	ip netns add one
	ip netns add two
	cni ADD one eth0 "$(bridge_config)"
	cni ADD one net1 "$(ptp_config)"
	in_netns one ip neigh add 10.99.0.77 lladdr 02:00:00:00:00:77 dev net1
	in_netns one ip route add blackhole 10.97.0.0/16
	in_netns one ip route add 10.96.0.0/16 via 192.0.2.1 dev eth0 onlink mtu 1300
	view in_netns one busybox >"$work/wanted"
	grep -q 'mtu 9000' "$work/wanted" || die "the namespace is not what it should be: $(cat "$work/wanted")"
	head -c 20000000 /dev/urandom >"$work/big"
	sum=$(sha256sum <"$work/big" | cut -d' ' -f1)
	bundle one httpd -f -p 8080 -h /www
	start one
	view rt exec one busybox >"$work/seen"
	diff "$work/wanted" "$work/seen" || die "the guest's interfaces differ from its namespace's"

	# From the host into the guest and back, frames larger than a wire takes.
	address=$(jq -r '.ips[] | select(.version == "4").address | sub("/.*"; "")' "$work/cni.one.eth0")
	busybox httpd -f -p 10.85.0.1:8081 -h "$work" &
	rt exec one wget -qO /www/big http://10.85.0.1:8081/big
	kill $!
	frames_are_large rx 0 0
	is "$(rt exec one sha256sum /www/big | cut -d' ' -f1)" "$sum" "what came into the guest"
	read -ra sent < <(statistics tx)
	is "$(busybox wget -qO- "http://$address:8080/big" | sha256sum | cut -d' ' -f1)" "$sum" "what came out of the guest"
	frames_are_large tx "${sent[@]}"

	# Another one, whose hooks make its network, and with two CPUs; by IPv6.
	{ echo '#!/bin/bash'; echo "plugins=$plugins work=$work"; declare -f cni; printf 'cni ADD two eth0 %q' "$(bridge_config)"; } >"$work/hook"
	chmod +x "$work/hook"
	bundle two sh -c "wget -qO- http://[fd85::2]:8080/big | sha256sum; sleep 1000"
	edit two ".annotations = {\"io.microvm.cpus\": \"2\"} | .hooks.createRuntime = [{path: \"$work/hook\"}]"
	start two
	until_ok grep -q . "$work/two.out"
	is "$(cut -d' ' -f1 "$work/two.out")" "$sum" "what came over the bridge by IPv6"
	is "$(rt exec two sh -c 'cd /sys/class/net/eth0/queues && echo *')" "rx-0 rx-1 tx-0 tx-1" queues

	# In a namespace that a sandbox has there is no place for another.
	run rt run -b "$work/one" three
	refused 125 microvm0 "another sandbox"

	# Whoever is killed: what is left in a namespace is the engine's.
	pkill -9 -x microvm-vmm
	until_ok ended one
	until_ok ended two
	until_ok no_tap one
	is "$(in_netns one tc qdisc show dev eth0 ingress)" "" "left by the sandbox"
	rt delete one
	# A supervisor that is killed leaves what the next one takes.
	start one
	kill -9 "$(rt state one | jq -r .pid)"
	until_ok no_vmm
	until_ok no_tap one
	rt delete one
	start one
	echo here >"$work/one/rootfs/www/small"
	until_ok busybox wget -qO "$work/small" "http://$address:8080/small"
	is "$(cat "$work/small")" here
	rt kill one KILL
	until_ok ended one
	rt delete one
	rt delete two
	until_ok no_vmm
	cni DEL one eth0 "$(bridge_config)"
	cni DEL one net1 "$(ptp_config)"
	cni DEL two eth0 "$(bridge_config)"
	ip netns del one
	ip netns del two
	ip link del cni0
	rmdir /run/netns 2>/dev/null || { umount /run/netns; rmdir /run/netns; }
}
