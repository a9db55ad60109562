// SPDX-License-Identifier: GPL-2.0
/*
 * The tag storage of memory that is set aside for a crash kernel holds no data:
 * that kernel writes tags without asking.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "mts_paths.h"

#define GRAB_SEED	0x63726173UL
#define MAX_RANGES	4

struct range {
	u64 first;
	u64 end;	/* page frames */
};

static struct range ranges[MAX_RANGES];
static int nr_ranges;

static void find_ranges(void)
{
	FILE *f = fopen("/proc/iomem", "re");
	unsigned long long start, end;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, ": Crash kernel") || nr_ranges == MAX_RANGES ||
		    sscanf(line, " %llx-%llx", &start, &end) != 2)
			continue;
		ranges[nr_ranges].first = start / mts_page_size;
		ranges[nr_ranges++].end = (end + 1) / mts_page_size;
	}
	if (f)
		fclose(f);
}

/* All of these blocks are reserved or static. */
static bool check_blocks(const char *what, size_t *pages)
{
	struct mts_blocks *blocks = mts_blocks_read();
	bool ok = true;
	int i;
	u64 pfn;

	*pages = 0;
	for (i = 0; i < nr_ranges; i++) {
		for (pfn = ranges[i].first; pfn < ranges[i].end; pfn++) {
			const char *state = mts_block_state(blocks, pfn);

			if (!state)
				continue;
			(*pages)++;
			if (!strcmp(state, "reserved") ||
			    !strcmp(state, "static"))
				continue;
			ktap_note("%s: the block of pfn %#llx is %s", what,
				  (unsigned long long)pfn, state);
			ok = false;
			break;
		}
	}
	mts_blocks_free(blocks);
	return ok;
}

/* None of what is in use for data serves the crash kernel. */
static size_t grabbed(const struct mts_grab *grab)
{
	size_t i, j, n, wrong = 0;
	u64 pfns[256], pfn, nr, first;
	int k;

	for (i = 0; i < grab->pages; i += n) {
		n = grab->pages - i < 256 ? grab->pages - i : 256;
		mts_pfns(grab->base + i * mts_page_size, n, pfns);
		for (k = 0; k < nr_ranges; k++) {
			for (pfn = ranges[k].first; pfn < ranges[k].end;
			     pfn += 32) {
				first = storage_of(pfn, &nr);
				for (j = 0; first && j < n; j++)
					wrong += pfns[j] >= first &&
						 pfns[j] < first + nr;
			}
		}
	}
	return wrong;
}

int main(void)
{
	struct mts_grab grab;
	size_t pages, wrong;
	bool ok;

	mts_load_regions();
	find_ranges();
	if (!mts_online() || !nr_ranges) {
		printf("KTAP version 1\n1..0 # SKIP %s\n", mts_online() ?
		       "no memory for a crash kernel" : "the module is not online");
		return KSFT_SKIP;
	}
	ktap_begin(3);
	ok = check_blocks("at first", &pages);
	ktap_result(ok && pages, "%zu pages for a crash kernel have tag storage",
		    pages);
	ok = !mts_release() && !mts_release();
	ok &= check_blocks("after release passes", &pages);
	ktap_result(ok, "they keep it");
	grab_storage(&grab);
	wrong = grabbed(&grab);
	ktap_result(!wrong && check_blocks("with data in the rest", &pages),
		    "%zu pages of data are in tag storage, %zu where they must not be",
		    grab.nr, wrong);
	munmap(grab.base, grab.pages * mts_page_size);
	return ktap_end();
}
