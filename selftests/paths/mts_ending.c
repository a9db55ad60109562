// SPDX-License-Identifier: GPL-2.0
/*
 * A task that is killed, or exits, while its memory can't have tag storage, ends: also
 * where the kernel faults for it until it gets an error, as in a futex operation, or
 * when no signal can reach it any more, as for clear_child_tid.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>

#include "mts_contract.h"

#define SEED	0x656e6473UL
#define STACK	65536UL

/* It can neither be had nor can anything move away from it */
static void no_storage(bool on)
{
	if (!mts_online())
		return;
	inject_failures("fail_reserve", on);
	inject_failures("fail_migrate", on);
}

/* A page with tags, whose first access from now on finds no storage for them */
static void *late_page(void)
{
	struct mts_buf b;

	buf_map(&b, 1, PROT_RW, 0);
	buf_fill(&b, SEED, false);
	if (mts_online())
		mts_release();
	no_storage(true);
	if (mprotect(b.p, mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	return b.p;
}

static void wake_op(void *page)
{
	static unsigned int word;

	/* Of others' memory it would pin the page, which waits in another way */
	syscall(SYS_futex, &word, FUTEX_WAKE_OP_PRIVATE, 1, 1, page,
		FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
}

static int sleeper(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pause();
	return 0;
}

/* The word is only cleared for others who use the same memory */
static void exit_of(void *page)
{
	char *stack = mts_map(STACK, PROT_RW, 0, 0);

	if (clone(sleeper, stack + STACK, CLONE_VM | SIGCHLD, NULL) < 0)
		mts_die("clone");
	syscall(SYS_set_tid_address, page);
	pause();
}

/* Does a child that does this end when it is killed? */
static void test(const char *what, void (*run)(void *page))
{
	pid_t pid = mts_fork();
	double end;
	bool ended;

	if (!pid) {
		run(late_page());
		pause();
		_exit(0);
	}
	usleep(500000);
	kill(pid, SIGKILL);
	/* It waits for fault_wait_ms at a time */
	end = mts_now() + 3 * patience();
	while (!(ended = waitpid(pid, NULL, WNOHANG) == pid) && mts_now() < end)
		usleep(10000);
	no_storage(false);
	ktap_result(ended, "ends when it is killed: %s", what);
	if (!ended)
		waitpid(pid, NULL, 0);
}

int main(void)
{
	mts_need_mte();
	ktap_begin(2);
	test("FUTEX_WAKE_OP on such a page", wake_op);
	test("clear_child_tid on such a page", exit_of);
	return ktap_end();
}
