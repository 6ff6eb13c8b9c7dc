package graph

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
	"github.com/instar-os/instar/internal/realtime/schedule"
)

const ms = 1_000_000

var greenhouse = &realtime.Set{Tasks: []realtime.Task{
	{Name: "irrigation.valve", Policy: realtime.FIFO, Priority: 80, WCET: 2 * ms, Period: 10 * ms, Deadline: 8 * ms},
	{Name: "irrigation.control", Policy: realtime.FIFO, Priority: 70, WCET: 5 * ms, Period: 20 * ms, Jitter: 2 * ms},
	{Name: "logger.<main>", Policy: realtime.FIFO, Priority: 10, WCET: 9 * ms, Period: 40 * ms, NonPreemptive: 1 * ms},
}}

func pictures(t *testing.T) map[string][]byte {
	t.Helper()
	r, err := realtime.Analyse(greenhouse)
	if err != nil {
		t.Fatal(err)
	}
	s, err := schedule.Critical(greenhouse, "irrigation.control", nil, 60*ms)
	if err != nil {
		t.Fatal(err)
	}
	bad := *greenhouse
	bad.Tasks = append([]realtime.Task(nil), bad.Tasks...)
	bad.Tasks[1].WCET = 11 * ms
	late, err := realtime.Analyse(&bad)
	if err != nil {
		t.Fatal(err)
	}
	missed, err := schedule.Critical(&bad, "logger.<main>", nil, 60*ms)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"responses.svg": Responses("Response times of greenhouse", r),
		"late.svg":      Responses("Response times of greenhouse", late),
		"schedule.svg":  Schedule("Schedule of greenhouse", s),
		"missed.svg":    Schedule("Schedule of greenhouse", missed),
		"histogram.svg": Histogram("Measured responses of greenhouse", "irrigation.control", []Bucket{{1 * ms, 0}, {2 * ms, 3}, {4 * ms, 120}, {8 * ms, 40}, {16 * ms, 2}}, 8*ms, 20*ms),
		"chain.svg": Chain("Chain of greenhouse", judged([]chain.Stage{{Task: "sensor", Period: 10 * ms, Worst: 2 * ms}, {Task: "control", Period: 20 * ms, Worst: 9 * ms},
			{Task: "valve", Period: 10 * ms, Worst: 3 * ms}}), 60*ms),
	}
}

func judged(c []chain.Stage) *chain.Verdict {
	v := &chain.Verdict{Stages: c}
	v.Bound, v.Exact, v.Source = chain.Bound(c)
	return v
}

// TestRealtimePictures: every picture is XML whose words are all there, the same
// each time; with INSTAR_PICTURES they are written to be looked at.
func TestRealtimePictures(t *testing.T) {
	again := pictures(t)
	for name, svg := range pictures(t) {
		if string(again[name]) != string(svg) {
			t.Errorf("%s is not the same twice", name)
		}
		dec := xml.NewDecoder(strings.NewReader(string(svg)))
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if dir := os.Getenv("INSTAR_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name), svg, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, words := range map[string][]string{
		"responses.svg": {"irrigation.valve", "logger.&lt;main&gt;", "to spare", "they were not measured"},
		"late.svg":      {"class=\"miss\"", "not all deadlines"},
		"schedule.svg":  {"class=\"held\"", "class=\"run\"", "class=\"due\"", "longest response"},
		"missed.svg":    {"class=\"miss\"", "late jobs: 1"},
		"histogram.svg": {"165 jobs", "class=\"miss\"", "bound 8ms"},
		"chain.svg":     {"54ms", "class=\"due\""},
	} {
		for _, w := range words {
			if !strings.Contains(string(again[name]), w) {
				t.Errorf("%s does not say %q", name, w)
			}
		}
	}
}
