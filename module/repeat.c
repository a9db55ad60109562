// SPDX-License-Identifier: GPL-2.0
/*
 * Faults that come again: how often does a task take the same fault on access
 * without having got on? A fault that can't be resolved waits, see mts_wait(); one
 * that is resolved in vain comes back at once, for ever. The number tells them
 * apart.
 *
 * A program that has got on has other registers. Within a system call, and in
 * threads of the kernel, the page tells.
 */
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>

#include <asm/ptrace.h>

#include "mts.h"

#define REPEAT_BITS	8

/*
 * The last fault of a task, most often: two of them may share a slot. Races lose
 * a count.
 */
static struct mts_repeat {
	u64 fault;
	unsigned int nr;
} repeats[1 << REPEAT_BITS];

static unsigned int repeated_max;

/**
 * mts_repeat_note() - note a fault on access of the current task
 * @pfn:	of which page
 *
 * Context: Process context.
 */
void mts_repeat_note(unsigned long pfn)
{
	const struct pt_regs *regs = task_pt_regs(current);
	const u64 *reg = (const u64 *)&regs->user_regs;
	struct mts_repeat *r;
	unsigned int i, nr = 1;
	u32 page = 0;
	u64 fault;

	if (current->flags & (PF_KTHREAD | PF_USER_WORKER) || in_syscall(regs))
		page = hash_long(pfn, 32);
	/* An odd factor loses no bit of the registers before */
	BUILD_BUG_ON(sizeof(regs->user_regs) % sizeof(u64));
	for (fault = page, i = 0; i < sizeof(regs->user_regs) / sizeof(u64); i++)
		fault = fault * GOLDEN_RATIO_64 + reg[i];
	fault = fault * GOLDEN_RATIO_64 + task_pid_nr(current);

	r = &repeats[hash_32(task_pid_nr(current) ^ page, REPEAT_BITS)];
	if (READ_ONCE(r->fault) == fault)
		nr = READ_ONCE(r->nr) + 1;
	WRITE_ONCE(r->fault, fault);
	WRITE_ONCE(r->nr, nr);
	if (nr - 1 > READ_ONCE(repeated_max))
		WRITE_ONCE(repeated_max, nr - 1);
}

/**
 * mts_repeated_max() - how often a fault came again, at most
 *
 * Return: since the module was loaded.
 */
unsigned int mts_repeated_max(void)
{
	return READ_ONCE(repeated_max);
}

/* How often a task has waited in vain. Two may share a slot here, too. */
static struct mts_backoff {
	pid_t pid;
	unsigned int nr;
	unsigned long last;	/* jiffies */
} backoffs[1 << REPEAT_BITS];

static struct mts_backoff *backoff_of(pid_t pid)
{
	return &backoffs[hash_32(pid, REPEAT_BITS)];
}

/**
 * mts_waits_in_vain() - how often has the current task waited in vain just now?
 *
 * Context: Process context.
 * Return: the number of waits in a row, the last of which ended in this second.
 */
unsigned int mts_waits_in_vain(void)
{
	pid_t pid = task_pid_nr(current);
	struct mts_backoff *b = backoff_of(pid);

	if (READ_ONCE(b->pid) != pid || time_after(jiffies, READ_ONCE(b->last) + HZ))
		return 0;
	return READ_ONCE(b->nr);
}

/**
 * mts_waits_note() - the current task has waited
 * @nr:		how often in vain by now
 *
 * Context: Process context.
 */
void mts_waits_note(unsigned int nr)
{
	pid_t pid = task_pid_nr(current);
	struct mts_backoff *b = backoff_of(pid);

	WRITE_ONCE(b->nr, nr);
	WRITE_ONCE(b->pid, pid);
	WRITE_ONCE(b->last, jiffies);
}
