/* SPDX-License-Identifier: GPL-2.0 */
/* A small io_uring, for tests of its fixed buffers. */
#ifndef MTS_URING_H
#define MTS_URING_H

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "mts_paths.h"

struct ring {
	int fd;
	u32 *sq_tail, *sq_mask, *sq_array, *cq_head;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	u32 *cq_mask;
	char *rings;
	size_t rings_len, sqes_len;
};

static __maybe_unused bool ring_make(struct ring *r)
{
	struct io_uring_params params = { 0 };
	size_t cq;

	r->fd = syscall(__NR_io_uring_setup, 4, &params);
	if (r->fd < 0)
		return false;
	r->rings_len = params.sq_off.array + params.sq_entries * sizeof(u32);
	cq = params.cq_off.cqes + params.cq_entries * sizeof(*r->cqes);
	if (cq > r->rings_len)
		r->rings_len = cq;
	r->sqes_len = params.sq_entries * sizeof(*r->sqes);
	r->rings = mmap(NULL, r->rings_len, PROT_RW, MAP_SHARED | MAP_POPULATE,
			r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->sqes_len, PROT_RW, MAP_SHARED | MAP_POPULATE,
		       r->fd, IORING_OFF_SQES);
	if (r->rings == MAP_FAILED || r->sqes == MAP_FAILED)
		mts_die("io_uring");
	r->sq_tail = (u32 *)(r->rings + params.sq_off.tail);
	r->sq_mask = (u32 *)(r->rings + params.sq_off.ring_mask);
	r->sq_array = (u32 *)(r->rings + params.sq_off.array);
	r->cq_head = (u32 *)(r->rings + params.cq_off.head);
	r->cq_mask = (u32 *)(r->rings + params.cq_off.ring_mask);
	r->cqes = (struct io_uring_cqe *)(r->rings + params.cq_off.cqes);
	return true;
}

static __maybe_unused void ring_close(struct ring *r)
{
	close(r->fd);
	munmap(r->rings, r->rings_len);
	munmap(r->sqes, r->sqes_len);
}

/* Pins the memory of fixed buffers. False with errno set. */
static __maybe_unused bool ring_pin(const struct ring *r, const struct iovec *iov,
				    unsigned int nr)
{
	return !syscall(__NR_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, iov, nr);
}

static __maybe_unused bool ring_unpin(const struct ring *r)
{
	return !syscall(__NR_io_uring_register, r->fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

static __maybe_unused int ring_io(struct ring *r, int opcode, int fd, void *p,
				  size_t len, u64 offset, int buffer)
{
	u32 tail = *r->sq_tail, index = tail & *r->sq_mask;
	struct io_uring_sqe *sqe = &r->sqes[index];
	int ret;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->addr = (u64)p;
	sqe->len = len;
	sqe->off = offset;
	sqe->buf_index = buffer;
	r->sq_array[index] = index;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) < 0)
		mts_die("io_uring_enter");
	ret = r->cqes[*r->cq_head & *r->cq_mask].res;
	__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
	return ret;
}

#endif
