package realtime_test

import (
	"fmt"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/check"
)

func fp(name string, priority int, c, t, d rt.Time) rt.Task {
	return rt.Task{Name: name, Policy: rt.FIFO, Priority: priority, WCET: c, Period: t, Deadline: d}
}

func edf(name string, c, t, d rt.Time) rt.Task {
	return rt.Task{Name: name, Policy: rt.Deadline, WCET: c, Period: t, Deadline: d}
}

// published are examples whose results stand in print, or follow by hand.
var published = []struct {
	source string
	tasks  []rt.Task
	bounds map[string]rt.Time
	holds  bool
}{
	{"Burns, Wellings, Real-Time Systems and Programming Languages, response time analysis, task set C",
		[]rt.Task{fp("a", 3, 3, 7, 7), fp("b", 2, 3, 12, 12), fp("c", 1, 5, 20, 20)},
		map[string]rt.Time{"a": 3, "b": 6, "c": 20}, true},
	{"the same, task set A: the least urgent task misses its deadline",
		[]rt.Task{fp("a", 1, 12, 50, 50), fp("b", 2, 10, 40, 40), fp("c", 3, 10, 30, 30)},
		map[string]rt.Time{"c": 10, "b": 20, "a": 52}, false},
	{"the same, task set B",
		[]rt.Task{fp("a", 1, 32, 80, 80), fp("b", 2, 5, 40, 40), fp("c", 3, 4, 16, 16)},
		map[string]rt.Time{"c": 4, "b": 9, "a": 58}, true},
	{"the same: a processor that is used in full, with harmonic periods",
		[]rt.Task{fp("a", 1, 40, 80, 80), fp("b", 2, 10, 40, 40), fp("c", 3, 5, 20, 20)},
		map[string]rt.Time{"c": 5, "b": 15, "a": 80}, true},
	{"Lehoczky 1990, example of long deadlines: the longest response is that of a later job of the window",
		[]rt.Task{fp("a", 2, 26, 70, 70), fp("b", 1, 62, 100, 120)},
		map[string]rt.Time{"a": 26, "b": 118}, true},
	{"Liu, Layland 1973: full use under earliest deadline first",
		[]rt.Task{edf("a", 1, 2, 2), edf("b", 1, 4, 4), edf("c", 2, 8, 8)},
		map[string]rt.Time{}, true},
	{"by hand: one more than full",
		[]rt.Task{edf("a", 1, 2, 2), edf("b", 1, 4, 4), edf("c", 3, 8, 8)},
		map[string]rt.Time{}, false},
	{"by hand: a short deadline that the demand of another misses, at a use of 7/12",
		[]rt.Task{edf("a", 2, 6, 2), edf("b", 3, 12, 4)},
		map[string]rt.Time{}, false},
}

func TestPublished(t *testing.T) {
	for _, p := range published {
		s := &rt.Set{Tasks: p.tasks, Overheads: rt.Overheads{Measured: true}}
		r, err := rt.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Report(s, r); err != nil {
			t.Errorf("%s: certificate: %v", p.source, err)
		}
		for name, want := range p.bounds {
			if v := verdict(r, name); v.Bound != want {
				t.Errorf("%s: task %s: %d, want %d", p.source, name, v.Bound, want)
			}
		}
		if r.Holds != p.holds {
			t.Errorf("%s: holds is %v: %+v", p.source, r.Holds, r.Tasks)
		}
	}
}

// TestForged changes certificates and sees that they are refused.
func TestForged(t *testing.T) {
	s := &rt.Set{Tasks: []rt.Task{fp("a", 3, 3, 7, 7), fp("b", 2, 3, 12, 12), fp("c", 1, 5, 20, 20), edf("d", 10, 40, 30), edf("e", 15, 50, 40), edf("f", 6, 20, 12)}}
	for i := range s.Tasks[:3] {
		s.Tasks[i].CPU = 1
	}
	for name, forge := range map[string]func(r *rt.Report){
		"a shorter bound":       func(r *rt.Report) { verdict(r, "c").Bound-- },
		"an end too early":      func(r *rt.Report) { verdict(r, "c").Jobs[0].End-- },
		"a shorter window":      func(r *rt.Report) { verdict(r, "c").Window = 5 },
		"no jobs":               func(r *rt.Report) { verdict(r, "b").Jobs = nil },
		"a longer deadline":     func(r *rt.Report) { verdict(r, "b").Deadline++ },
		"demand too small":      func(r *rt.Report) { r.Demands[0].Points[0].Need-- },
		"a point left out":      func(r *rt.Report) { r.Demands[0].Points = r.Demands[0].Points[1:] },
		"the last point absent": func(r *rt.Report) { r.Demands[0].Points = r.Demands[0].Points[:1] },
		"a horizon too near":    func(r *rt.Report) { r.Demands[0].Window = 1; r.Demands[0].Points = nil },
		"a task left out":       func(r *rt.Report) { r.Tasks = r.Tasks[1:] },
		"a false refusal":       func(r *rt.Report) { verdict(r, "c").Holds = false; verdict(r, "c").Jobs[0].Steps = []rt.Time{99} },
	} {
		r, err := rt.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Report(s, r); err != nil {
			t.Fatal(err)
		}
		forge(r)
		if err := check.Report(s, r); err == nil {
			t.Errorf("%s was taken: %+v", name, r)
		}
	}
}

// TestLarge sums the demand of ten thousand tasks, near the limits of numbers.
func TestLarge(t *testing.T) {
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}}
	for i := range rt.MaxTasks {
		period := rt.MaxTime - rt.Time(i)*1_000_003
		s.Tasks = append(s.Tasks, rt.Task{Name: fmt.Sprint(i), Policy: rt.Deadline, WCET: period / (rt.MaxTasks + 100), Period: period, Deadline: period - 17})
	}
	r, err := rt.Analyse(s)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Holds {
		t.Errorf("it does not hold: %+v", r.Demands)
	}
	s.Tasks[0].WCET *= 200
	if r, err = rt.Analyse(s); err != nil || r.Holds {
		t.Errorf("it holds with more than the whole processor: %v", err)
	}
}
