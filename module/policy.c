// SPDX-License-Identifier: GPL-2.0
/*
 * Policy: knobs in sysfs and debugfs, presets. What they mean is in mts.h and
 * docs/abi.md.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "mts.h"
#include "trace.h"

/**
 * struct mts_knob - a member of struct mts_policy that can be written
 * @attr:	its file in sysfs; the name ends in the unit
 * @offset:	where it is in struct mts_policy
 * @min:	smallest value
 * @max:	largest value
 * @words:	names of the values from 0 to @max, NULL when they are numbers
 * @test:	not in sysfs: nothing to turn on a machine that is in use
 */
struct mts_knob {
	struct kobj_attribute attr;
	size_t offset;
	unsigned int min;
	unsigned int max;
	const char * const *words;
	bool test;
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
	[MTS_RELEASE_NEVER] = "never",
};

static ssize_t knob_attr_show(struct kobject *kobj,
			      struct kobj_attribute *attr, char *buf);
static ssize_t knob_attr_store(struct kobject *kobj,
			       struct kobj_attribute *attr, const char *buf,
			       size_t len);

#define MTS_KNOB(_name, _min, _max, _words, _test)			\
	{ .attr = __ATTR(_name, 0644, knob_attr_show, knob_attr_store),	\
	  .offset = offsetof(struct mts_policy, _name),			\
	  .min = (_min), .max = (_max), .words = (_words), .test = (_test) }
#define MTS_CHOICE(_name, _test)					\
	MTS_KNOB(_name, 0, ARRAY_SIZE(_name##_words) - 1, _name##_words, _test)
#define MTS_NUMBER(_name, _min, _max, _test)				\
	MTS_KNOB(_name, _min, _max, NULL, _test)

static struct mts_knob mts_knobs[] = {
	MTS_CHOICE(data_use, false),
	MTS_CHOICE(reserve, false),
	MTS_CHOICE(release, true),
	MTS_NUMBER(release_delay_ms, 0, 600000, false),
	MTS_NUMBER(pass_interval_ms, 10, 60000, false),
	MTS_NUMBER(evacuate_percent, 0, 100, false),
	MTS_NUMBER(take_back_timeout_ms, 0, 600000, false),
	MTS_NUMBER(fault_wait_ms, 1, 10000, true),
	MTS_NUMBER(mprotect_inplace_pages, 0, 32, true),
};

#define MTS_POLICY_DEFAULT						\
	.data_use = MTS_DATA_BALANCED,					\
	.reserve = MTS_RESERVE_ON_DEMAND,				\
	.release = MTS_RELEASE_LAZY,					\
	.release_delay_ms = 2000,					\
	.pass_interval_ms = 250,					\
	.evacuate_percent = 95,						\
	.take_back_timeout_ms = 4000,					\
	.fault_wait_ms = 20,						\
	.mprotect_inplace_pages = 2

struct mts_policy mts_policy = { MTS_POLICY_DEFAULT };

struct mts_preset {
	const char *name;
	struct mts_policy policy;
};

/* Sorted from "battery" over "power" to "find bugs" */
static const struct mts_preset mts_presets[] = {
	{ "default", { MTS_POLICY_DEFAULT } },
	{ "phone", {
		.data_use = MTS_DATA_BALANCED,
		.reserve = MTS_RESERVE_ON_DEMAND,
		.release = MTS_RELEASE_LAZY,
		.release_delay_ms = 2000,
		.pass_interval_ms = 1000,
		.evacuate_percent = 95,
		.take_back_timeout_ms = 4000,
		.fault_wait_ms = 20,
		.mprotect_inplace_pages = 2,
	} },
	{ "server", {
		.data_use = MTS_DATA_BALANCED,
		.reserve = MTS_RESERVE_ON_DEMAND,
		.release = MTS_RELEASE_LAZY,
		.release_delay_ms = 5000,
		.pass_interval_ms = 250,
		.evacuate_percent = 90,
		.take_back_timeout_ms = 30000,
		.fault_wait_ms = 20,
		.mprotect_inplace_pages = 2,
	} },
	{ "debug", {
		.data_use = MTS_DATA_FIRST,
		.reserve = MTS_RESERVE_ON_DEMAND,
		.release = MTS_RELEASE_LAZY,
		.release_delay_ms = 0,
		.pass_interval_ms = 10,
		.evacuate_percent = 100,
		.take_back_timeout_ms = 4000,
		.fault_wait_ms = 20,
		.mprotect_inplace_pages = 2,
	} },
};

/* The one that is in force, but for knobs that were turned since */
static const struct mts_preset *mts_preset = &mts_presets[0];

/* Protects changes of the policy and of mts_preset, so that they agree */
static DEFINE_SPINLOCK(mts_policy_lock);

static unsigned int *knob_value(struct mts_policy *policy,
				const struct mts_knob *knob)
{
	return (unsigned int *)((char *)policy + knob->offset);
}

static unsigned int knob_of(const struct mts_policy *policy,
			    const struct mts_knob *knob)
{
	return *(const unsigned int *)((const char *)policy + knob->offset);
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

/* The value, or all words with the one that is chosen in brackets */
static int knob_print(const struct mts_knob *knob, char *buf)
{
	unsigned int i, value = READ_ONCE(*knob_value(&mts_policy, knob));
	int len = 0;

	if (!knob->words)
		return sysfs_emit(buf, "%u\n", value);
	for (i = 0; i <= knob->max; i++)
		len += sysfs_emit_at(buf, len, i == value ? "[%s] " : "%s ",
				     knob->words[i]);
	buf[len - 1] = '\n';
	return len;
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

static int knob_set(const struct mts_knob *knob, const char *word)
{
	unsigned int value;
	int ret;

	ret = knob_parse(knob, word, &value);
	if (ret)
		return ret;
	spin_lock(&mts_policy_lock);
	WRITE_ONCE(*knob_value(&mts_policy, knob), value);
	spin_unlock(&mts_policy_lock);
	trace_policy(knob->attr.attr.name, value);
	mts_policy_changed();
	return 0;
}

static int knob_show(struct seq_file *m, void *v)
{
	char *buf = (char *)__get_free_page(GFP_KERNEL);

	if (!buf)
		return -ENOMEM;
	knob_print(m->private, buf);
	seq_puts(m, buf);
	free_page((unsigned long)buf);
	return 0;
}

static ssize_t knob_write(struct file *file, const char __user *ubuf,
			  size_t len, loff_t *pos)
{
	char buf[MTS_WORD_SIZE];
	int ret;

	ret = mts_get_word(buf, ubuf, len, pos);
	if (!ret)
		ret = knob_set(file_inode(file)->i_private, buf);
	return ret ?: len;
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

/**
 * mts_policy_debugfs() - make the directory of the knobs
 * @parent:	where
 */
void mts_policy_debugfs(struct dentry *parent)
{
	struct dentry *dir = debugfs_create_dir("policy", parent);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mts_knobs); i++)
		debugfs_create_file(mts_knobs[i].attr.attr.name, 0644, dir,
				    &mts_knobs[i], &knob_fops);
}

static ssize_t knob_attr_show(struct kobject *kobj,
			      struct kobj_attribute *attr, char *buf)
{
	return knob_print(container_of(attr, struct mts_knob, attr), buf);
}

static ssize_t knob_attr_store(struct kobject *kobj,
			       struct kobj_attribute *attr, const char *buf,
			       size_t len)
{
	char word[MTS_WORD_SIZE];
	int ret;

	ret = mts_copy_word(word, buf, len);
	if (!ret)
		ret = knob_set(container_of(attr, struct mts_knob, attr), word);
	return ret ?: len;
}

static const struct mts_preset *preset_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mts_presets); i++)
		if (sysfs_streq(name, mts_presets[i].name))
			return &mts_presets[i];
	return NULL;
}

/* Nothing is in brackets but "changed" when a knob was turned since */
static ssize_t preset_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	const struct mts_preset *preset;
	unsigned int i;
	int len = 0;

	spin_lock(&mts_policy_lock);
	preset = mts_preset;
	if (memcmp(&preset->policy, &mts_policy, sizeof(mts_policy)))
		preset = NULL;
	spin_unlock(&mts_policy_lock);
	for (i = 0; i < ARRAY_SIZE(mts_presets); i++)
		len += sysfs_emit_at(buf, len,
				     preset == &mts_presets[i] ? "[%s] " : "%s ",
				     mts_presets[i].name);
	len += sysfs_emit_at(buf, len, preset ? "changed\n" : "[changed]\n");
	return len;
}

static ssize_t preset_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t len)
{
	const struct mts_preset *preset;
	char word[MTS_WORD_SIZE];
	unsigned int i;
	int ret;

	ret = mts_copy_word(word, buf, len);
	if (ret)
		return ret;
	preset = preset_find(word);
	if (!preset)
		return -EINVAL;
	spin_lock(&mts_policy_lock);
	WRITE_ONCE(mts_preset, preset);
	for (i = 0; i < ARRAY_SIZE(mts_knobs); i++)
		WRITE_ONCE(*knob_value(&mts_policy, &mts_knobs[i]),
			   knob_of(&preset->policy, &mts_knobs[i]));
	spin_unlock(&mts_policy_lock);
	trace_policy("preset", preset - mts_presets);
	mts_policy_changed();
	return len;
}

static struct kobj_attribute preset_attr = __ATTR_RW(preset);

/**
 * mts_policy_sysfs() - make the files of the knobs
 * @kobj:	where
 *
 * Return: 0 or an error. The files go with @kobj.
 */
int mts_policy_sysfs(struct kobject *kobj)
{
	unsigned int i;
	int ret;

	ret = sysfs_create_file(kobj, &preset_attr.attr);
	for (i = 0; i < ARRAY_SIZE(mts_knobs) && !ret; i++)
		if (!mts_knobs[i].test)
			ret = sysfs_create_file(kobj, &mts_knobs[i].attr.attr);
	return ret;
}

/* At load only, before anything reads the policy */
static int preset_set(const char *val, const struct kernel_param *kp)
{
	const struct mts_preset *preset = preset_find(val);

	if (!preset) {
		pr_err("preset=%.32s is not one of default, phone, server, debug; not loaded\n",
		       val);
		return -EINVAL;
	}
	mts_preset = preset;
	mts_policy = preset->policy;
	return 0;
}

static int preset_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", READ_ONCE(mts_preset)->name);
}

static const struct kernel_param_ops preset_ops = {
	.set = preset_set,
	.get = preset_get,
};
module_param_cb(preset, &preset_ops, NULL, 0444);
MODULE_PARM_DESC(preset, "values of all policy knobs to begin with: default, phone, server or debug");
