// SPDX-License-Identifier: GPL-2.0
/*
 * Tagged memory of each process.
 *
 *	mts-ps [PID...]
 *
 * A line for each process that has memory with PROT_MTE: bytes of such areas that
 * are in memory, bytes of these whose pages have tags, and its share of the
 * latter (a page that N mappings share counts as 1/N of it for each). Reads
 * smaps, pagemap, kpageflags and kpagecount of /proc, so it is for root, and for
 * kernels with CONFIG_PROC_PAGE_MONITOR. The zero page, which memory that was only
 * read has, is no memory of the process, though it has tags.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bits of a word of pagemap */
#define PM_PFN		((1ULL << 55) - 1)
#define PM_PRESENT	(1ULL << 63)
/* PG_arch_2 of /proc/kpageflags: PG_mte_tagged on arm64 */
#define KPF_ARCH_2	41
#define KPF_ZERO_PAGE	24

struct sums {
	uint64_t mapped;
	uint64_t tagged;
	double share;
};

static long page_size;
static int flags_fd, count_fd;

static uint64_t word_of(int fd, uint64_t index)
{
	uint64_t word = 0;

	if (pread(fd, &word, sizeof(word), (off_t)(index * sizeof(word))) !=
	    (ssize_t)sizeof(word))
		return 0;
	return word;
}

/* The pages of an area; one that goes meanwhile isn't there */
static void add_area(int pagemap, uint64_t start, uint64_t end, struct sums *s)
{
	uint64_t words[512], count, page = start / page_size;
	uint64_t last = end / page_size, i, n;
	ssize_t got;

	for (; page < last; page += n) {
		n = last - page < 512 ? last - page : 512;
		got = pread(pagemap, words, n * 8, (off_t)(page * 8));
		if (got < 8)
			return;
		n = (uint64_t)got / 8;
		for (i = 0; i < n; i++) {
			uint64_t pfn = words[i] & PM_PFN, flags;

			if (!(words[i] & PM_PRESENT) || !pfn)
				continue;
			flags = word_of(flags_fd, pfn);
			if (flags >> KPF_ZERO_PAGE & 1)
				continue;
			s->mapped += page_size;
			if (!(flags >> KPF_ARCH_2 & 1))
				continue;
			s->tagged += page_size;
			count = word_of(count_fd, pfn);
			s->share += (double)page_size / (count ? count : 1);
		}
	}
}

/* False if the process is gone, or none of ours to look at */
static int add_process(const char *pid, struct sums *s)
{
	unsigned long long start = 0, end = 0, a, b;
	char path[64], line[8192];
	int pagemap, any = 0;
	FILE *smaps;

	snprintf(path, sizeof(path), "/proc/%.16s/pagemap", pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%.16s/smaps", pid);
	smaps = fopen(path, "re");
	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%llx-%llx ", &a, &b) == 2) {
			start = a;
			end = b;
		} else if (!strncmp(line, "VmFlags:", 8) &&
			   strstr(line, " mt")) {
			add_area(pagemap, start, end, s);
			any = 1;
		}
	}
	if (smaps)
		fclose(smaps);
	close(pagemap);
	return any;
}

static void show(const char *pid)
{
	struct sums s = { 0, 0, 0 };
	char path[64], name[64] = "?";
	FILE *comm;

	if (!add_process(pid, &s))
		return;
	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	comm = fopen(path, "re");
	if (comm && fgets(name, sizeof(name), comm))
		name[strcspn(name, "\n")] = '\0';
	if (comm)
		fclose(comm);
	printf("%7s %12llu %12llu %12.0f %s\n", pid,
	       (unsigned long long)s.mapped, (unsigned long long)s.tagged,
	       s.share, name);
}

int main(int argc, char **argv)
{
	struct dirent *e;
	DIR *proc;
	int i;

	if (argc > 1 && argv[1][0] == '-') {
		fprintf(stderr, "usage: mts-ps [PID...]\n");
		return 2;
	}
	page_size = sysconf(_SC_PAGESIZE);
	flags_fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	count_fd = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	if (flags_fd < 0 || count_fd < 0) {
		fprintf(stderr, "mts-ps: /proc/kpageflags, kpagecount: %s\n",
			strerror(errno));
		return 1;
	}
	printf("%7s %12s %12s %12s %s\n", "PID", "MTE", "TAGGED", "SHARE",
	       "COMMAND");
	for (i = 1; i < argc; i++)
		show(argv[i]);
	proc = argc > 1 ? NULL : opendir("/proc");
	while (proc && (e = readdir(proc)))
		if (isdigit((unsigned char)e->d_name[0]))
			show(e->d_name);
	if (proc)
		closedir(proc);
	return 0;
}
