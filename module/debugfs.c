// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/mte_tag_storage
 */
#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "mts.h"

static struct dentry *mts_dir;

/**
 * mts_get_word() - read what is written to a file
 * @buf:	result: without blanks around it
 * @ubuf:	of write()
 * @len:	of write()
 * @pos:	of write(); a word is written as a whole
 *
 * Return: 0, -EINVAL for nothing, too much, a part or binary data, -EFAULT.
 */
int mts_get_word(char buf[MTS_WORD_SIZE], const char __user *ubuf, size_t len,
		 const loff_t *pos)
{
	char *word;

	if (!len || len >= MTS_WORD_SIZE || *pos)
		return -EINVAL;
	if (copy_from_user(buf, ubuf, len))
		return -EFAULT;
	if (memchr(buf, '\0', len))
		return -EINVAL;
	buf[len] = '\0';
	word = strim(buf);
	memmove(buf, word, strlen(word) + 1);
	return 0;
}

static int state_show(struct seq_file *m, void *v)
{
	seq_puts(m, mts_is_online() ? "[online] offline\n" :
				      "online [offline]\n");
	return 0;
}

static ssize_t state_write(struct file *file, const char __user *ubuf,
			   size_t len, loff_t *pos)
{
	char buf[MTS_WORD_SIZE];
	int ret;

	ret = mts_get_word(buf, ubuf, len, pos);
	if (ret)
		return ret;

	if (!strcmp(buf, "online"))
		ret = mts_online();
	else if (!strcmp(buf, "offline"))
		ret = mts_offline();
	else
		ret = -EINVAL;
	return ret ?: len;
}

static int state_open(struct inode *inode, struct file *file)
{
	return single_open(file, state_show, NULL);
}

static const struct file_operations state_fops = {
	.owner = THIS_MODULE,
	.open = state_open,
	.read = seq_read,
	.write = state_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int stats_show(struct seq_file *m, void *v)
{
	mts_stats_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int regions_show(struct seq_file *m, void *v)
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
		for (j = 0; j < r->nr_areas; j++) {
			struct zone *zone = page_zone(pfn_to_page(r->areas[j].pfn));

			seq_printf(m, "%s%d/%s", j ? "," : "",
				   zone_to_nid(zone), zone->name);
		}
		if (!r->nr_areas)
			seq_putc(m, '-');
		spin_lock(&r->lock);
		for (j = 0; j < MTS_NR_STATES; j++)
			seq_printf(m, " %lu", r->nr[j]);
		spin_unlock(&r->lock);
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(regions);

/* "<region> <first block> <count> <state>", a line per run of equal states */
static int blocks_show(struct seq_file *m, void *v)
{
	struct mts_region *r;
	unsigned long block, first;
	unsigned int i;

	for_each_mts_region(r, i) {
		unsigned long nr = mts_nr_blocks(&r->geo);

		for (first = 0; first < nr; first = block) {
			u8 state = READ_ONCE(r->state[first]);

			for (block = first + 1; block < nr; block++)
				if (READ_ONCE(r->state[block]) != state)
					break;
			seq_printf(m, "%u %lu %lu %s\n", r->index, first,
				   block - first, mts_state_names[state]);
			cond_resched();
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(blocks);

/* Give back at once what has no tags */
static int trigger_release_set(void *data, u64 val)
{
	int ret = 0;

	if (val != 1)
		return -EINVAL;
	if (mutex_lock_interruptible(&mts_state_mutex))
		return -EINTR;
	if (mts_is_online())
		mts_release_pass(true);
	else
		ret = -ENODEV;
	mutex_unlock(&mts_state_mutex);
	return ret;
}
DEFINE_DEBUGFS_ATTRIBUTE(trigger_release_fops, NULL, trigger_release_set,
			 "%llu\n");

void mts_debugfs_init(void)
{
	struct dentry *trigger;

	mts_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("state", 0644, mts_dir, NULL, &state_fops);
	debugfs_create_file("stats", 0444, mts_dir, NULL, &stats_fops);
	debugfs_create_file("regions", 0444, mts_dir, NULL, &regions_fops);
	debugfs_create_file("blocks", 0400, mts_dir, NULL, &blocks_fops);
	trigger = debugfs_create_dir("trigger", mts_dir);
	debugfs_create_file("release", 0200, trigger, NULL,
			    &trigger_release_fops);
	mts_policy_debugfs(mts_dir);
}

void mts_debugfs_exit(void)
{
	debugfs_remove(mts_dir);
}
