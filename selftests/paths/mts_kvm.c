// SPDX-License-Identifier: GPL-2.0
/*
 * Guests of KVM with tags: memory that lies in tag storage, that the guest
 * touches first, whose tags the VMM reads and writes, that is swapped out, moved
 * and split meanwhile. The guest is a few instructions below; it stores and
 * loads tags and copies pages as the VMM tells it.
 *
 * Needs a kernel with KVM that runs at EL2 (see tests.list: with=small and
 * virtualization=on).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mts_paths.h"

#define COMPACT		"/proc/sys/vm/compact_memory"
#define GRAB_SEED	0x6b766dUL
#define SWAP_MB		64UL
#define VCPUS		2
/* How long the guest may take for one page */
#define GUEST_SECONDS	20

/* Guest physical, and virtual, addresses */
#define TEST_GPA	0UL
/* Behind as much memory as a test of 64K pages has */
#define CODE_GPA	(16UL << 30)
#define MMIO_GPA	(17UL << 30)

/* The pages after the code, in order: the page table, then two of each VCPU */
#define TABLE_GPA	(CODE_GPA + mts_page_size)
#define TAGS_GPA(cpu)	(CODE_GPA + (2 + 2 * (cpu)) * mts_page_size)
#define DATA_GPA(cpu)	(TAGS_GPA(cpu) + mts_page_size)
#define OWN_PAGES	(2 + 2 * VCPUS)

/*
 * x9: where a store ends KVM_RUN. Then x0: memory, x1: tags, one a byte, or
 * data, x2: bytes of memory, x3: what to do.
 */
asm(".pushsection .rodata\n"
	".balign 16\n"
	"guest_code:\n"
	"0:	str	xzr, [x9]\n"
	"	cmp	x3, #1\n"
	"	b.eq	2f\n"
	"	b.hi	3f\n"
	"1:	ldrb	w4, [x1], #1\n"		/* 0: store tags */
	"	mov	x5, x0\n"
	"	bfi	x5, x4, #56, #4\n"
	"	stg	x5, [x5]\n"
	"	add	x0, x0, #16\n"
	"	subs	x2, x2, #16\n"
	"	b.ne	1b\n"
	"	b	0b\n"
	"2:	ldg	x4, [x0]\n"		/* 1: load tags */
	"	ubfx	x4, x4, #56, #4\n"
	"	strb	w4, [x1], #1\n"
	"	add	x0, x0, #16\n"
	"	subs	x2, x2, #16\n"
	"	b.ne	2b\n"
	"	b	0b\n"
	"3:	ldr	x4, [x1], #8\n"		/* 2: copy from x1 to x0 */
	"	str	x4, [x0], #8\n"
	"	subs	x2, x2, #8\n"
	"	b.ne	3b\n"
	"	b	0b\n"
	"guest_code_end:\n"
	"guest_exception:\n"
	"	mrs	x5, esr_el1\n"
	"	mrs	x6, elr_el1\n"
	"	mrs	x7, far_el1\n"
	"	str	xzr, [x9, #8]\n"
	"	b	.\n"
	"guest_exception_end:\n"
	".popsection\n");
#define __hidden	__attribute__((visibility("hidden")))
extern const char guest_code[] __hidden, guest_code_end[] __hidden;
extern const char guest_exception[] __hidden, guest_exception_end[] __hidden;

/* Where the exceptions of the guest go, and the one it could take */
#define VECTORS		(CODE_GPA + 0x800)
#define VECTOR_SYNC	0x200

enum { STORE_TAGS, LOAD_TAGS, COPY };

struct vcpu {
	int fd;
	struct kvm_run *run;
	u8 *tags;		/* the page at TAGS_GPA */
	char *data;		/* and at DATA_GPA */
	u64 tags_gpa, data_gpa;
};

struct vm {
	int fd;
	char *own;		/* the pages from CODE_GPA on */
	struct vcpu vcpus[VCPUS];
};

static void set_reg(const struct vcpu *vcpu, u64 id, u64 value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (u64)&value };

	if (ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg))
		mts_die("KVM_SET_ONE_REG");
}

static u64 get_reg(const struct vcpu *vcpu, u64 id)
{
	u64 value = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (u64)&value };

	if (ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg))
		mts_die("KVM_GET_ONE_REG");
	return value;
}

#define CORE_REG(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(name))
#define X(n)		(CORE_REG(regs.regs[0]) + 2 * (n))
#define SCTLR_EL1	ARM64_SYS_REG(3, 0, 1, 0, 0)
#define TTBR0_EL1	ARM64_SYS_REG(3, 0, 2, 0, 0)
#define TCR_EL1		ARM64_SYS_REG(3, 0, 2, 0, 2)
#define MAIR_EL1	ARM64_SYS_REG(3, 0, 10, 2, 0)
#define VBAR_EL1	ARM64_SYS_REG(3, 0, 12, 0, 0)

/* Until the guest stores to MMIO_GPA. 0 or a negative error. */
static int vcpu_run(struct vcpu *vcpu)
{
	double end = mts_now() + GUEST_SECONDS;

	/* Ends KVM_RUN */
	alarm(GUEST_SECONDS + 1);
	while (ioctl(vcpu->fd, KVM_RUN, 0)) {
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
		if (mts_now() < end)
			continue;
		ktap_note("the guest hangs: pc %#llx",
			  (unsigned long long)get_reg(vcpu, CORE_REG(regs.pc)));
		return -ETIME;
	}
	if (vcpu->run->exit_reason == KVM_EXIT_MMIO &&
	    vcpu->run->mmio.phys_addr == MMIO_GPA)
		return 0;
	ktap_note("exit of the guest: reason %u, pc %#llx; exception %#llx at %#llx, address %#llx",
		  vcpu->run->exit_reason,
		  (unsigned long long)get_reg(vcpu, CORE_REG(regs.pc)),
		  (unsigned long long)get_reg(vcpu, X(5)),
		  (unsigned long long)get_reg(vcpu, X(6)),
		  (unsigned long long)get_reg(vcpu, X(7)));
	return -ENXIO;
}

static bool guest(struct vcpu *vcpu, int what, u64 memory, u64 other)
{
	int err;

	set_reg(vcpu, X(0), memory);
	set_reg(vcpu, X(1), other);
	set_reg(vcpu, X(2), mts_page_size);
	set_reg(vcpu, X(3), what);
	err = vcpu_run(vcpu);
	if (err)
		ktap_note("guest: %s", strerror(-err));
	return !err;
}

static void vcpu_create(struct vm *vm, int nr)
{
	struct vcpu *vcpu = &vm->vcpus[nr];
	struct kvm_vcpu_init init;

	vcpu->tags_gpa = TAGS_GPA(nr);
	vcpu->data_gpa = DATA_GPA(nr);
	vcpu->tags = (u8 *)vm->own + (vcpu->tags_gpa - CODE_GPA);
	vcpu->data = vm->own + (vcpu->data_gpa - CODE_GPA);
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, nr);
	if (vcpu->fd < 0 || ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init) ||
	    ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init))
		mts_die("KVM_ARM_VCPU_INIT");
	vcpu->run = mmap(NULL, mts_page_size, PROT_RW, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		mts_die("mmap of the VCPU");

	/* Attributes 0: Device-nGnRnE, 1: Normal Tagged Write-Back */
	set_reg(vcpu, MAIR_EL1, 0xf0UL << 8);
	/* 39 bits, write-back and inner shareable, no TTBR1, 40 bits, TBI0 */
	set_reg(vcpu, TCR_EL1, 25 | 1UL << 8 | 1UL << 10 | 3UL << 12 |
		1UL << 23 | 2UL << 32 | 1UL << 37);
	set_reg(vcpu, TTBR0_EL1, TABLE_GPA);
	set_reg(vcpu, VBAR_EL1, VECTORS);
	/* M, C, I, ATA; no tag checks */
	set_reg(vcpu, SCTLR_EL1, get_reg(vcpu, SCTLR_EL1) |
		1 | 1UL << 2 | 1UL << 12 | 1UL << 43);
	set_reg(vcpu, CORE_REG(regs.pc), CODE_GPA);
	set_reg(vcpu, X(9), MMIO_GPA);
	if (vcpu_run(vcpu))
		mts_die("the guest doesn't start");
}

static void vm_memory(struct vm *vm, int slot, u64 gpa, void *p, size_t len)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .guest_phys_addr = gpa,
		.memory_size = len, .userspace_addr = (u64)p,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
		mts_die("KVM_SET_USER_MEMORY_REGION");
}

static void vm_create(struct vm *vm, int kvm, void *test, size_t len)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ARM_MTE };
	u64 *table;
	int i;

	vm->fd = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0 || ioctl(vm->fd, KVM_ENABLE_CAP, &cap))
		mts_die("a VM with MTE");
	vm->own = mts_map(OWN_PAGES * mts_page_size, PROT_RW, 0, 0);
	memcpy(vm->own, guest_code, guest_code_end - guest_code);
	memcpy(vm->own + (VECTORS - CODE_GPA) + VECTOR_SYNC, guest_exception,
	       guest_exception_end - guest_exception);
	__builtin___clear_cache(vm->own, vm->own + mts_page_size);
	table = (u64 *)(vm->own + (TABLE_GPA - CODE_GPA));
	/* Blocks of 1 GiB: valid, accessed, inner shareable, attributes */
	for (i = 0; i <= (int)(CODE_GPA >> 30); i++)
		table[i] = (u64)i << 30 | 1 | 1UL << 10 | 3UL << 8 | 1UL << 2;
	table[MMIO_GPA >> 30] = MMIO_GPA | 1 | 1UL << 10;
	vm_memory(vm, 0, CODE_GPA, vm->own, OWN_PAGES * mts_page_size);
	vm_memory(vm, 1, TEST_GPA, test, len);
	for (i = 0; i < VCPUS; i++)
		vcpu_create(vm, i);
}

static void vm_destroy(struct vm *vm)
{
	int i;

	for (i = 0; i < VCPUS; i++) {
		munmap(vm->vcpus[i].run, mts_page_size);
		close(vm->vcpus[i].fd);
	}
	close(vm->fd);
	munmap(vm->own, OWN_PAGES * mts_page_size);
}

/* The pages of memory that a test uses, at TEST_GPA */
static u64 gpa_of(size_t i)
{
	return TEST_GPA + i * mts_page_size;
}

static bool guest_tag(struct vcpu *vcpu, size_t i, u64 key)
{
	size_t g;

	for (g = 0; g < mts_page_granules; g++)
		vcpu->tags[g] = mts_tag_of(key, g);
	return guest(vcpu, STORE_TAGS, gpa_of(i), vcpu->tags_gpa);
}

static bool tags_are(const char *what, const u8 *tags, size_t i, u64 key)
{
	size_t g;

	for (g = 0; g < mts_page_granules; g++) {
		unsigned int want = key ? mts_tag_of(key, g) : 0;

		if (tags[g] == want)
			continue;
		ktap_note("WRONG TAG %s: page %zu granule %zu: %u, expected %u",
			  what, i, g, tags[g], want);
		return false;
	}
	return true;
}

static bool guest_tags_ok(const char *what, struct vcpu *vcpu, size_t i, u64 key)
{
	memset(vcpu->tags, 0xff, mts_page_granules);
	return guest(vcpu, LOAD_TAGS, gpa_of(i), vcpu->tags_gpa) &&
	       tags_are(what, vcpu->tags, i, key);
}

static bool guest_fill(struct vcpu *vcpu, size_t i, u64 key)
{
	mts_page_fill(vcpu->data, key);
	return guest(vcpu, COPY, gpa_of(i), vcpu->data_gpa);
}

static bool guest_data_ok(const char *what, struct vcpu *vcpu, size_t i, u64 key)
{
	return guest(vcpu, COPY, vcpu->data_gpa, gpa_of(i)) &&
	       mts_data_ok(what, vcpu->data, key);
}

static bool guest_page_ok(const char *what, struct vcpu *vcpu, size_t i,
			  u64 data, u64 tags)
{
	return guest_data_ok(what, vcpu, i, data) &&
	       guest_tags_ok(what, vcpu, i, tags);
}

/* The VMM's way to tags. The number of bytes that were not copied, or -1. */
static long copy_tags(struct vm *vm, size_t i, u8 *tags, bool to_guest)
{
	struct kvm_arm_copy_mte_tags copy = {
		.guest_ipa = gpa_of(i), .length = mts_page_size, .addr = tags,
		.flags = to_guest ? KVM_ARM_TAGS_TO_GUEST :
				    KVM_ARM_TAGS_FROM_GUEST,
	};
	long ret = ioctl(vm->fd, KVM_ARM_MTE_COPY_TAGS, &copy);

	return ret < 0 ? ret : (long)mts_page_size - ret;
}

static bool vmm_tags_ok(const char *what, struct vm *vm, size_t i, u64 key)
{
	u8 tags[mts_page_granules];

	return !copy_tags(vm, i, tags, false) && tags_are(what, tags, i, key);
}

static u64 key_of(const struct mts_buf *b, size_t i)
{
	return b->seed ? buf_key(b, i) : 0;
}

/* The guest stores data and tags. */
static size_t fill(struct vm *vm, struct mts_buf *b, u64 seed)
{
	size_t i, bad = 0;

	b->seed = seed;
	for (i = 0; i < b->pages && bad < 4; i++)
		bad += !guest_fill(&vm->vcpus[i % VCPUS], i, key_of(b, i)) ||
		       !guest_tag(&vm->vcpus[i % VCPUS], i, key_of(b, i));
	return bad;
}

/* The guest and the VMM see the same data and the same tags. */
static size_t bad_pages(const char *what, struct vm *vm, struct mts_buf *b)
{
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i++)
		bad += !guest_page_ok(what, &vm->vcpus[(i + 1) % VCPUS], i,
				      key_of(b, i), key_of(b, i)) ||
		       !vmm_tags_ok(what, vm, i, key_of(b, i)) ||
		       !mts_data_ok(what, buf_page(b, i), key_of(b, i));
	return bad;
}

static void result(const struct mts_buf *b, size_t bad, const char *what)
{
	ktap_result(!bad && buf_taggable(what, b), "%s", what);
}

/* ---- the tests ---- */

static void test_fresh(struct vm *vm, struct mts_buf *b)
{
	size_t bad;

	/* Half of it is faulted in by loads, half by stores */
	b->seed = 0;
	bad = bad_pages("fresh", vm, b);
	bad += fill(vm, b, 1);
	bad += bad_pages("fresh", vm, b);
	result(b, bad, "memory that the guest touches first");
}

static void test_vmm(struct vm *vm, struct mts_buf *b)
{
	u8 tags[mts_page_granules];
	size_t i, g, bad = 0;

	/* Tags only; the data stays as it is */
	for (i = 0; i < b->pages && bad < 4; i++) {
		for (g = 0; g < mts_page_granules; g++)
			tags[g] = mts_tag_of(b->seed + i * 2, g);
		bad += !!copy_tags(vm, i, tags, true);
	}
	for (i = 0; i < b->pages && bad < 4; i++)
		bad += !guest_page_ok("VMM's tags", &vm->vcpus[0], i,
				      key_of(b, i), b->seed + i * 2) ||
		       !vmm_tags_ok("VMM's tags", vm, i, b->seed + i * 2);
	result(b, bad, "tags that the VMM writes");
	/* A page that was never there has no tags to read */
	madvise(b->p, b->pages * mts_page_size, MADV_DONTNEED);
	for (bad = 0, i = 0; i < b->pages && bad < 4; i += 2)
		bad += !vmm_tags_ok("VMM, nothing there", vm, i, 0);
	for (i = 1; i < b->pages && bad < 4; i += 2) {
		for (g = 0; g < mts_page_granules; g++)
			tags[g] = mts_tag_of(9 + i * 2, g);
		bad += !!copy_tags(vm, i, tags, true);
	}
	for (i = 0; i < b->pages && bad < 4; i++)
		bad += !guest_page_ok("VMM first", &vm->vcpus[0], i, 0,
				      i & 1 ? 9 + i * 2 : 0);
	result(b, bad, "tags that the VMM reads and writes first");
}

static void test_swap(struct vm *vm, struct mts_buf *b)
{
	size_t out = 0, bad;
	int tries;

	bad = fill(vm, b, 3);
	for (tries = 0; tries < 20 && out < b->pages; tries++) {
		madvise(b->p, b->pages * mts_page_size, MADV_PAGEOUT);
		out = buf_swapped(b);
	}
	bad += bad_pages("swap", vm, b);
	ktap_result(!bad && out >= b->pages / 2 && buf_taggable("swap", b),
		    "guest memory in swap: %zu of %zu pages", out, b->pages);
}

/* Guests at work while their memory is moved, split, swapped out */
struct worker {
	struct vcpu *vcpu;
	const struct mts_buf *b;
	size_t first, rounds;
	bool bad;
	volatile bool *stop;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	u64 keys[w->b->pages];
	u64 seed = w->first + 1;
	size_t i, nr = w->b->pages / VCPUS;

	for (i = 0; i < nr; i++)
		keys[i] = 0;
	while (!*w->stop && !w->bad) {
		i = mts_below(&seed, nr);
		w->bad = keys[i] && !guest_page_ok("at work", w->vcpu,
						   w->first + i, keys[i], keys[i]);
		keys[i] = mts_rand(&seed) | 2;
		w->bad = w->bad ||
			 !guest_fill(w->vcpu, w->first + i, keys[i]) ||
			 !guest_tag(w->vcpu, w->first + i, keys[i]);
		w->rounds++;
	}
	for (i = 0; i < nr && !w->bad; i++)
		w->bad = keys[i] && !guest_page_ok("after work", w->vcpu,
						   w->first + i, keys[i], keys[i]);
	return NULL;
}

static void test_at_work(struct vm *vm, struct mts_buf *b, double seconds)
{
	struct worker workers[VCPUS];
	pthread_t threads[VCPUS];
	volatile bool stop = false;
	double end = mts_now() + seconds;
	size_t rounds = 0, i;
	u64 seed = 77;
	pid_t pid;
	bool bad = false;

	for (i = 0; i < VCPUS; i++) {
		workers[i] = (struct worker){ &vm->vcpus[i], b,
					      i * (b->pages / VCPUS), 0, false, &stop };
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			mts_die("pthread_create");
	}
	while (mts_now() < end) {
		i = mts_below(&seed, b->pages - 16);
		switch (mts_below(&seed, 4)) {
		case 0:
			madvise(buf_page(b, i), 16 * mts_page_size, MADV_PAGEOUT);
			break;
		case 1:
			mts_write_file(COMPACT, "1");
			break;
		case 2:
			/* All of it is write-protected, and copied when written */
			pid = fork();
			if (!pid)
				_exit(0);
			if (pid > 0)
				wait_status(pid);
			break;
		default:
			mts_release();
		}
	}
	stop = true;
	for (i = 0; i < VCPUS; i++) {
		pthread_join(threads[i], NULL);
		bad |= workers[i].bad;
		rounds += workers[i].rounds;
	}
	ktap_result(!bad && rounds > 50 && buf_taggable("at work", b),
		    "guests at work while their memory moves: %zu pages", rounds);
}

/* Guest memory that lies in tag storage, with data from before. */
static void test_storage(int kvm, struct mts_grab *grab)
{
	u64 *pfns = calloc(grab->pages, sizeof(*pfns));
	size_t i, nr = 0, bad = 0, moved = 0;
	u8 tags[mts_page_granules];
	struct vm vm;

	if (!pfns)
		mts_die("calloc");
	vm_create(&vm, kvm, grab->base, grab->pages * mts_page_size);
	mts_pfns(grab->base, grab->pages, pfns);
	memset(tags, 5, sizeof(tags));
	for (i = 0; i < grab->pages && nr < 400 && bad < 4; i++) {
		struct vcpu *vcpu = &vm.vcpus[i % VCPUS];
		u64 key = GRAB_SEED + i * 2;

		if (!mts_pfn_in_storage(pfns[i]))
			continue;
		switch (nr++ % 3) {
		case 0:		/* The guest reads it, then tags it */
			bad += !guest_page_ok("in tag storage", vcpu, i, key, 0) ||
			       !guest_tag(vcpu, i, key) ||
			       !guest_page_ok("tagged", vcpu, i, key, key);
			break;
		case 1:		/* The guest tags it at once */
			bad += !guest_tag(vcpu, i, key) ||
			       !guest_page_ok("tagged", vcpu, i, key, key);
			break;
		default:	/* The VMM tags it */
			bad += !!copy_tags(&vm, i, tags, true) ||
			       !guest_data_ok("tagged by the VMM", vcpu, i, key) ||
			       !guest(vcpu, LOAD_TAGS, gpa_of(i), vcpu->tags_gpa) ||
			       memcmp(vcpu->tags, tags, sizeof(tags));
		}
		moved += !mts_pfn_in_storage(mts_pfn(grab->base + i * mts_page_size));
	}
	vm_destroy(&vm);
	ktap_result(!bad && nr && moved == nr,
		    "guest memory in tag storage: %zu of %zu pages moved out", moved, nr);
	ktap_result(!grab_bad("data in tag storage", grab, GRAB_SEED),
		    "the data in tag storage (%zu pages)", grab->nr);
	free(pfns);
}

static void test_huge(int kvm)
{
	struct mts_buf b = { .pages = SZ_2M / mts_page_size };
	bool is_huge;
	struct vm vm;
	size_t bad;

	if (!mts_thp_enable()) {
		ktap_skip("no huge pages", "guest memory in huge pages");
		return;
	}
	b.p = mts_map_thp(PROT_RW, &is_huge);
	if (!is_huge) {
		ktap_skip("no huge page", "guest memory in huge pages");
		return;
	}
	vm_create(&vm, kvm, b.p, SZ_2M);
	bad = fill(&vm, &b, 6);
	bad += bad_pages("huge page", &vm, &b);
	/* Split */
	madvise(buf_page(&b, 3), mts_page_size, MADV_DONTNEED);
	bad += !guest_page_ok("split", &vm.vcpus[0], 3, 0, 0);
	b.seed = 6;
	bad += !guest_fill(&vm.vcpus[0], 3, key_of(&b, 3)) ||
	       !guest_tag(&vm.vcpus[0], 3, key_of(&b, 3));
	bad += bad_pages("split huge page", &vm, &b);
	result(&b, bad, "guest memory in huge pages");
	vm_destroy(&vm);
	munmap(b.p, SZ_2M);
}

static void nothing(int sig)
{
	(void)sig;
}

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct mts_grab grab = { 0 };
	bool online = mts_online();
	struct mts_buf b;
	struct vm vm;

	mts_need_mte();
	mts_load_regions();
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = nothing }, NULL);
	ktap_begin(10);
	if (kvm < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_MTE) <= 0) {
		ktap_result(false, "KVM has guests with tags: %s", strerror(errno));
		return ktap_end();
	}
	if (online) {
		grab_storage(&grab);
		grab_fill(&grab, GRAB_SEED);
		test_storage(kvm, &grab);
	} else {
		ktap_skip("module not online", "guest memory in tag storage");
		ktap_skip("module not online", "the data in tag storage");
	}
	if (zram_make(SWAP_MB << 20) || swapon(ZRAM, 0))
		mts_die("swap on zram");
	buf_map(&b, 400, PROT_RW, 0);
	vm_create(&vm, kvm, b.p, b.pages * mts_page_size);
	test_fresh(&vm, &b);
	test_vmm(&vm, &b);
	test_swap(&vm, &b);
	test_at_work(&vm, &b, 4);
	vm_destroy(&vm);
	buf_unmap(&b);
	test_huge(kvm);
	/* The guests after that had tags, too */
	if (online)
		ktap_result(!grab_bad("data in tag storage", &grab, GRAB_SEED),
			    "the data in tag storage, at the end");
	else
		ktap_skip("module not online",
			  "the data in tag storage, at the end");
	if (grab.base)
		munmap(grab.base, grab.pages * mts_page_size);
	if (swapoff(ZRAM))
		mts_die("swapoff");
	mts_write_file("/sys/block/zram0/reset", "1");
	/* What is still in a batch for the LRU has its tags: compaction drains them */
	mts_write_file("/proc/sys/vm/compact_memory", "1");
	if (online)
		ktap_result(!mts_release() && mts_blocks_add_up() &&
			    mts_stat("blocks_reserved") < 8,
			    "guests that are gone keep no blocks: %lld",
			    mts_stat("blocks_reserved"));
	else
		ktap_skip("module not online", "guests that are gone keep no blocks");
	return ktap_end();
}
