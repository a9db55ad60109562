// SPDX-License-Identifier: GPL-2.0
/*
 * The module's reader of device trees for trees that are not the machine's: what
 * is written to debugfs mte_tag_storage_kunit/tree is read, and the file reads as
 * what has come of it. scripts/check/trees compares that with scripts/check/dt-check.
 */
#include <kunit/test.h>
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/of_fdt.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "tree.h"

/* The header, and enough */
#define MIN_TREE	40
#define MAX_TREE	65536
#define MAX_NODES	16

static DEFINE_MUTEX(tree_mutex);
static struct dentry *tree_dir;
static struct mts_carveout carveouts[MAX_NODES];
static struct mts_geometry geo[MAX_NODES];
static unsigned int nr_geo;
static const char *tree_error;

/* What module/firmware.c does, but for a look at the memory of this machine */
static const char *read_tree(struct device_node *root)
{
	struct device_node *np = NULL;
	unsigned int i, j, nr, n;
	const char *error;

	nr_geo = 0;
	error = mts_tree_read(root, carveouts, MAX_NODES, &nr, &np);
	for (i = 0; i < nr && !error; i++) {
		error = mts_carveout_split(&carveouts[i], PAGE_SHIFT,
					   geo + nr_geo, MAX_NODES - nr_geo, &n);
		for (j = 0; j < i && !error; j++)
			error = mts_carveouts_clash(&carveouts[j], &carveouts[i]);
		if (!error)
			nr_geo += n;
	}
	return error;
}

static ssize_t tree_write(struct file *file, const char __user *ubuf,
			  size_t len, loff_t *pos)
{
	struct device_node *root = NULL;
	__be32 *blob;
	void *mem;

	if (*pos || len < MIN_TREE || len > MAX_TREE)
		return -EINVAL;
	blob = memdup_user(ubuf, len);
	if (IS_ERR(blob))
		return PTR_ERR(blob);
	/* The second word is the size */
	if (be32_to_cpu(blob[1]) != len) {
		kfree(blob);
		return -EINVAL;
	}
	mutex_lock(&tree_mutex);
	mem = of_fdt_unflatten_tree((unsigned long *)blob, NULL, &root);
	tree_error = mem && root ? read_tree(root) : "is no tree";
	kfree(mem);
	mutex_unlock(&tree_mutex);
	kfree(blob);
	return len;
}

static int tree_show(struct seq_file *m, void *v)
{
	unsigned int i;

	mutex_lock(&tree_mutex);
	if (tree_error)
		seq_printf(m, "refused %s\n", tree_error);
	for (i = 0; i < nr_geo && !tree_error; i++)
		seq_printf(m, "%#lx %#lx %#lx %u\n", geo[i].tag_pfn,
			   geo[i].tag_pages, geo[i].data_pfn,
			   geo[i].block_order);
	mutex_unlock(&tree_mutex);
	return 0;
}

static int tree_open(struct inode *inode, struct file *file)
{
	return single_open(file, tree_show, NULL);
}

static const struct file_operations tree_fops = {
	.owner = THIS_MODULE,
	.open = tree_open,
	.read = seq_read,
	.write = tree_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/* The tree of this machine is one of those that can be read */
static void mts_tree_machine(struct kunit *test)
{
	struct device_node *root = of_find_node_by_path("/");

	if (!root)
		kunit_skip(test, "no device tree");
	mutex_lock(&tree_mutex);
	KUNIT_EXPECT_NULL(test, read_tree(root));
	mutex_unlock(&tree_mutex);
	of_node_put(root);
}

static struct kunit_case mts_tree_cases[] = {
	KUNIT_CASE(mts_tree_machine),
	{}
};

static struct kunit_suite mts_tree_suite = {
	.name = "mts_tree",
	.test_cases = mts_tree_cases,
};

kunit_test_suite(mts_tree_suite);

static int __init tree_init(void)
{
	tree_dir = debugfs_create_dir("mte_tag_storage_kunit", NULL);
	debugfs_create_file("tree", 0600, tree_dir, NULL, &tree_fops);
	return 0;
}
module_init(tree_init);

static void __exit tree_exit(void)
{
	debugfs_remove(tree_dir);
}
module_exit(tree_exit);
