// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of the lab's emulator that makes CPUs rest at chosen instructions, so
 * that races happen which otherwise need luck. Interrupts aside, the CPU
 * does nothing for a while, as if a hypervisor had taken it away; the others go
 * on.
 *
 *   -plugin mts_delay.so,points=FILE[,report=FILE][,seed=N]
 *
 * Each line of the file with the points (scripts/lab/labdelay.py writes it):
 *
 *   NAME MS PERCENT ADDRESS
 *   NAME MS PERCENT OFFSET WORD...
 *
 * ADDRESS is that of an instruction. A module isn't loaded at an address that
 * is known before; it is recognised by its code: OFFSET is that of the
 * instruction in a function of these words, '-' for a word that may be any.
 *
 * The report is written when the emulator ends: "NAME reached N rested N" for
 * each point.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>
#include <qemu-plugin-rest.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MAX_POINTS	64
#define MAX_WORDS	1024
#define MAX_CPUS	512

struct point {
	char name[128];
	uint64_t ms;
	unsigned int percent;
	uint64_t address;
	/* The function, if it has to be recognised; without words it needn't */
	uint64_t offset;
	unsigned int nr_words;
	uint32_t words[MAX_WORDS];
	bool any[MAX_WORDS];
	uint64_t reached, rested;
};

/* A point at the address that it was found at */
struct place {
	struct point *point;
	uint64_t address;
};

static struct point points[MAX_POINTS];
static unsigned int nr_points;
static char *report_path;

static GMutex lock;
static GHashTable *places;	/* by address */

static struct {
	uint64_t random;
	/* It has rested there and comes back to the instruction */
	uint64_t rested_at;
} cpus[MAX_CPUS];

/* xorshift64* */
static uint64_t random64(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

static void reach(unsigned int cpu, void *data)
{
	struct place *place = data;
	struct point *p = place->point;

	if (cpu >= MAX_CPUS)
		return;
	if (cpus[cpu].rested_at == place->address) {
		cpus[cpu].rested_at = 0;
		return;
	}
	__atomic_fetch_add(&p->reached, 1, __ATOMIC_RELAXED);
	if (random64(&cpus[cpu].random) % 100 >= p->percent)
		return;
	__atomic_fetch_add(&p->rested, 1, __ATOMIC_RELAXED);
	cpus[cpu].rested_at = place->address;
	qemu_plugin_vcpu_rest(place->address, p->ms * 1000);
	/* It returns where CPUs share a thread; the instruction follows. */
	cpus[cpu].rested_at = 0;
}

static bool is_function(const struct point *p, uint64_t start)
{
	GByteArray *code = g_byte_array_new();
	bool same = qemu_plugin_read_memory_vaddr(start, code, p->nr_words * 4);
	unsigned int i;

	for (i = 0; same && i < p->nr_words; i++) {
		uint32_t word;

		memcpy(&word, code->data + i * 4, 4);
		same = p->any[i] || word == p->words[i];
	}
	g_byte_array_free(code, TRUE);
	return same;
}

static bool is_point(const struct point *p, uint64_t address, uint32_t word)
{
	if (!p->nr_words)
		return address == p->address;
	return (p->any[p->offset / 4] || p->words[p->offset / 4] == word) &&
	       is_function(p, address - p->offset);
}

static struct place *get_place(struct point *p, uint64_t address)
{
	struct place *place;

	g_mutex_lock(&lock);
	place = g_hash_table_lookup(places, &address);
	if (!place) {
		place = g_new(struct place, 1);
		place->point = p;
		place->address = address;
		g_hash_table_insert(places, &place->address, place);
	}
	g_mutex_unlock(&lock);
	return place;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);
	unsigned int k;

	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		struct place *place;
		uint32_t word = 0;

		/* Kernels only: no process is asked for its memory. */
		if (!(address >> 63))
			return;
		qemu_plugin_insn_data(insn, &word, sizeof(word));
		for (k = 0; k < nr_points; k++) {
			if (!is_point(&points[k], address, word))
				continue;
			place = get_place(&points[k], address);
			qemu_plugin_register_vcpu_insn_exec_cb(insn, reach,
							       QEMU_PLUGIN_CB_R_REGS,
							       place);
			break;
		}
	}
}

static void report(qemu_plugin_id_t id, void *data)
{
	FILE *f = report_path ? fopen(report_path, "w") : NULL;
	unsigned int i;

	if (!f)
		return;
	for (i = 0; i < nr_points; i++)
		fprintf(f, "%s reached %" PRIu64 " rested %" PRIu64 "\n",
			points[i].name, points[i].reached, points[i].rested);
	fclose(f);
}

static bool read_point(struct point *p, char *line)
{
	static const char blank[] = "\n ";
	char *word, *save, *end;
	uint64_t where;

	word = strtok_r(line, blank, &save);
	if (!word || strlen(word) >= sizeof(p->name))
		return false;
	strcpy(p->name, word);
	word = strtok_r(NULL, blank, &save);
	if (!word)
		return false;
	p->ms = strtoull(word, &end, 10);
	if (*end)
		return false;
	word = strtok_r(NULL, blank, &save);
	if (!word)
		return false;
	p->percent = strtoul(word, &end, 10);
	if (*end || p->percent > 100)
		return false;
	word = strtok_r(NULL, blank, &save);
	if (!word)
		return false;
	where = strtoull(word, &end, 0);
	if (*end || where % 4)
		return false;
	for (; (word = strtok_r(NULL, blank, &save)); p->nr_words++) {
		if (p->nr_words == MAX_WORDS)
			return false;
		p->any[p->nr_words] = !strcmp(word, "-");
		p->words[p->nr_words] = strtoul(word, NULL, 16);
	}
	p->address = p->nr_words ? 0 : where;
	p->offset = p->nr_words ? where : 0;
	return !p->nr_words || p->offset / 4 < p->nr_words;
}

static bool read_points(const char *path)
{
	static char line[MAX_WORDS * 9 + 256];
	FILE *f = fopen(path, "r");
	bool good = f;

	while (good && fgets(line, sizeof(line), f)) {
		good = nr_points < MAX_POINTS &&
		       read_point(&points[nr_points], line);
		nr_points++;
	}
	if (f)
		fclose(f);
	if (!good)
		fprintf(stderr, "mts_delay: %s: line %u is wrong\n", path,
			nr_points);
	return good;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
					   const qemu_info_t *info, int argc,
					   char **argv)
{
	const char *points_path = NULL;
	uint64_t seed = 0;
	int i;

	for (i = 0; i < argc; i++) {
		if (g_str_has_prefix(argv[i], "points=")) {
			points_path = argv[i] + 7;
		} else if (g_str_has_prefix(argv[i], "report=")) {
			report_path = g_strdup(argv[i] + 7);
		} else if (g_str_has_prefix(argv[i], "seed=")) {
			seed = strtoull(argv[i] + 5, NULL, 0);
		} else {
			fprintf(stderr, "mts_delay: unknown argument %s\n",
				argv[i]);
			return -1;
		}
	}
	if (!points_path || !read_points(points_path))
		return -1;

	for (i = 0; i < MAX_CPUS; i++)
		cpus[i].random = (seed + 1) * 0x9e3779b97f4a7c15ULL ^
				 (i + 1) * 0xd1b54a32d192ed03ULL;
	places = g_hash_table_new(g_int64_hash, g_int64_equal);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, report, NULL);
	return 0;
}
