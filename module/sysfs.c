// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/mte_tag_storage: what a machine needs that is in use, without
 * debugfs. One value a file; docs/abi.md, docs/ABI.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/kobject.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "mts.h"

static struct kobject *mts_kobj;

static ssize_t version_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%s\n", MTS_VERSION);
}

static struct kobj_attribute version_attr = __ATTR_RO(version);

static ssize_t state_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%s\n", mts_state_text());
}

static ssize_t state_store(struct kobject *kobj, struct kobj_attribute *attr,
			   const char *buf, size_t len)
{
	char word[MTS_WORD_SIZE];
	int ret;

	ret = mts_copy_word(word, buf, len);
	if (ret)
		return ret;
	/* An open file of sysfs doesn't pin the module: don't go online in rmmod */
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	ret = mts_set_state(word);
	module_put(THIS_MODULE);
	return ret ?: len;
}

static struct kobj_attribute state_attr = __ATTR_RW(state);

static ssize_t drain_state_show(struct kobject *kobj,
				struct kobj_attribute *attr, char *buf)
{
	const char *reason;

	return sysfs_emit(buf, "%s\n", mts_drain_state(&reason));
}

static struct kobj_attribute drain_state_attr = __ATTR_RO(drain_state);

static ssize_t drain_reason_show(struct kobject *kobj,
				 struct kobj_attribute *attr, char *buf)
{
	const char *reason;

	mts_drain_state(&reason);
	return sysfs_emit(buf, "%s\n", reason ?: "none");
}

static struct kobj_attribute drain_reason_attr = __ATTR_RO(drain_reason);

static struct attribute *word_attrs[] = {
	&version_attr.attr,
	&state_attr.attr,
	&drain_state_attr.attr,
	&drain_reason_attr.attr,
	NULL,
};

static const struct attribute_group word_group = {
	.attrs = word_attrs,
};

/**
 * struct mts_value - a file with a number
 * @attr:	the file
 * @get:	the number
 */
struct mts_value {
	struct kobj_attribute attr;
	u64 (*get)(void);
};

/* Of the blocks in these states, a bit for each */
static u64 bytes_in(unsigned long states)
{
	unsigned long pages[MTS_NR_STATES];
	unsigned int state;
	u64 sum = 0;

	mts_stats_pages(pages);
	for_each_set_bit(state, &states, MTS_NR_STATES)
		sum += pages[state];
	return sum << PAGE_SHIFT;
}

static u64 carveout_bytes(void)
{
	struct mts_region *r;
	unsigned int i;
	u64 pages = 0;

	for_each_mts_region(r, i)
		pages += r->geo.tag_pages;
	return pages << PAGE_SHIFT;
}

static u64 static_bytes(void)
{
	return bytes_in(BIT(MTS_STATIC));
}

static u64 reserved_bytes(void)
{
	return bytes_in(BIT(MTS_RESERVED) | BIT(MTS_CLOSING) | BIT(MTS_CHANGING));
}

static u64 released_bytes(void)
{
	return bytes_in(BIT(MTS_RELEASED) | BIT(MTS_SPARE));
}

static u64 bad_bytes(void)
{
	return bytes_in(BIT(MTS_BAD));
}

static u64 released_free_bytes(void)
{
	/* The two are not read at one time */
	return min((u64)mts_stats_free_pages() << PAGE_SHIFT, released_bytes());
}

static u64 released_used_bytes(void)
{
	u64 released = released_bytes();

	return released - min(released, released_free_bytes());
}

static u64 tagged_bytes(void)
{
	return (u64)READ_ONCE(mts_survey.all_tagged_pages) << PAGE_SHIFT;
}

static u64 reserve_failed(void)
{
	return mts_stats_reserve_failed();
}

static u64 faults_retried(void)
{
	return mts_stats_count(MTS_STAT_FAULTS_RETRIED);
}

static u64 poisoned(void)
{
	return mts_stats_count(MTS_STAT_POISONED);
}

static ssize_t value_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	const struct mts_value *value =
		container_of(attr, struct mts_value, attr);

	return sysfs_emit(buf, "%llu\n", value->get());
}

#define MTS_VALUE(_name)						\
	{ .attr = __ATTR(_name, 0444, value_show, NULL), .get = (_name) }

static struct mts_value mts_values[] = {
	MTS_VALUE(carveout_bytes),
	MTS_VALUE(static_bytes),
	MTS_VALUE(reserved_bytes),
	MTS_VALUE(released_bytes),
	MTS_VALUE(released_used_bytes),
	MTS_VALUE(released_free_bytes),
	MTS_VALUE(bad_bytes),
	MTS_VALUE(tagged_bytes),
	MTS_VALUE(reserve_failed),
	MTS_VALUE(faults_retried),
	MTS_VALUE(poisoned),
	{ .attr = __ATTR(drain_blocks_left, 0444, value_show, NULL),
	  .get = mts_drain_blocks_left },
};

/*
 * The kernel's mm_kobj isn't exported. Its directory can be found by name, and a
 * directory of sysfs knows the kobject that it is of.
 */
static struct kobject *get_mm_kobj(void)
{
	struct kernfs_node *kn = sysfs_get_dirent(kernel_kobj->sd, "mm");
	struct kobject *kobj;

	if (!kn)
		return NULL;
	kobj = kobject_get(kn->priv);
	sysfs_put(kn);
	return kobj;
}

static int add_files(struct kobject *kobj)
{
	unsigned int i;
	int ret;

	ret = sysfs_create_group(kobj, &word_group);
	for (i = 0; i < ARRAY_SIZE(mts_values) && !ret; i++)
		ret = sysfs_create_file(kobj, &mts_values[i].attr.attr);
	return ret ?: mts_policy_sysfs(kobj);
}

/**
 * mts_sysfs_init() - make the files for production
 *
 * Context: Process context, sleeps. A failure is logged: the module works without.
 */
void mts_sysfs_init(void)
{
	struct kobject *parent = get_mm_kobj();
	int ret = -ENOMEM;

	mts_kobj = kobject_create_and_add(KBUILD_MODNAME, parent);
	kobject_put(parent);
	if (mts_kobj)
		ret = add_files(mts_kobj);
	if (ret)
		pr_warn("can't make all files in sysfs: %d\n", ret);
}

/**
 * mts_sysfs_exit() - remove them
 *
 * Context: Process context, sleeps. Returns when nobody is in a function of a file
 * any more.
 */
void mts_sysfs_exit(void)
{
	kobject_del(mts_kobj);
	kobject_put(mts_kobj);
	mts_kobj = NULL;
}
