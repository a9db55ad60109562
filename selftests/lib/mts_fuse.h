/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A FUSE server for tests: one file, which the kernel may cache. What matters, READs
 * and WRITEs, are answered by the test.
 */
#ifndef MTS_FUSE_H
#define MTS_FUSE_H

#include <linux/fuse.h>
#include <poll.h>

#include "mts_contract.h"

#define FUSE_MOUNTPOINT	"/tmp/fuse"
#define FUSE_FILE	FUSE_MOUNTPOINT "/file"
#define FUSE_FILE_NODE	2
#define FUSE_BYTES	(128UL << 10)
#define FUSE_MAX_HELD	256

/* Mount it. Return: what the server reads requests from. */
static __maybe_unused int fuse_mount(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[96];

	if (fd < 0)
		mts_die("/dev/fuse");
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	mkdir(FUSE_MOUNTPOINT, 0700);
	if (mount("fuse", FUSE_MOUNTPOINT, "fuse", 0, options))
		mts_die("mount");
	return fd;
}

static __maybe_unused void fuse_reply(int fd, u64 unique, int error,
				      const void *data, size_t len)
{
	struct fuse_out_header h = {
		.len = sizeof(h) + len, .error = error, .unique = unique,
	};
	struct iovec iov[] = { { &h, sizeof(h) }, { (void *)data, len } };

	/* Who asked may have gone */
	if (writev(fd, iov, len ? 2 : 1) < 0 && errno != ENOENT)
		_exit(3);
}

static void fuse_fill_attr(struct fuse_attr *a, u64 node, size_t bytes)
{
	memset(a, 0, sizeof(*a));
	a->ino = node;
	a->mode = node == FUSE_FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700;
	a->nlink = 1;
	a->size = node == FUSE_FILE_NODE ? bytes : 0;
	a->blksize = mts_page_size;
}

/* Answer all but READ and WRITE. @flags: of FUSE_INIT; @bytes: size of the file */
static __maybe_unused void fuse_answer(int fd, const struct fuse_in_header *in,
				       u32 flags, u32 max_write, size_t bytes)
{
	const void *arg = in + 1;
	union {
		struct fuse_init_out init;
		struct fuse_entry_out entry;
		struct fuse_attr_out attr;
		struct fuse_open_out open;
	} out;

	memset(&out, 0, sizeof(out));
	switch (in->opcode) {
	case FUSE_INIT: {
		const struct fuse_init_in *i = arg;

		out.init.major = FUSE_KERNEL_VERSION;
		out.init.minor = i->minor < 31 ? i->minor : 31;
		out.init.flags = i->flags & flags;
		out.init.max_readahead = FUSE_BYTES;
		out.init.max_write = max_write;
		out.init.max_background = FUSE_MAX_HELD;
		out.init.congestion_threshold = FUSE_MAX_HELD;
		fuse_reply(fd, in->unique, 0, &out.init, sizeof(out.init));
		break;
	}
	case FUSE_LOOKUP:
		out.entry.nodeid = FUSE_FILE_NODE;
		out.entry.attr_valid = 3600;
		out.entry.entry_valid = 3600;
		fuse_fill_attr(&out.entry.attr, FUSE_FILE_NODE, bytes);
		fuse_reply(fd, in->unique, 0, &out.entry, sizeof(out.entry));
		break;
	case FUSE_GETATTR:
		out.attr.attr_valid = 3600;
		fuse_fill_attr(&out.attr.attr, in->nodeid, bytes);
		fuse_reply(fd, in->unique, 0, &out.attr, sizeof(out.attr));
		break;
	case FUSE_OPEN:
		fuse_reply(fd, in->unique, 0, &out.open, sizeof(out.open));
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	case FUSE_RELEASE:
		fuse_reply(fd, in->unique, 0, NULL, 0);
		break;
	default:
		fuse_reply(fd, in->unique, -ENOSYS, NULL, 0);
	}
}

/* Have a request handled, if there is one within 5 ms. False: there will be no more */
static __maybe_unused bool fuse_serve(int fd, void (*handle)(int fd,
							     const struct fuse_in_header *in))
{
	static char request[FUSE_BYTES + 8192];
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	ssize_t n;

	if (poll(&poll_fd, 1, 5) <= 0)
		return true;
	n = read(fd, request, sizeof(request));
	if (n > 0)
		handle(fd, (void *)request);
	return n > 0 || errno == EINTR || errno == EAGAIN || errno == ENOENT;
}

/* As going offline has to end, whether or not it succeeds */
static __maybe_unused bool offline_ends(void)
{
	pid_t pid;

	knob("take_back_timeout_ms", "200");
	pid = mts_fork();
	if (!pid) {
		mts_write_file(MTS_DEBUGFS "/state", "offline");
		_exit(0);
	}
	return wait_bounded(pid, patience());
}

static __maybe_unused bool worker_passes(double end)
{
	long long first = mts_stat("release_passes");
	bool passed = false;
	cpu_set_t before;
	double until;
	int cpu;

	sched_getaffinity(0, sizeof(before), &before);
	for (cpu = 0; !passed && mts_now() < end; cpu++) {
		/* Its timer is deferrable: it waits for a tick of a CPU that sleeps */
		mts_pin(cpu % mts_cpus());
		for (until = mts_now() + 0.01; mts_now() < until;)
			;
		passed = mts_stat("release_passes") > first + 1;
	}
	sched_setaffinity(0, sizeof(before), &before);
	return passed;
}

#endif /* MTS_FUSE_H */
