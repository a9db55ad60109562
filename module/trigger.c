// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs trigger/: what happens by itself, on demand, for tests and in the
 * field.
 */
#include <linux/debugfs.h>
#include <linux/kstrtox.h>
#include <linux/string.h>

#include "mts.h"

/* Pages or blocks that one write can ask for */
#define TRIGGER_MAX	65536

/* "pfn" or "pfn pages": as if these pages were about to get tags */
static int trigger_reserve(char *word)
{
	char *second = strchr(word, ' ');
	unsigned long pfn, nr = 1;
	struct mts_region *r;

	if (second) {
		*second = '\0';
		if (kstrtoul(skip_spaces(second + 1), 0, &nr))
			return -EINVAL;
	}
	if (kstrtoul(word, 0, &pfn) || !nr || nr > TRIGGER_MAX)
		return -EINVAL;
	r = mts_region_of_data(pfn);
	if (!r || !mts_serves_pfn(&r->geo, pfn + nr - 1))
		return -EINVAL;
	return mts_reserve(pfn, nr, MTS_TAKE_WAIT, mts_site_get(_THIS_IP_));
}

/* Give back at once what has no tags */
static int trigger_release(char *word)
{
	if (strcmp(word, "1"))
		return -EINVAL;
	mts_pass(MTS_PASS_ALL_IDLE | MTS_PASS_ORDER);
	return 0;
}

/* Move tagged pages together at once */
static int trigger_evacuate(char *word)
{
	if (strcmp(word, "1"))
		return -EINVAL;
	mts_pass(MTS_PASS_EVACUATE | MTS_PASS_HURRY | MTS_PASS_ORDER);
	return 0;
}

/* See scrub_check.c; the number of blocks */
static int trigger_scrub_check(char *word)
{
	unsigned long nr;

	if (kstrtoul(word, 0, &nr) || !nr || nr > TRIGGER_MAX)
		return -EINVAL;
	return mts_scrub_check(nr);
}

/* See audit.c */
static int trigger_audit(char *word)
{
	return strcmp(word, "1") ? -EINVAL : mts_audit();
}

static const struct mts_trigger {
	const char *name;
	int (*run)(char *word);
} triggers[] = {
	{ "reserve", trigger_reserve },
	{ "release", trigger_release },
	{ "evacuate", trigger_evacuate },
	{ "scrub_check", trigger_scrub_check },
	{ "audit", trigger_audit },
};

static ssize_t trigger_write(struct file *file, const char __user *ubuf,
			     size_t len, loff_t *pos)
{
	const struct mts_trigger *trigger = file_inode(file)->i_private;
	char buf[MTS_WORD_SIZE];
	int ret;

	ret = mts_get_word(buf, ubuf, len, pos);
	if (ret)
		return ret;
	if (mutex_lock_interruptible(&mts_state_mutex))
		return -EINTR;
	ret = mts_is_online() ? trigger->run(buf) : -ENODEV;
	mutex_unlock(&mts_state_mutex);
	return ret ?: len;
}

static const struct file_operations trigger_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = trigger_write,
};

/**
 * mts_trigger_debugfs() - make the directory of the triggers
 * @parent:	where
 */
void mts_trigger_debugfs(struct dentry *parent)
{
	struct dentry *dir = debugfs_create_dir("trigger", parent);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(triggers); i++)
		debugfs_create_file(triggers[i].name, 0200, dir,
				    (void *)&triggers[i], &trigger_fops);
}
