// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile input for every file that can be written: wrong words, huge and negative
 * numbers, binary, parts, nothing, bad pointers, from one thread and from many.
 *
 *	mts_fuzz [SECONDS [SEED]]
 *
 * A write that fails changes nothing; one that succeeds has been a valid word and
 * is what the file shows then; the values stay in their ranges.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

#define POLICY		MTS_DEBUGFS "/policy"
#define MAX_FILES	64
#define MAX_TEXT	256
#define MAX_LEN	(128 * 1024)
#define THREADS		4

struct file {
	char path[MAX_TEXT];
	char name[64];
	bool knob;		/* can be read back */
	atomic_long taken;
	atomic_long refused;
};

struct input {
	char *buf;		/* MAX_LEN bytes, then a page that isn't there */
	const char *from;	/* what write() gets */
	size_t len;
	off_t pos;
};

static struct file files[MAX_FILES];
static int nr_files;
static atomic_bool quit;
static u64 seed = 1;

static void add_file(const char *dir, const char *name, bool knob)
{
	struct file *f = &files[nr_files];

	if (nr_files == MAX_FILES)
		mts_die("too many files");
	snprintf(f->path, sizeof(f->path), "%s/%s", dir, name);
	snprintf(f->name, sizeof(f->name), "%.63s", name);
	f->knob = knob;
	nr_files++;
}

static void add_dir(const char *dir, bool knob)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	if (!d)
		mts_die(dir);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			add_file(dir, e->d_name, knob);
	closedir(d);
}

static void read_value(const struct file *f, char text[MAX_TEXT])
{
	if (mts_read_file(f->path, text, MAX_TEXT) < 0)
		mts_die(f->path);
}

static void input_init(struct input *in)
{
	in->buf = mts_map(MAX_LEN + mts_page_size, PROT_RW, 0, 0);
	munmap(in->buf + MAX_LEN, mts_page_size);
}

static const char * const words[] = {
	"last-resort", "balanced", "first", "off", "on-demand", "at-first-use",
	"lazy", "never", "phone", "server", "online", "offline", "[lazy]", "lazy eager",
	"LAZY", "on", "yes", "1", "0", "-", "+1", "0x", "1 ", " 1", "\t7\n",
	"1\n2", "%s%n", "../../state", "1,2", "1.5", "1e9", "NaN", "",
};

static const long long edges[] = {
	0, 1, 2, 9, 10, 16, 32, 33, 64, 100, 101, 250, 1000, 4096, 60000,
	60001, 65536, 65537, 600000, 600001, 1 << 20, (1 << 20) + 1,
	0x7fffffffLL, 0x80000000LL, 0xffffffffLL, 0x100000000LL,
	0x7fffffffffffffffLL,
};

static void make_input(struct input *in, u64 *rnd)
{
	size_t i, n = 0;
	char *buf = in->buf;

	in->from = buf;
	in->pos = 0;
	switch (mts_below(rnd, 13)) {
	case 0:
	case 1:		/* a word */
		n = sprintf(buf, "%s", words[mts_below(rnd, ARRAY_SIZE(words))]);
		break;
	case 2:
	case 3:
	case 4:		/* a number near where something may change */
		n = sprintf(buf, mts_below(rnd, 3) ? "%lld" : "0x%llx",
			    edges[mts_below(rnd, ARRAY_SIZE(edges))] +
			    (long long)mts_below(rnd, 3) - 1);
		break;
	case 5:		/* negative, or with more behind it */
		n = sprintf(buf, "%s%lld%s", mts_below(rnd, 2) ? "-" : "",
			    edges[mts_below(rnd, ARRAY_SIZE(edges))],
			    mts_below(rnd, 2) ? " 5" : "z");
		break;
	case 6:		/* binary */
		n = mts_below(rnd, 64);
		for (i = 0; i < n; i++)
			buf[i] = (char)mts_rand(rnd);
		break;
	case 7:		/* long */
		n = 1 + mts_below(rnd, MAX_LEN);
		memset(buf, "0 9\n"[mts_below(rnd, 4)], n);
		buf[n - 1] = '1';
		break;
	case 8:		/* a valid start, then binary */
		n = sprintf(buf, "%s", mts_below(rnd, 2) ? "lazy" : "10") + 1;
		n += mts_below(rnd, 8);
		buf[n - 1] = 'x';
		break;
	case 9:		/* a part of a file */
		n = sprintf(buf, "64");
		in->pos = 1 + (off_t)mts_below(rnd, 100000);
		break;
	case 10:	/* a pointer that is bad, at once or at the end */
		n = 1 + mts_below(rnd, 31);
		in->from = mts_below(rnd, 2) ? (char *)8 :
			   buf + MAX_LEN - n / 2;
		memset(buf + MAX_LEN - 32, '1', 32);
		break;
	case 11:	/* pages that are served, or nearly so */
		n = sprintf(buf, "%llu %llu",
			    (unsigned long long)(mts_regions[0].data_start /
						 mts_page_size +
						 mts_below(rnd, 1 << 16)),
			    (unsigned long long)mts_below(rnd, 1 << 9));
		break;
	case 12:	/* nothing */
		break;
	}
	in->len = n;
}

/* What the file should show after @in, NULL when it can't be valid */
static char *valid_word(const struct input *in, char word[MAX_TEXT])
{
	size_t len = in->len, start = 0;

	if (in->from != in->buf || in->pos || !len || len >= 32 ||
	    memchr(in->buf, 0, len))
		return NULL;
	while (len && isspace((u8)in->buf[len - 1]))
		len--;
	while (start < len && isspace((u8)in->buf[start]))
		start++;
	memcpy(word, in->buf + start, len - start);
	word[len - start] = '\0';
	return len > start ? word : NULL;
}

/* Does the file show that @word has been taken? */
static bool shows(const struct file *f, const char *word)
{
	char text[MAX_TEXT], choice[MAX_TEXT + 2], *end;

	read_value(f, text);
	if (strchr(text, '[')) {
		snprintf(choice, sizeof(choice), "[%s]", word);
		return strstr(text, choice);
	}
	errno = 0;
	return strtoul(word, &end, 0) == strtoul(text, NULL, 10) && !*end &&
		!errno && *word != '-';
}

static bool slow(const struct file *f, const struct input *in)
{
	char word[MAX_TEXT];

	/* All storage through the check, or offline: now and then is enough */
	if (!valid_word(in, word))
		return false;
	if (!strcmp(f->name, "scrub_check"))
		return strtoul(word, NULL, 0) > 16;
	return false;
}

/* Returns whether it was taken */
static bool write_input(struct file *f, const struct input *in)
{
	int fd = open(f->path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		mts_die(f->path);
	/* Not all files can seek; what can't refuses it as a whole, too */
	if (in->pos)
		n = lseek(fd, in->pos, SEEK_SET) == in->pos ?
			write(fd, in->from, in->len) :
			pwrite(fd, in->from, in->len, in->pos);
	else
		n = write(fd, in->from, in->len);
	close(fd);
	if (n >= 0 && (size_t)n != in->len)
		mts_die("a write of a part");
	if (n > 0)
		f->taken++;
	else
		f->refused++;
	return n > 0;
}

static void snapshot(char state[MAX_FILES][MAX_TEXT])
{
	int i;

	for (i = 0; i < nr_files; i++) {
		state[i][0] = '\0';
		if (files[i].knob)
			read_value(&files[i], state[i]);
	}
}

static void describe(const char *what, const struct file *f,
		     const struct input *in)
{
	size_t i;
	char text[100] = "";

	for (i = 0; in->from == in->buf && i < in->len && i < 32; i++)
		sprintf(text + 2 * i, "%02x", (u8)in->buf[i]);
	ktap_note("%s: %s, %zu bytes at %ld: %s", what, f->path, in->len,
		  (long)in->pos, text);
}

static long alone(double seconds)
{
	char before[MAX_FILES][MAX_TEXT], after[MAX_FILES][MAX_TEXT];
	struct input in;
	double end = mts_now() + seconds;
	u64 rnd = mts_mix(seed);
	long bad = 0, n = 0;
	int i;

	input_init(&in);
	snapshot(before);
	while (mts_now() < end && bad < 8) {
		int k = (int)mts_below(&rnd, nr_files);
		struct file *f = &files[k];
		char word[MAX_TEXT];
		bool taken;

		make_input(&in, &rnd);
		if (slow(f, &in))
			continue;
		n++;
		taken = write_input(f, &in);
		snapshot(after);
		if (taken && (!valid_word(&in, word) ||
			      (f->knob && !shows(f, word)))) {
			describe("taken", f, &in);
			bad++;
		}
		for (i = 0; i < nr_files; i++) {
			if (taken && i == k)
				continue;
			if (strcmp(before[i], after[i])) {
				describe(taken ? "changes another file" :
					 "refused, but changes something",
					 f, &in);
				bad++;
			}
		}
		memcpy(before, after, sizeof(before));
	}
	ktap_note("%ld writes", n);
	return n > 20 ? bad : 1;
}

static void *thread_main(void *arg)
{
	struct input in;
	u64 rnd = mts_mix3(seed, (u64)arg, 7);
	char state[MAX_FILES][MAX_TEXT];

	input_init(&in);
	while (!quit) {
		struct file *f = &files[mts_below(&rnd, nr_files)];

		make_input(&in, &rnd);
		if (slow(f, &in))
			continue;
		write_input(f, &in);
		if (!mts_below(&rnd, 8))
			snapshot(state);
	}
	munmap(in.buf, MAX_LEN);
	return NULL;
}

static void together(double seconds)
{
	pthread_t threads[THREADS];
	long i;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, thread_main, (void *)i))
			mts_die("pthread_create");
	usleep((useconds_t)(seconds * 1e6));
	quit = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* Every value can be written again: it is one that the file would take. */
static long in_range(void)
{
	char text[MAX_TEXT];
	long bad = 0;
	int i;

	for (i = 0; i < nr_files; i++) {
		char *from, *to;

		if (!files[i].knob)
			continue;
		read_value(&files[i], text);
		from = strchr(text, '[');
		to = strchr(text, ']');
		if (from && to) {
			*to = '\0';
			from++;
		} else {
			from = text;
		}
		if (mts_write_file(files[i].path, from) < 0) {
			ktap_note("%s: %s", files[i].path, from);
			bad++;
		}
	}
	return bad;
}

/*
 * A test that writes nothing valid, or nothing invalid, shows little: what chance
 * has left out is made up for.
 */
static bool both_ways(struct input *in)
{
	u64 rnd = mts_mix(~seed);
	bool ok = true;
	int i, tries;

	for (i = 0; i < nr_files; i++) {
		struct file *f = &files[i];

		for (tries = 0; tries < 5000 && !(f->taken && f->refused);
		     tries++) {
			make_input(in, &rnd);
			if (!slow(f, in))
				write_input(f, in);
		}
		ktap_note("%s: %ld taken, %ld refused", f->path, f->taken,
			  f->refused);
		if (!f->taken || !f->refused)
			ok = false;
		/* Triggers work online only */
		mts_write_file(MTS_DEBUGFS "/state", "online");
	}
	return ok;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	struct input in;

	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	mts_need_mte();
	mts_load_regions();
	ktap_begin(5);
	add_dir(POLICY, true);
	add_dir(MTS_DEBUGFS "/trigger", false);
	add_file(MTS_DEBUGFS, "state", true);
	ktap_note("seed %llu, %d files", (unsigned long long)seed, nr_files);
	ktap_result(!alone(seconds / 2),
		    "one by one: what is refused changes nothing");
	together(seconds / 2);
	mts_write_file(POLICY "/take_back_timeout_ms", "4000");
	mts_write_file(MTS_DEBUGFS "/state", "online");
	ktap_result(mts_online(), "concurrently: it is online again");
	ktap_result(!in_range(), "all values are in their ranges");
	input_init(&in);
	ktap_result(both_ways(&in), "every file takes and refuses");
	ktap_result(mts_blocks_add_up(), "blocks add up");
	mts_write_file(POLICY "/release", "lazy");
	return ktap_end();
}
