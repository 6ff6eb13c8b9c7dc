package realtime_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/check"
)

// spinning simulates processors in unit steps whose tasks spin for resources in
// the order of their coming, without giving way from then until they have ended.
type spinning struct {
	s     *rt.Set
	jobs  []*spinJob
	queue map[string][]*spinJob
}

type spinJob struct {
	task        int
	event, done rt.Time
	from, to    rt.Time // of its section, by work done
	resource    string
	stiff       bool // it waits or holds
}

func (w *spinning) run() []rt.Time {
	longest := make([]rt.Time, len(w.s.Tasks))
	for now := rt.Time(0); len(w.jobs) > 0; now++ {
		running := map[int]*spinJob{}
		for _, j := range w.jobs {
			cpu := w.s.Tasks[j.task].CPU
			if b := running[cpu]; j.event <= now && (b == nil || !b.stiff && (j.stiff || w.before(j, b))) {
				running[cpu] = j
			}
		}
		cpus := []int{0, 1, 2}
		for _, cpu := range cpus {
			if j := running[cpu]; j != nil && j.resource != "" && j.done == j.from && !j.stiff {
				j.stiff = true
				w.queue[j.resource] = append(w.queue[j.resource], j)
			}
		}
		// Who is first in a queue now goes on; a resource given back in this step
		// is taken in the next.
		goes := map[*spinJob]bool{}
		for _, j := range running {
			goes[j] = !j.stiff || w.queue[j.resource][0] == j
		}
		for _, cpu := range cpus {
			j := running[cpu]
			if j == nil || !goes[j] {
				continue
			}
			j.done++
			if j.stiff && j.done == j.to {
				j.stiff = false
				j.from = -1
				w.queue[j.resource] = w.queue[j.resource][1:]
			}
			if j.done == w.s.Tasks[j.task].WCET {
				longest[j.task] = max(longest[j.task], now+1-j.event)
				w.jobs = slices.DeleteFunc(w.jobs, func(o *spinJob) bool { return o == j })
			}
		}
	}
	return longest
}

func (w *spinning) before(a, b *spinJob) bool {
	s, t := &w.s.Tasks[a.task], &w.s.Tasks[b.task]
	if a.task == b.task {
		return a.event < b.event
	}
	if s.Policy == rt.Deadline {
		return a.event+rt.Due(s) < b.event+rt.Due(t)
	}
	return s.Priority > t.Priority
}

func TestSpinning(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	held, reached, waited := 0, 0, 0
	for range 500 {
		s := &rt.Set{Protocol: rt.Spinning, Overheads: rt.Overheads{Measured: true}}
		policy := []rt.Policy{rt.FIFO, rt.Deadline}[r.IntN(2)]
		for i := range 4 + r.IntN(3) {
			x := rt.Task{Name: fmt.Sprint("t", i), CPU: i % 3, Policy: policy, Period: 15 + r.Int64N(30), WCET: 1 + r.Int64N(6)}
			if x.Deadline = x.Period - r.Int64N(5); policy == rt.FIFO {
				x.Priority = 50 - i
			}
			if r.IntN(3) > 0 {
				x.Sections = []rt.Section{{[]string{"a", "b"}[r.IntN(2)], 1 + r.Int64N(min(3, x.WCET))}}
			}
			s.Tasks = append(s.Tasks, x)
		}
		for i := range s.Tasks { // what one processor alone locks is under ceilings, which is simulated elsewhere
			x := &s.Tasks[i]
			if len(x.Sections) > 0 && !slices.ContainsFunc(s.Tasks, func(o rt.Task) bool {
				return o.CPU != x.CPU && len(o.Sections) > 0 && o.Sections[0].Resource == x.Sections[0].Resource
			}) {
				x.Sections = nil
			}
		}
		rep, err := rt.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Report(s, rep); err != nil {
			t.Fatalf("the certificate: %v\n%+v", err, s)
		}
		for range 8 {
			w := &spinning{s: s, queue: map[string][]*spinJob{}}
			for i := range s.Tasks {
				x := &s.Tasks[i]
				for at := r.Int64N(x.Period); at < 150; at += x.Period + r.Int64N(2)*r.Int64N(5) {
					j := &spinJob{task: i, event: at, from: -1}
					if len(x.Sections) > 0 {
						c := x.Sections[0]
						j.resource, j.from = c.Resource, r.Int64N(x.WCET-c.Length+1)
						j.to = j.from + c.Length
					}
					w.jobs = append(w.jobs, j)
				}
			}
			for i, took := range w.run() {
				v := verdict(rep, s.Tasks[i].Name)
				switch {
				case v.Holds && took > v.Bound:
					t.Fatalf("%s took %d, the bound is %d\n%+v\n%+v", v.Task, took, v.Bound, s.Tasks, v)
				case v.Holds && took == v.Bound:
					reached++
				}
				if v.Holds {
					held++
				}
				if rt.Cost(s, &s.Tasks[i]) > s.Tasks[i].WCET {
					waited++
				}
			}
		}
	}
	t.Logf("%d verdicts that hold, %d bounds reached, %d of tasks that spin", held, reached, waited)
	if held == 0 || reached == 0 || waited == 0 {
		t.Error("the simulation does not reach what it is to show")
	}
	if _, err := rt.Analyse(&rt.Set{Tasks: []rt.Task{
		{Name: "a", CPU: 0, Policy: rt.FIFO, Priority: 1, WCET: 2, Period: 9, Sections: []rt.Section{{"r", 1}}},
		{Name: "b", CPU: 1, Policy: rt.FIFO, Priority: 1, WCET: 2, Period: 9, Sections: []rt.Section{{"r", 1}}}}}); err == nil {
		t.Error("locks across processors were taken with inheritance")
	}
}
