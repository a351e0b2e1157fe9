# SPDX-License-Identifier: Apache-2.0
# microvm: every program, guest file and test is made from here; each folder says in its rules.mk what it holds.
# Everything made goes below $(O).  `make help` lists the targets.

SAN ?=
O ?= build$(if $(SAN),/san)
V ?=
Q := $(if $(V),,@)

CC := gcc
CLANG := clang
PROTOC_C := protoc-c
PKG_CONFIG := pkg-config
prefix ?= /usr/local
DESTDIR ?=

VERSION := 0.1.0

WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter -Wno-format-truncation
HARDEN := -fstack-protector-strong -fPIE -fno-plt $(if $(SAN),,-D_FORTIFY_SOURCE=2)
BASE_CPPFLAGS := -D_GNU_SOURCE -Ulinux -DMICROVM_VERSION='"$(VERSION)"' -I. -I$(O)/gen -Iuserland
CFLAGS := -std=gnu11 -O2 -g $(WARN) $(HARDEN) -ffunction-sections -fdata-sections \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
LDFLAGS := -pie -Wl,-z,relro,-z,now,--gc-sections,--as-needed $(if $(SAN),-fsanitize=$(SAN))

# Tells what is being made, one line each; V=1 shows the commands.
say = @printf '  %-8s %s\n' '$(1)' '$(2)'

BIN := $(O)/bin
GUEST := $(O)/guest
IMAGES := $(O)/images
TESTBIN := $(O)/tests

.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

# ---- how things are made -------------------------------------------------------------------------

$(O)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(BASE_CPPFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(O)/obj/gen/%.o: $(O)/gen/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(BASE_CPPFLAGS) $(CPPFLAGS) $(filter-out -W%,$(CFLAGS)) -w -MMD -MP -c $< -o $@

# protobuf-c: FOLDER/x.proto becomes $(O)/gen/FOLDER/x.pb-c.{c,h}
$(O)/gen/%.pb-c.c: %.proto
	@mkdir -p $(@D)
	$(call say,PROTOC,$<)
	$(Q)$(PROTOC_C) --c_out=$(O)/gen $<
$(O)/gen/%.pb-c.h: $(O)/gen/%.pb-c.c
	@test -e $@ && touch $@

objs = $(patsubst %.c,$(O)/obj/%.o,$(1))
folder_srcs = $(filter-out %/main.c,$(wildcard $(1)/*.c))

# $(call archive,NAME,FOLDER[ FOLDER…]): $(O)/lib/libNAME.a of all sources in the folders but *main.c
define archive_rule
$(O)/lib/lib$(1).a: $(call objs,$(foreach d,$(2),$(call folder_srcs,$(d)))) $(3)
	@mkdir -p $$(@D)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcsD $$@ $$(filter %.o,$$^)
ARCHIVES += $(O)/lib/lib$(1).a
lib$(1) := $(O)/lib/lib$(1).a
endef
archive = $(eval $(call archive_rule,$(1),$(2),$(3)))

# $(call program,NAME,MAIN.c,ARCHIVE NAMES,LIBRARIES): $(BIN)/NAME
define program_rule
$(BIN)/$(1): $(call objs,$(2)) $(foreach a,$(3),$(O)/lib/lib$(a).a)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $(call objs,$(2)) -Wl,--start-group $(foreach a,$(3),$(O)/lib/lib$(a).a) -Wl,--end-group $(4)
PROGRAMS += $(BIN)/$(1)
endef
program = $(eval $(call program_rule,$(1),$(2),$(3),$(4)))

.PHONY: lab-debug help all deps kernel guest images kmod unit fuzz boot fs e2e test lint demo bench install clean

include userland/rules.mk
include guest-agent/rules.mk
include images/rules.mk
include kmod/rules.mk
include tests/rules.mk

help: ## this list
	@sed -n 's/^\([a-z0-9 -]*\):.*## /\1\t/p' Makefile */rules.mk | sort | expand -t 12

all: $(PROGRAMS) ## every program

# What people and engines call by name; the others are started by these.
CALLED := $(addprefix $(BIN)/,microvm microvm-runtime containerd-shim-microvm-v2)

install: all kernel ## programs, guest files, man pages and completions below $(DESTDIR)$(prefix)
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/libexec/microvm $(DESTDIR)$(prefix)/share/microvm \
		$(DESTDIR)$(prefix)/share/man/man1 $(DESTDIR)$(prefix)/share/bash-completion/completions
	install -m 755 $(CALLED) $(DESTDIR)$(prefix)/bin/
	install -m 755 $(filter-out $(CALLED),$(PROGRAMS)) $(DESTDIR)$(prefix)/libexec/microvm/
	install -m 644 $(GUEST)/vmlinux $(GUEST)/initramfs.cpio $(DESTDIR)$(prefix)/share/microvm/
	install -m 644 docs/man/*.1 $(DESTDIR)$(prefix)/share/man/man1/
	install -m 644 userland/cli/completion.bash $(DESTDIR)$(prefix)/share/bash-completion/completions/microvm
	install -m 644 userland/runtime/completion.bash $(DESTDIR)$(prefix)/share/bash-completion/completions/microvm-runtime

clean: ## removes all that was made (the kernel cache stays)
	rm -rf $(O)

-include $(shell test -d $(O)/obj && find $(O)/obj $(O)/gobj -name '*.d' 2>/dev/null)
