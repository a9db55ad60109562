// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/mte_tag_storage
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "mts.h"

static struct dentry *mts_dir;

/**
 * mts_copy_word() - the word that is written to a file
 * @buf:	result: without blanks around it
 * @text:	what is written
 * @len:	its length
 *
 * Return: 0, -EINVAL for nothing, too much, or binary data.
 */
int mts_copy_word(char buf[MTS_WORD_SIZE], const char *text, size_t len)
{
	char *word;

	if (!len || len >= MTS_WORD_SIZE || memchr(text, '\0', len))
		return -EINVAL;
	memcpy(buf, text, len);
	buf[len] = '\0';
	word = strim(buf);
	memmove(buf, word, strlen(word) + 1);
	return 0;
}

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
	char text[MTS_WORD_SIZE];

	if (!len || len >= MTS_WORD_SIZE || *pos)
		return -EINVAL;
	if (copy_from_user(text, ubuf, len))
		return -EFAULT;
	return mts_copy_word(buf, text, len);
}

static int state_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s\n", mts_state_text());
	return 0;
}

static ssize_t state_write(struct file *file, const char __user *ubuf,
			   size_t len, loff_t *pos)
{
	char buf[MTS_WORD_SIZE];
	int ret;

	ret = mts_get_word(buf, ubuf, len, pos);
	if (!ret)
		ret = mts_set_state(buf);
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

static int latency_show(struct seq_file *m, void *v)
{
	mts_latency_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(latency);

static int calls_show(struct seq_file *m, void *v)
{
	mts_site_calls_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(calls);

static int drain_progress_show(struct seq_file *m, void *v)
{
	mts_offline_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(drain_progress);

/**
 * mts_debugfs_init() - make the files for tests and tuning
 *
 * Context: Process context, sleeps. Errors are ignored, as debugfs wants it.
 */
void mts_debugfs_init(void)
{
	mts_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("state", 0644, mts_dir, NULL, &state_fops);
	debugfs_create_file("stats", 0444, mts_dir, NULL, &stats_fops);
	debugfs_create_file("latency", 0444, mts_dir, NULL, &latency_fops);
	debugfs_create_file("calls", 0400, mts_dir, NULL, &calls_fops);
	debugfs_create_file("drain_progress", 0400, mts_dir, NULL,
			    &drain_progress_fops);
	mts_region_debugfs(mts_dir);
	mts_trigger_debugfs(mts_dir);
	mts_inject_debugfs(mts_dir);
	mts_policy_debugfs(mts_dir);
}

/**
 * mts_debugfs_exit() - remove them
 *
 * Context: Process context, sleeps. Waits for who is in one of them.
 */
void mts_debugfs_exit(void)
{
	debugfs_remove(mts_dir);
}
