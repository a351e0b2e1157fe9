# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests of engines share: their configuration, which is the page's.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

page=$(dirname "${BASH_SOURCE[0]}")/../../docs/engines.md

# The first block of that language below a heading of the page: `from_page HEADING LANGUAGE`
from_page() {
	awk -v h="## $1" -v l="\`\`\`$2" '$0 == h { at = 1 } on && $0 == "```" { exit } at && on { print } at && $0 == l { on = 1 }' "$page"
}

# As `make install` puts it, but of this build.
installed() { # PROGRAM
	mkdir -p /usr/local/bin
	ln -sf "$MICROVM_BUILD/bin/$1" "/usr/local/bin/$1"
	export MICROVM_GUEST=$MICROVM_BUILD/guest MICROVM_LIBEXEC=$MICROVM_BUILD/bin
}
