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
		Latency: wire.Longest{Max: 41 * time.Microsecond, Mean: 3 * time.Microsecond, Samples: 9}, Switch: wire.Longest{Max: 1500}, Release: wire.Longest{Max: 7 * time.Microsecond}})
	o, err := taskset.ParseOverheads("o.yaml", []byte(text))
	if err != nil || o.Measured != "2026-11-21" || o.Kernel != "6.12.1-rt" || o.Machine != `a "fast" one` || o.Switch != 1500 || o.Release != 7000 || o.Latency != 41000 {
		t.Errorf("%+v, %v of\n%s", o, err, text)
	}
}

func TestPrintRT(t *testing.T) {
	r := wire.RTReply{Configuration: "day", Tasks: []wire.RTTask{{Task: "c.loop", Thread: 7, Policy: "fifo", Priority: 49, CPU: 1, Jobs: 10, Misses: 1,
		MaxResponse: 3 * time.Millisecond, Bound: 2 * time.Millisecond, Deadline: 4 * time.Millisecond, Scale: 62500,
		Responses: append(make([]uint32, 60), append([]uint32{9, 1}, make([]uint32, 34)...)...), Latencies: []uint32{0, 10}}},
		Chains: []wire.RTChain{{Name: "water", Path: []string{"a.b", "c.loop"}, Bound: time.Second, Links: []string{"l", "m"}, Ages: []time.Duration{time.Millisecond, -1}}}, CostPerRun: 90, CostRuns: 1000}
	var b bytes.Buffer
	if err := printRT(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"c.loop", "fifo 49", "3ms", "█", "l 1ms old, m no age", "90ns a context switch"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if err := contradictions(r); err == nil || !strings.Contains(err.Error(), "c.loop") {
		t.Errorf("a late task contradicts nothing: %v", err)
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
