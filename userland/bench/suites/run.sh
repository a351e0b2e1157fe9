# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with what sources this
# SPDX-License-Identifier: Apache-2.0
# Whole commands, from a warm store.

# The image's own layers as a bundle for the runtimes that need one.
bundle() {
	local manifest layer layout=$build/images
	mkdir -p "$tmp/bundle/rootfs"
	manifest=$(jq -r '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "busybox") | .digest' "$layout/index.json")
	for layer in $(jq -r '.layers[].digest' "$layout/blobs/${manifest/:/\/}"); do
		tar -xf "$layout/blobs/${layer/:/\/}" -C "$tmp/bundle/rootfs"
	done
	(cd "$tmp/bundle" && runc spec && jq '.process.terminal = false | .process.args = ["/bin/true"]' config.json >config.new && mv config.new config.json)
}

suite_run() {
	local ours crun runc stage ms
	say "run: microvm run --rm busybox /bin/true, crun and runc on the same root"
	microvm run --rm "$image" /bin/true >"$tmp/o" 2>&1 || { cat "$tmp/o" >&2; fail "microvm run failed"; return; }
	ours=$("$elapsed" -n 3 microvm run --rm "$image" /bin/true)
	bundle >&2
	crun=$("$elapsed" -n 3 crun run --bundle "$tmp/bundle" bench-crun)
	runc=$("$elapsed" -n 3 runc run --bundle "$tmp/bundle" bench-runc)
	row run "microvm run --rm IMAGE /bin/true" s "$ours" crun "$crun" '<= 0.35'
	row run "microvm run --rm IMAGE /bin/true" s "$ours" runc "$runc"
	MICROVM_TIMINGS=1 microvm run --rm "$image" /bin/true 2>"$tmp/timings"
	while read -r stage ms; do
		row run "stage $stage" ms "$ms"
	done < <(sed -nE 's/^(microvm: )?(timings?: )?([a-z][a-z -]*[a-z])[: ]+([0-9.]+) ms.*/\3 \4/p' "$tmp/timings" | sed -E 's/ ([a-z])/-\1/g')
}
