/* Exports libseccomp's filter for rules on standard input, as struct
 * sock_filter on standard output. Names it does not know go to standard error.
 *
 *   ARCHITECTURE DEFAULT-ERRNO          x86_64 or aarch64
 *   NAME ERRNO COUNT [INDEX OP A B]...  ERRNO 0: allow; OP as enum scmp_compare
 */
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int rc, const char *what) {
	if (rc < 0) {
		fprintf(stderr, "%s: %d\n", what, rc);
		exit(1);
	}
}

int main(void) {
	char arch[32], name[64];
	unsigned fallback, err, count;
	if (scanf("%31s %u", arch, &fallback) != 2)
		return 2;
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(fallback));
	uint32_t token = seccomp_arch_resolve_name(arch);
	if (token != seccomp_arch_native()) {
		check(seccomp_arch_add(ctx, token), "adding the architecture");
		check(seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE), "removing the native architecture");
	}
	while (scanf("%63s %u %u", name, &err, &count) == 3) {
		struct scmp_arg_cmp args[6];
		for (unsigned i = 0; i < count; i++) {
			unsigned index, op;
			uint64_t a, b;
			if (scanf("%u %u %" SCNu64 " %" SCNu64, &index, &op, &a, &b) != 4)
				return 2;
			args[i] = (struct scmp_arg_cmp){index, op, a, b};
		}
		int nr = seccomp_syscall_resolve_name(name);
		if (nr == __NR_SCMP_ERROR) {
			fprintf(stderr, "%s\n", name);
			continue;
		}
		uint32_t action = err ? SCMP_ACT_ERRNO(err) : SCMP_ACT_ALLOW;
		int rc = seccomp_rule_add_array(ctx, action, nr, count, args);
		if (rc != -EACCES) /* the rule does what the default does */
			check(rc, name);
	}
	check(seccomp_export_bpf(ctx, 1), "exporting");
	return 0;
}
