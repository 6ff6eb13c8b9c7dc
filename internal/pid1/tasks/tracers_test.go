package tasks

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/wire"
)

// Lines as the kernel's documents show them.
func TestTracerLines(t *testing.T) {
	for line, want := range map[string]struct {
		what string
		took time.Duration
	}{
		"          <idle>-0       [000] d.h1    54.029328: #1     context    irq timer_latency       932 ns": {"irq", 932},
		"           <...>-867     [000] ....    54.029339: #1     context thread timer_latency     11700 ns": {"thread", 11700},
		"#           TASK-PID      CPU# ||||     TIMESTAMP     ID            CONTEXT                LATENCY": {},
		"x context irq timer_latency -5 ns": {},
		"":                                  {},
	} {
		what, took, ok := parseTimerlat(line)
		if ok != (want.what != "") || ok && (what != want.what || took != want.took) {
			t.Errorf("%q: %s %s %v", line, what, took, ok)
		}
	}
	took, ok := parseOsnoise("           <...>-859     [000] ....    81.637220: 1000000        190  99.98100              9      18      0   1007     18      1")
	if !ok || took != 10*time.Microsecond {
		t.Errorf("%s %v", took, ok)
	}
	for _, line := range []string{"", "[0] 1: 2 3", "# [] : RUNTIME NOISE % MAX HW NMI IRQ SIRQ THREAD"} {
		if took, ok := parseOsnoise(line); ok {
			t.Errorf("%q has a noise of %s", line, took)
		}
	}
}

// TestTracerPipe reads lines that come in pieces, until the time is over.
func TestTracerPipe(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	for _, text := range []string{"one\ntw", "o\nthr"} {
		if _, err := unix.Write(p[1], []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := lines(p[0], now()+50*time.Millisecond, func(l string) { got = append(got, l) })
	unix.Close(p[1])
	if err != nil || len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestKernelTimes measures with what this kernel has, which may be nothing, and
// leaves tracing as it was.
func TestKernelTimes(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	var c wire.Calibration
	if err := kernelTimes(dir, 0, 200*time.Millisecond, &c); err != nil {
		t.Fatal(err)
	}
	t.Logf("timer %+v, thread %+v, noise %+v", c.Timer, c.Thread, c.Noise)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("tracefs is still mounted: %v", err)
	}
}

func FuzzTracerLines(f *testing.F) {
	f.Add("x [0] context irq timer_latency 932 ns")
	f.Add("[000] .... 81.637220: 1000000 190 99.98100 9 18 0 1007 18 1")
	f.Fuzz(func(t *testing.T, line string) {
		if _, took, ok := parseTimerlat(line); ok && took < 0 {
			t.Error(took)
		}
		if took, ok := parseOsnoise(line); ok && took <= 0 {
			t.Error(took)
		}
	})
}
