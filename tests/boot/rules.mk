# SPDX-License-Identifier: Apache-2.0
# Payload guests, the harness that runs them, and vmrun, which boots any kernel under microvm-vmm by hand.

BOOT_LIBS := $(O)/lib/libsandbox.a $(O)/lib/librpc.a $(O)/lib/libio.a $(O)/lib/libbase.a

$(TESTBIN)/vmrun: $(O)/obj/tests/boot/vmrun.o $(BOOT_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^)

BOOT_PROGRAMS += $(TESTBIN)/vmrun
