package sandbox

import (
	"os"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

func TestParseStat(t *testing.T) {
	var p wire.ProcessStatus
	// Field 14 is 250 ticks of user time, 15 is 50 of system time: 3 s.
	text := "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 100 1000000 12 18446744073709551615\n"
	if err := parseStat(text, &p); err != nil {
		t.Fatal(err)
	}
	want := wire.ProcessStatus{PID: 42, PPID: 7, State: "S", CPU: 3 * time.Second, Threads: 3,
		Memory: 12 * int64(os.Getpagesize()), Command: "[a) b (c]"}
	if p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	for _, text := range []string{"", "1 (x", "1 )x( S 1", "1 (x) S 1 2 3"} {
		if parseStat(text, &p) == nil {
			t.Errorf("%q is taken for a status", text)
		}
	}
}

func TestProcessStatus(t *testing.T) {
	p, ok := processStatus(os.Getpid())
	if !ok || p.PID != os.Getpid() || p.PPID != os.Getppid() || p.UID != uint32(os.Getuid()) || p.Memory == 0 || p.Threads == 0 {
		t.Errorf("%+v", p)
	}
	if _, ok := processStatus(1 << 30); ok {
		t.Error("there is no such process")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (x) S 0 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 1 1 1 1")
	f.Fuzz(func(t *testing.T, text string) { parseStat(text, new(wire.ProcessStatus)) })
}
