/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's part of "make bench": one program, a function per measure. Each
 * prints "= <row>.<key> <value>" lines; scripts/bench knows what they mean.
 */
#ifndef BENCH_H
#define BENCH_H

#include "../lib/mts_test.h"

#define KIB(x)		((size_t)(x) << 10)
#define MIB(x)		((size_t)(x) << 20)
#define THP_2M		"/sys/kernel/mm/transparent_hugepage/hugepages-2048kB"
#define THP_64K		"/sys/kernel/mm/transparent_hugepage/hugepages-64kB"
#define NSEC_PER_MSEC	1000000ULL
#define NSEC_PER_SEC	1000000000ULL

extern const char *bench_row;

/* With -icount these are instructions. */
u64 bench_ns(void);
void bench_say(const char *key, double value);
/* The row, or a part of it, can't be measured here. */
void bench_cannot(const char *why);

int bench_prot(const char *word);
void *bench_map(size_t bytes, int prot);
/* Where a huge page can begin */
char *bench_align(char *p);
/* Of this program and its children. */
void *bench_shared(size_t bytes);
void bench_populate(void *base, size_t bytes);
/* Write a byte to each page. */
void bench_touch(void *base, size_t bytes);
long bench_number(const char *word);
/* Folios of this size only, "2m" or "64k", where madvise() asks; NULL: as usual. */
void bench_folios(const char *size);
void bench_write(const char *path, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void bench_msleep(unsigned int ms);
/* A file of zeros that is on its device when this returns. */
void bench_make_file(const char *name, size_t bytes);
/* All of it, which has to be as many bytes. How long that took. */
u64 bench_read_file(const char *path, size_t bytes);
pid_t bench_fork(void);
/* Kill these children, and wait for all there are. */
void bench_end(const pid_t *pids, int n);

/*
 * Programs that take turns. Who has the token may go on; the last one gives it
 * to the parent, whose number is procs.
 */
#define BENCH_MAX_PROCS	32

void bench_ring_init(int procs);
void bench_token_wait(int who);
void bench_token_pass(int who);

/*
 * All memory, tag storage included, in use by untagged anonymous pages of this
 * process.
 */
struct bench_full {
	char *base;
	size_t pages;
	u64 *pfns;
};

void bench_fill(struct bench_full *full, size_t spare_kib);

struct bench_command {
	const char *name;
	int (*run)(int argc, char **argv);
};

int touch_main(int argc, char **argv);
int fork_main(int argc, char **argv);
int kind_main(int argc, char **argv);
int cache_main(int argc, char **argv);
int mix_main(int argc, char **argv);
int mix_job_main(int argc, char **argv);
int mprotect_main(int argc, char **argv);
int full_main(int argc, char **argv);
int cached_main(int argc, char **argv);
int many_main(int argc, char **argv);
int storage_main(int argc, char **argv);
int pack_main(int argc, char **argv);
int repack_main(int argc, char **argv);
int churn_main(int argc, char **argv);
int fits_main(int argc, char **argv);
int limit_main(int argc, char **argv);
int exit_main(int argc, char **argv);
int module_main(int argc, char **argv);
int gain_main(int argc, char **argv);

#endif /* BENCH_H */
