package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/realtime/taskset"
	"github.com/instar-os/instar/internal/wire"
)

// What calibrate writes is what the analysis reads.
func TestOverheadsFile(t *testing.T) {
	text := overheadsFile(wire.Calibration{Time: time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC), Kernel: "6.12.1-rt", Machine: `a "fast" one`,
		Latency: wire.Longest{Max: 41 * time.Microsecond, Mean: 3 * time.Microsecond, Samples: 9}, Switch: wire.Longest{Max: 1500}, Release: wire.Longest{Max: 7 * time.Microsecond},
		Untraced: "no\nway", Thread: wire.Longest{Max: 43 * time.Microsecond, Samples: 5}, Noise: wire.Longest{Max: 2 * time.Microsecond, Samples: 1}})
	o, err := taskset.ParseOverheads("o.yaml", []byte(text))
	if err != nil || o.Measured != "2026-11-21" || o.Kernel != "6.12.1-rt" || o.Machine != `a "fast" one` || o.Switch != 1500 || o.Release != 7000 || o.Latency != 43000 || !strings.Contains(text, "timerlat-thread: {max: 43µs") {
		t.Errorf("%+v, %v of\n%s", o, err, text)
	}
}

func TestPrintRT(t *testing.T) {
	r := wire.RTReply{Configuration: "day", Tasks: []wire.RTTask{{Task: "c.loop", Thread: 7, Policy: "fifo", Priority: 49, CPU: 1, Jobs: 10, Misses: 1,
		MaxResponse: 3 * time.Millisecond, Bound: 2 * time.Millisecond, Deadline: 4 * time.Millisecond, Scale: 62500,
		Responses: append(make([]uint32, 60), append([]uint32{9, 1}, make([]uint32, 34)...)...), Latencies: []uint32{0, 10}}},
		Chains:     []wire.RTChain{{Name: "water", Path: []string{"a.b", "c.loop"}, Bound: time.Second, Links: []string{"l", "m"}, Ages: []time.Duration{time.Millisecond, -1}, Data: 3 * time.Millisecond, MaxData: 7 * time.Millisecond, Looks: 2}},
		Interrupts: []wire.RTInterrupt{{Number: 9, Actions: "eth0", CPUs: "0", Thread: 77, Priority: 60}}, CostPerRun: 90, CostRuns: 1000}
	var b bytes.Buffer
	if err := printRT(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"c.loop", "fifo 49", "3ms", "█", "l 1ms old, m no age; its data began 3ms ago, at most 7ms in 2 looks", "90ns a context switch", "interrupt 9 (eth0) on CPU 0, thread 77 with priority 60"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if err := contradictions(r); err == nil || !strings.Contains(err.Error(), "c.loop") {
		t.Errorf("a late task contradicts nothing: %v", err)
	}
	b.Reset()
	a := &app{out: &b}
	if err := a.plotMeasured(r, "c.loop", ""); err != nil || !strings.Contains(b.String(), "10 jobs of c.loop") || !strings.Contains(b.String(), "bound 2ms") {
		t.Errorf("%v\n%s", err, &b)
	}
	if err := a.plotMeasured(r, "c.none", ""); err == nil {
		t.Error("a task that is not there was drawn")
	}
	b.Reset()
	r.WriteMetrics(&b)
	for _, want := range []string{"instar_task_misses_total{task=\"c.loop\"} 1\n", "instar_task_response_seconds_bucket{task=\"c.loop\",le=\"0.0038125\"} 9\n",
		"instar_task_response_seconds_bucket{task=\"c.loop\",le=\"+Inf\"} 10\n", "instar_task_latency_seconds_count{task=\"c.loop\"} 10\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}
