package main

import (
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/instar-os/instar/internal/assemble"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"instar": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("INSTAR_CACHE", e.WorkDir+"/cache")
			e.Setenv("XDG_RUNTIME_DIR", e.WorkDir+"/run")
			return nil
		},
	})
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 64 << 20: "64.0 MiB", 999 << 20: "999 MiB", 3 << 40: "3.00 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		e     assemble.Event
		spent time.Duration
		want  string
	}{
		{assemble.Event{Stage: "unpack", Item: "libc6", Done: 30, Total: 120}, 3 * time.Second, "unpack      30 of 120  9s left  libc6"},
		{assemble.Event{Stage: "download", Done: 1 << 20, Total: 4 << 20, Bytes: true}, 100 * time.Millisecond, "download    1.00 MiB of 4.00 MiB"},
		{assemble.Event{Stage: "kernel"}, time.Minute, "kernel     "},
	} {
		if got := line(c.e, c.spent); got != c.want {
			t.Errorf("line(%+v) = %q, want %q", c.e, got, c.want)
		}
	}
}
