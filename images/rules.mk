# SPDX-License-Identifier: Apache-2.0
# What the guest boots from (kernel, initramfs) and the images that the tests and the demo run.

deps: ## installs what building and testing need (Debian 12)
	@images/deps.sh

# The kernel comes from a cache outside of the checkout when nothing that makes it has changed (images/kernel.sh).
kernel: $(GUEST)/vmlinux ## the guest kernel: build/guest/vmlinux
$(GUEST)/vmlinux: images/kernel.config images/kernel.sh
	@mkdir -p $(@D)
	@images/kernel.sh $(@D)
	@touch $@
