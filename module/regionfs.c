// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs blocks, and regions/: a summary, and a directory for each tag-storage
 * range.
 */
#include <linux/debugfs.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pfn.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "mts.h"

/* Of the map */
#define MAP_COLUMNS	64
#define MAP_LINES	64

/* Of a character that stands for blocks in one state */
static const char map_chars[] = {
	[MTS_STATIC] = '=',
	[MTS_RESERVED] = '#',
	[MTS_CLOSING] = '~',
	[MTS_CHANGING] = '^',
	[MTS_RELEASED] = '.',
	[MTS_SPARE] = '+',
	[MTS_BAD] = '!',
};

static_assert(ARRAY_SIZE(map_chars) == MTS_NR_STATES);

/* The digit tells how many tenths of the blocks are reserved, bad ones show */
static char map_char(struct mts_region *r, unsigned long block,
		     unsigned long end)
{
	unsigned long nr[MTS_NR_STATES] = {};
	unsigned long first = block;
	unsigned int state;

	for (; block < end; block++)
		nr[READ_ONCE(r->state[block])]++;
	if (nr[MTS_BAD])
		return map_chars[MTS_BAD];
	for (state = 0; state < MTS_NR_STATES; state++)
		if (nr[state] == end - first)
			return map_chars[state];
	return '0' + min((nr[MTS_RESERVED] + nr[MTS_CLOSING]) * 10 /
			 (end - first), 9UL);
}

/*
 * The states of a region's blocks, for people. A character for each block, or for
 * each range of as many blocks as make it fit into 64 lines. A '*' stands for
 * lines like the one before.
 */
static void show_map(struct seq_file *m, struct mts_region *r)
{
	unsigned long nr = mts_nr_blocks(&r->geo);
	unsigned long step, block;
	char line[MAP_COLUMNS + 1], last[MAP_COLUMNS + 1] = "";
	bool same = false;

	step = roundup_pow_of_two(DIV_ROUND_UP(nr, MAP_COLUMNS * MAP_LINES));
	seq_printf(m, "# %lu blocks, %lu per character: ", nr, step);
	seq_puts(m, ". released # reserved ~ closing ^ changing = static + spare ! bad 0-9 tenths reserved\n");
	for (block = 0; block < nr; ) {
		unsigned long first = block;
		unsigned int i;

		for (i = 0; i < MAP_COLUMNS && block < nr; i++) {
			unsigned long end = min(block + step, nr);

			line[i] = map_char(r, block, end);
			block = end;
		}
		line[i] = '\0';
		cond_resched();
		if (block < nr && !strcmp(line, last)) {
			if (!same)
				seq_puts(m, "*\n");
			same = true;
			continue;
		}
		same = false;
		seq_printf(m, "%8lu %s\n", first, line);
		strscpy(last, line);
	}
}

/*
 * The states of blocks, for programs: a line for each run of equal states. It is as
 * long as there are runs, so it is read a piece at a time, and blocks may change
 * meanwhile; but none is left out, and none comes twice.
 */
struct blocks_iter {
	struct mts_region *only;	/* NULL: of all regions */
	unsigned int region;
	unsigned long block;
	unsigned long end;
	u8 state;
};

/* A position has the region and the block */
#define BLOCKS_REGION_SHIFT	48

static struct mts_region *blocks_region(const struct blocks_iter *it)
{
	if (it->only)
		return it->region ? NULL : it->only;
	return it->region < mts_nr_regions ? mts_regions[it->region] : NULL;
}

/* Find the run at the position, or the first one of the next region */
static void *blocks_at(struct blocks_iter *it, loff_t *pos)
{
	struct mts_region *r;
	unsigned long nr;

	for (;;) {
		it->region = *pos >> BLOCKS_REGION_SHIFT;
		it->block = *pos & (BIT_ULL(BLOCKS_REGION_SHIFT) - 1);
		r = blocks_region(it);
		if (!r)
			return NULL;
		nr = mts_nr_blocks(&r->geo);
		if (it->block < nr)
			break;
		*pos = (loff_t)(it->region + 1) << BLOCKS_REGION_SHIFT;
	}
	it->state = READ_ONCE(r->state[it->block]);
	for (it->end = it->block + 1; it->end < nr; it->end++)
		if (READ_ONCE(r->state[it->end]) != it->state)
			break;
	return it;
}

static void *blocks_start(struct seq_file *m, loff_t *pos)
{
	return blocks_at(m->private, pos);
}

static void *blocks_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct blocks_iter *it = v;

	*pos += it->end - it->block;
	cond_resched();
	return blocks_at(it, pos);
}

static void blocks_stop(struct seq_file *m, void *v)
{
}

/* "[region] first count state" */
static int blocks_show(struct seq_file *m, void *v)
{
	struct blocks_iter *it = v;

	if (!it->only)
		seq_printf(m, "%u ", it->region);
	seq_printf(m, "%lu %lu %s\n", it->block, it->end - it->block,
		   mts_state_names[it->state]);
	return 0;
}

static const struct seq_operations blocks_ops = {
	.start = blocks_start,
	.next = blocks_next,
	.stop = blocks_stop,
	.show = blocks_show,
};

static int blocks_open(struct inode *inode, struct file *file)
{
	struct blocks_iter *it = __seq_open_private(file, &blocks_ops, sizeof(*it));

	if (!it)
		return -ENOMEM;
	it->only = inode->i_private;
	return 0;
}

static const struct file_operations blocks_fops = {
	.owner = THIS_MODULE,
	.open = blocks_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release_private,
};

/* "<node>/<zone>", of each of the region's areas */
static void show_zones(struct seq_file *m, struct mts_region *r)
{
	unsigned int i;

	for (i = 0; i < r->nr_areas; i++) {
		struct zone *zone = page_zone(pfn_to_page(r->areas[i].pfn));

		seq_printf(m, "%s%d/%s", i ? "," : "", zone_to_nid(zone),
			   zone->name);
	}
	if (!r->nr_areas)
		seq_putc(m, '-');
}

/* A file is told apart by what it shows: m->private has the region */
static int storage_show(struct seq_file *m, void *v)
{
	const struct mts_region *r = m->private;

	seq_printf(m, "0x%llx-0x%llx\n", PFN_PHYS(r->geo.tag_pfn),
		   PFN_PHYS(r->geo.tag_pfn + r->geo.tag_pages));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(storage);

static int tagged_memory_show(struct seq_file *m, void *v)
{
	const struct mts_region *r = m->private;

	seq_printf(m, "0x%llx-0x%llx\n", PFN_PHYS(r->geo.data_pfn),
		   PFN_PHYS(r->geo.data_pfn + mts_data_pages(&r->geo)));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(tagged_memory);

static int block_bytes_show(struct seq_file *m, void *v)
{
	const struct mts_region *r = m->private;

	seq_printf(m, "%lu\n", mts_block_pages(&r->geo) << PAGE_SHIFT);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(block_bytes);

static int node_show(struct seq_file *m, void *v)
{
	const struct mts_region *r = m->private;

	seq_printf(m, "%d\n", page_to_nid(pfn_to_page(r->geo.tag_pfn)));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(node);

static int zones_show(struct seq_file *m, void *v)
{
	show_zones(m, m->private);
	seq_putc(m, '\n');
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(zones);

static int states_show(struct seq_file *m, void *v)
{
	struct mts_region *r = m->private;
	unsigned long nr[MTS_NR_STATES];
	unsigned int state;

	spin_lock(&r->lock);
	memcpy(nr, r->nr, sizeof(nr));
	spin_unlock(&r->lock);
	for (state = 0; state < MTS_NR_STATES; state++)
		seq_printf(m, "%s %lu\n", mts_state_names[state], nr[state]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(states);

static int map_show(struct seq_file *m, void *v)
{
	show_map(m, m->private);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(map);

static int summary_show(struct seq_file *m, void *v)
{
	struct mts_region *r;
	unsigned int i, j;

	seq_puts(m, "# region storage data block_bytes block_pages zones");
	for (j = 0; j < MTS_NR_STATES; j++)
		seq_printf(m, " %s", mts_state_names[j]);
	seq_putc(m, '\n');

	for_each_mts_region(r, i) {
		const struct mts_geometry *geo = &r->geo;

		seq_printf(m, "%u 0x%llx-0x%llx 0x%llx-0x%llx %lu %lu ",
			   r->index, PFN_PHYS(geo->tag_pfn),
			   PFN_PHYS(geo->tag_pfn + geo->tag_pages),
			   PFN_PHYS(geo->data_pfn),
			   PFN_PHYS(geo->data_pfn + mts_data_pages(geo)),
			   mts_block_pages(geo) << PAGE_SHIFT,
			   mts_block_pages(geo));
		show_zones(m, r);
		spin_lock(&r->lock);
		for (j = 0; j < MTS_NR_STATES; j++)
			seq_printf(m, " %lu", r->nr[j]);
		spin_unlock(&r->lock);
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(summary);

static const struct {
	const char *name;
	umode_t mode;
	const struct file_operations *fops;
} region_files[] = {
	{ "storage", 0400, &storage_fops },
	{ "tagged_memory", 0400, &tagged_memory_fops },
	{ "block_bytes", 0444, &block_bytes_fops },
	{ "node", 0444, &node_fops },
	{ "zones", 0444, &zones_fops },
	{ "states", 0444, &states_fops },
	{ "map", 0444, &map_fops },
	{ "blocks", 0400, &blocks_fops },
};

/**
 * mts_region_debugfs() - make the directories of the regions, and "blocks" of all
 * @parent:	where
 */
void mts_region_debugfs(struct dentry *parent)
{
	struct dentry *dir = debugfs_create_dir("regions", parent);
	struct mts_region *r;
	unsigned int i, j;

	debugfs_create_file("blocks", 0400, parent, NULL, &blocks_fops);
	debugfs_create_file("summary", 0400, dir, NULL, &summary_fops);
	for_each_mts_region(r, i) {
		struct dentry *sub;
		char name[16];

		snprintf(name, sizeof(name), "%u", r->index);
		sub = debugfs_create_dir(name, dir);
		for (j = 0; j < ARRAY_SIZE(region_files); j++)
			debugfs_create_file(region_files[j].name,
					    region_files[j].mode, sub, r,
					    region_files[j].fops);
	}
}
