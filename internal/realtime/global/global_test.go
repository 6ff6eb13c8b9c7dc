package global_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/check"
	"github.com/instar-os/instar/internal/realtime/global"
)

// simulate runs jobs on shared processors in unit steps and returns the longest
// response times. It knows nothing of windows and of work carried in.
func simulate(s *global.Set, releases [][]rt.Time) []rt.Time {
	type job struct {
		task          int
		event, left   rt.Time
		urgency, tied rt.Time
	}
	var jobs []job
	for i, all := range releases {
		t := &s.Tasks[i]
		for _, e := range all {
			j := job{i, e, t.WCET, e + t.Deadline, rt.Time(i)}
			if t.Policy != rt.Deadline {
				j.urgency = -rt.Time(t.Priority)
			}
			jobs = append(jobs, j)
		}
	}
	longest := make([]rt.Time, len(s.Tasks))
	for now := rt.Time(0); len(jobs) > 0; now++ {
		// Of each task its earliest job; a job is never on two processors.
		var ready []*job
		first := map[int]*job{}
		for i := range jobs {
			j := &jobs[i]
			if f := first[j.task]; j.event <= now && (f == nil || j.event < f.event) {
				first[j.task] = j
			}
		}
		for _, j := range first {
			ready = append(ready, j)
		}
		slices.SortFunc(ready, func(a, b *job) int {
			if a.urgency != b.urgency {
				return int(a.urgency - b.urgency)
			}
			return int(a.tied - b.tied)
		})
		for _, j := range ready[:min(s.CPUs, len(ready))] {
			if j.left--; j.left == 0 {
				longest[j.task] = max(longest[j.task], now+1-j.event)
			}
		}
		jobs = slices.DeleteFunc(jobs, func(j job) bool { return j.left == 0 })
	}
	return longest
}

func draw(r *rand.Rand, policy rt.Policy, implicit bool) *global.Set {
	s := &global.Set{CPUs: 2 + r.IntN(2), Overheads: rt.Overheads{Measured: true}}
	n := s.CPUs + 1 + r.IntN(4)
	for i := range n {
		t := rt.Task{Name: fmt.Sprint("t", i), Policy: policy, Period: rt.Time(4 + r.IntN(12))}
		t.WCET = 1 + rt.Time(r.IntN(max(1, int(t.Period)*2*s.CPUs/(n+2))))
		t.WCET = min(t.WCET, t.Period)
		t.Deadline = t.Period
		if !implicit {
			t.Deadline = t.WCET + rt.Time(r.IntN(int(t.Period-t.WCET)+1))
		}
		if policy == rt.FIFO {
			t.Priority = 50 - i/(1+r.IntN(2))
		}
		s.Tasks = append(s.Tasks, t)
	}
	return s
}

// pattern draws releases: all at once, at random, or with gaps.
func pattern(s *global.Set, r *rand.Rand, until rt.Time) [][]rt.Time {
	all := make([][]rt.Time, len(s.Tasks))
	style := r.IntN(3)
	for i := range s.Tasks {
		at := rt.Time(0)
		if style > 0 {
			at = rt.Time(r.IntN(int(s.Tasks[i].Period)))
		}
		for ; at < until; at += s.Tasks[i].Period {
			all[i] = append(all[i], at)
			if style == 2 && r.IntN(3) == 0 {
				at += rt.Time(r.IntN(5))
			}
		}
	}
	return all
}

// TestNeverBelowTheTruth simulates random sets: no proven deadline is ever
// missed, no bound and no lateness exceeded.
func TestNeverBelowTheTruth(t *testing.T) {
	for _, k := range []struct {
		name     string
		policy   rt.Policy
		implicit bool
	}{{"deadlines", rt.Deadline, false}, {"deadlines that are periods", rt.Deadline, true}, {"priorities", rt.FIFO, false}} {
		t.Run(k.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, uint64(len(k.name))))
			by := map[global.Test]int{}
			missed, reached, late := 0, 0, 0
			for range 400 {
				s := draw(r, k.policy, k.implicit)
				rep, err := global.Analyse(s)
				if err != nil {
					t.Fatal(err)
				}
				if err := check.Global(s, rep); err != nil {
					t.Fatalf("the certificate: %v\n%+v\n%+v", err, s, rep)
				}
				for range 5 {
					for i, took := range simulate(s, pattern(s, r, 90)) {
						v := &rep.Tasks[i]
						by[v.By]++
						switch {
						case v.Holds && took > v.Deadline, v.Bound > 0 && took > v.Bound, v.Late > 0 && took > v.Deadline+v.Late:
							t.Fatalf("%s took %d\n%+v\n%+v", v.Task, took, s.Tasks, v)
						case took > v.Deadline:
							missed++
							if v.Late > 0 {
								late++
							}
						case v.Holds && took == v.Bound:
							reached++
						}
					}
				}
			}
			t.Logf("proven by %v; %d misses of what is not proven, %d of them of bounded lateness, %d bounds reached", by, missed, late, reached)
			if missed == 0 || reached == 0 || by[global.Response] == 0 {
				t.Error("the simulation does not reach what it is to show")
			}
		})
	}
}

func task(name string, c, d, p rt.Time) rt.Task {
	return rt.Task{Name: name, Policy: rt.Deadline, WCET: c, Deadline: d, Period: p}
}

// TestPublished holds known sets against the tests.
func TestPublished(t *testing.T) {
	for _, c := range []struct {
		source string
		cpus   int
		tasks  []rt.Task
		holds  bool
	}{
		{"Dhall, Liu 1978: a long task and as many short ones as processors, though little is used", 2,
			[]rt.Task{task("a", 2, 10, 10), task("b", 2, 10, 10), task("c", 10, 11, 11)}, false},
		{"Goossens, Funk, Baruah 2003: the density bound is reached", 2,
			[]rt.Task{task("a", 5, 10, 10), task("b", 5, 10, 10), task("c", 5, 10, 10)}, true},
		{"by hand: as many tasks as processors never wait", 3,
			[]rt.Task{task("a", 9, 9, 10), task("b", 9, 9, 10), task("c", 9, 9, 10)}, true},
		{"by hand: more work than processors", 2,
			[]rt.Task{task("a", 8, 10, 10), task("b", 8, 10, 10), task("c", 8, 10, 10)}, false},
	} {
		s := &global.Set{CPUs: c.cpus, Tasks: c.tasks, Overheads: rt.Overheads{Measured: true}}
		r, err := global.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Global(s, r); err != nil {
			t.Errorf("%s: %v", c.source, err)
		}
		if r.Holds != c.holds {
			t.Errorf("%s: holds is %v: %+v", c.source, r.Holds, r.Tasks)
		}
	}
}

// TestForged changes certificates and sees that they are refused.
func TestForged(t *testing.T) {
	fixed := &global.Set{CPUs: 2, Overheads: rt.Overheads{Measured: true}}
	for i, c := range []rt.Time{2, 3, 2, 4} {
		fixed.Tasks = append(fixed.Tasks, rt.Task{Name: fmt.Sprint(i), Policy: rt.FIFO, Priority: 9 - i, WCET: c, Period: 20, Deadline: 20})
	}
	deadlines := &global.Set{CPUs: 2, Overheads: rt.Overheads{Measured: true},
		Tasks: []rt.Task{task("a", 3, 10, 10), task("b", 3, 10, 12), task("c", 4, 14, 15), task("d", 2, 20, 20)}}
	for _, c := range []struct {
		name  string
		set   *global.Set
		forge func(r *global.Report)
	}{
		{"a shorter bound", fixed, func(r *global.Report) { r.Tasks[3].Bound-- }},
		{"a bound of more urgent ones", fixed, func(r *global.Report) { r.Tasks[2].Bound = 1 }},
		{"a longer deadline", fixed, func(r *global.Report) { r.Tasks[1].Deadline++ }},
		{"a task left out", fixed, func(r *global.Report) { r.Tasks = r.Tasks[:3] }},
		{"a shorter bound under deadlines", deadlines, func(r *global.Report) { r.Tasks[2].Bound = 4 }},
		{"density that is too large", &global.Set{CPUs: 2, Tasks: []rt.Task{task("a", 8, 10, 10), task("b", 8, 10, 10), task("c", 8, 10, 10)}},
			func(r *global.Report) {
				for i := range r.Tasks {
					r.Tasks[i] = global.Verdict{Task: r.Tasks[i].Task, Holds: true, By: global.Density, Deadline: 10}
				}
				r.Holds = true
			}},
	} {
		r, err := global.Analyse(c.set)
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Global(c.set, r); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.forge(r); check.Global(c.set, r) == nil {
			t.Errorf("%s was taken: %+v", c.name, r)
		}
	}
	forgeCarry(t)
}

// forgeCarry forges the carry-in test's certificates of random sets.
func forgeCarry(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	forged := 0
	for range 400 {
		s := draw(r, rt.Deadline, false)
		for i := range 4000 {
			rep, err := global.Analyse(s)
			if err != nil {
				t.Fatal(err)
			}
			k := slices.IndexFunc(rep.Tasks, func(v global.Verdict) bool { return v.By == global.Carry })
			if k < 0 || i > 2 {
				break
			}
			v := &rep.Tasks[k]
			switch i {
			case 0:
				v.Points[0].Work--
			case 1:
				v.Points = v.Points[:len(v.Points)-1]
			case 2:
				v.Window, v.Points = -1, nil
			}
			forged++
			if check.Global(s, rep) == nil {
				t.Errorf("forgery %d was taken: %+v", i, v)
			}
		}
	}
	if forged == 0 {
		t.Error("no certificate of the carry-in test was forged")
	}
}

// TestLimits gives up with a reason instead of looking for ever.
func TestLimits(t *testing.T) {
	s := &global.Set{CPUs: 2, Tasks: []rt.Task{task("a", rt.MaxTime-1, rt.MaxTime, rt.MaxTime), task("b", rt.MaxTime-1, rt.MaxTime, rt.MaxTime), task("c", 1, 2, 2)}}
	r, err := global.Analyse(s)
	if err != nil || r.Holds {
		t.Errorf("%v %+v", err, r)
	}
	for _, bad := range []rt.Task{{Name: "x", Policy: rt.Deadline, WCET: 1, Period: 5, Jitter: 1}, {Name: "x", Policy: rt.RoundRobin, Priority: 4, WCET: 1, Period: 5},
		{Name: "x", Policy: rt.Deadline, WCET: 1, Period: 5, Deadline: 9}, {Name: "x", Policy: rt.Deadline, WCET: 1, Period: 5, NonPreemptive: 1}} {
		if _, err := global.Analyse(&global.Set{CPUs: 2, Tasks: []rt.Task{bad}}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
