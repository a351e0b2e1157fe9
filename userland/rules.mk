# SPDX-License-Identifier: Apache-2.0
# The rooms of userland, one archive a folder, in the order in which they may include each other
# (tests/lint/includes has the whole table).

JSONC_LIBS := -ljson-c
PB_LIBS := -lprotobuf-c

$(call archive,base,userland/base)
$(call archive,io,userland/io)
$(call archive,rpc,userland/rpc,$(O)/obj/gen/userland/rpc/ttrpc.pb-c.o)
$(call objs,$(wildcard userland/rpc/*.c)): | $(O)/gen/userland/rpc/ttrpc.pb-c.c
$(call archive,image,userland/image)
$(call archive,import,userland/image/import)
$(call archive,oci,userland/oci)
$(call archive,vmm,userland/vmm userland/vmm/x86)
$(call archive,virtio,userland/virtio)
$(call archive,fsd,userland/fsd)
$(call archive,agent,userland/agent,$(O)/obj/gen/guest-agent/agent.pb-c.o)
$(call archive,sandbox,userland/sandbox)
$(call archive,cli,userland/cli)
$(call archive,runtime,userland/runtime)

# containerd's API, from the .proto files of Debian's golang-github-containerd-containerd-dev, without what only Go's
# generator reads (gogoproto).
GOSRC := /usr/share/gocode/src
API := github.com/containerd/containerd
SHIM_PROTOS := $(addprefix $(API)/,runtime/v2/task/shim.proto api/types/mount.proto api/types/task/task.proto \
	api/events/task.proto api/services/ttrpc/events/v1/events.proto) github.com/containerd/cgroups/v2/stats/metrics.proto
GOOGLE_PROTOS := $(addprefix google/protobuf/,any.proto empty.proto timestamp.proto)
SHIM_GEN := $(patsubst %.proto,$(O)/gen/shim/%.pb-c.c,$(SHIM_PROTOS) $(GOOGLE_PROTOS))
$(addprefix $(O)/gen/shim/,$(SHIM_PROTOS)): $(O)/gen/shim/%: $(GOSRC)/%
	@mkdir -p $(@D)
	$(Q)sed '/^ *import weak/d; /^ *import "gogoproto/d; /^\s*option (/d; s/ *\[(gogoproto[^]]*\]//' $< >$@
$(addprefix $(O)/gen/shim/,$(GOOGLE_PROTOS)): $(O)/gen/shim/%: /usr/include/%
	@mkdir -p $(@D)
	$(Q)cp $< $@
$(SHIM_GEN): $(O)/gen/shim/%.pb-c.c: $(O)/gen/shim/%.proto | $(addprefix $(O)/gen/shim/,$(SHIM_PROTOS) $(GOOGLE_PROTOS))
	$(call say,PROTOC,$*.proto)
	$(Q)$(PROTOC_C) --proto_path=$(O)/gen/shim --c_out=$(O)/gen/shim $*.proto
$(call archive,shim,userland/shim,$(O)/obj/gen/userland/shim/info.pb-c.o $(patsubst $(O)/gen/%.c,$(O)/obj/gen/%.o,$(SHIM_GEN)))
$(call objs,$(wildcard userland/shim/*.c tests/unit/test_shim*.c tests/fuzz/fuzz_shim*.c)): | $(SHIM_GEN) $(O)/gen/userland/shim/info.pb-c.c
$(call objs,$(wildcard userland/shim/*.c tests/unit/test_shim*.c tests/fuzz/fuzz_shim*.c)): private CPPFLAGS += -I$(O)/gen/shim
$(patsubst $(O)/gen/%.c,$(O)/obj/gen/%.o,$(SHIM_GEN)): private CPPFLAGS += -I$(O)/gen/shim
$(patsubst $(O)/gen/%.c,$(O)/obj/gen/%.o,$(SHIM_GEN)): | $(SHIM_GEN)

# Sources that include the generated contract wait for it.
$(call objs,$(wildcard userland/agent/*.c userland/oci/*.c userland/sandbox/*.c userland/cli/*.c userland/runtime/*.c userland/shim/*.c)): | $(O)/gen/guest-agent/agent.pb-c.c

# ... and the one that writes the guest's command line for its words.
$(call objs,userland/sandbox/vmspec_build.c): $(O)/gen/images/cmdline.h

# Names of system calls, for the report of one that was denied.
$(O)/gen/base/syscall_names.h:
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)echo '#include <asm/unistd.h>' | $(CC) -E -dM - | \
		awk '/^#define __NR_[a-z0-9_]+ [0-9]+$$/ { sub("__NR_", "", $$2); printf "\t[%s] = \"%s\",\n", $$3, $$2 }' | sort >$@
$(call objs,userland/base/seccomp.c): | $(O)/gen/base/syscall_names.h

# Static, as it is cheaper to start and smaller when it runs: no loader, no relocated libraries.
$(BIN)/microvm-vmm: private LDFLAGS := $(if $(SAN),$(LDFLAGS),$(patsubst -pie,-static-pie,$(LDFLAGS)))
$(call program,microvm-vmm,userland/vmm/main.c,vmm virtio io base,-luring -lpthread)
$(BIN)/microvm-fsd: private LDFLAGS := $(if $(SAN),$(LDFLAGS),$(patsubst -pie,-static-pie,$(LDFLAGS)))
$(call program,microvm-fsd,userland/fsd/main.c,fsd virtio io base,-luring -lpthread)
$(call program,microvm-import,userland/image/import/main.c,import image base,$(JSONC_LIBS) -larchive -lcrypto -lcap)
$(addprefix $(TESTBIN)/unit/,test_image_get test_image_get_store): | $(BIN)/microvm-import
$(call program,microvm,userland/cli/main.c,cli sandbox agent oci image rpc io base,$(JSONC_LIBS) $(PB_LIBS) -lseccomp -luring)
$(call program,microvm-runtime,userland/runtime/main.c,runtime cli sandbox agent oci image rpc io base,$(JSONC_LIBS) $(PB_LIBS) -lseccomp -luring)
$(call program,containerd-shim-microvm-v2,userland/shim/main.c,shim sandbox agent oci image rpc io base,$(JSONC_LIBS) $(PB_LIBS) -lseccomp -luring)
