# SPDX-License-Identifier: GPL-2.0
#
# The lab: "make help" lists what there is. Every target does its own set-up;
# what it builds is cached under ~/.cache/mte-tag-storage by a hash of its inputs.
# The module itself is built from Kbuild.

SCRIPTS := $(CURDIR)/scripts
CACHE := $${XDG_CACHE_HOME:-$$HOME/.cache}/mte-tag-storage

# Not for the builds that the scripts start: each chooses its own.
MAKEFLAGS += --no-print-directory
unexport MAKEFLAGS MFLAGS

# Page size of the kernel: 4k, 16k or 64k; the scripts take it from the environment.
# Larger pages have larger pageblocks, and so need a larger carve-out: with 64K it is a
# kernel whose pageblocks have 2 MiB, instead of a machine of 32 GiB.
PAGES ?= 4k
export PAGES
MEM := $(if $(filter 4k,$(PAGES)),512M,2G)
FRAGMENT := $(if $(filter 64k,$(PAGES)),--with pageblock-64k)

# GUEST=debian: Debian's userland, kernel and packages instead of the lab's initramfs;
# GUEST=chroot: its programs on the lab's kernel
GUEST ?= lab
DEBIAN := $(filter-out lab,$(GUEST))
CHROOT := $(filter chroot,$(GUEST))

help:
	@echo 'make run         boot an emulated MTE machine and watch the module work'
	@echo 'make test        all tests on emulated machines (TESTS="name pattern*" for some)'
	@echo 'make test-debug  the same with a debug kernel (KASAN, lockdep, kmemleak; slow)'
	@echo 'make test-kernels  some tests on other kernels (KERNELS="kcsan rt": these)'
	@echo 'make bench       measure, next to an unmodified kernel (QUICK=1, ONLY=B1,B3)'
	@echo 'make torture     long random runs with the debug kernel (MINUTES=30, SEED=n for one again)'
	@echo 'make mutants     see that the tests catch bugs (MUTANTS="name pattern*", TIMES=3)'
	@echo 'make coverage    which lines of module and queue the tests reach (gcov; ENTRIES=A,B: of these)'
	@echo 'make shell       a shell on an emulated machine'
	@echo 'make module      the module, for KDIR=<kernel build directory> or the lab'"'"'s kernel'
	@echo 'make debs        Debian packages: module, source for DKMS, tools; lintian'
	@echo 'make dist        a source tarball'
	@echo 'make lint        static checks'
	@echo 'make litmus      the proof of docs/hooks.md, by the kernel'"'"'s memory model'
	@echo 'make artifacts   paths of emulator, kernel, module, initramfs (built if needed)'
	@echo '                 PAGES=16k or 64k with each of these: another page size'
	@echo '                 GUEST=debian with run, test, shell, bench, debs: Debian for arm64, from its'
	@echo '                 packages and ours; GUEST=chroot: its programs on the lab kernel'
	@echo 'make setup       install the packages the lab needs'
	@echo 'make clean       remove the cache: kernels, emulator, runs'

setup:
	@$(SCRIPTS)/setup

run:
	@$(SCRIPTS)/setup $@ $(DEBIAN)
	@$(SCRIPTS)/vm --guest $(GUEST) $(FRAGMENT) --mem $(MEM) --smp 2 --plain --show ktap --timeout 120 \
		--run $(if $(DEBIAN),$(if $(CHROOT),chroot --args story,story) --swap 512M,demo)

test:
	@$(SCRIPTS)/setup $@ $(DEBIAN)
	@$(SCRIPTS)/test $(if $(DEBIAN),--list selftests/debian/tests.list) $(or $(TESTS),$(if $(CHROOT),"*-chroot"))

test-debug:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/test --debug $(TESTS)

test-kernels:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/kernels --test $(KERNELS)

bench:
	@$(SCRIPTS)/setup $@ $(DEBIAN)
	@$(if $(DEBIAN),$(SCRIPTS)/bench-debian --guest $(GUEST) \
		$(if $(ONLY),--programs "$(ONLY)") $(BENCHFLAGS),\
		$(SCRIPTS)/bench $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)") $(BENCHFLAGS))

torture:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/torture $(if $(MINUTES),--minutes "$(MINUTES)") $(if $(SEED),--seed "$(SEED)")

mutants:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/mutants $(if $(TIMES),--times "$(TIMES)") $(MUTANTS)

coverage:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/coverage $(if $(ENTRIES),--entries "$(ENTRIES)")

shell:
	@$(SCRIPTS)/setup $@ $(DEBIAN)
	@$(SCRIPTS)/vm --guest $(GUEST) $(FRAGMENT) --interactive --mem $(MEM) $(VMFLAGS)

module:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/build/module $(if $(KDIR),--kdir "$(KDIR)")

debs:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/debs $(if $(KDIR),--kdir "$(KDIR)",$(if $(DEBIAN),,--kdir \
		"$$($(SCRIPTS)/build/kernel | sed -n 's/^KDIR=//p')"))

dist:
	@$(SCRIPTS)/dist

lint:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/lint

litmus:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/litmus

artifacts:
	@$(SCRIPTS)/setup $@
	@$(SCRIPTS)/artifacts

clean:
	rm -rf "$(CACHE)"

.PHONY: help setup run test test-debug test-kernels bench torture mutants coverage shell module \
	debs dist lint litmus artifacts clean
