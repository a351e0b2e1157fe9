# SPDX-License-Identifier: Apache-2.0
# microvm-agent: PID 1 of the guest. Static and small, so it has objects of its own, made for size and never with sanitizers.

AGENT_CFLAGS := -std=gnu11 -Os -g $(WARN) -fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffunction-sections -fdata-sections -fno-pie
gobjs = $(patsubst %.c,$(O)/gobj/%.o,$(1))
AGENT_OBJS := $(call gobjs,$(wildcard guest-agent/*.c)) $(O)/gobj/gen/guest-agent/agent.pb-c.o
AGENT_LIB := $(O)/gobj/libagent.a

$(call gobjs,userland/base/seccomp.c): | $(O)/gen/base/syscall_names.h
$(AGENT_LIB): $(call gobjs,$(wildcard userland/base/*.c userland/io/*.c userland/rpc/*.c)) $(O)/gobj/gen/userland/rpc/ttrpc.pb-c.o
	$(Q)rm -f $@ && ar rcsD $@ $^

$(O)/gobj/%.o: %.c | $(O)/gen/guest-agent/agent.pb-c.c $(O)/gen/userland/rpc/ttrpc.pb-c.c
	@mkdir -p $(@D)
	$(call say,CC-G,$<)
	$(Q)$(CC) $(BASE_CPPFLAGS) $(AGENT_CFLAGS) -MMD -MP -c $< -o $@

$(O)/gobj/gen/%.o: $(O)/gen/%.c
	@mkdir -p $(@D)
	$(call say,CC-G,$<)
	$(Q)$(CC) $(BASE_CPPFLAGS) $(filter-out -W%,$(AGENT_CFLAGS)) -w -MMD -MP -c $< -o $@

$(GUEST)/microvm-agent: $(AGENT_OBJS) $(AGENT_LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -static -no-pie -Wl,--gc-sections,-z,relro,-z,now -o $@.debug $^ -lprotobuf-c -luring -lcap
	$(Q)strip -o $@ $@.debug
	@test $$(stat -c %s $@) -le 1572864 || { echo "$@ is over 1.5 MiB" >&2; rm -f $@; exit 1; }
