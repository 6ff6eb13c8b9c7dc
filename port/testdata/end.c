/*
 * One end of a port, for the tests of instar_port.h.
 *
 *   end write LINK KIND SIZE VERSION N   writes N checkable messages
 *   end read LINK KIND SIZE VERSION N    reads N, and fails on one that is torn
 *   end open LINK KIND SIZE VERSION 0    prints the error of opening
 *   end crash LINK KIND SIZE VERSION N   dies N bytes into writing a message
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sched.h>
#include <sys/mman.h>
#include "../instar_port.h"

#define FACTOR UINT64_C(0x9e3779b97f4a7c15)

static uint64_t buf[1024];

/* Behind the first n bytes of the message is memory of nobody's. */
static void crash(struct instar_port *p, size_t size, size_t n)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	char *m = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED || mprotect(m + page, page, PROT_NONE))
		exit(3);
	memset(m, 0xff, page);
	instar_port_write(p, m + page - n, size);
	exit(4);
}

int main(int argc, char **argv)
{
	struct instar_sample s;
	struct instar_port p;
	uint64_t last = 0, lost = 0;
	int write, err;

	if (argc != 7)
		return 2;
	write = !strcmp(argv[1], "write") || !strcmp(argv[1], "crash");
	const uint32_t kind = atoi(argv[3]), size = atoi(argv[4]);
	const uint64_t count = strtoull(argv[6], NULL, 10);

	err = instar_port_open(&p, argv[2], kind, size, atoi(argv[5]), write);
	if (!err && !strcmp(argv[1], "crash"))
		crash(&p, size, count);
	if (err || !count) {
		printf("open: %s\n", err ? strerror(-err) : "ok");
		return err != 0;
	}
	for (uint64_t n = 1; write && n <= count;) {
		for (size_t i = 0; i < size / 8; i++)
			buf[i] = n * FACTOR + i * 8 * n;
		err = instar_port_write(&p, buf, size);
		if (err == -ENOBUFS) {
			sched_yield();
			continue;
		}
		if (err)
			goto failed;
		n++;
	}
	for (uint64_t got = 0; !write && got < count;) {
		err = instar_port_read(&p, buf, sizeof buf, &s);
		lost += s.lost;
		if (err == -EAGAIN) {
			sched_yield();
			continue;
		}
		if (err)
			goto failed;
		for (size_t i = 0; i < s.length / 8; i++) {
			if (buf[i] != s.sequence * FACTOR + i * 8 * s.sequence) {
				printf("torn at %" PRIu64 "\n", s.sequence);
				return 1;
			}
		}
		if (s.sequence < last || (kind == INSTAR_PORT_QUEUEING && s.sequence == last)) {
			printf("%" PRIu64 " after %" PRIu64 "\n", s.sequence, last);
			return 1;
		}
		last = s.sequence;
		got++;
	}
	printf("ok, lost %" PRIu64 "\n", lost);
	instar_port_close(&p);
	return 0;
failed:
	printf("%s\n", strerror(-err));
	return 1;
}
