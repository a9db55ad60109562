// SPDX-License-Identifier: GPL-2.0
/*
 * MTE tag storage as memory: the module, going online and offline.
 *
 * Read on in firmware.c (what there is: tree.c, ranges.c, geometry.c), region.c
 * (its tables), survey.c and set.c (what passes need of them), block.c (what happens
 * to a block), look.c (its pages), reserve.c, repeat.c, pass.c, offline.c, worker.c
 * (when), placement.c (where), pm.c (other kernels), the control plane
 * (policy.c, stats.c, sysfs.c, debugfs.c, regionfs.c, trigger.c, proc.c). The
 * design is in mts.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpufeature.h>
#include <linux/kasan-enabled.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/string.h>
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

struct tag_storage_ops mts_ops = {
	.abi = MTS_HOOKS_ABI,
	.taggable = mts_taggable,
	.prepare = mts_prepare,
	.move = mts_move,
	.wait = mts_wait,
#ifdef TAG_STORAGE_POOL
	.alloc = mts_pool_alloc,
	.free = mts_pool_free,
	.drain = mts_pool_drain,
#endif
};

bool mts_have_tags __ro_after_init;

/**
 * mts_is_online() - is tag storage lent to the page allocator?
 *
 * Context: Any. Stays as it is only with mts_state_mutex held.
 * Return: true from the first block that is lent to the last that is taken back.
 */
bool mts_is_online(void)
{
	return READ_ONCE(online);
}

/* Without MTE they have nothing to do */
static int enable_hooks(void)
{
	int ret;

	if (!mts_have_tags)
		return 0;
	mts_clear_spare();
	ret = tag_storage_enable(&mts_ops);
	if (!ret)
		return 0;
	if (ret == -ENOEXEC)
		pr_err("the kernel's hooks are not of version %u; build the module for this kernel\n",
		       MTS_HOOKS_ABI);
	else
		pr_err("can't enable the kernel's hooks: %d\n", ret);
	return ret;
}

/* All blocks are reserved or static: every page is taggable */
static void disable_hooks(void)
{
	if (!mts_have_tags)
		return;
	tag_storage_disable();
	mts_requests_flush();
	mts_pin_flush();
	mts_pool_drain(NULL);
}

/**
 * mts_online_report() - tell the log what has been released
 *
 * Context: All that has no tags has been released. Any context.
 */
void mts_online_report(void)
{
	unsigned long pages[MTS_NR_STATES];

	mts_stats_pages(pages);
	pr_info("online: %lu KiB of tag storage released, %lu KiB in use for tags, %lu KiB static\n",
		(pages[MTS_RELEASED] + pages[MTS_SPARE]) << (PAGE_SHIFT - 10),
		pages[MTS_RESERVED] << (PAGE_SHIFT - 10),
		pages[MTS_STATIC] << (PAGE_SHIFT - 10));
}

static int __mts_online(void)
{
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
	mts_worker_release();
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
	mts_offline_start();
	ret = mts_take_all();
	mts_offline_finish(ret);
	if (ret) {
		/* What has been taken is missed by others, and not needed */
		mts_release_begin();
		while (mts_release_more())
			;
		mts_worker_kick();
		return ret;
	}
	mts_worker_stop();
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

/**
 * mts_state_text() - the words that can be written to a file, the present one in
 * brackets
 *
 * Return: as a file shows it, without a newline.
 */
const char *mts_state_text(void)
{
	return mts_is_online() ? "[online] offline" : "online [offline]";
}

/**
 * mts_set_state() - go where a word that was written to a file says
 * @word:	"online" or "offline"
 *
 * Context: Process context, sleeps.
 * Return: 0 or an error for write().
 */
int mts_set_state(const char *word)
{
	int ret = -EINVAL;

	if (!strcmp(word, "online"))
		ret = mts_online();
	else if (!strcmp(word, "offline"))
		ret = mts_offline();
	/* Also a task that is to be frozen has a signal: go on after that */
	return ret == -EINTR ? -ERESTARTSYS : ret;
}

static int __init mts_init(void)
{
	int ret;

	if (kasan_hw_tags_enabled()) {
		pr_err("KASAN uses tags for all kernel memory; not loaded\n");
		return -EBUSY;
	}

	mts_have_tags = system_supports_mte();
	ret = mts_firmware_probe();
	if (ret)
		return ret;
	if (!mts_have_tags)
		pr_notice("MTE is absent or disabled: nothing can have tags until the next boot, and all whole pageblocks of tag storage are lent\n");
	ret = mts_pool_init();
	if (ret)
		goto exit_firmware;
	ret = mts_scrub_init();
	if (ret)
		goto exit_pool;
	ret = mts_lru_init();
	if (ret)
		goto exit_scrub;
	ret = mts_requests_init();
	if (ret)
		goto exit_lru;
	ret = mts_balance_init();
	if (ret)
		goto exit_requests;
	ret = mts_worker_init();
	if (ret)
		goto exit_balance;
	ret = mts_proc_init();
	if (ret)
		goto exit_worker;
	ret = mts_pm_init();
	if (ret)
		goto exit_proc;
	ret = mts_online();
	if (ret)
		goto exit_pm;
	mts_sysfs_init();
	mts_debugfs_init();
	return 0;

exit_pm:
	mts_pm_exit();
exit_proc:
	mts_proc_exit();
exit_worker:
	mts_worker_exit();
exit_balance:
	mts_balance_exit();
exit_requests:
	mts_requests_exit();
exit_lru:
	mts_lru_exit();
exit_scrub:
	mts_scrub_exit();
exit_pool:
	mts_pool_exit();
exit_firmware:
	mts_firmware_exit();
	return ret;
}
module_init(mts_init);

static void __exit mts_exit(void)
{
	mts_debugfs_exit();
	mts_sysfs_exit();
	mts_pm_exit();
	mts_proc_exit();
	mts_worker_exit();
	mts_balance_exit();
	mts_requests_exit();
	mts_lru_exit();
	mts_scrub_exit();
	mts_pool_exit();
	mts_firmware_exit();
}
module_exit(mts_exit);

MODULE_DESCRIPTION("Lends Arm MTE tag storage to the page allocator");
MODULE_LICENSE("GPL");
MODULE_VERSION(MTS_VERSION);
MODULE_IMPORT_NS(TAG_STORAGE);
