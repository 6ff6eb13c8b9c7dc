package prune_test

import (
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/prune"
)

func TestChain(t *testing.T) {
	w := build(t, "lib -> usr/lib", "usr/lib/libc.so.6! ", "usr/lib/libz.so.1 -> libz.so.1.3", "usr/lib/libz.so.1.3! libc.so.6",
		"usr/lib/libssl.so! libz.so.1", "usr/bin/sh! libc.so.6", "usr/bin/run: #!/usr/bin/sh", "usr/bin/web! libssl.so", "usr/bin/other! libx.so")
	for _, c := range []struct{ from, to, want string }{
		{"usr/bin/web", "lib/libz.so.1", "usr/bin/web usr/lib/libssl.so usr/lib/libz.so.1.3"},
		{"usr/bin/web usr/bin/run", "/usr/lib/libc.so.6", "usr/bin/run usr/bin/sh usr/lib/libc.so.6"},
		{"usr/bin/web", "usr/bin/web", "usr/bin/web"},
		{"usr/bin/other", "usr/lib/libc.so.6", ""},
		{"usr/bin/none", "usr/lib/none", ""},
	} {
		got := prune.Chain(w.tree, strings.Fields(c.from), c.to, w, prune.Environment{})
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s to %s: %v, want %s", c.from, c.to, got, c.want)
		}
	}
}
