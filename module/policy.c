// SPDX-License-Identifier: GPL-2.0
/*
 * Policy: knobs in debugfs, presets at load time. What they mean is in mts.h and
 * docs/abi.md.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "mts.h"
#include "trace.h"

/**
 * struct mts_knob - a member of struct mts_policy that can be written
 * @name:	name of the file, ends in the unit
 * @offset:	where it is in struct mts_policy
 * @min:	smallest value
 * @max:	largest value
 * @words:	names of the values from 0 to @max, NULL when they are numbers
 * @staged:	in force only after a write to "commit"
 */
struct mts_knob {
	const char *name;
	size_t offset;
	unsigned int min;
	unsigned int max;
	const char * const *words;
	bool staged;
};

static const char * const data_use_words[] = {
	[MTS_DATA_LAST_RESORT] = "last-resort",
	[MTS_DATA_BALANCED] = "balanced",
	[MTS_DATA_FIRST] = "first",
	[MTS_DATA_OFF] = "off",
};

static const char * const reserve_words[] = {
	[MTS_RESERVE_ON_DEMAND] = "on-demand",
	[MTS_RESERVE_AT_FIRST_USE] = "at-first-use",
};

static const char * const release_words[] = {
	[MTS_RELEASE_LAZY] = "lazy",
	[MTS_RELEASE_EAGER] = "eager",
	[MTS_RELEASE_NEVER] = "never",
};

#define MTS_CHOICE(_name)						\
	{ .name = #_name, .offset = offsetof(struct mts_policy, _name),	\
	  .max = ARRAY_SIZE(_name##_words) - 1, .words = _name##_words }
#define MTS_NUMBER(_name, _min, _max)					\
	{ .name = #_name, .offset = offsetof(struct mts_policy, _name),	\
	  .min = (_min), .max = (_max) }
#define MTS_STAGED(_name, _min, _max)					\
	{ .name = #_name, .offset = offsetof(struct mts_policy, _name),	\
	  .min = (_min), .max = (_max), .staged = true }

static const struct mts_knob mts_knobs[] = {
	MTS_CHOICE(data_use),
	MTS_CHOICE(reserve),
	MTS_CHOICE(release),
	MTS_NUMBER(pass_interval_ms, 10, 60000),
	MTS_NUMBER(idle_passes, 1, 100),
	MTS_STAGED(ready_low_blocks, 0, 1 << 20),
	MTS_STAGED(ready_high_blocks, 0, 1 << 20),
	MTS_NUMBER(evacuate_percent, 0, 100),
	MTS_NUMBER(evacuate_batch_pages, 1, 65536),
	MTS_NUMBER(reserve_tries, 1, 100),
	MTS_NUMBER(take_back_timeout_ms, 0, 600000),
	MTS_NUMBER(fault_wait_ms, 1, 10000),
	MTS_NUMBER(mprotect_inplace_pages, 0, 32),
};

#define MTS_POLICY_DEFAULT						\
	.data_use = MTS_DATA_BALANCED,					\
	.reserve = MTS_RESERVE_ON_DEMAND,				\
	.release = MTS_RELEASE_LAZY,					\
	.pass_interval_ms = 250,					\
	.idle_passes = 8,						\
	.ready_low_blocks = 0,						\
	.ready_high_blocks = 0,					\
	.evacuate_percent = 95,						\
	.evacuate_batch_pages = 256,					\
	.reserve_tries = 3,						\
	.take_back_timeout_ms = 4000,					\
	.fault_wait_ms = 20,						\
	.mprotect_inplace_pages = 2

struct mts_policy mts_policy = { MTS_POLICY_DEFAULT };

/* What a write to "commit" puts in force; its other members are not used */
static struct mts_policy mts_staged = { MTS_POLICY_DEFAULT };

/* Protects changes of the two, and holding it guarantees that sets agree */
static DEFINE_SPINLOCK(mts_policy_lock);

struct mts_preset {
	const char *name;
	struct mts_policy policy;
};

/* Sorted from "few tags, battery" over "many tags, power" to "find bugs" */
static const struct mts_preset mts_presets[] = {
	{ "default", { MTS_POLICY_DEFAULT } },
	{ "phone", {
		.data_use = MTS_DATA_BALANCED,
		.reserve = MTS_RESERVE_ON_DEMAND,
		.release = MTS_RELEASE_LAZY,
		.pass_interval_ms = 1000,
		.idle_passes = 2,
		.ready_low_blocks = 0,
		.ready_high_blocks = 0,
		.evacuate_percent = 80,
		.evacuate_batch_pages = 256,
		.reserve_tries = 3,
		.take_back_timeout_ms = 4000,
		.fault_wait_ms = 20,
		.mprotect_inplace_pages = 2,
	} },
	{ "server", {
		.data_use = MTS_DATA_BALANCED,
		.reserve = MTS_RESERVE_ON_DEMAND,
		.release = MTS_RELEASE_LAZY,
		.pass_interval_ms = 250,
		.idle_passes = 20,
		.ready_low_blocks = 64,
		.ready_high_blocks = 512,
		.evacuate_percent = 50,
		.evacuate_batch_pages = 1024,
		.reserve_tries = 5,
		.take_back_timeout_ms = 30000,
		.fault_wait_ms = 20,
		.mprotect_inplace_pages = 2,
	} },
	{ "debug", {
		.data_use = MTS_DATA_FIRST,
		.reserve = MTS_RESERVE_ON_DEMAND,
		.release = MTS_RELEASE_EAGER,
		.pass_interval_ms = 10,
		.idle_passes = 1,
		.ready_low_blocks = 0,
		.ready_high_blocks = 0,
		.evacuate_percent = 100,
		.evacuate_batch_pages = 65536,
		.reserve_tries = 1,
		.take_back_timeout_ms = 4000,
		.fault_wait_ms = 20,
		.mprotect_inplace_pages = 2,
	} },
};

static unsigned int *knob_value(struct mts_policy *policy,
				const struct mts_knob *knob)
{
	return (unsigned int *)((char *)policy + knob->offset);
}

/**
 * mts_policy_ready() - how many taggable free blocks to keep
 * @low:	result: start to make more below this
 * @high:	result: stop at this, not less than @low
 *
 * Context: Any.
 */
void mts_policy_ready(unsigned int *low, unsigned int *high)
{
	spin_lock(&mts_policy_lock);
	*low = mts_policy.ready_low_blocks;
	*high = mts_policy.ready_high_blocks;
	spin_unlock(&mts_policy_lock);
}

/**
 * mts_policy_apply() - tell the kernel what it has to know of the policy
 *
 * Context: Any. Online.
 */
void mts_policy_apply(void)
{
#ifdef TAG_STORAGE_LEND
	/* When it is off the worker keeps the storage. Use what is left last. */
	static const enum tag_storage_lend lend[] = {
		[MTS_DATA_LAST_RESORT] = TAG_STORAGE_LAST,
		[MTS_DATA_BALANCED] = TAG_STORAGE_BALANCED,
		[MTS_DATA_FIRST] = TAG_STORAGE_FIRST,
		[MTS_DATA_OFF] = TAG_STORAGE_LAST,
	};

	WRITE_ONCE(mts_ops.lend, lend[READ_ONCE(mts_policy.data_use)]);
#endif
}

static int knob_show(struct seq_file *m, void *v)
{
	const struct mts_knob *knob = m->private;
	unsigned int i, value = READ_ONCE(*knob_value(&mts_policy, knob));

	if (!knob->words) {
		seq_printf(m, "%u\n", value);
		return 0;
	}
	for (i = 0; i <= knob->max; i++)
		seq_printf(m, i == value ? "%s[%s]" : "%s%s", i ? " " : "",
			   knob->words[i]);
	seq_putc(m, '\n');
	return 0;
}

static int knob_parse(const struct mts_knob *knob, const char *word,
		      unsigned int *value)
{
	int ret;

	if (knob->words) {
		ret = match_string(knob->words, knob->max + 1, word);
		if (ret < 0)
			return -EINVAL;
		*value = ret;
		return 0;
	}
	/* Too large for an unsigned int is out of range like the rest */
	if (kstrtouint(word, 0, value) || *value < knob->min ||
	    *value > knob->max)
		return -EINVAL;
	return 0;
}

static ssize_t knob_write(struct file *file, const char __user *ubuf,
			  size_t len, loff_t *pos)
{
	const struct mts_knob *knob = file_inode(file)->i_private;
	struct mts_policy *policy = knob->staged ? &mts_staged : &mts_policy;
	char buf[MTS_WORD_SIZE];
	unsigned int value;
	int ret;

	ret = mts_get_word(buf, ubuf, len, pos);
	if (ret)
		return ret;
	ret = knob_parse(knob, buf, &value);
	if (ret)
		return ret;

	spin_lock(&mts_policy_lock);
	WRITE_ONCE(*knob_value(policy, knob), value);
	spin_unlock(&mts_policy_lock);
	if (!knob->staged) {
		trace_policy(knob->name, value);
		mts_policy_changed();
	}
	return len;
}

static int knob_open(struct inode *inode, struct file *file)
{
	return single_open(file, knob_show, inode->i_private);
}

static const struct file_operations knob_fops = {
	.owner = THIS_MODULE,
	.open = knob_open,
	.read = seq_read,
	.write = knob_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/* What is staged, "knob value" lines */
static int commit_show(struct seq_file *m, void *v)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mts_knobs); i++)
		if (mts_knobs[i].staged)
			seq_printf(m, "%s %u\n", mts_knobs[i].name,
				   READ_ONCE(*knob_value(&mts_staged,
							 &mts_knobs[i])));
	return 0;
}

static ssize_t commit_write(struct file *file, const char __user *ubuf,
			    size_t len, loff_t *pos)
{
	char buf[MTS_WORD_SIZE];
	unsigned int i;
	int ret;

	ret = mts_get_word(buf, ubuf, len, pos);
	if (ret)
		return ret;
	if (strcmp(buf, "1"))
		return -EINVAL;

	spin_lock(&mts_policy_lock);
	if (mts_staged.ready_low_blocks > mts_staged.ready_high_blocks) {
		spin_unlock(&mts_policy_lock);
		return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(mts_knobs); i++)
		if (mts_knobs[i].staged)
			WRITE_ONCE(*knob_value(&mts_policy, &mts_knobs[i]),
				   *knob_value(&mts_staged, &mts_knobs[i]));
	spin_unlock(&mts_policy_lock);
	trace_policy("commit", 1);
	mts_policy_changed();
	return len;
}

static int commit_open(struct inode *inode, struct file *file)
{
	return single_open(file, commit_show, NULL);
}

static const struct file_operations commit_fops = {
	.owner = THIS_MODULE,
	.open = commit_open,
	.read = seq_read,
	.write = commit_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/**
 * mts_policy_debugfs() - make the directory of the knobs
 * @parent:	where
 */
void mts_policy_debugfs(struct dentry *parent)
{
	struct dentry *dir = debugfs_create_dir("policy", parent);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mts_knobs); i++)
		debugfs_create_file(mts_knobs[i].name, 0644, dir,
				    (void *)&mts_knobs[i], &knob_fops);
	debugfs_create_file("commit", 0644, dir, NULL, &commit_fops);
}

static const struct mts_preset *mts_preset = &mts_presets[0];

/* At load only, before anything reads the policy */
static int preset_set(const char *val, const struct kernel_param *kp)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mts_presets); i++) {
		if (!sysfs_streq(val, mts_presets[i].name))
			continue;
		mts_preset = &mts_presets[i];
		mts_policy = mts_preset->policy;
		mts_staged = mts_preset->policy;
		return 0;
	}
	pr_err("preset=%.32s is not one of default, phone, server, debug; not loaded\n",
	       val);
	return -EINVAL;
}

static int preset_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", mts_preset->name);
}

static const struct kernel_param_ops preset_ops = {
	.set = preset_set,
	.get = preset_get,
};
module_param_cb(preset, &preset_ops, NULL, 0444);
MODULE_PARM_DESC(preset, "values of all policy knobs to begin with: default, phone, server or debug");
