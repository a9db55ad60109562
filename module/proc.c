// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/mte_tag_storage: who holds tag storage.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "mts.h"

static int mts_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, MTS_PROC_HEADER "\n");
	seq_puts(m, "#     <size>  <calls> <tag info>\n");
	mts_site_show(m);
	return 0;
}

int mts_proc_init(void)
{
	return proc_create_single(KBUILD_MODNAME, 0400, NULL, mts_proc_show) ?
		0 : -ENOMEM;
}

void mts_proc_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
}
