package plan_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/plan"
	realtime "github.com/instar-os/instar/internal/realtime/plan"
	"github.com/instar-os/instar/internal/system"
)

const timed = `machine: m
sources: {debian: {archive: debian, suites: [trixie]}}
kernel: {from: debian, package: linux-image-rt-amd64}
trees: {t: {from: debian, packages: [busybox]}}
default: r
realtime: {overheads: {switch: 1us, release: 1us, measured: 2026-11-21}}
configurations:
  r: {fallback: true, containers: [c0, c1]}
containers:
  c0: {trees: [t], command: [/bin/x], tasks: [{name: one, policy: fifo, wcet: %s, period: 10ms}]}
  c1: {trees: [t], command: [/bin/x], tasks: [{name: two, policy: fifo, wcet: 1ms, period: 20ms}]}
`

// timed returns what gives a system two tasks, and the proof that they are in
// time, after something was done to its text.
func (w *world) timed(wcet string, harm func(proof []byte) []byte) func(m *system.Manifest) {
	w.t.Helper()
	f, err := config.Read(fstest.MapFS{"instar.yaml": {Data: []byte(fmt.Sprintf(timed, wcet))}}, "instar.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	plans, err := realtime.Make(f.Definition, realtime.Options{Release: "6.12.9-rt-amd64"})
	if err != nil {
		w.t.Fatal(err)
	}
	p := plans[0]
	proof, err := p.Proof()
	if err != nil {
		w.t.Fatal(err)
	}
	if harm != nil {
		proof = harm(proof)
	}
	d, err := w.s.PutBytes(proof)
	if err != nil {
		w.t.Fatal(err)
	}
	return func(m *system.Manifest) {
		c := &m.Configurations[0]
		rt := *p.RealTime
		rt.Proof = system.Object{Digest: d, Size: int64(len(proof))}
		c.RealTime = &rt
		for i := range c.Containers {
			c.Containers[i].Tasks = p.Tasks[c.Containers[i].Name]
		}
	}
}

func TestInTime(t *testing.T) {
	w := newWorld(t)
	first := w.system(w.timed("2ms", nil))
	replaced := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("no %q in %s", old, b)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}
	}
	for _, row := range []struct {
		name   string
		change func(m *system.Manifest)
		ok     bool
		want   string
	}{
		{"no tasks", nil, true, "no task is declared"},
		{"the same", w.timed("2ms", nil), true, "2 tasks are in time, the tightest c0.one with at most 2.003ms of 10ms, on the condition that"},
		{"more work", w.timed("5ms", nil), true, "the tightest c0.one with at most 5.003ms of 10ms (until now 2.003ms)"},
		{"a bound that was made smaller", w.timed("5ms", replaced(`"bound": 5003000`, `"bound": 4003000`)), false, "its proof does not hold: task c0.one"},
		{"a set with more work", w.timed("5ms", replaced(`"wcet": 5000000`, `"wcet": 6000000`)), false, "its proof does not hold"},
		{"no proof", w.timed("5ms", func([]byte) []byte { return []byte("{}") }), false, "its proof proves nothing"},
		{"what is no proof", w.timed("5ms", func(b []byte) []byte { return b[1:] }), false, "its proof: "},
		{"a task of which nothing is proven", func(m *system.Manifest) {
			w.timed("2ms", nil)(m)
			m.Configurations[0].Containers[1].Tasks[0].Name = "three"
		}, false, "of task c1.three nothing is proven"},
	} {
		p, err := plan.Compare(w.s, first, w.system(row.change), false)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		v := p.Verdicts[len(p.Verdicts)-1]
		if v.What != "real time" || v.OK != row.ok || !strings.Contains(v.Text, row.want) {
			t.Errorf("%s: %+v, want %v, %q", row.name, v, row.ok, row.want)
		}
	}
	m, err := w.s.System(first)
	if err != nil {
		t.Fatal(err)
	}
	m.Configurations[0].RealTime.Proof.Digest = digest.Digest{1}
	if v := plan.InTime(w.s, nil, m); v.OK {
		t.Errorf("a proof that is not there: %+v", v)
	}
}
