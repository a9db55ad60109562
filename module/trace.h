/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints mte_tag_storage:*. Every start has one finish in the same task,
 * which tells what has come of it.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mte_tag_storage

#if !defined(MTS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MTS_TRACE_H

#include <linux/tracepoint.h>

/* Somebody needs tag storage that isn't reserved. Caller 0: a fault on access. */
TRACE_EVENT(request,
	TP_PROTO(unsigned long pfn, unsigned long nr_pages, unsigned long ip),
	TP_ARGS(pfn, nr_pages, ip),
	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned long, nr_pages)
		__field(unsigned long, ip)
	),
	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->nr_pages = nr_pages;
		__entry->ip = ip;
	),
	TP_printk("pfn=0x%lx nr_pages=%lu caller=%pS", __entry->pfn,
		  __entry->nr_pages, (void *)__entry->ip)
);

/* A fault on an entry that is fault-on-access found no storage for its pages */
TRACE_EVENT(fault_on_access,
	TP_PROTO(unsigned long pfn, unsigned long nr_pages, unsigned int wanted),
	TP_ARGS(pfn, nr_pages, wanted),
	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned long, nr_pages)
		__field(unsigned int, wanted)
	),
	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->nr_pages = nr_pages;
		__entry->wanted = wanted;
	),
	TP_printk("pfn=0x%lx nr_pages=%lu wanted=%u", __entry->pfn,
		  __entry->nr_pages, __entry->wanted)
);

DECLARE_EVENT_CLASS(mts_block,
	TP_PROTO(unsigned int region, unsigned long block,
		 unsigned long tag_pfn),
	TP_ARGS(region, block, tag_pfn),
	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(unsigned long, block)
		__field(unsigned long, tag_pfn)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->block = block;
		__entry->tag_pfn = tag_pfn;
	),
	TP_printk("region=%u block=%lu tag_pfn=0x%lx", __entry->region,
		  __entry->block, __entry->tag_pfn)
);

DEFINE_EVENT(mts_block, reserve_start,
	TP_PROTO(unsigned int region, unsigned long block,
		 unsigned long tag_pfn),
	TP_ARGS(region, block, tag_pfn)
);

DEFINE_EVENT(mts_block, release_start,
	TP_PROTO(unsigned int region, unsigned long block,
		 unsigned long tag_pfn),
	TP_ARGS(region, block, tag_pfn)
);

/* How: fast, moved, slow, reopened, none (no storage was taken) */
TRACE_EVENT(reserve_finish,
	TP_PROTO(unsigned int region, unsigned long block,
		 unsigned long tag_pfn, const char *how, int ret),
	TP_ARGS(region, block, tag_pfn, how, ret),
	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(unsigned long, block)
		__field(unsigned long, tag_pfn)
		__string(how, how)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->block = block;
		__entry->tag_pfn = tag_pfn;
		__assign_str(how);
		__entry->ret = ret;
	),
	TP_printk("region=%u block=%lu tag_pfn=0x%lx how=%s ret=%d",
		  __entry->region, __entry->block, __entry->tag_pfn,
		  __get_str(how), __entry->ret)
);

/* State: the one that the block is in afterwards */
TRACE_EVENT(release_finish,
	TP_PROTO(unsigned int region, unsigned long block,
		 unsigned long tag_pfn, const char *state),
	TP_ARGS(region, block, tag_pfn, state),
	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(unsigned long, block)
		__field(unsigned long, tag_pfn)
		__string(state, state)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->block = block;
		__entry->tag_pfn = tag_pfn;
		__assign_str(state);
	),
	TP_printk("region=%u block=%lu tag_pfn=0x%lx state=%s", __entry->region,
		  __entry->block, __entry->tag_pfn, __get_str(state))
);

/* Data is moved out of the storage of a block that is to be reserved */
DEFINE_EVENT(mts_block, evict_start,
	TP_PROTO(unsigned int region, unsigned long block,
		 unsigned long tag_pfn),
	TP_ARGS(region, block, tag_pfn)
);

TRACE_EVENT(evict_finish,
	TP_PROTO(unsigned int region, unsigned long block,
		 unsigned long tag_pfn, int ret),
	TP_ARGS(region, block, tag_pfn, ret),
	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(unsigned long, block)
		__field(unsigned long, tag_pfn)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->block = block;
		__entry->tag_pfn = tag_pfn;
		__entry->ret = ret;
	),
	TP_printk("region=%u block=%lu tag_pfn=0x%lx ret=%d", __entry->region,
		  __entry->block, __entry->tag_pfn, __entry->ret)
);

/* Blocks with few tagged pages are emptied into others */
TRACE_EVENT(evacuate_start,
	TP_PROTO(unsigned long blocks, unsigned long pages),
	TP_ARGS(blocks, pages),
	TP_STRUCT__entry(
		__field(unsigned long, blocks)
		__field(unsigned long, pages)
	),
	TP_fast_assign(
		__entry->blocks = blocks;
		__entry->pages = pages;
	),
	TP_printk("blocks=%lu pages=%lu", __entry->blocks, __entry->pages)
);

TRACE_EVENT(evacuate_finish,
	TP_PROTO(unsigned long moved_pages),
	TP_ARGS(moved_pages),
	TP_STRUCT__entry(
		__field(unsigned long, moved_pages)
	),
	TP_fast_assign(
		__entry->moved_pages = moved_pages;
	),
	TP_printk("moved_pages=%lu", __entry->moved_pages)
);

/* Going offline */
TRACE_EVENT(take_back_start,
	TP_PROTO(unsigned long blocks),
	TP_ARGS(blocks),
	TP_STRUCT__entry(
		__field(unsigned long, blocks)
	),
	TP_fast_assign(
		__entry->blocks = blocks;
	),
	TP_printk("blocks=%lu", __entry->blocks)
);

TRACE_EVENT(take_back_finish,
	TP_PROTO(unsigned long blocks_left, int ret, unsigned long pfn,
		 const char *reason),
	TP_ARGS(blocks_left, ret, pfn, reason),
	TP_STRUCT__entry(
		__field(unsigned long, blocks_left)
		__field(int, ret)
		__field(unsigned long, pfn)
		__string(reason, reason)
	),
	TP_fast_assign(
		__entry->blocks_left = blocks_left;
		__entry->ret = ret;
		__entry->pfn = pfn;
		__assign_str(reason);
	),
	TP_printk("blocks_left=%lu ret=%d pfn=0x%lx reason=%s",
		  __entry->blocks_left, __entry->ret, __entry->pfn,
		  __get_str(reason))
);

/* A knob has been written; the value of a choice is its position */
TRACE_EVENT(policy,
	TP_PROTO(const char *knob, unsigned int value),
	TP_ARGS(knob, value),
	TP_STRUCT__entry(
		__string(knob, knob)
		__field(unsigned int, value)
	),
	TP_fast_assign(
		__assign_str(knob);
		__entry->value = value;
	),
	TP_printk("knob=%s value=%u", __get_str(knob), __entry->value)
);

#endif /* MTS_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
