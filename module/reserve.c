// SPDX-License-Identifier: GPL-2.0
/*
 * Reserving tag storage for those who need it now: what the kernel asks the owner
 * for in faults, migrations, ptrace and KVM.
 *
 * Who asks may be what a folio in tag storage waits for (the server of a FUSE
 * file system that has read-ahead there), so nothing here waits for the lock of
 * a folio or its I/O, but for mts_wait(), which is bounded and can be killed.
 * What takes waiting is done by the requests, below.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/memory_hotplug.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/psi.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "mts.h"
#include "trace.h"

/* How long to wait for somebody who is about to take, or give back, a block */
#define CHANGE_TIMEOUT_MS	10

/*
 * Requests that are worked on at the same time. One that waits for a folio holds
 * up no other before all of them do.
 */
#define MTS_NR_TAKERS		8

/* Waits in vain after which the next ones are twice as long, and how often that goes on */
#define BACKOFF_WAITS		4
#define BACKOFF_MAX		3

/* Attempts to empty storage that is in use, where waiting is allowed */
#define RESERVE_TRIES		3

/* Grows with each request that came to a good end; what mts_wait() waits for */
static atomic_t requests_done;
static DECLARE_WAIT_QUEUE_HEAD(requests_wait);
/* Requests for memory that can have tags, wherever it is */
static atomic_t targets_wanted;

static struct workqueue_struct *taker_wq;
static struct work_struct takers[MTS_NR_TAKERS];

/* How many pages are not free; a page may come or go meanwhile */
static unsigned long pages_in_use(unsigned long pfn, unsigned long nr)
{
	unsigned long i, n = 0;

	for (i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(pfn + i);

		n += page_ref_count(page) || PageTail(page);
	}
	return n;
}

/*
 * Would a migration that waits do so for I/O, or for what holds a folio's lock? That
 * can be for ever: who writes to a page of a FUSE file waits with the lock until the
 * server has written back what was there before.
 */
static bool range_is_busy(unsigned long pfn, unsigned long nr)
{
	for (; nr; nr--, pfn++) {
		struct folio *folio = page_folio(pfn_to_page(pfn));
		bool busy;

		if (!folio_try_get(folio))
			continue;
		busy = folio_test_locked(folio) || folio_test_writeback(folio) ||
			(folio_test_lru(folio) && !folio_test_uptodate(folio));
		folio_put(folio);
		if (busy)
			return true;
	}
	return false;
}

/*
 * What is moved in a fault must not have anybody killed who would live without
 * tag storage being lent; nor must the fault be taken for ever if there is no
 * memory at all.
 */
#define MTS_MAYFAIL_MOVES	64

/* Moves in a row that have failed */
static atomic_t failed_moves;

static gfp_t move_gfp(void)
{
	/* Reclaim must not use up its reserves for that */
	if (current->flags & PF_MEMALLOC)
		return (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) |
			__GFP_NOMEMALLOC | __GFP_NOWARN;
	return GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
		(atomic_read(&failed_moves) < MTS_MAYFAIL_MOVES ?
		 __GFP_RETRY_MAYFAIL : 0);
}

static unsigned int migrate_folios(struct list_head *folios, gfp_t gfp,
				   enum migrate_mode mode)
{
	unsigned int moved = mts_migrate(folios, move_gfp() | gfp, mode);

	if (moved)
		atomic_set(&failed_moves, 0);
	else
		atomic_inc(&failed_moves);
	return moved;
}

/* Take pages that are free */
static bool take_free(unsigned long pfn, unsigned long nr)
{
	LIST_HEAD(pages);

	return tag_storage_take_free(page_zone(pfn_to_page(pfn)), pfn, nr, true,
				     &pages);
}

/* Move what is in the way, and take the pages then */
static bool take_moved(unsigned long pfn, unsigned long nr,
		       enum mts_effort effort, enum migrate_mode mode)
{
	LIST_HEAD(folios);

	if (mts_should_fail(MTS_FAIL_MIGRATE))
		return false;
	if (mts_isolate(pfn, nr, MTS_ANY, &folios)) {
		if (effort == MTS_TAKE_BACK)
			mts_migrate(&folios, GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
				    __GFP_RETRY_MAYFAIL, mode);
		else
			migrate_folios(&folios, 0, mode);
	}
	return take_free(pfn, nr);
}

/*
 * alloc_contig_range() isolates whole pageblocks, and makes all of them what they
 * were when it fails, also one that somebody else has isolated: one at a time in
 * each. CMA has a mutex for that; here nobody waits for what another waits for.
 */
#define CONTIG_LOCKS	64

static int take_contig(unsigned long pfn, unsigned long nr)
{
	static DECLARE_BITMAP(busy, CONTIG_LOCKS);
	unsigned int i = (pfn >> pageblock_order) % CONTIG_LOCKS;
	int ret;

	if (test_and_set_bit_lock(i, busy))
		return -EBUSY;
	ret = alloc_contig_range(pfn, pfn + nr, MIGRATE_CMA,
				 GFP_KERNEL | __GFP_NOWARN);
	clear_bit_unlock(i, busy);
	return ret;
}

/**
 * mts_take_pages() - get tag storage from the page allocator
 * @pfn:	the first page, of a changing block
 * @nr:		how many; of a block, a power of two
 * @effort:	what to do when they aren't free
 * @op:		result: what it took
 *
 * Context: Process context, no folio locks but for MTS_TAKE_LIGHT.
 * Return: 0, -EBUSY, -ENOMEM, -EINTR.
 */
int mts_take_pages(unsigned long pfn, unsigned long nr, enum mts_effort effort,
		   enum mts_op *op)
{
	unsigned int tries = RESERVE_TRIES;
	unsigned long in_use;
	int ret = -EBUSY;

	*op = MTS_OP_RESERVE_FAST;
	if (mts_should_fail(MTS_FAIL_RESERVE))
		return -EBUSY;
	if (take_free(pfn, nr))
		return 0;
	if (effort == MTS_TAKE_FREE)
		return -EBUSY;

	/* Others need memory, too: the next of them would have somebody killed */
	if (effort == MTS_TAKE_BACK && mts_memory_is_low(nr))
		return -ENOMEM;
	in_use = pages_in_use(pfn, nr);
	*op = MTS_OP_RESERVE_MOVED;
	if (take_moved(pfn, nr, effort, MIGRATE_ASYNC))
		ret = 0;
	for (; ret == -EBUSY && effort >= MTS_TAKE_WAIT && tries; tries--) {
		*op = MTS_OP_RESERVE_SLOW;
		if (range_is_busy(pfn, nr))
			continue;
		if (take_moved(pfn, nr, effort, MIGRATE_SYNC_LIGHT))
			ret = 0;
		else if (!range_is_busy(pfn, nr) &&
			 !mts_should_fail(MTS_FAIL_MIGRATE))
			ret = take_contig(pfn, nr);
	}
	if (!ret)
		mts_count_add(MTS_STAT_MIGRATED_PAGES, in_use);
	return ret;
}

static void count_reserve_failed(int ret)
{
	if (ret == -ENOMEM)
		mts_count(MTS_STAT_RESERVE_FAILED_NOMEM);
	else if (ret == -EINTR)
		mts_count(MTS_STAT_RESERVE_FAILED_KILLED);
	else if (current->flags & PF_MEMALLOC)
		mts_count(MTS_STAT_RESERVE_FAILED_RECLAIM);
	else
		mts_count(MTS_STAT_RESERVE_FAILED_BUSY);
}

/* Somebody else is about to reserve, or release, the block */
static bool wait_for_change(struct mts_region *r, unsigned long block)
{
	return wait_event_killable_timeout(r->changed,
			READ_ONCE(r->state[block]) != MTS_CHANGING,
			msecs_to_jiffies(CHANGE_TIMEOUT_MS) + 1) > 0;
}

/*
 * The part of block_reserve() that is paired trace events. *how tells what has
 * been done.
 */
static int __block_reserve(struct mts_region *r, unsigned long block,
			   enum mts_effort effort, unsigned int site,
			   const char **how)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	u64 start = ktime_get_ns();
	enum mts_op op;
	int ret;

again:
	switch (READ_ONCE(r->state[block])) {
	case MTS_CLOSING:
		if (!mts_block_reopen(r, block, site))
			goto again;
		mts_count(MTS_STAT_RESERVE_REOPEN);
		*how = "reopened";
		return 0;
	case MTS_CHANGING:
		/* Reclaim waits for nothing */
		if (current->flags & PF_MEMALLOC || effort == MTS_TAKE_FREE ||
		    !wait_for_change(r, block))
			return -EBUSY;
		goto again;
	case MTS_RELEASED:
		break;
	case MTS_SPARE:
	case MTS_BAD:
		mts_count(MTS_STAT_RESERVE_BAD);
		return -EXDEV;
	default:
		return 0;
	}

	ret = mts_block_change(r, block, 1, false);
	if (ret == -EAGAIN)
		goto again;
	if (ret) {
		mts_count(MTS_STAT_RESERVE_BAD);
		return -EXDEV;
	}
	if (effort != MTS_TAKE_FREE)
		trace_evict_start(r->index, block, pfn);
	ret = mts_take_pages(pfn, mts_block_pages(&r->geo), effort, &op);
	if (effort != MTS_TAKE_FREE)
		trace_evict_finish(r->index, block, pfn, ret);
	mts_block_changed(r, block, 1, !ret, site);
	if (ret) {
		count_reserve_failed(ret);
		return ret;
	}

	switch (op) {
	case MTS_OP_RESERVE_FAST:
		*how = "fast";
		mts_count(MTS_STAT_RESERVE_FAST);
		break;
	case MTS_OP_RESERVE_MOVED:
		*how = "moved";
		mts_count(MTS_STAT_RESERVE_MOVED);
		break;
	default:
		*how = "slow";
		mts_count(MTS_STAT_RESERVE_SLOW);
	}
	mts_latency(op, ktime_get_ns() - start);
	return 0;
}

/**
 * mts_block_reserve() - have a block hold tags
 * @r:		the region
 * @block:	the block
 * @effort:	what to do when its pages are not free
 * @site:	for whom, see mts_site_get()
 *
 * Context: Process context, sleeps. No folio locks but for MTS_TAKE_LIGHT.
 * Return: 0; -EXDEV if it never can; -EBUSY, -ENOMEM, -EINTR.
 */
int mts_block_reserve(struct mts_region *r, unsigned long block,
		      enum mts_effort effort, unsigned int site)
{
	unsigned long tag_pfn = mts_block_tag_pfn(&r->geo, block);
	const char *how = "none";
	int ret;

	if (test_bit(block << r->geo.block_order, r->taggable))
		return 0;
	trace_reserve_start(r->index, block, tag_pfn);
	ret = __block_reserve(r, block, effort, site, &how);
	trace_reserve_finish(r->index, block, tag_pfn, how, ret);
	return ret;
}

/**
 * mts_reserve() - have the tag storage of some pages
 * @pfn:	the first page
 * @nr_pages:	how many, of any regions or none
 * @effort:	what to do when the storage isn't free
 * @site:	for whom, see mts_site_get()
 *
 * Goes on after a failure when it may wait for the rest.
 *
 * Context: As mts_block_reserve().
 * Return: As mts_block_reserve().
 */
int mts_reserve(unsigned long pfn, unsigned long nr_pages,
		enum mts_effort effort, unsigned int site)
{
	unsigned long end = pfn + nr_pages;
	int err, ret = 0;

	while (pfn < end) {
		struct mts_region *r = mts_region_of_data(pfn);
		unsigned long block;

		if (!r) {
			pfn++;
			continue;
		}
		block = mts_data_pfn_to_block(&r->geo, pfn);
		err = mts_block_reserve(r, block, effort, site);
		if (effort != MTS_TAKE_FREE && (err == -EBUSY || err == -ENOMEM))
			set_bit(block, r->requests);
		if (err) {
			ret = err;
			if (effort != MTS_TAKE_LIGHT || err == -EINTR)
				break;
		}
		pfn = mts_block_data_pfn(&r->geo, block + 1);
	}
	return ret;
}

/*
 * mprotect(), which holds the mmap lock for writing, has nothing moved, nor has
 * direct compaction: both set PF_MEMALLOC. Reclaim does so as well, and DAMON, but
 * these ask when they migrate pages to another node, lightly; then the storage may
 * move as lightly. Who must not start I/O or enter a file system may: light
 * migration does neither, and allocations respect the task's scope.
 */
static enum mts_effort current_effort(void)
{
	if (current->flags & PF_MEMALLOC && !(current->flags & PF_KTHREAD) &&
	    !current->reclaim_state)
		return MTS_TAKE_FREE;
	return MTS_TAKE_LIGHT;
}

/* Have it done by somebody who may wait */
static void ask_takers(void)
{
	static atomic_t next;

	queue_work(taker_wq, &takers[(unsigned int)atomic_inc_return(&next) %
				     MTS_NR_TAKERS]);
}

/**
 * mts_wait_for_takers() - wait until a request has come to a good end
 * @shift:	log2 of how many times as long as fault_wait_ms, at most
 *
 * Context: Process context. Ends on a fatal signal.
 * Return: whether one has.
 */
bool mts_wait_for_takers(unsigned int shift)
{
	unsigned int done = atomic_read(&requests_done);
	unsigned long pflags;
	unsigned int ms = READ_ONCE(mts_policy.fault_wait_ms) << shift;
	long left;

	ask_takers();
	psi_memstall_enter(&pflags);
	left = wait_event_killable_timeout(requests_wait,
					   atomic_read(&requests_done) != done,
					   msecs_to_jiffies(ms) + 1);
	psi_memstall_leave(&pflags);
	return left > 0;
}

/* The chunk that asked last for few pages on a CPU, and how often in a row */
struct few {
	unsigned long chunk;
	unsigned int nr;
};

static DEFINE_PER_CPU(struct few, last_few);

/*
 * How many pages of this chunk have asked before? Those of a mapping that is new are
 * mapped one after the other, and each asks for itself alone; as many are to come.
 */
static unsigned int few_before(unsigned long pfn)
{
	if (this_cpu_read(last_few.chunk) != pfn / MTS_RATIO) {
		this_cpu_write(last_few.chunk, pfn / MTS_RATIO);
		this_cpu_write(last_few.nr, 0);
	}
	return this_cpu_inc_return(last_few.nr) - 1;
}

/**
 * mts_prepare() - have the tag storage of pages that are about to get tags
 * @pfn:	the first page
 * @nr_pages:	how many
 * @wanted:	how many pages of its data block will have tags, at least
 * @ip:		who asks; 0 for a fault on access
 *
 * The owner's part of &struct tag_storage_ops.
 *
 * Context: Process context, sleeps, but waits for no folio. The caller may hold
 * locks of folios. For long-term pins, of which many fail, it may wait like
 * mts_wait() does.
 * Return: 0, and then the pages are taggable, unless they have no tags and
 * a release pass comes in between; -EXDEV if they can never be; -EAGAIN if they
 * had better be moved; -EINTR on a fatal signal; -EBUSY or -ENOMEM, and then it
 * is worth to try again after mts_wait().
 */
int mts_prepare(unsigned long pfn, unsigned long nr_pages, unsigned int wanted,
		unsigned long ip)
{
	unsigned int inplace, site;
	enum mts_effort effort;
	int ret;

	mts_count(MTS_STAT_RESERVE_CALLS);
	if (!ip) {
		mts_count(MTS_STAT_FAULTS);
		mts_pin_release(pfn_to_page(pfn));
		mts_repeat_note(pfn);
		trace_fault_on_access(pfn, nr_pages, wanted);
	}
	trace_request(pfn, nr_pages, ip);
	if (mts_is_storage(pfn) || mts_is_storage(pfn + nr_pages - 1)) {
		mts_count(MTS_STAT_RESERVE_REFUSED);
		return -EXDEV;
	}
	inplace = READ_ONCE(mts_policy.mprotect_inplace_pages);
	if (wanted < inplace && wanted + few_before(pfn) < inplace) {
		mts_count(MTS_STAT_RESERVE_FEW);
		return -EAGAIN;
	}

	effort = current_effort();
	site = mts_site_get(ip);
	ret = mts_reserve(pfn, nr_pages, effort, site);
	if (ret && effort == MTS_TAKE_LIGHT && ip &&
	    (current->flags & (PF_MEMALLOC | PF_MEMALLOC_PIN)) == PF_MEMALLOC_PIN &&
	    mts_pin_refuse(pfn_to_page(pfn), site))
		ret = mts_reserve(pfn, nr_pages, effort, site);
	if (ret) {
		/* Its neighbours are on the way to the same end */
		mts_pool_forget(pfn);
		/* Reclaim and pins come again, but don't call mts_wait() */
		if (effort == MTS_TAKE_LIGHT &&
		    current->flags & (PF_MEMALLOC | PF_MEMALLOC_PIN))
			ask_takers();
	}
	mts_worker_kick();
	return ret;
}

/**
 * mts_move() - have the data of a page where it may have tags
 * @pfn:	the page, no reference is held
 * @ip:		who asks; 0 for a fault on access
 *
 * The owner's part of &struct tag_storage_ops. Moves all of a large folio, or
 * splits it.
 *
 * Context: As mts_prepare(), but without folio locks.
 * Return: 0 if it was moved, or can stay; -EBUSY if it is worth to try again
 * after mts_wait().
 */
int mts_move(unsigned long pfn, unsigned long ip)
{
	unsigned int moved = 0;
	LIST_HEAD(folios);

	if (current_effort() == MTS_TAKE_LIGHT &&
	    !mts_should_fail(MTS_FAIL_MIGRATE) &&
	    mts_isolate(pfn, 1, MTS_ANY, &folios))
		moved = migrate_folios(&folios, __GFP_ZEROTAGS, MIGRATE_ASYNC);
	if (moved) {
		if (!ip)
			mts_count(MTS_STAT_FAULTS_MOVED);
		return 0;
	}
	if (mts_is_storage(pfn)) {
		struct mts_region *r = mts_region_of_storage(pfn);

		/* Somebody who waits until it can move */
		set_bit((pfn - r->geo.tag_pfn) >> r->geo.block_order, r->requests);
	} else if (!mts_reserve(pfn, 1, current_effort(), mts_site_get(ip))) {
		return 0;
	}
	/* It may be in the LRU batch of a CPU */
	mts_lru_drain();
	/* And where to move it */
	atomic_cmpxchg(&targets_wanted, 0, 1);
	return -EBUSY;
}

/**
 * mts_wait() - wait until it may be worth to try again
 *
 * The owner's part of &struct tag_storage_ops. Until a request has come to a good
 * end, but for fault_wait_ms at most; a task that has waited in vain several times
 * waits longer: each try costs others time, above all those that work on requests.
 *
 * Context: Process context. Ends on a fatal signal.
 * Return: 0.
 */
int mts_wait(void)
{
	unsigned int nr = mts_waits_in_vain();
	bool done;

	mts_count(MTS_STAT_FAULTS_RETRIED);
	done = mts_wait_for_takers(min(nr / BACKOFF_WAITS, BACKOFF_MAX));
	mts_waits_note(done ? 0 : nr + 1);
	return 0;
}

static void request_done(void)
{
	atomic_inc(&requests_done);
	wake_up_all(&requests_wait);
}

/* Have a page that can have tags, for who looks for one next */
static void take_target(void)
{
	struct page *page = alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_ZEROTAGS |
				       __GFP_NOWARN);
	bool news;

	if (!page)
		return;
	scoped_guard(rcu)
		news = mts_taggable(page_to_pfn(page), 1) <= 0;
	if (!mts_reserve(page_to_pfn(page), 1, MTS_TAKE_WAIT,
			 mts_site_get(_THIS_IP_))) {
		mts_pool_note_free(page_to_pfn(page));
		__free_page(page);
		/* Who had that at hand, and waits, waits for something else */
		if (news)
			request_done();
		return;
	}
	mts_pool_forget(page_to_pfn(page));
	__free_page(page);
	if (mts_make_room())
		request_done();
}

/* Deal with requests. Several of these run at the same time. */
static void take_requested(struct work_struct *work)
{
	unsigned int i, site = mts_site_get(_THIS_IP_);
	struct mts_region *r;

	if (!mts_is_online())
		return;
	if (atomic_cmpxchg(&targets_wanted, 1, 0))
		take_target();
	for_each_mts_region(r, i) {
		unsigned long block = 0, nr = mts_nr_blocks(&r->geo);

		while ((block = find_next_bit(r->requests, nr, block)) < nr) {
			if (test_and_clear_bit(block, r->requests) &&
			    !mts_block_reserve(r, block, MTS_TAKE_WAIT, site)) {
				/* Who asked looks for pages there */
				mts_pool_note_range(mts_block_data_pfn(&r->geo, block),
						    mts_block_data_pages(&r->geo));
				request_done();
			}
			cond_resched();
		}
	}
	/* Who asked may not need it any more */
	mts_worker_kick();
}

/**
 * mts_requests_flush() - wait for the end of all requests
 *
 * Context: Process context, sleeps. There are no new ones.
 */
void mts_requests_flush(void)
{
	flush_workqueue(taker_wq);
}

/**
 * mts_requests_init() - have somebody who works on requests
 *
 * Context: Process context, sleeps.
 * Return: 0 or -ENOMEM.
 */
int mts_requests_init(void)
{
	unsigned int i;

	taker_wq = alloc_workqueue("mts_taker", WQ_UNBOUND | WQ_FREEZABLE,
				   MTS_NR_TAKERS);
	if (!taker_wq)
		return -ENOMEM;
	for (i = 0; i < MTS_NR_TAKERS; i++)
		INIT_WORK(&takers[i], take_requested);
	return 0;
}

/**
 * mts_requests_exit() - undo mts_requests_init()
 *
 * Context: Process context, sleeps.
 */
void mts_requests_exit(void)
{
	destroy_workqueue(taker_wq);
}
