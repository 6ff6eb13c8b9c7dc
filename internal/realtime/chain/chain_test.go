package chain_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
)

// world simulates tasks of fixed priority on their processors in unit steps, and
// what each of their outputs rests on.
type world struct {
	tasks []rt.Task
	first []rt.Time // offsets
	next  []int     // index of the task that the end of a job releases, -1: none
	path  []int     // of the chain
	let   bool
	full  bool // every job needs its wcet
	r     *rand.Rand
}

type job struct {
	task               int
	event, ready, left rt.Time
	begun              bool
	read               int64 // event of the first task's job that its input rests on
}

type output struct{ at, rests rt.Time }

// run returns the longest response of each task, counted from its chain's event,
// and the outputs of the path's last task.
func (w *world) run(until rt.Time) (longest []rt.Time, outs []output) {
	var jobs []*job
	release := func(i int, event, ready rt.Time) {
		t := &w.tasks[i]
		left := 1 + w.r.Int64N(t.WCET)
		if w.full {
			left = t.WCET
		}
		jobs = append(jobs, &job{i, event, ready, left, false, -1})
	}
	for i := range w.tasks {
		if w.first[i] < 0 {
			continue // released by another
		}
		for e := w.first[i]; e < until; e += w.tasks[i].Period {
			ready := e
			if j := w.tasks[i].Jitter; j > 0 {
				ready += w.r.Int64N(j + 1)
			}
			release(i, e, ready)
		}
	}
	value := make([]rt.Time, len(w.tasks)) // newest output of each
	for i := range value {
		value[i] = -1
	}
	place := func(i int) int { return slices.Index(w.path, i) }
	input := func(j *job) {
		switch p := place(j.task); {
		case p == 0:
			j.read = j.event
		case p > 0:
			j.read = value[w.path[p-1]]
		}
	}
	longest = make([]rt.Time, len(w.tasks))
	var pending []struct {
		at    rt.Time
		task  int
		value rt.Time
	}
	for now := rt.Time(0); len(jobs) > 0; now++ {
		if w.let {
			for _, p := range pending {
				if p.at == now {
					value[p.task] = p.value
					if place(p.task) == len(w.path)-1 {
						outs = append(outs, output{now, p.value})
					}
				}
			}
			for _, j := range jobs {
				if j.event == now {
					input(j)
					j.begun = true
					pending = append(pending, struct {
						at    rt.Time
						task  int
						value rt.Time
					}{now + w.tasks[j.task].Deadline, j.task, j.read})
				}
			}
		}
		running := map[int]*job{}
		for _, j := range jobs {
			if best := running[w.tasks[j.task].CPU]; j.ready <= now && (best == nil || w.tasks[j.task].Priority > w.tasks[best.task].Priority ||
				j.task == best.task && j.event < best.event) {
				running[w.tasks[j.task].CPU] = j
			}
		}
		for _, cpu := range []int{0, 1} {
			j := running[cpu]
			if j == nil {
				continue
			}
			if !j.begun {
				j.begun = true
				input(j)
			}
		}
		for _, cpu := range []int{0, 1} {
			j := running[cpu]
			if j == nil {
				continue
			}
			if j.left--; j.left > 0 {
				continue
			}
			longest[j.task] = max(longest[j.task], now+1-j.event)
			if !w.let && place(j.task) >= 0 {
				value[j.task] = j.read
				if place(j.task) == len(w.path)-1 {
					outs = append(outs, output{now + 1, j.read})
				}
			}
			if n := w.next[j.task]; n >= 0 {
				release(n, j.event, now+1)
			}
			jobs = slices.DeleteFunc(jobs, func(o *job) bool { return o == j })
		}
	}
	return longest, outs
}

// reaction and age from the outputs of the last task: a change after the event e
// of a first job is known to the first output that rests on a later one.
func measure(outs []output, period, from rt.Time) (reaction, age rt.Time) {
	for i, o := range outs {
		if o.rests < from {
			continue
		}
		if i+1 < len(outs) {
			age = max(age, outs[i+1].at-o.rests)
		}
		// Every earlier change that no earlier output knew of.
		if i > 0 && outs[i-1].rests >= from && o.rests > outs[i-1].rests {
			for e := outs[i-1].rests; e < o.rests; e += period {
				reaction = max(reaction, o.at-e)
			}
		}
	}
	return reaction, age
}

func draw(r *rand.Rand, n int) *world {
	w := &world{r: r}
	for i := range n {
		p := []rt.Time{4, 6, 8, 10, 12, 16}[r.IntN(6)]
		t := rt.Task{Name: fmt.Sprint("t", i), CPU: r.IntN(2), Policy: rt.FIFO, Period: p, Priority: 0, WCET: 1 + r.Int64N(max(1, p/rt.Time(n)*3/2))}
		w.tasks = append(w.tasks, t)
		w.first = append(w.first, r.Int64N(p))
		w.next = append(w.next, -1)
	}
	for i, k := range r.Perm(n) {
		w.tasks[i].Priority = 50 - k
		w.path = append(w.path, k)
	}
	return w
}

func verdicts(t *testing.T, s *rt.Set) (map[string]rt.Response, bool) {
	t.Helper()
	rep, err := rt.Analyse(s)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]rt.Response{}
	for _, v := range rep.Tasks {
		all[v.Task] = v
	}
	return all, rep.Holds
}

// TestSampling simulates chains and holds reaction times and ages against all
// bounds, which are in order.
func TestSampling(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	reached, tighter, seen := 0, 0, 0
	for range 500 {
		w := draw(r, 2+r.IntN(3))
		known := r.IntN(2) == 0
		if r.IntN(2) == 0 {
			w.tasks[0].Jitter = r.Int64N(w.tasks[0].Period / 2)
		}
		all, ok := verdicts(t, &rt.Set{Tasks: w.tasks, Overheads: rt.Overheads{Measured: true}})
		if !ok {
			continue
		}
		seen++
		var c []chain.Stage
		for _, k := range w.path {
			x := w.tasks[k]
			c = append(c, chain.Stage{Task: x.Name, Period: x.Period, Worst: all[x.Name].Bound, Jitter: x.Jitter, Known: known, Offset: w.first[k], CPU: x.CPU, Priority: x.Priority})
		}
		if err := chain.Check(c); err != nil {
			t.Fatal(err)
		}
		bound, _, source := chain.Bound(c)
		if bound > chain.Davare(c) || chain.Durr(c) > chain.Davare(c) {
			t.Fatal("the bounds are not in order")
		}
		if bound < chain.Davare(c) {
			tighter++
		}
		most := rt.Time(0)
		for range 6 {
			_, outs := w.run(400)
			reaction, age := measure(outs, w.tasks[w.path[0]].Period, 100)
			most = max(most, reaction, age)
			if reaction > bound || age > bound {
				t.Fatalf("reaction %d, age %d; %s says %d\n%+v", reaction, age, source, bound, c)
			}
		}
		if most >= bound*8/10 {
			reached++
		}
	}
	t.Logf("%d chains, %d with a bound below Davare's, %d came within 20 %% of their bound", seen, tighter, reached)
	if tighter == 0 || reached == 0 {
		t.Error("the chains do not show the difference")
	}
}

// TestLogicalExecutionTime: the bound is what happens, exactly, and reaction and
// age are the same.
func TestLogicalExecutionTime(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 120 {
		w := draw(r, 2+r.IntN(2))
		w.let = true
		var c []chain.Stage
		for i := range w.tasks {
			w.tasks[i].CPU, w.tasks[i].WCET = 0, 1
			w.tasks[i].Deadline = 1 + r.Int64N(w.tasks[i].Period)
		}
		for _, k := range w.path {
			x := w.tasks[k]
			c = append(c, chain.Stage{Task: x.Name, Period: x.Period, Worst: x.Deadline, LET: true, Known: true, Offset: w.first[k]})
		}
		bound, exact, _ := chain.Bound(c)
		_, outs := w.run(1200)
		reaction, age := measure(outs, w.tasks[w.path[0]].Period, 100)
		if !exact || reaction != bound || age != bound {
			t.Fatalf("reaction %d, age %d, bound %d (exact %v)\n%+v", reaction, age, bound, exact, c)
		}
	}
}

// TestEnumeration: where nothing is open the schedule itself is followed, and what
// is found is what happens, exactly.
func TestEnumeration(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	seen, below := 0, 0
	for range 300 {
		w := draw(r, 2+r.IntN(3))
		w.full = true
		s := &rt.Set{Tasks: w.tasks, Overheads: rt.Overheads{Measured: true}}
		var p chain.Path
		for i := range w.tasks {
			w.tasks[i].Clock, w.tasks[i].Offset, w.tasks[i].BCET = "c", w.first[i], w.tasks[i].WCET
		}
		for _, k := range w.path {
			p.Tasks = append(p.Tasks, w.tasks[k].Name)
		}
		all, ok := verdicts(t, s)
		if !ok {
			continue
		}
		bounds := map[string]rt.Time{}
		for name, v := range all {
			bounds[name] = v.Bound
		}
		v, err := chain.Judge(s, bounds, p)
		if err != nil || !v.Exact {
			t.Fatalf("%v %+v", err, v)
		}
		seen++
		w.r = r
		_, outs := w.run(1500)
		if reaction, age := measure(outs, w.tasks[w.path[0]].Period, 100); reaction != v.Bound || age != v.Bound {
			t.Fatalf("reaction %d, age %d, enumerated %d\n%+v", reaction, age, v.Bound, s.Tasks)
		}
		bound, _, _ := chain.Bound(v.Stages)
		if bound < v.Bound {
			t.Fatalf("a bound of %d is below what happens, %d: %+v", bound, v.Bound, v.Stages)
		}
		if bound > v.Bound {
			below++
		}
	}
	t.Logf("%d chains, %d below their bounds", seen, below)
	if seen < 50 || below == 0 {
		t.Error("too few chains to say anything")
	}
}

// TestQueueing simulates tasks that release each other on two processors.
func TestQueueing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	seen, reached := 0, 0
	for range 400 {
		w := draw(r, 4)
		after := map[string]string{}
		for i := 1; i < len(w.path); i++ {
			if r.IntN(3) > 0 {
				before, this := w.path[i-1], w.path[i]
				w.next[before], w.first[this] = this, -1
				w.tasks[this].Period = w.tasks[before].Period
				after[w.tasks[this].Name] = w.tasks[before].Name
			}
		}
		s := &rt.Set{Tasks: slices.Clone(w.tasks), Overheads: rt.Overheads{Measured: true}}
		for i := range s.Tasks {
			s.Tasks[i].Deadline = 1000
		}
		out, rep, err := chain.Propagate(s, after, 0)
		if errors.Is(err, chain.ErrGrows) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if !rep.Holds {
			continue
		}
		seen++
		for range 5 {
			longest, _ := w.run(300)
			for i, took := range longest {
				k := slices.IndexFunc(rep.Tasks, func(v rt.Response) bool { return v.Task == w.tasks[i].Name })
				if took > rep.Tasks[k].Bound {
					t.Fatalf("%s took %d, the bound is %d\n%+v\n%v", w.tasks[i].Name, took, rep.Tasks[k].Bound, out.Tasks, after)
				}
				if took == rep.Tasks[k].Bound {
					reached++
				}
			}
		}
	}
	t.Logf("%d sets, %d bounds reached", seen, reached)
	if seen < 50 || reached == 0 {
		t.Error("too few sets hold")
	}
}

// TestRefused are chains and orders that make no sense.
func TestRefused(t *testing.T) {
	s := &rt.Set{Tasks: []rt.Task{{Name: "a", Policy: rt.FIFO, Priority: 1, WCET: 1, Period: 5}, {Name: "b", Policy: rt.FIFO, Priority: 2, WCET: 1, Period: 7}}}
	for _, after := range []map[string]string{{"a": "a"}, {"a": "b", "b": "a"}, {"a": "x"}, {"x": "a"}, {"a": "b"}} {
		if _, _, err := chain.Propagate(s, after, 0); err == nil {
			t.Errorf("%v was taken", after)
		}
	}
	for _, c := range [][]chain.Stage{nil, {{Period: 0, Worst: 1}}, {{Period: 1, Worst: -1}}, {{Period: 5, Worst: 1, Jitter: 2}}, {{Period: 5, Worst: 3}, {Period: 5, Worst: 3, Event: true}}} {
		if chain.Check(c) == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if _, _, ok := chain.Follow([]chain.Stage{{Period: 1e9 + 7, Worst: 1, Known: true}, {Period: 1e9 + 9, Worst: 1, Known: true}, {Period: 7, Worst: 1, Known: true}}); ok {
		t.Error("an endless hyperperiod was followed")
	}
}
