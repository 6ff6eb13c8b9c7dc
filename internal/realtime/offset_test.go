package realtime_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/check"
)

// TestAllPhases tries every place of every clock, which is what exact means: the
// bound is the longest response that there is.
func TestAllPhases(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 8))
	better, exact := 0, 0
	for range 60 {
		s := &rt.Set{Overheads: rt.Overheads{Measured: true}}
		for i := range 2 + r.IntN(3) {
			period := []rt.Time{4, 6, 8, 12}[r.IntN(4)]
			s.Tasks = append(s.Tasks, rt.Task{Name: fmt.Sprint("t", i), Policy: rt.FIFO, Priority: 90 - i, Period: period,
				WCET: 1 + r.Int64N(period/2), Deadline: 2 * period, Clock: []string{"a", "a", "b"}[r.IntN(3)], Offset: r.Int64N(period)})
		}
		rep, err := rt.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Report(s, rep); err != nil {
			t.Fatal(err)
		}
		apart := *s
		apart.Tasks = slices.Clone(s.Tasks)
		for i := range apart.Tasks {
			apart.Tasks[i].Clock, apart.Tasks[i].Offset = "", 0
		}
		together, err := rt.Analyse(&apart)
		if err != nil {
			t.Fatal(err)
		}
		seen := make([]rt.Time, len(s.Tasks))
		for b := range rt.Time(24) {
			var all []event
			for i := range s.Tasks {
				o := &s.Tasks[i]
				at := o.Offset
				if o.Clock == "b" {
					at += b
				}
				for at %= o.Period; at < 100; at += o.Period {
					all = append(all, event{task: i, event: at, ready: at})
				}
			}
			slices.SortStableFunc(all, func(a, b event) int { return int(a.ready - b.ready) })
			for i, took := range simulate(s, all, r) {
				seen[i] = max(seen[i], took)
			}
		}
		for i := range s.Tasks {
			v, old := verdict(rep, s.Tasks[i].Name), verdict(together, s.Tasks[i].Name)
			if !v.Holds {
				continue // more than the processor, or a late job that the window above may not show
			}
			if v.Bound < seen[i] || v.Exact && v.Bound != seen[i] || old.Holds && v.Bound > old.Bound {
				t.Errorf("%s takes up to %d; the bound is %d (exact %v), without offsets %d\n%+v", v.Task, seen[i], v.Bound, v.Exact, old.Bound, s.Tasks)
			}
			if v.Exact {
				exact++
			}
			if !old.Holds || v.Bound < old.Bound {
				better++
			}
		}
	}
	t.Logf("%d exact, %d better than without offsets", exact, better)
	if exact < 60 || better < 20 {
		t.Errorf("%d exact verdicts, %d better than without offsets: too few to say anything", exact, better)
	}
}

// TestApproximation takes the approximation where all combinations are too many,
// and sees that it is no less than they are.
func TestApproximation(t *testing.T) {
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}}
	for i := range 40 {
		s.Tasks = append(s.Tasks, rt.Task{Name: fmt.Sprint("t", i), Policy: rt.FIFO, Priority: 90 - i, Period: []rt.Time{10_000, 20_000, 40_000}[i%3],
			WCET: 200 + rt.Time(i), Jitter: rt.Time(i % 5 * 100), Clock: fmt.Sprint("c", i%8), Offset: rt.Time(i * 237)})
	}
	rep, err := rt.Analyse(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Report(s, rep); err != nil {
		t.Fatal(err)
	}
	last := verdict(rep, "t39")
	if !rep.Holds || last.Phases == nil || last.Phases.Every || last.Exact {
		t.Fatalf("%+v", last)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var all []event
		base := map[string]rt.Time{}
		for i := range s.Tasks {
			o := &s.Tasks[i]
			if _, ok := base[o.Clock]; !ok {
				base[o.Clock] = r.Int64N(40_000)
			}
			for at := base[o.Clock] + o.Offset; at < 120_000; at += o.Period {
				all = append(all, event{task: i, event: at, ready: at + r.Int64N(o.Jitter+1)})
			}
		}
		slices.SortStableFunc(all, func(a, b event) int { return int(a.ready - b.ready) })
		for i, took := range simulate(s, all, r) {
			if v := verdict(rep, s.Tasks[i].Name); took > v.Bound {
				t.Errorf("%s took %d, its bound is %d", v.Task, took, v.Bound)
			}
		}
	}
}

// TestOffsetsOfARow has a row of tasks that never meet: each ends before the next
// begins, though together they would be late.
func TestOffsetsOfARow(t *testing.T) {
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}}
	for i := range 4 {
		s.Tasks = append(s.Tasks, rt.Task{Name: fmt.Sprint("t", i), Policy: rt.FIFO, Priority: 50 - i, WCET: 20, Period: 100, Deadline: 25, Clock: "row", Offset: rt.Time(25 * i)})
	}
	rep, err := rt.Analyse(s)
	if err != nil || !rep.Holds {
		t.Fatalf("%v %+v", err, rep)
	}
	for i := range s.Tasks {
		if v := verdict(rep, s.Tasks[i].Name); v.Bound != 20 || !v.Exact {
			t.Errorf("%+v", v)
		}
	}
	s.Tasks[2].Offset = 39
	if rep, err = rt.Analyse(s); err != nil || rep.Holds {
		t.Fatalf("they hold when two meet: %v", err)
	}
	v := verdict(rep, "t2")
	if err := check.Report(s, rep); err != nil || v.Bound != 26 || v.Holds || len(v.Phases.Refuted) != 1 {
		t.Errorf("%v %+v", err, v)
	}
}

// TestForgedOffsets changes certificates that rest upon offsets.
func TestForgedOffsets(t *testing.T) {
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}, Tasks: []rt.Task{
		{Name: "a", Policy: rt.FIFO, Priority: 9, WCET: 3, Period: 10, Clock: "x"},
		{Name: "b", Policy: rt.FIFO, Priority: 8, WCET: 3, Period: 10, Clock: "x", Offset: 5, Jitter: 1},
		{Name: "c", Policy: rt.FIFO, Priority: 7, WCET: 2, Period: 20, Clock: "x", Offset: 3},
		{Name: "d", Policy: rt.FIFO, Priority: 6, WCET: 1, Period: 30},
	}}
	late := *s
	late.Tasks = slices.Clone(s.Tasks)
	late.Tasks[2].Deadline = 1
	for name, forge := range map[string]func(v *rt.Response){
		"a shorter bound":    func(v *rt.Response) { v.Bound-- },
		"a window left out":  func(v *rt.Response) { v.Phases.Windows = v.Phases.Windows[1:] },
		"a job left out":     func(v *rt.Response) { v.Phases.Windows[v.Phases.Critical[0]].Jobs = nil },
		"a window too short": func(v *rt.Response) { v.Phases.Windows[0].Window = 1 },
		"another moment":     func(v *rt.Response) { v.Phases.Windows[0].At[0]++ },
		"a task left out":    func(v *rt.Response) { v.Phases.Clocks[0].Tasks = v.Phases.Clocks[0].Tasks[:1] },
		"a clock too many": func(v *rt.Response) {
			v.Phases.Clocks = append(v.Phases.Clocks, rt.Clock{Tasks: []string{"a"}, Cycle: 10})
		},
		"a cycle too short":   func(v *rt.Response) { v.Phases.Clocks[0].Cycle = 10 },
		"an end too early":    func(v *rt.Response) { v.Phases.Windows[v.Phases.Critical[0]].Jobs[0].End = 1 },
		"other clocks merged": func(v *rt.Response) { v.Phases.Clocks[0].Tasks = append(v.Phases.Clocks[0].Tasks, "d") },
	} {
		rep, err := rt.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		v := verdict(rep, "c")
		if err := check.Report(s, rep); err != nil || v.Phases == nil {
			t.Fatal(err, v)
		}
		forge(v)
		if err := check.Report(s, rep); err == nil {
			t.Errorf("%s was taken: %+v", name, v.Phases)
		}
	}
	rep, err := rt.Analyse(&late)
	if err != nil {
		t.Fatal(err)
	}
	v := verdict(rep, "c")
	if err := check.Report(&late, rep); err != nil || v.Holds || len(v.Phases.Refuted) != 1 {
		t.Fatalf("%v %+v", err, v)
	}
	v.Phases.Refuted[0].Steps = []rt.Time{50}
	if err := check.Report(&late, rep); err == nil {
		t.Error("a false refusal was taken")
	}
}
