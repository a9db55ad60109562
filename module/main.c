// SPDX-License-Identifier: GPL-2.0
/*
 * MTE tag storage as memory: the module, going online and offline.
 *
 * Read on in firmware.c (what there is: tree.c, ranges.c, geometry.c), region.c
 * (its books), block.c (what happens to a block), worker.c (when), placement.c
 * (where), pm.c (other kernels), the control plane (policy.c, stats.c, drain.c,
 * debugfs.c, regionfs.c, trigger.c, proc.c). The design is in mts.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpufeature.h>
#include <linux/kasan-enabled.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/suspend.h>
#include <linux/tag_storage.h>

#include "mts.h"

/* A build can pretend to be for other hooks, to test the refusal */
#ifndef MTS_HOOKS_ABI
#define MTS_HOOKS_ABI	TAG_STORAGE_ABI
#endif

/* Going online and offline, release passes; see mts.h */
DEFINE_MUTEX(mts_state_mutex);

/* Changed under mts_state_mutex; the module is pinned while it is set */
static bool online;

static const struct tag_storage_ops mts_ops = {
	.abi = MTS_HOOKS_ABI,
	.reserve = mts_reserve,
};

bool mts_have_tags __ro_after_init;

bool mts_is_online(void)
{
	return READ_ONCE(online);
}

/* Tell the kernel which memory is ours to decide on */
static int enable_hooks(void)
{
	struct tag_storage_range ranges[2 * MTS_MAX_REGIONS];
	unsigned int i, data = 0, storage = mts_nr_regions;
	struct mts_region *r;
	int ret;

	if (!mts_have_tags)
		return 0;
	/*
	 * Tag storage has no tags itself. It can be part of the memory served;
	 * its bits are clear where a block serves nothing else. Then they tell,
	 * and what is looked at most comes first.
	 */
	if (!mts_clear_spare()) {
		storage = 0;
		data = mts_nr_regions;
	}
	for_each_mts_region(r, i) {
		ranges[storage + i] = (struct tag_storage_range) {
			.start_pfn = r->geo.tag_pfn,
			.nr_pages = r->geo.tag_pages,
		};
		ranges[data + i] = (struct tag_storage_range) {
			.start_pfn = r->geo.data_pfn,
			.nr_pages = mts_data_pages(&r->geo),
			.taggable = r->taggable,
			.refill = r->refill,
		};
	}

	ret = tag_storage_enable(&mts_ops, ranges, 2 * mts_nr_regions);
	if (ret == -ENOEXEC)
		pr_err("the kernel's hooks are not of version %u; build the module for this kernel\n",
		       MTS_HOOKS_ABI);
	else if (ret)
		pr_err("can't enable the kernel's hooks: %d\n", ret);
	return ret;
}

static void disable_hooks(void)
{
	if (mts_have_tags)
		tag_storage_disable();
}

static int __mts_online(void)
{
	unsigned long pages[MTS_NR_STATES];
	int ret;

	lockdep_assert_held(&mts_state_mutex);

	/* From here on every new tag is known; no block has been given away */
	ret = enable_hooks();
	if (ret)
		return ret;
	ret = mts_regions_register();
	if (ret) {
		disable_hooks();
		return ret;
	}

	__module_get(THIS_MODULE);
	mts_policy_apply();
	WRITE_ONCE(online, true);
	mts_drain_reset();
	mts_pass(MTS_PASS_ALL_IDLE);
	mts_worker_kick();

	mts_stats_pages(pages);
	pr_info("online: %lu KiB of tag storage released, %lu KiB in use for tags, %lu KiB static\n",
		(pages[MTS_RELEASED] + pages[MTS_SPARE]) << (PAGE_SHIFT - 10),
		pages[MTS_RESERVED] << (PAGE_SHIFT - 10),
		pages[MTS_STATIC] << (PAGE_SHIFT - 10));
	return 0;
}

/**
 * mts_online() - lend the tag storage to the page allocator
 *
 * Context: Process context, sleeps. Waits for the end of a hibernation.
 * Return: 0, also if it is online; -EINTR on a signal; another negative error
 * when nothing has changed.
 */
int mts_online(void)
{
	unsigned int flags = lock_system_sleep();
	int ret = -EINTR;

	if (!mutex_lock_interruptible(&mts_state_mutex)) {
		ret = online ? 0 : __mts_online();
		mutex_unlock(&mts_state_mutex);
	}
	unlock_system_sleep(flags);
	return ret;
}

static int __mts_offline(void)
{
	int ret;

	lockdep_assert_held(&mts_state_mutex);
	if (IS_ENABLED(MTS_BREAK_RESERVATION))
		return -EOPNOTSUPP;

	mts_drain_start();
	ret = mts_take_back(true);
	mts_drain_finish(ret);
	if (ret) {
		mts_worker_kick();
		return ret;
	}
	mts_worker_stop();
	/* All blocks are reserved or static: every page is taggable */
	disable_hooks();
	mts_regions_unregister();
	WRITE_ONCE(online, false);
	module_put(THIS_MODULE);
	pr_info("offline: all tag storage is in use for tags\n");
	return 0;
}

/**
 * mts_offline() - take all tag storage back
 *
 * Context: Process context, sleeps: migrates all that lives in tag storage.
 * Return: 0, also if it is offline; -EINTR on a signal; -EBUSY, -ENOMEM or
 * -EHWPOISON when a page can't be taken back. It is online then, as before.
 */
int mts_offline(void)
{
	int ret;

	if (mutex_lock_interruptible(&mts_state_mutex))
		return -EINTR;
	ret = online ? __mts_offline() : 0;
	mutex_unlock(&mts_state_mutex);
	return ret;
}

static int __init mts_init(void)
{
	int ret;

	if (kasan_hw_tags_enabled()) {
		pr_err("KASAN uses tags for all kernel memory; not loaded\n");
		return -EBUSY;
	}

	mts_have_tags = system_supports_mte();
	mts_scrub_init();
	ret = mts_firmware_probe();
	if (ret)
		return ret;
	if (!mts_have_tags)
		pr_notice("MTE is absent or disabled: nothing can have tags, and all tag storage is lent for good\n");
	ret = mts_worker_init();
	if (ret)
		goto exit_firmware;
	ret = mts_proc_init();
	if (ret)
		goto exit_worker;
	ret = mts_pm_init();
	if (ret)
		goto exit_proc;
	ret = mts_online();
	if (ret)
		goto exit_pm;
	mts_debugfs_init();
	return 0;

exit_pm:
	mts_pm_exit();
exit_proc:
	mts_proc_exit();
exit_worker:
	mts_worker_exit();
exit_firmware:
	mts_firmware_exit();
	return ret;
}
module_init(mts_init);

static void __exit mts_exit(void)
{
	mts_debugfs_exit();
	mts_pm_exit();
	mts_proc_exit();
	mts_worker_exit();
	mts_firmware_exit();
}
module_exit(mts_exit);

MODULE_DESCRIPTION("Lends Arm MTE tag storage to the page allocator");
MODULE_LICENSE("GPL");
