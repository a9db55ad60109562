/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module, the selftests and the tools agree on.
 */
#ifndef MTE_TAG_STORAGE_H
#define MTE_TAG_STORAGE_H

#define MTS_COMPATIBLE		"arm,mte-tag-storage"
#define MTS_DEBUGFS_DIR		"/sys/kernel/debug/mte_tag_storage"
#define MTS_PROC_FILE		"/proc/mte_tag_storage"

/* First lines of the statistics, the histograms and the account of sites */
#define MTS_STATS_HEADER	"mts-stats 1"
#define MTS_LATENCY_HEADER	"mts-latency 1"
#define MTS_CALLS_HEADER	"mts-calls 1"
#define MTS_PROC_HEADER		"mte_tag_storage - version: 1.0"

/* Data pages served by one page of tag storage, for any page size */
#define MTS_RATIO		32

/* Limits of the block-size property, bytes */
#define MTS_BLOCK_SIZE_MIN	128
#define MTS_BLOCK_SIZE_MAX	(2 * 1024 * 1024)

/*
 * States of a tag block: X(id, name). The names appear in debugfs.
 *
 * static	never given away: outside whole pageblocks of one zone
 * reserved	holds tags, its data block is taggable
 * closing	about to be released, if no page of the data block has tags
 * changing	on its way between the module and the page allocator
 * released	free memory or data, owned by the page allocator
 * spare	always released: serves tag storage only, which has no tags
 * bad		has a poisoned page: never used again, its data block neither
 */
#define MTS_STATES(X)			\
	X(STATIC, "static")		\
	X(RESERVED, "reserved")		\
	X(CLOSING, "closing")		\
	X(CHANGING, "changing")		\
	X(RELEASED, "released")		\
	X(SPARE, "spare")		\
	X(BAD, "bad")

#define MTS_STATE_ID(id, name)	MTS_##id,
enum mts_state {
	MTS_STATES(MTS_STATE_ID)
	MTS_NR_STATES
};

#undef MTS_STATE_ID

#endif /* MTE_TAG_STORAGE_H */
