# SPDX-License-Identifier: Apache-2.0
# Tests, from the smallest up: unit (Check), fuzz (targets, and their corpora replayed), boot (payload guests on KVM),
# lint, e2e (whole commands in the lab).  Each target prints what failed, and the sum as its last line.

CHECK_LIBS := -lcheck_pic -lsubunit -lrt -lm
TEST_LIBS := $(JSONC_LIBS) $(PB_LIBS) -larchive -lcrypto -lseccomp -lcap -luring -lpthread
SANITIZERS := address,undefined
JOBS ?= $(shell nproc)
# Sub-makes work in parallel even when the outer one was not asked to.
parallel = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))
sanitized = SAN=$(SANITIZERS) O=$(O)/san

# The agent's code as the host's compiler and sanitizers see it; the one in the guest is made in guest-agent/rules.mk.
$(call archive,guestagent,guest-agent)
$(call objs,$(wildcard guest-agent/*.c)): | $(O)/gen/guest-agent/agent.pb-c.c

TEST_ARCHIVES := $(O)/lib/libguestagent.a $(filter-out %/libguestagent.a,$(ARCHIVES))
link_test = $(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group

# ---- unit: tests/unit/test_X.c defines test_suite() -------------------------------------------------------

UNIT ?= *
UNIT_NAMES := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_PROGRAMS := $(addprefix $(TESTBIN)/unit/,$(UNIT_NAMES))

$(call objs,$(wildcard tests/unit/*.c tests/fuzz/*.c)): | $(O)/gen/guest-agent/agent.pb-c.c
$(UNIT_PROGRAMS): $(TESTBIN)/unit/%: $(O)/obj/tests/unit/%.o $(O)/obj/tests/unit/main.o $(TEST_ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test) $(CHECK_LIBS) $(TEST_LIBS)

# X_fixture.c is part of every test_X*.
$(foreach f,$(patsubst tests/unit/%_fixture.c,%,$(wildcard tests/unit/*_fixture.c)),\
	$(eval $(filter $(TESTBIN)/unit/test_$(f)%,$(UNIT_PROGRAMS)): $(O)/obj/tests/unit/$(f)_fixture.o))

$(filter $(TESTBIN)/unit/test_agent%,$(UNIT_PROGRAMS)): $(O)/obj/tests/unit/agent_world.o

.PHONY: unit-programs replay-programs fuzz-programs test-programs check-kvm
# With UNIT only those.
unit-programs: $(patsubst tests/unit/%.c,$(TESTBIN)/unit/%,$(wildcard tests/unit/test_$(patsubst test_%,%,$(UNIT)).c))

unit: ## unit tests; UNIT=test_X runs one, SAN=address,undefined with sanitizers
	@$(MAKE) --no-print-directory $(parallel) unit-programs
	@MICROVM_BUILD=$(abspath $(O)) MICROVM_UNIT='$(UNIT)' tests/run unit

# ---- fuzz: tests/fuzz/fuzz_X.c, seeds in tests/fuzz/corpus/X ---------------------------------------------

FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAY_PROGRAMS := $(patsubst %,$(TESTBIN)/fuzz/replay_%,$(FUZZ_NAMES))
FUZZ_PROGRAMS := $(patsubst %,$(TESTBIN)/fuzz/fuzz_%,$(FUZZ_NAMES))
SECONDS ?= 60
FUZZ ?=

$(REPLAY_PROGRAMS): $(TESTBIN)/fuzz/replay_%: $(O)/obj/tests/fuzz/fuzz_%.o $(O)/obj/tests/fuzz/replay.o $(TEST_ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test) $(TEST_LIBS)
replay-programs: $(REPLAY_PROGRAMS)

$(FUZZ_PROGRAMS): $(TESTBIN)/fuzz/fuzz_%: $(O)/obj/tests/fuzz/fuzz_%.o $(TEST_ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test) -fsanitize=fuzzer $(TEST_LIBS)
fuzz-programs: $(addprefix $(TESTBIN)/fuzz/fuzz_,$(FUZZ))

# Everything is made once more, by clang and with its coverage hooks, below $(O)/fuzz.
fuzz: ## fuzzing with libFuzzer: FUZZ=virtq SECONDS=60; without FUZZ, lists the targets
ifeq ($(FUZZ),)
	@printf 'make fuzz FUZZ=NAME [SECONDS=60], where NAME is one of: %s\n' '$(FUZZ_NAMES)'
else
	@$(MAKE) --no-print-directory $(parallel) CC=$(CLANG) SAN=fuzzer-no-link,$(SANITIZERS) WARN=-w O=$(O)/fuzz fuzz-programs
	@mkdir -p $(O)/fuzz/corpus/$(FUZZ) tests/fuzz/corpus/$(FUZZ)
	$(O)/fuzz/tests/fuzz/fuzz_$(FUZZ) -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus/$(FUZZ) tests/fuzz/corpus/$(FUZZ)
endif

# ---- boot: payload guests ---------------------------------------------------------------------------------

BOOT_PROGRAMS :=
-include tests/boot/rules.mk

boot: ## payload guests on this machine's /dev/kvm, or in the lab where there is none
	@$(MAKE) --no-print-directory $(parallel) all $(BOOT_PROGRAMS)
	@MICROVM_BUILD=$(abspath $(O)) tests/run boot

# ---- fs: the file server behind QEMU ------------------------------------------------------------------------

# They run in guests, whatever the image.
GUEST_TESTS := $(addprefix $(TESTBIN)/,posix storage-work storage-race)
$(TESTBIN)/posix: $(O)/obj/tests/fs/posix.o
$(TESTBIN)/storage-work: $(O)/obj/tests/e2e/storage-work.o
$(TESTBIN)/storage-race: $(O)/obj/tests/e2e/storage-race.o
$(GUEST_TESTS):
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -static -o $@ $^ -lpthread

fs: ## the file server under a real kernel: the answers of 226 POSIX cases are those of the host's file system
	@$(MAKE) --no-print-directory $(parallel) all guest $(TESTBIN)/posix
	@MICROVM_BUILD=$(abspath $(O)) tests/run fs

# ---- the rest ---------------------------------------------------------------------------------------------

e2e: ## whole commands, in the lab; E2E='20 run_exit' runs the files or tests with these words in their names
	@$(MAKE) --no-print-directory $(parallel) e2e-needs
	@MICROVM_BUILD=$(abspath $(O)) MICROVM_E2E='$(or $(E2E),$(MICROVM_E2E))' tests/run e2e
E2E ?=
.PHONY: e2e-needs
e2e-needs: all guest images kmod $(BOOT_PROGRAMS) $(TESTBIN)/seccomp-count $(TESTBIN)/kmod-vsock $(TESTBIN)/kmod-balloon $(GUEST_TESTS) $(TESTBIN)/vsock/vsock_test $(TESTBIN)/vsock/vsock-forward

$(TESTBIN)/seccomp-count: $(O)/obj/tests/e2e/seccomp-count.o $(O)/lib/libbase.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test) -lseccomp

# The kernel's own tests of vsock, and what they need beside.
$(TESTBIN)/vsock/vsock_test: tests/e2e/vsock-tests.sh
	$(call say,CC-G,$@)
	$(Q)tests/e2e/vsock-tests.sh $(@D)
$(TESTBIN)/vsock/vsock-forward: $(O)/obj/tests/e2e/vsock-forward.o $(O)/lib/libagent.a $(O)/lib/libbase.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test) -static

$(TESTBIN)/kmod-vsock: $(addprefix $(O)/obj/tests/e2e/,kmod-vsock.o kmod-vsock-guest.o kmod-vsock-hostile.o) $(O)/lib/libvirtio.a $(O)/lib/libbase.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test)

$(TESTBIN)/kmod-balloon: $(O)/obj/tests/e2e/kmod-balloon.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(link_test)

lint: ## formats, includes, licences, clang-tidy, shellcheck, sparse, man pages
	@$(MAKE) --no-print-directory $(parallel) all $(GUEST)/microvm-agent kmod
	@MICROVM_BUILD=$(abspath $(O)) tests/run lint

# Too slow for every day: KASAN, lockdep, kmemleak and failing allocations under the module's own tests.
lab-debug: ## the kernel module under a debug kernel (built once a machine, ten minutes)
	@$(MAKE) --no-print-directory $(O)/kmod/debug/microvm.ko $(TESTBIN)/kmod-vsock $(TESTBIN)/kmod-balloon
	@MICROVM_BUILD=$(abspath $(O)) tests/lab/debug

test: ## builds everything and runs every test; its last line is the sum
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(parallel) e2e-needs
	@$(MAKE) --no-print-directory $(parallel) $(sanitized) unit-programs replay-programs
	@MICROVM_BUILD=$(abspath $(O)) MICROVM_SAN=$(abspath $(O))/san tests/run lint unit fuzz boot fs e2e

demo: ## builds everything and runs a Debian image in a microVM
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(parallel) all guest images
	@MICROVM_BUILD=$(abspath $(O)) tests/demo

include userland/bench/rules.mk

bench: ## speed and memory against peers, in the lab: a table, and build/bench.json; BENCH="boot blk" runs those suites
	@$(MAKE) --no-print-directory $(parallel) e2e-needs $(BENCH_FILES)
	@MICROVM_BUILD=$(abspath $(O)) userland/bench/bench $(BENCH)
