# SPDX-License-Identifier: Apache-2.0
# What measures: a stopwatch for the lab, and initramfs whose init is the work of the suites of storage, vsock and the balloon in the guest.

BENCH ?=
BENCH_FILES := $(TESTBIN)/elapsed $(TESTBIN)/storage.cpio $(TESTBIN)/vsock.cpio $(TESTBIN)/balloon.cpio

$(TESTBIN)/elapsed: $(O)/obj/userland/bench/elapsed.o $(O)/lib/libbase.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test)

$(TESTBIN)/storage-job: userland/bench/storage-job.c
	@mkdir -p $(@D)
	$(call say,CC-G,$<)
	$(Q)$(CC) $(BASE_CPPFLAGS) $(AGENT_CFLAGS) -static -no-pie -Wl,--gc-sections -s -o $@ $<
$(TESTBIN)/storage.cpio: $(TESTBIN)/storage-job images/initramfs.sh
	$(call say,CPIO,$@)
	$(Q)images/initramfs.sh $< $@

$(TESTBIN)/vsock-job: userland/bench/vsock-job.c
	@mkdir -p $(@D)
	$(call say,CC-G,$<)
	$(Q)$(CC) $(BASE_CPPFLAGS) $(AGENT_CFLAGS) -static -no-pie -Wl,--gc-sections -s -o $@ $<
$(TESTBIN)/vsock.cpio: $(TESTBIN)/vsock-job images/initramfs.sh
	$(call say,CPIO,$@)
	$(Q)images/initramfs.sh $< $@

$(TESTBIN)/balloon-job: userland/bench/balloon-job.c
	@mkdir -p $(@D)
	$(call say,CC-G,$<)
	$(Q)$(CC) $(BASE_CPPFLAGS) $(AGENT_CFLAGS) -static -no-pie -Wl,--gc-sections -s -o $@ $<
$(TESTBIN)/balloon.cpio: $(TESTBIN)/balloon-job images/initramfs.sh
	$(call say,CPIO,$@)
	$(Q)images/initramfs.sh $< $@
