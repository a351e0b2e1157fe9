# SPDX-License-Identifier: Apache-2.0
# The rooms of userland, one archive a folder, in the order in which they may include each other
# (tests/lint/includes has the whole table).

JSONC_LIBS := -ljson-c
PB_LIBS := -lprotobuf-c

$(call archive,base,userland/base)
$(call archive,io,userland/io)
$(call archive,rpc,userland/rpc)
$(call archive,image,userland/image)
$(call archive,oci,userland/oci)
$(call archive,vmm,userland/vmm userland/vmm/x86)
$(call archive,virtio,userland/virtio)
$(call archive,agent,userland/agent,$(O)/obj/gen/guest-agent/agent.pb-c.o)
$(call archive,sandbox,userland/sandbox)
$(call archive,cli,userland/cli)

# Sources that include the generated contract wait for it.
$(call objs,$(wildcard userland/agent/*.c userland/oci/*.c userland/sandbox/*.c userland/cli/*.c)): | $(O)/gen/guest-agent/agent.pb-c.c

$(call program,microvm-vmm,userland/vmm/main.c,vmm virtio io base,-luring -lpthread)
$(call program,microvm,userland/cli/main.c,cli sandbox agent oci image rpc io base,$(JSONC_LIBS) $(PB_LIBS) -larchive -lcrypto -lseccomp -luring)
