// SPDX-License-Identifier: GPL-2.0
/*
 * What the scripts need from a program: the geometry, data in tag storage,
 * tagged memory, each held and verified when standard input ends.
 *
 *	mts_tool page		the page size
 *	mts_tool geometry	one line per region, and the sum
 *	mts_tool fill [PAGES]	fill tag storage with data
 *	mts_tool data MIB	so much memory without tags
 *	mts_tool hold MIB [STEP]	tag MIB MiB, and keep each STEP-th page of it
 *	mts_tool read MIB	memory with PROT_MTE that is only read
 *	mts_tool place MIB	how many pages of MIB MiB of data get into tag storage
 *	mts_tool free		pages of tag storage that are free, by /proc/kpageflags
 *	mts_tool key NAME	how often a static key of the kernel is enabled, by /dev/mem
 *	mts_tool pin		keep a page of tag storage from being moved
 *	mts_tool hog		take memory until the OOM killer comes
 *	mts_tool poison SEED	memory failures in tagged pages, undone afterwards
 *	mts_tool kexec KERNEL INITRAMFS COMMAND-LINE	start another kernel
 *
 * fill, data, hold, read and pin print one line `ready KEY=VALUE...`, and when the input ends
 * `intact` or `damaged`; the exit status tells the same.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/reboot.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mts_test.h"
#include "mts_unmovable.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define KEY(i)	(0x746f6f6c0000UL + (i) * 8 + ((i) & 3))
#define DATA(i)	(0x746f6f6c0001UL + (i) * 2)

static void wait_for_end(void)
{
	char c;

	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

static int verdict(long bad)
{
	puts(bad ? "damaged" : "intact");
	return !!bad;
}

static int geometry(void)
{
	u64 sum = 0;
	int i;

	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];

		printf("region start=%llu end=%llu data_start=%llu data_end=%llu block_size=%llu block_pages=%llu\n",
		       (unsigned long long)r->start,
		       (unsigned long long)r->end,
		       (unsigned long long)r->data_start,
		       (unsigned long long)r->data_end,
		       (unsigned long long)r->block_size,
		       (unsigned long long)r->block_pages);
		sum += r->end - r->start;
	}
	printf("total regions=%d bytes=%llu\n", mts_nr_regions,
	       (unsigned long long)sum);
	return 0;
}

static int fill(size_t want)
{
	struct mts_grab g;
	size_t i, inside = 0;
	long bad = 0;
	u8 *mine;

	mts_grab_storage(&g, want);
	mine = calloc(g.pages, 1);
	if (!mine)
		mts_die("calloc");
	for (i = 0; i < g.pages; i++) {
		mine[i] = mts_pfn_in_storage(mts_pfn(g.base +
						     i * mts_page_size));
		if (mine[i])
			mts_page_fill(g.base + i * mts_page_size, DATA(i));
	}
	printf("ready pages=%zu kib=%zu\n", g.nr, g.nr * mts_page_size / 1024);
	wait_for_end();
	for (i = 0; i < g.pages && bad < 8; i++) {
		if (!mine[i])
			continue;
		bad += !mts_data_ok("fill", g.base + i * mts_page_size,
				    DATA(i));
		inside += mts_pfn_in_storage(mts_pfn(g.base +
						     i * mts_page_size));
	}
	printf("still pages=%zu kib=%zu\n", inside,
	       inside * mts_page_size / 1024);
	return verdict(bad);
}

static int data(size_t mib)
{
	size_t pages = (mib << 20) / mts_page_size, i;
	char *p = mts_map(pages * mts_page_size, PROT_RW, 0, 0);
	long bad = 0;

	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		mts_page_fill(p + i * mts_page_size, DATA(i));
	printf("ready pages=%zu\n", pages);
	wait_for_end();
	for (i = 0; i < pages && bad < 8; i++)
		bad += !mts_data_ok("data", p + i * mts_page_size, DATA(i));
	return verdict(bad);
}

static int place(size_t mib)
{
	size_t pages = (mib << 20) / mts_page_size, inside = 0, i;
	char *p = mts_map(pages * mts_page_size, PROT_RW, 0, 0);

	/* What one run leaves on the lists of a CPU the next one finds */
	mts_pin(0);
	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++) {
		p[i * mts_page_size] = 1;
		inside += mts_pfn_in_storage(mts_pfn(p + i * mts_page_size));
	}
	printf("pages=%zu inside=%zu\n", pages, inside);
	return 0;
}

static int hold(size_t mib, size_t step)
{
	size_t pages = (mib << 20) / mts_page_size, i;
	char *p = mts_map(pages * mts_page_size, PROT_TAGGED, 0, 0);
	long bad = 0;

	for (i = 0; i < pages; i++) {
		mts_page_tag(p + i * mts_page_size, KEY(i));
		mts_page_fill(p + i * mts_page_size, DATA(i));
	}
	for (i = 0; i < pages; i++)
		if (i % step)
			madvise(p + i * mts_page_size, mts_page_size,
				MADV_DONTNEED);
	printf("ready pages=%zu blocks=%ld\n", pages / step,
	       mts_blocks_of(p, pages));
	wait_for_end();
	for (i = 0; i < pages && bad < 8; i += step) {
		bad += !mts_tags_ok("hold", p + i * mts_page_size, KEY(i));
		bad += !mts_data_ok("hold", p + i * mts_page_size, DATA(i));
	}
	bad += mts_pages_untaggable("hold", p, pages) > 0;
	return verdict(bad);
}

/* The zero page, everywhere */
static int only_read(size_t mib)
{
	const volatile char *p = mts_map(mib << 20, PROT_TAGGED, 0, 0);
	size_t i, bad = 0;

	for (i = 0; i < mib << 20; i += mts_page_size)
		bad += p[i];
	printf("ready bytes=%zu\n", mib << 20);
	wait_for_end();
	for (i = 0; i < mib << 20; i += mts_page_size)
		bad += p[i];
	return verdict(bad);
}

static int free_pages(void)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC), i;
	unsigned long long n = 0;
	u64 pfn, flags;

	if (fd < 0)
		mts_die("/proc/kpageflags");
	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];

		for (pfn = r->start / mts_page_size;
		     pfn < r->end / mts_page_size; pfn++) {
			if (pread(fd, &flags, 8, pfn * 8) != 8)
				mts_die("/proc/kpageflags");
			n += !!(flags & KPF_BUDDY);
		}
	}
	close(fd);
	return printf("%llu\n", n) < 0;
}

/* The address of a symbol, of which the file has one */
static u64 symbol(const char *name)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	unsigned long long at, found = 0;
	char word[256];

	while (file && fscanf(file, "%llx %*c %255s%*[^\n]", &at, word) == 2)
		if (!strcmp(word, name))
			found = at;
	if (file)
		fclose(file);
	return found;
}

/* Where the kernel's data begin in memory, which is at the symbol _sdata */
static u64 kernel_data(void)
{
	FILE *file = fopen("/proc/iomem", "r");
	unsigned long long at, found = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, " : Kernel data") && sscanf(line, " %llx-", &at) == 1)
			found = at;
	if (file)
		fclose(file);
	return found;
}

/* struct static_key begins with its count */
static int key(const char *name)
{
	u64 at = symbol(name), sdata = symbol("_sdata"), data = kernel_data();
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC), count;

	if (!at || !sdata || !data)
		mts_die(name);
	if (fd < 0 || pread(fd, &count, sizeof(count), data + (at - sdata)) != sizeof(count))
		mts_die("/dev/mem");
	close(fd);
	return printf("%d\n", count) < 0;
}

static int unmovable(void)
{
	volatile u64 *bytes = mmap(NULL, mts_page_size, PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	if (bytes == MAP_FAILED)
		mts_die("mmap");
	pid = fork();
	if (!pid) {
		/* Nobody is to be killed instead */
		if (mts_write_file("/proc/self/oom_score_adj", "1000"))
			mts_die("oom_score_adj");
		mts_take_unmovable(bytes);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		mts_die("fork");
	printf("%llu\n", (unsigned long long)*bytes / 1024);
	return !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
}

/* A page in a pipe can't be moved until somebody reads it */
static int pin(void)
{
	struct mts_grab g;
	struct iovec iov;
	int fd[2];

	mts_grab_storage(&g, 1);
	iov.iov_base = NULL;
	iov.iov_len = mts_page_size;
	for (size_t i = 0; i < g.pages && !iov.iov_base; i++)
		if (mts_pfn_in_storage(mts_pfn(g.base + i * mts_page_size)))
			iov.iov_base = g.base + i * mts_page_size;
	if (!iov.iov_base)
		mts_die("no page in tag storage");
	mts_page_fill(iov.iov_base, DATA(0));
	if (pipe(fd) || vmsplice(fd[1], &iov, 1, 0) != (ssize_t)mts_page_size)
		mts_die("vmsplice");
	printf("ready pfn=%llu\n",
	       (unsigned long long)mts_pfn(iov.iov_base));
	wait_for_end();
	return verdict(!mts_data_ok("pin", iov.iov_base, DATA(0)));
}

/* It is the one to be killed. 0 when it was */
static int hog(void)
{
	size_t bytes = 4 * mts_meminfo("MemTotal") * 1024, i;
	pid_t pid = mts_fork();
	volatile char *p;
	int status;

	if (!pid) {
		if (mts_write_file("/proc/self/oom_score_adj", "1000"))
			_exit(1);
		p = mts_map(bytes, PROT_RW, MAP_NORESERVE, 0);
		for (i = 0; i < bytes; i += mts_page_size)
			p[i] = 1;
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid)
		mts_die("waitpid");
	return !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
}

#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define POISON_PAGES	256

/* All poisoned pages of the machine: how many are left */
static size_t unpoison(void)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	u64 flags[512], pfn = 0;
	size_t left = 0;
	char text[32];
	ssize_t got, i;

	if (fd < 0)
		mts_die("/proc/kpageflags");
	while ((got = pread(fd, flags, sizeof(flags), pfn * 8)) > 0) {
		for (i = 0; i < got / 8; i++) {
			if (!(flags[i] & KPF_HWPOISON))
				continue;
			snprintf(text, sizeof(text), "%#llx", (unsigned long long)(pfn + i));
			left += !!mts_write_file(UNPOISON, text);
		}
		pfn += got / 8;
	}
	close(fd);
	return left;
}

static sigjmp_buf bus_env;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(bus_env, 1);
}

/* Is it dead now? The kernel sends SIGBUS at once to who asks for it */
static bool poison_page(char *p)
{
	signal(SIGBUS, on_sigbus);
	return sigsetjmp(bus_env, 1) || !madvise(p, mts_page_size, MADV_HWPOISON);
}

/*
 * Tagged pages are never in tag storage: what they serve is lost to nobody for
 * good. The others keep their data and tags.
 */
static int poison(u64 seed)
{
	char *p = mts_map(POISON_PAGES * mts_page_size, PROT_TAGGED, 0, 0);
	bool dead[POISON_PAGES] = {};
	long bad = 0;
	size_t i, n;

	for (i = 0; i < POISON_PAGES; i++) {
		mts_page_tag(p + i * mts_page_size, KEY(i));
		mts_page_fill(p + i * mts_page_size, DATA(i));
	}
	for (n = 0; n < 12; n++) {
		i = mts_below(&seed, POISON_PAGES);
		if (n % 3)
			madvise(p + i * mts_page_size, mts_page_size, MADV_SOFT_OFFLINE);
		else
			dead[i] |= poison_page(p + i * mts_page_size);
	}
	for (i = 0; i < POISON_PAGES && bad < 8; i++) {
		if (dead[i])
			continue;
		bad += !mts_tags_ok("poison", p + i * mts_page_size, KEY(i));
		bad += !mts_data_ok("poison", p + i * mts_page_size, DATA(i));
	}
	munmap(p, POISON_PAGES * mts_page_size);
	/* Somebody may look at one just now */
	for (n = 0; unpoison() && n < 100; n++)
		usleep(20000);
	if (n == 100)
		printf("poison stays\n");
	return verdict(bad + (n == 100));
}

static int kexec(const char *kernel, const char *initramfs, const char *line)
{
	int fd = open(kernel, O_RDONLY | O_CLOEXEC);
	int initrd = open(initramfs, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || initrd < 0)
		mts_die("open");
	if (syscall(SYS_kexec_file_load, fd, initrd, strlen(line) + 1, line, 0))
		mts_die("kexec_file_load");
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);
	mts_die("LINUX_REBOOT_CMD_KEXEC");
}

int main(int argc, char **argv)
{
	mts_load_regions();
	if (argc == 2 && !strcmp(argv[1], "page"))
		return printf("%zu\n", mts_page_size) < 0;
	if (argc == 2 && !strcmp(argv[1], "geometry"))
		return geometry();
	if (argc >= 2 && !strcmp(argv[1], "fill"))
		return fill(argc > 2 ? strtoul(argv[2], NULL, 0) : SIZE_MAX);
	if (argc == 3 && !strcmp(argv[1], "data"))
		return data(strtoul(argv[2], NULL, 0));
	if (argc == 3 && !strcmp(argv[1], "hold")) {
		mts_need_mte();
		return hold(strtoul(argv[2], NULL, 0), 1);
	}
	if (argc == 4 && !strcmp(argv[1], "hold") && atoi(argv[3]) > 0) {
		mts_need_mte();
		return hold(strtoul(argv[2], NULL, 0), atoi(argv[3]));
	}
	if (argc == 3 && !strcmp(argv[1], "read")) {
		mts_need_mte();
		return only_read(strtoul(argv[2], NULL, 0));
	}
	if (argc == 3 && !strcmp(argv[1], "place"))
		return place(strtoul(argv[2], NULL, 0));
	if (argc == 2 && !strcmp(argv[1], "free"))
		return free_pages();
	if (argc == 3 && !strcmp(argv[1], "key"))
		return key(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "unmovable"))
		return unmovable();
	if (argc == 2 && !strcmp(argv[1], "pin"))
		return pin();
	if (argc == 2 && !strcmp(argv[1], "hog"))
		return hog();
	if (argc == 3 && !strcmp(argv[1], "poison")) {
		mts_need_mte();
		return poison(strtoul(argv[2], NULL, 0));
	}
	if (argc == 5 && !strcmp(argv[1], "kexec"))
		return kexec(argv[2], argv[3], argv[4]);
	fprintf(stderr, "usage: mts_tool page | geometry | fill [PAGES] | data MIB | hold MIB [STEP] | read MIB |\n"
			"       place MIB | free | key NAME | unmovable | pin | hog | poison SEED |\n"
			"       kexec KERNEL INITRAMFS COMMAND-LINE\n");
	return 2;
}
