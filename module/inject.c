// SPDX-License-Identifier: GPL-2.0
/*
 * Fault injection: debugfs fail_reserve/, fail_migrate/ and fail_scrub/, as in
 * Documentation/fault-injection/fault-injection.rst.
 */
#include <linux/debugfs.h>
#include <linux/fault-inject.h>

#include "mts.h"

static struct mts_fault {
	const char *name;
	struct fault_attr attr;
} mts_faults[MTS_NR_FAULTS] = {
	[MTS_FAIL_RESERVE] = { "fail_reserve", FAULT_ATTR_INITIALIZER },
	[MTS_FAIL_MIGRATE] = { "fail_migrate", FAULT_ATTR_INITIALIZER },
	[MTS_FAIL_SCRUB] = { "fail_scrub", FAULT_ATTR_INITIALIZER },
};

/**
 * mts_should_fail() - is this operation to fail?
 * @fault:	which
 *
 * Context: Any.
 */
bool mts_should_fail(enum mts_fault_id fault)
{
	return should_fail(&mts_faults[fault].attr, 1);
}

/**
 * mts_inject_debugfs() - make the directories of the attributes
 * @parent:	where
 */
void mts_inject_debugfs(struct dentry *parent)
{
	unsigned int i;

	for (i = 0; i < MTS_NR_FAULTS; i++)
		fault_create_debugfs_attr(mts_faults[i].name, parent,
					  &mts_faults[i].attr);
}
