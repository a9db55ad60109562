// SPDX-License-Identifier: GPL-2.0
/*
 * Two memory tiers on a machine that has one: reclaim demotes memory of a node to
 * another. The kernel has no way to say so but firmware's (HMAT, CXL), so this
 * sets the preferred target in its table, which the caller found in /proc/kallsyms.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/uaccess.h>

static unsigned long table;
module_param(table, ulong, 0400);
MODULE_PARM_DESC(table, "address of node_demotion");

static int from;
module_param(from, int, 0400);
MODULE_PARM_DESC(from, "the node that is demoted");

static int to = 1;
module_param(to, int, 0400);
MODULE_PARM_DESC(to, "the node that it is demoted to");

/* struct demotion_nodes of mm/memory-tiers.c, one per node */
static nodemask_t *preferred;

static int __init tiers_init(void)
{
	if (from < 0 || from >= MAX_NUMNODES || !node_state(from, N_MEMORY) ||
	    to < 0 || to >= MAX_NUMNODES || !node_state(to, N_MEMORY) || from == to)
		return -EINVAL;
	if (get_kernel_nofault(preferred, (nodemask_t **)table) || !preferred)
		return -EFAULT;
	if (!nodes_empty(preferred[from]))
		return -EBUSY;
	node_set(to, preferred[from]);
	return 0;
}
module_init(tiers_init);

static void __exit tiers_exit(void)
{
	node_clear(to, preferred[from]);
}
module_exit(tiers_exit);

MODULE_DESCRIPTION("Makes a node the demotion target of another");
MODULE_LICENSE("GPL");
