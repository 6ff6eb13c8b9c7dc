package realtime_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/check"
)

// kind of random sets.
type kind struct {
	name                                                                     string
	deadlines, jitter, sections, stiff, long, equal, suspend, supply, clocks bool
	protocol                                                                 rt.Protocol
}

func draw(r *rand.Rand, k kind) *rt.Set {
	s := &rt.Set{Protocol: k.protocol, Overheads: rt.Overheads{Measured: true}}
	n := 2 + r.IntN(3)
	if k.supply {
		n = 1 + r.IntN(2)
		s.Supply.Period = rt.Time(2 + r.IntN(6))
		s.Supply.Budget = 1 + rt.Time(r.IntN(int(s.Supply.Period)))
		switch r.IntN(3) {
		case 0:
			s.Supply.Slot = true
		case 1:
			s.Supply.Deadline = s.Supply.Budget + rt.Time(r.IntN(int(s.Supply.Period-s.Supply.Budget)+1))
		}
	}
	for i := range n {
		t := rt.Task{Name: fmt.Sprint("t", i), Policy: rt.FIFO, Priority: 90 - i, Period: rt.Time(4 + r.IntN(16))}
		t.WCET = 1 + rt.Time(r.IntN(max(1, int(t.Period)*2/(n+1))))
		if k.equal {
			t.Priority = 50 + r.IntN(2)
		}
		if k.deadlines && (i < n-1 || r.IntN(2) == 0) {
			t.Policy, t.Priority = rt.Deadline, 0
		}
		t.Deadline = t.WCET + rt.Time(r.IntN(int(t.Period-t.WCET)+1))
		if k.long {
			t.Deadline = t.Period + rt.Time(r.IntN(3*int(t.Period)))
		}
		if k.jitter && r.IntN(2) == 0 {
			t.Jitter = rt.Time(r.IntN(int(t.Period)))
			t.Deadline += t.Jitter / 2
		}
		switch {
		case k.sections && r.IntN(2) == 0:
			t.Sections = []rt.Section{{[]string{"a", "b"}[r.IntN(2)], 1 + rt.Time(r.IntN(int(t.WCET)))}}
		case k.stiff && r.IntN(2) == 0:
			t.NonPreemptive = 1 + rt.Time(r.IntN(int(t.WCET)))
		case k.suspend && r.IntN(2) == 0:
			t.Suspension, t.Suspensions = 1+rt.Time(r.IntN(3)), 1
		}
		if k.clocks {
			t.Period = []rt.Time{5, 6, 8, 10, 12, 15, 20}[r.IntN(7)]
			t.WCET = 1 + rt.Time(r.IntN(max(1, int(t.Period)*3/(2*n))))
			t.Deadline = min(t.Deadline, 2*t.Period)
			t.NonPreemptive = min(t.NonPreemptive, t.WCET)
			for i := range t.Sections {
				t.Sections[i].Length = min(t.Sections[i].Length, t.WCET)
			}
			if t.Clock = []string{"", "a", "a", "a", "b", "b"}[r.IntN(6)]; t.Clock != "" {
				t.Offset = rt.Time(r.IntN(2 * int(t.Period)))
			}
		}
		s.Tasks = append(s.Tasks, t)
	}
	return s
}

var kinds = []kind{
	{name: "fixed"},
	{name: "fixed, jitter", jitter: true},
	{name: "fixed, long deadlines", long: true, jitter: true},
	{name: "fixed, equal priorities", equal: true},
	{name: "fixed, equal priorities, jitter", equal: true, jitter: true, long: true},
	{name: "fixed, inheritance", sections: true},
	{name: "fixed, ceiling", sections: true, protocol: rt.Ceiling},
	{name: "fixed, not preemptive", stiff: true, jitter: true},
	{name: "fixed, suspension", suspend: true},
	{name: "earliest deadline", deadlines: true},
	{name: "earliest deadline, jitter", deadlines: true, jitter: true},
	{name: "earliest deadline, long deadlines", deadlines: true, long: true},
	{name: "earliest deadline, not preemptive", deadlines: true, stiff: true},
	{name: "earliest deadline, jitter, not preemptive", deadlines: true, jitter: true, stiff: true},
	{name: "earliest deadline, inheritance", deadlines: true, sections: true},
	{name: "earliest deadline, jitter, inheritance", deadlines: true, jitter: true, sections: true},
	{name: "fixed, in a part of the processor", supply: true, jitter: true, long: true},
	{name: "fixed, equal priorities, in a part of the processor", supply: true, equal: true},
	{name: "earliest deadline, in a part of the processor", deadlines: true, supply: true, long: true},
	{name: "earliest deadline, jitter, in a part", deadlines: true, supply: true, jitter: true},
	{name: "a part, inheritance", supply: true, sections: true, deadlines: true},
	{name: "fixed, suspension, not preemptive, long deadlines", suspend: true, stiff: true, long: true},
	{name: "earliest deadline, suspension, not preemptive", deadlines: true, suspend: true, stiff: true, long: true},
	{name: "clocks", clocks: true},
	{name: "clocks, jitter", clocks: true, jitter: true},
	{name: "clocks, equal priorities, long deadlines", clocks: true, equal: true, long: true, jitter: true},
	{name: "clocks, in a part of the processor", clocks: true, supply: true},
	{name: "clocks, everything", clocks: true, deadlines: true, jitter: true, sections: true, stiff: true, long: true, suspend: true},
	{name: "everything", deadlines: true, jitter: true, sections: true, stiff: true, long: true, suspend: true},
}

// pattern makes events until a time: of each task at its fastest, or slower, and
// ready as early or late as its jitter allows.
func pattern(s *rt.Set, r *rand.Rand, until rt.Time) []event {
	var all []event
	style := r.IntN(3)
	base := map[string]rt.Time{}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		at := -t.Jitter
		if style > 0 {
			at = rt.Time(r.IntN(int(t.Period)))
		}
		if t.Clock != "" {
			if _, ok := base[t.Clock]; !ok {
				base[t.Clock] = -rt.Time(r.IntN(120))
			}
			for at = base[t.Clock] + t.Offset; at > -t.Jitter+t.Period; at -= t.Period {
			}
			for ; at < -t.Jitter; at += t.Period { // those before are over
			}
		}
		last := rt.Time(-1 << 40)
		for first := true; at < until; first = false {
			e := event{task: i, event: at, ready: max(at, 0)}
			if t.Jitter > 0 && style > 0 {
				e.ready = at + rt.Time(r.IntN(int(t.Jitter)+1))
			}
			_ = first
			e.ready = max(e.ready, last) // jobs of a task are in order
			last = e.ready
			all = append(all, e)
			at += t.Period
			if style == 2 && t.Clock == "" && r.IntN(3) == 0 {
				at += rt.Time(r.IntN(int(t.Period)))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b event) int { return int(a.ready - b.ready) })
	return all
}

// TestNeverBelowTheTruth simulates random sets and compares with the bounds.
func TestNeverBelowTheTruth(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, uint64(len(k.name))))
			held, reached := 0, 0
			sets := 40
			for range sets {
				s := draw(r, k)
				rep, err := rt.Analyse(s)
				if err != nil {
					t.Fatalf("%+v: %v", s, err)
				}
				if err := check.Report(s, rep); err != nil {
					t.Fatalf("the certificate: %v\n%+v\n%+v", err, s, rep)
				}
				for range 6 {
					seen := simulate(s, pattern(s, r, 120), r)
					for i := range s.Tasks {
						v := verdict(rep, s.Tasks[i].Name)
						if v.Holds && seen[i] > v.Bound || v.Holds && seen[i] > rt.Due(&s.Tasks[i]) {
							t.Fatalf("%s took %d, the bound is %d\n%+v\n%+v", v.Task, seen[i], v.Bound, s.Tasks, v)
						}
						if v.Bound > 0 && !v.Holds && seen[i] > v.Bound && v.Why[:9] != "undecided" {
							t.Fatalf("%s took %d, the bound is %d\n%+v\n%+v", v.Task, seen[i], v.Bound, s.Tasks, v)
						}
						if v.Holds {
							held++
						}
						if v.Holds && seen[i] == v.Bound {
							reached++
						}
					}
				}
			}
			t.Logf("%d verdicts that hold, %d bounds reached", held, reached)
			if held < sets/2 || reached == 0 {
				t.Errorf("too few verdicts hold (%d) or bounds are reached (%d)", held, reached)
			}
		})
	}
}

func verdict(r *rt.Report, name string) *rt.Response {
	return &r.Tasks[slices.IndexFunc(r.Tasks, func(v rt.Response) bool { return v.Task == name })]
}

// TestExact makes the very case that a bound says it can be reached in.
func TestExact(t *testing.T) {
	phases := 0
	defer func() {
		if t.Logf("%d of them by offsets", phases); phases < 10 {
			t.Errorf("%d exact verdicts rest upon offsets: they say nothing", phases)
		}
	}()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(12, uint64(len(k.name))))
			exact := 0
			sets := 20
			if k.clocks {
				sets = 150
			}
			for range sets {
				s := draw(r, k)
				rep, err := rt.Analyse(s)
				if err != nil {
					t.Fatal(err)
				}
				for i := range s.Tasks {
					v := verdict(rep, s.Tasks[i].Name)
					if !v.Holds || !v.Exact {
						continue
					}
					exact++
					if v.Phases != nil {
						phases++
						if got := placed(s, v, r)[i]; got != v.Bound {
							t.Fatalf("%s takes %d from where its certificate says, the bound is %d\n%+v\n%+v", v.Task, got, v.Bound, s.Tasks, v.Phases)
						}
						continue
					}
					if got := worst(s, i, v.Window, r); got != v.Bound {
						t.Fatalf("%s takes %d at most, the bound is %d\n%+v\n%+v", v.Task, got, v.Bound, s.Tasks, v)
					}
				}
			}
			t.Logf("%d exact verdicts", exact)
		})
	}
}

// placed simulates the window that a certificate of offsets says is the worst.
func placed(s *rt.Set, v *rt.Response, r *rand.Rand) []rt.Time {
	p := v.Phases
	w := p.Windows[p.Critical[0]]
	var all []event
	for k, c := range p.Clocks {
		for _, name := range c.Tasks {
			i := slices.IndexFunc(s.Tasks, func(t rt.Task) bool { return t.Name == name })
			t := &s.Tasks[i]
			at := -w.At[k]
			if t.Clock != "" {
				at += t.Offset
			}
			for at -= (at + t.Jitter) / t.Period * t.Period; at < -t.Jitter; at += t.Period {
			}
			for ; at < w.Window; at += t.Period {
				all = append(all, event{task: i, event: at, ready: max(at, 0), last: name == v.Task})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b event) int {
		if a.ready != b.ready {
			return int(a.ready - b.ready)
		}
		return int(a.event - b.event)
	})
	return simulate(s, all, r)
}

// worst tries every moment of a window for a job of a task, with all others at
// their fastest from the window's begin, and ready at once but for the first.
func worst(s *rt.Set, task int, window rt.Time, r *rand.Rand) rt.Time {
	var most rt.Time
	t := &s.Tasks[task]
	for x := -t.Jitter; x < window; x++ {
		var all []event
		for i := range s.Tasks {
			o := &s.Tasks[i]
			if i == task {
				continue
			}
			for at := -o.Jitter; at < window; at += o.Period {
				all = append(all, event{task: i, event: at, ready: max(at, 0)})
			}
		}
		if t.Policy == rt.Deadline {
			for at := x; at >= -t.Jitter; at -= t.Period {
				all = append(all, event{task: task, event: at, ready: max(at, 0), last: true})
			}
		} else {
			if x < 0 {
				continue
			}
			for at := x; at >= 0; at -= t.Period {
				all = append(all, event{task: task, event: at - t.Jitter, ready: at, last: true})
			}
		}
		slices.SortStableFunc(all, func(a, b event) int {
			if a.ready != b.ready {
				return int(a.ready - b.ready)
			}
			return int(a.event - b.event)
		})
		most = max(most, simulate(s, all, r)[task])
	}
	return most
}
