# SPDX-License-Identifier: Apache-2.0
# What the guest boots from (kernel, initramfs) and the images that the tests and the demo run.

deps: ## installs what building and testing need (Debian 12)
	@images/deps.sh

# The kernel comes from a cache outside of the checkout when nothing that makes it has changed (images/kernel.sh).
kernel: $(GUEST)/vmlinux ## the guest kernel: build/guest/vmlinux
$(GUEST)/vmlinux: images/kernel.config images/kernel.sh images/trim-elf.py $(wildcard images/patches/*.patch)
	@mkdir -p $(@D)
	@env -u MAKEFLAGS -u MFLAGS images/kernel.sh $(@D)
	@touch $@

$(GUEST)/initramfs.cpio: $(GUEST)/microvm-agent images/initramfs.sh
	$(call say,CPIO,$@)
	$(Q)images/initramfs.sh $< $@

# images/cmdline as a string for the sandbox library.
$(O)/gen/images/cmdline.h: images/cmdline
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)printf '#define GUEST_KERNEL_CMDLINE "%s"\n' "$$(sed 's/#.*//' $< | xargs)" >$@

guest: $(GUEST)/vmlinux $(GUEST)/initramfs.cpio ## kernel and initramfs

images: $(IMAGES)/index.json ## the images of tests and demo: build/images, tags busybox and debian
$(IMAGES)/index.json: images/test-images.sh
	@images/test-images.sh $(IMAGES)
	@touch $@
