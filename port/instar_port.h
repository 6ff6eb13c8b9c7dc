/*
 * instar_port.h - memory ports of instar's links, for C11 programs on Linux.
 *
 * A container that a definition makes an end of a link finds its ports by the
 * link's name:
 *
 *     struct instar_port level;
 *     if (instar_port_open(&level, "level", INSTAR_PORT_SAMPLING, sizeof value, 1, 1) < 0)
 *             err(1, "opening the port");
 *     instar_port_write(&level, &value, sizeof value);
 *
 * Every function returns a negative errno when it fails: -ENOLINK this
 * container is no such end of the link, -EPROTO the ends disagree about the
 * message, -EAGAIN there is no message, -ENOBUFS the queue is full, -EMSGSIZE
 * the message or the buffer has the wrong size, -EBUSY the writer overtook every
 * attempt to read, -EBADMSG the memory is not that of a port.
 *
 * Compile with -std=gnu11 or newer. A port is used by one thread at a time; a sampling port may be read by many.
 * docs/format/port.md describes the bytes, the Go package port has the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef INSTAR_PORT_H
#define INSTAR_PORT_H

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || UINTPTR_MAX != UINT64_MAX
#error "ports need a 64-bit little-endian machine"
#endif

enum { INSTAR_PORT_SAMPLING = 1, INSTAR_PORT_QUEUEING = 2 };
enum { INSTAR_PORT_REJECT = 1, INSTAR_PORT_DROP = 2 };

#define INSTAR_PORT_MAGIC UINT64_C(0x54524f5052545349)   /* "ISTRPORT" */
#define INSTAR_CURSOR_MAGIC UINT64_C(0x5352554352545349) /* "ISTRCURS" */

struct instar_port_header {
	uint64_t magic;
	uint32_t format, kind;
	uint64_t hash;
	uint32_t size, slots, policy, stride;
	uint64_t validity;
	uint32_t depth, version;
	uint64_t reserved;
	_Atomic uint64_t published, rejected; /* in a cursor: consumed, lost */
	uint64_t pad[6];
};
_Static_assert(sizeof(struct instar_port_header) == 128, "layout of docs/format/port.md");

struct instar_port {
	struct instar_port_header *head, *cursor;
	size_t bytes, cursor_bytes;
	uint32_t size, slots, stride, depth, policy, kind;
	uint64_t validity;
	int wake; /* descriptor of an eventfd, or -1 */
};

/* What a reader learns beside the bytes. */
struct instar_sample {
	size_t length;
	uint64_t sequence; /* from 1 */
	uint64_t age;      /* nanoseconds since it was written */
	uint64_t origin;   /* of CLOCK_MONOTONIC: when the oldest data began that it rests on */
	uint64_t lost;     /* messages of a queue overwritten since the last read */
	int valid;         /* not older than the link's validity */
};

static inline uint64_t instar_port_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* FNV-1a of "NAME\nKIND\nSIZE\nVERSION\n". */
static inline uint64_t instar_port_hash(const char *link, uint32_t kind, uint32_t size, uint32_t version)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	char rest[48];

	snprintf(rest, sizeof rest, "\n%" PRIu32 "\n%" PRIu32 "\n%" PRIu32 "\n", kind, size, version);
	for (const char *part[2] = {link, rest}, **p = part; p < part + 2; p++)
		for (const char *c = *p; *c; c++)
			hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	return hash;
}

/* The descriptor in INSTAR_LINK_<LINK><SUFFIX>, or -ENOLINK. */
static inline int instar_link_fd(const char *link, const char *suffix)
{
	char name[128], *end;
	const char *value;
	long fd;
	int n = snprintf(name, sizeof name, "INSTAR_LINK_%s%s", link, suffix);

	if (n < 0 || (size_t)n >= sizeof name)
		return -ENOLINK;
	for (char *c = name; *c; c++) {
		if (*c == '-')
			*c = '_';
		else if (*c >= 'a' && *c <= 'z')
			*c -= 'a' - 'A';
	}
	value = getenv(name);
	if (!value || !*value)
		return -ENOLINK;
	fd = strtol(value, &end, 10);
	return *end || fd < 0 || fd > INT32_MAX ? -ENOLINK : (int)fd;
}

static inline int instar_port_map(int fd, int prot, struct instar_port_header **head, size_t *bytes)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof **head || st.st_size > 128 << 20)
		return -EBADMSG;
	p = mmap(NULL, (size_t)st.st_size, prot, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*head = p;
	*bytes = (size_t)st.st_size;
	return 0;
}

static inline void instar_port_close(struct instar_port *p)
{
	if (p->head)
		munmap(p->head, p->bytes);
	if (p->cursor)
		munmap(p->cursor, p->cursor_bytes);
	p->head = p->cursor = NULL;
}

static inline int instar_port_check(struct instar_port *p, const char *link, uint32_t kind, uint32_t size, uint32_t version)
{
	const struct instar_port_header *h = p->head;
	uint64_t hash = instar_port_hash(link, kind, size, version);

	if (h->magic != INSTAR_PORT_MAGIC)
		return -EBADMSG;
	if (h->format != 1 || h->kind != kind || h->hash != hash || h->size != size)
		return -EPROTO;
	if (!size || h->stride != ((32 + size + 63) & ~UINT32_C(63)) || h->slots < 2 ||
	    sizeof *h + (uint64_t)h->slots * h->stride > p->bytes ||
	    (kind == INSTAR_PORT_QUEUEING && h->depth != h->slots - 1))
		return -EBADMSG;
	if (p->cursor && (p->cursor->magic != INSTAR_CURSOR_MAGIC || p->cursor->hash != hash))
		return -EPROTO;
	p->kind = kind;
	p->size = size;
	p->slots = h->slots;
	p->stride = h->stride;
	p->depth = h->depth;
	p->policy = h->policy;
	p->validity = h->validity;
	return 0;
}

/* Opens the port of a link for reading, or for writing. */
static inline int instar_port_open(struct instar_port *p, const char *link, uint32_t kind, uint32_t size, uint32_t version, int write)
{
	int rw = PROT_READ | PROT_WRITE;
	int fd = instar_link_fd(link, "");
	int err;

	memset(p, 0, sizeof *p);
	p->wake = instar_link_fd(link, "_WAKE");
	if (fd < 0)
		return fd;
	err = instar_port_map(fd, write ? rw : PROT_READ, &p->head, &p->bytes);
	if (!err && kind == INSTAR_PORT_QUEUEING) {
		fd = instar_link_fd(link, "_CURSOR");
		err = fd < 0 ? fd : instar_port_map(fd, write ? PROT_READ : rw, &p->cursor, &p->cursor_bytes);
	}
	if (!err)
		err = instar_port_check(p, link, kind, size, version);
	if (err)
		instar_port_close(p);
	return err;
}

static inline _Atomic uint64_t *instar_port_slot(const struct instar_port *p, uint64_t n)
{
	return (_Atomic uint64_t *)((char *)(p->head + 1) + (size_t)((n - 1) % p->slots) * p->stride);
}

/*
 * A slot is a sequence lock: H.-J. Boehm, "Can seqlocks get along with
 * programming language memory models?", MSPC 2012. The words of a message are
 * relaxed atomics between two fences.
 */
static inline void instar_port_put(struct instar_port *p, uint64_t n, const void *data, size_t length, uint64_t origin)
{
	_Atomic uint64_t *slot = instar_port_slot(p, n);
	const char *from = data;

	atomic_store_explicit(slot, 2 * n - 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(slot + 1, instar_port_now(), memory_order_relaxed);
	atomic_store_explicit(slot + 2, length, memory_order_relaxed);
	atomic_store_explicit(slot + 3, origin, memory_order_relaxed);
	for (size_t i = 0; i < length; i += 8) {
		uint64_t w = 0;

		memcpy(&w, from + i, length - i < 8 ? length - i : 8);
		atomic_store_explicit(slot + 4 + i / 8, w, memory_order_relaxed);
	}
	atomic_store_explicit(slot, 2 * n, memory_order_release);
	atomic_store_explicit(&p->head->published, n, memory_order_release);
}

/* 1 when message n was copied whole, 0 when the writer was there, or an error. */
static inline int instar_port_get(struct instar_port *p, uint64_t n, void *buf, size_t room, struct instar_sample *s)
{
	_Atomic uint64_t *slot = instar_port_slot(p, n);
	uint64_t written, length, origin, now;
	int fits, sane;

	if (atomic_load_explicit(slot, memory_order_acquire) != 2 * n)
		return 0;
	written = atomic_load_explicit(slot + 1, memory_order_relaxed);
	length = atomic_load_explicit(slot + 2, memory_order_relaxed);
	origin = atomic_load_explicit(slot + 3, memory_order_relaxed);
	sane = length <= p->size;
	fits = length <= room;
	for (size_t i = 0; sane && fits && i < length; i += 8) {
		uint64_t w = atomic_load_explicit(slot + 4 + i / 8, memory_order_relaxed);

		memcpy((char *)buf + i, &w, length - i < 8 ? length - i : 8);
	}
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(slot, memory_order_relaxed) != 2 * n)
		return 0;
	if (!sane)
		return -EBADMSG;
	if (!fits)
		return -EMSGSIZE;
	now = instar_port_now();
	s->length = length;
	s->sequence = n;
	s->age = now > written ? now - written : 0;
	s->origin = origin && origin <= written ? origin : written;
	s->valid = !p->validity || s->age <= p->validity;
	return 1;
}

static inline uint64_t instar_port_queued(const struct instar_port *p, uint64_t published)
{
	uint64_t consumed = atomic_load_explicit(&p->cursor->published, memory_order_acquire);

	if (consumed > published)
		return 0;
	return published - consumed < p->depth ? published - consumed : p->depth;
}

/*
 * Writes a value, or adds a message to a queue, that rests on data which began
 * before: origin is the least one of what was read for it, 0 for none.
 */
static inline int instar_port_write_from(struct instar_port *p, const void *data, size_t length, uint64_t origin)
{
	uint64_t n = atomic_load_explicit(&p->head->published, memory_order_relaxed);
	uint64_t one = 1;

	if (length > p->size)
		return -EMSGSIZE;
	if (p->kind == INSTAR_PORT_QUEUEING && p->policy == INSTAR_PORT_REJECT && instar_port_queued(p, n) >= p->depth) {
		atomic_store_explicit(&p->head->rejected,
			atomic_load_explicit(&p->head->rejected, memory_order_relaxed) + 1, memory_order_relaxed);
		return -ENOBUFS;
	}
	instar_port_put(p, n + 1, data, length, origin);
	if (p->wake >= 0 && write(p->wake, &one, sizeof one) < 0)
		return -errno;
	return 0;
}

/* Writes a value, or adds a message to a queue. */
static inline int instar_port_write(struct instar_port *p, const void *data, size_t length)
{
	return instar_port_write_from(p, data, length, 0);
}

/*
 * The number of the oldest message that is still there, or 0; adds to *lost.
 * Each attempt that the writer overtook gives up one more of the oldest.
 */
static inline uint64_t instar_port_next(struct instar_port *p, uint64_t attempt, uint64_t *lost)
{
	uint64_t keep = attempt < p->depth ? p->depth - attempt : 1;
	uint64_t published = atomic_load_explicit(&p->head->published, memory_order_acquire);
	uint64_t consumed = atomic_load_explicit(&p->cursor->published, memory_order_relaxed);

	if (consumed >= published) {
		if (consumed > published)
			atomic_store_explicit(&p->cursor->published, published, memory_order_release);
		return 0;
	}
	if (published - consumed > keep) {
		uint64_t missed = published - consumed - keep;

		*lost += missed;
		consumed += missed;
		atomic_store_explicit(&p->cursor->rejected,
			atomic_load_explicit(&p->cursor->rejected, memory_order_relaxed) + missed, memory_order_relaxed);
		atomic_store_explicit(&p->cursor->published, consumed, memory_order_release);
	}
	return consumed + 1;
}

/* Copies the last value, or takes the oldest message from a queue. */
static inline int instar_port_read(struct instar_port *p, void *buf, size_t room, struct instar_sample *s)
{
	memset(s, 0, sizeof *s);
	for (uint64_t attempt = 0; attempt < 1000; attempt++) {
		uint64_t n;
		int got;

		if (p->kind == INSTAR_PORT_QUEUEING)
			n = instar_port_next(p, attempt, &s->lost);
		else
			n = atomic_load_explicit(&p->head->published, memory_order_acquire);
		if (!n)
			return -EAGAIN;
		got = instar_port_get(p, n, buf, room, s);
		if (!got)
			continue;
		if (p->kind == INSTAR_PORT_QUEUEING) {
			s->valid = got > 0;
			if (got != -EMSGSIZE)
				atomic_store_explicit(&p->cursor->published, n, memory_order_release);
		}
		return got < 0 ? got : 0;
	}
	return -EBUSY;
}

#endif
