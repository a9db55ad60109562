// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/mte_tag_storage: who holds tag storage.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "mts.h"

/* Position 0 is the header, and others are sites: 0 is nobody */
static void *proc_start(struct seq_file *m, loff_t *pos)
{
	return *pos < mts_site_nr() ? pos : NULL;
}

static void *proc_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return proc_start(m, pos);
}

static void proc_stop(struct seq_file *m, void *v)
{
}

static int proc_show(struct seq_file *m, void *v)
{
	loff_t pos = *(loff_t *)v;

	if (pos) {
		mts_site_show(m, pos);
		return 0;
	}
	seq_puts(m, MTS_PROC_HEADER "\n");
	seq_puts(m, "#     <size>  <calls> <tag info>\n");
	return 0;
}

static const struct seq_operations proc_ops = {
	.start = proc_start,
	.next = proc_next,
	.stop = proc_stop,
	.show = proc_show,
};

/**
 * mts_proc_init() - make /proc/mte_tag_storage
 *
 * Context: Process context, sleeps.
 * Return: 0 or -ENOMEM.
 */
int mts_proc_init(void)
{
	return proc_create_seq(KBUILD_MODNAME, 0400, NULL, &proc_ops) ? 0 : -ENOMEM;
}

/**
 * mts_proc_exit() - remove it
 *
 * Context: Process context, sleeps. Waits for who reads it.
 */
void mts_proc_exit(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
}
