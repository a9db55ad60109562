// SPDX-License-Identifier: GPL-2.0
/*
 * Hibernation, kexec and the crash kernel: kernels that run on this memory
 * without asking this module.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/pfn.h>
#include <linux/reboot.h>
#include <linux/string.h>
#include <linux/suspend.h>

#include "mts.h"

/* What kernel_kexec() tells the reboot notifiers */
#define KEXEC_REBOOT	"kexec reboot"

/* The crash kernel has one range, or two */
#define MTS_MAX_CRASH	4

struct crash_range {
	unsigned long pfn;
	unsigned long end;
};

static struct crash_range crash_ranges[MTS_MAX_CRASH];
static unsigned int nr_crash_ranges;

static int add_crash_range(struct resource *res, void *unused)
{
	struct crash_range *range;

	if (nr_crash_ranges == MTS_MAX_CRASH)
		return -ENOSPC;
	range = &crash_ranges[nr_crash_ranges++];
	range->pfn = PFN_DOWN(res->start);
	range->end = PFN_UP(res->end + 1);
	return 0;
}

/**
 * mts_is_crash_memory() - is some of this memory set aside for a crash kernel?
 * @pfn:	the first page
 * @nr_pages:	how many
 *
 * A crash kernel writes tags without asking anybody; so the storage for them
 * is never lent. What is given back later (/sys/kernel/kexec_crash_size)
 * counts on.
 *
 * Context: Any.
 */
bool mts_is_crash_memory(unsigned long pfn, unsigned long nr_pages)
{
	unsigned int i;

	for (i = 0; i < nr_crash_ranges; i++)
		if (pfn < crash_ranges[i].end &&
		    pfn + nr_pages > crash_ranges[i].pfn)
			return true;
	return false;
}

/*
 * A hibernation image has pages of data and their tags, and is restored in an
 * order that knows nothing of what lies in tag storage. The kernel that restores
 * one must not have data there either.
 *
 * Who goes online holds the lock that is held here: it can't happen after this.
 */
static int pm_event(struct notifier_block *nb, unsigned long event,
		    void *unused)
{
	if (event != PM_HIBERNATION_PREPARE && event != PM_RESTORE_PREPARE)
		return NOTIFY_DONE;
	if (!mts_is_online())
		return NOTIFY_OK;
	pr_err("no hibernation while tag storage is in use for data: write offline to /sys/kernel/mm/%s/state first\n",
	       KBUILD_MODNAME);
	return notifier_from_errno(-EBUSY);
}

static struct notifier_block pm_nb = {
	.notifier_call = pm_event,
};

/*
 * The next kernel takes tag storage for what firmware says it is, and writes
 * tags. Data of ours that is still in the caches would be written over them:
 * kexec doesn't clean the caches. So take all of it back, which does.
 *
 * A reset needs none of this.
 */
static int reboot_event(struct notifier_block *nb, unsigned long event,
			void *cmd)
{
	if (event != SYS_RESTART || !cmd || strcmp(cmd, KEXEC_REBOOT))
		return NOTIFY_DONE;
	/* Nobody can refuse a reboot */
	if (mts_offline())
		pr_err("kexec with data in tag storage: memory of the next kernel may have wrong tags\n");
	return NOTIFY_DONE;
}

static struct notifier_block reboot_nb = {
	.notifier_call = reboot_event,
	/* While the rest of the system still works */
	.priority = 128,
};

/**
 * mts_pm_init() - be told of other kernels
 *
 * Context: Process context, before the module goes online.
 * Return: 0 or a negative error.
 */
int mts_pm_init(void)
{
	int ret;

	nr_crash_ranges = 0;
	ret = walk_iomem_res_desc(IORES_DESC_CRASH_KERNEL,
				  IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY, 0,
				  -1, NULL, add_crash_range);
	/* -EINVAL: there is none */
	if (ret && ret != -EINVAL) {
		pr_err("the crash kernel has too many ranges of memory\n");
		return ret;
	}
	ret = register_reboot_notifier(&reboot_nb);
	if (ret)
		return ret;
	ret = register_pm_notifier(&pm_nb);
	if (ret)
		unregister_reboot_notifier(&reboot_nb);
	return ret;
}

/**
 * mts_pm_exit() - be told of other kernels no more
 *
 * Context: Process context, sleeps.
 */
void mts_pm_exit(void)
{
	unregister_pm_notifier(&pm_nb);
	unregister_reboot_notifier(&reboot_nb);
}
