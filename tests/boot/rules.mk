# SPDX-License-Identifier: Apache-2.0
# Payload guests, the harness that runs them, and vmrun, which boots any kernel under microvm-vmm by hand.

BOOT_LIBS := $(O)/lib/libsandbox.a $(O)/lib/librpc.a $(O)/lib/libio.a $(O)/lib/libbase.a
BOOT_PROGRAMS += $(TESTBIN)/vmrun $(TESTBIN)/boot $(TESTBIN)/payload

$(TESTBIN)/vmrun: $(O)/obj/tests/boot/vmrun.o $(BOOT_LIBS)
$(TESTBIN)/boot: $(O)/obj/tests/boot/boot.o $(O)/obj/tests/boot/jail.o $(O)/obj/tests/boot/fs.o $(BOOT_LIBS)
$(TESTBIN)/vmrun $(TESTBIN)/boot:
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^)

# Guests: 32-bit code without a library, in an ELF64 file as a kernel's.
PAYLOAD_OBJS := $(patsubst tests/boot/payload/%,$(O)/obj/payload/%.o,$(basename $(wildcard tests/boot/payload/*.[cS])))
PAYLOAD_CFLAGS := -m32 -march=i686 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-std=gnu11 -O2 -g $(WARN) -MMD -MP
$(O)/obj/payload/%.o: tests/boot/payload/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)gcc $(PAYLOAD_CFLAGS) -c $< -o $@
$(O)/obj/payload/%.o: tests/boot/payload/%.S
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)gcc $(PAYLOAD_CFLAGS) -c $< -o $@
$(TESTBIN)/payload: $(PAYLOAD_OBJS) tests/boot/payload.ld
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)ld -m elf_i386 -T tests/boot/payload.ld --build-id=none --no-warn-rwx-segments -z max-page-size=4096 -o $@.32 $(filter %.o,$^)
	$(Q)objcopy -I elf32-i386 -O elf64-x86-64 $@.32 $@ && rm -f $@.32
