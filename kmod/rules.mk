# SPDX-License-Identifier: Apache-2.0
# The kernel module, for the kernels of the lab: $(O)/kmod/VERSION/microvm.ko.  It is built in a copy of its sources, as
# Kbuild writes beside them, with warnings as errors and with sparse over every file.

KMOD_VERSIONS := 6.12 6.1
KMOD_SRCS := Kbuild $(wildcard kmod/*.c kmod/*.h kmod/uapi/*.h)
KMODS := $(foreach v,$(KMOD_VERSIONS),$(O)/kmod/$(v)/microvm.ko)

kmod: $(KMODS) ## the kernel module, for 6.12 and 6.1

$(KMODS) $(O)/kmod/debug/microvm.ko: $(O)/kmod/%/microvm.ko: $(KMOD_SRCS) kmod/build.sh
	$(call say,KMOD,$@)
	$(Q)env -u MAKEFLAGS -u MFLAGS kmod/build.sh $* $(@D) $(KMOD_SRCS)
