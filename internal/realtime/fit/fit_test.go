package fit_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/fit"
)

func holds(t *testing.T, s *rt.Set) bool {
	t.Helper()
	r, err := rt.Analyse(s)
	if err != nil {
		t.Fatalf("%v: %+v", err, s)
	}
	return r.Holds
}

func draw(r *rand.Rand, n, load int) *rt.Set {
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}}
	for i := range n {
		t := rt.Task{Name: fmt.Sprint("t", i), Policy: rt.FIFO, Priority: 1, Period: rt.Time(5 + r.IntN(30))}
		t.WCET = 1 + rt.Time(r.IntN(max(1, int(t.Period)*load/(100*n))))
		t.Deadline = min(t.Period*2, t.WCET+rt.Time(r.IntN(int(t.Period))))
		if r.IntN(3) == 0 {
			t.Jitter = rt.Time(r.IntN(4))
		}
		if r.IntN(4) == 0 {
			t.NonPreemptive = 1
		}
		if r.IntN(4) == 0 {
			t.Sections = []rt.Section{{Resource: "r", Length: 1}}
		}
		s.Tasks = append(s.Tasks, t)
	}
	return s
}

// orders calls f with every order of n.
func orders(n int, f func([]int) bool) bool {
	var next func(done []int) bool
	next = func(done []int) bool {
		if len(done) == n {
			return f(done)
		}
		for i := range n {
			used := false
			for _, d := range done {
				used = used || d == i
			}
			if !used && next(append(done, i)) {
				return true
			}
		}
		return false
	}
	return next(nil)
}

// TestPriorities compares with all orders: what is found holds, and nothing is
// found only where there is nothing.
func TestPriorities(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	found, none, beyondMonotonic := 0, 0, 0
	for range 400 {
		s := draw(r, 4, 170)
		any := orders(4, func(order []int) bool {
			for i, k := range order {
				s.Tasks[k].Priority = 50 - i
			}
			return holds(t, s)
		})
		got, err := fit.Priorities(s, 60)
		switch {
		case (err == nil) != any:
			t.Fatalf("found: %v, exists: %v\n%+v", err, any, s.Tasks)
		case err != nil && !errors.Is(err, fit.ErrNone):
			t.Fatal(err)
		case err != nil:
			none++
			continue
		case !holds(t, got):
			t.Fatalf("it does not hold: %+v", got.Tasks)
		}
		found++
		dm, err := fit.DeadlineMonotonic(s, 60)
		if err != nil {
			t.Fatal(err)
		}
		if !holds(t, dm) {
			beyondMonotonic++
		}
	}
	t.Logf("%d found, of them %d that deadline-monotonic priorities miss; %d have none", found, beyondMonotonic, none)
	if found == 0 || none == 0 || beyondMonotonic == 0 {
		t.Error("the sets do not show the difference")
	}
}

// TestPartition compares with all assignments of tasks to processors.
func TestPartition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const tasks, cpus = 5, 2
	count := map[fit.Order]int{}
	exist := 0
	for range 120 {
		s := draw(r, tasks, 330)
		exists := false
		for code := range 1 << tasks {
			home := -1
			ok := true
			for i := range s.Tasks {
				s.Tasks[i].CPU = code >> i & 1
				if len(s.Tasks[i].Sections) > 0 {
					ok = ok && (home < 0 || home == s.Tasks[i].CPU)
					home = s.Tasks[i].CPU
				}
			}
			if ok {
				if _, err := fit.Priorities(s, 60); err == nil {
					exists = true
					break
				}
			}
		}
		if exists {
			exist++
		}
		for _, how := range []fit.Order{fit.First, fit.Worst, fit.Best} {
			got, err := fit.Partition(s, []int{0, 1}, how, 60, true)
			switch {
			case err == nil && (!exists || !holds(t, got)):
				t.Fatalf("%s found what does not hold: %+v", how, got.Tasks)
			case err == nil:
				count[how]++
			case !errors.Is(err, fit.ErrNone):
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d sets have a partition; found: %v", exist, count)
	for how, n := range count {
		if n*10 < exist*9 || n == 0 {
			t.Errorf("%s finds %d of %d", how, n, exist)
		}
	}
}

// TestMargins holds each margin against the analysis, at it and one beyond it,
// and small ones against every value below.
func TestMargins(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	seen := 0
	for range 200 {
		s := draw(r, 3, 120)
		for i := range s.Tasks {
			s.Tasks[i].Priority = 50 - i
		}
		m, err := fit.Find(s)
		if !holds(t, s) {
			if !errors.Is(err, fit.ErrFails) {
				t.Fatalf("a set that does not hold has margins: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen++
		for i, g := range m.Tasks {
			with := func(wcet, jitter rt.Time) bool {
				c := *s
				c.Tasks = append([]rt.Task(nil), s.Tasks...)
				c.Tasks[i].WCET, c.Tasks[i].Jitter = wcet, jitter
				rep, err := rt.Analyse(&c)
				return err == nil && rep.Holds
			}
			for v := s.Tasks[i].WCET; v <= g.WCET; v++ {
				if !with(v, s.Tasks[i].Jitter) {
					t.Fatalf("a wcet of %d does not hold, %d is said to: %+v", v, g.WCET, s.Tasks)
				}
			}
			if with(g.WCET+1, s.Tasks[i].Jitter) || with(s.Tasks[i].WCET, g.Jitter+1) || !with(s.Tasks[i].WCET, g.Jitter) {
				t.Fatalf("%+v is no margin of %+v", g, s.Tasks)
			}
			if g.Binds == "" {
				t.Errorf("nothing binds %+v", g)
			}
		}
		if m.Scale < 1<<20 {
			t.Errorf("a set that holds must be made smaller by %d/2^20", m.Scale)
		}
	}
	if seen < 20 {
		t.Errorf("only %d sets hold", seen)
	}
}

// TestScale finds the factor that textbooks call critical scaling.
func TestScale(t *testing.T) {
	s := &rt.Set{Overheads: rt.Overheads{Measured: true}, Tasks: []rt.Task{
		{Name: "a", Policy: rt.Deadline, WCET: 1 << 20, Period: 4 << 20}, {Name: "b", Policy: rt.Deadline, WCET: 1 << 20, Period: 4 << 20}}}
	m, err := fit.Find(s)
	if err != nil || m.Scale != 2<<20 {
		t.Errorf("scale %d/2^20, want 2: %v", m.Scale, err)
	}
}

// TestBudget compares with every budget.
func TestBudget(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	seen := 0
	for range 150 {
		s := draw(r, 2, 60)
		s.Tasks[0].Priority = 9
		supply := rt.Supply{Period: rt.Time(3 + r.IntN(8)), Slot: r.IntN(3) == 0}
		if !supply.Slot && r.IntN(2) == 0 {
			supply.Deadline = 1 + rt.Time(r.IntN(int(supply.Period)))
		}
		most := supply.Period
		if supply.Deadline > 0 {
			most = supply.Deadline
		}
		want := rt.Time(0)
		for b := rt.Time(1); b <= most && want == 0; b++ {
			s.Supply = supply
			if s.Supply.Budget = b; holds(t, s) {
				want = b
			}
		}
		got, err := fit.Budget(s, supply)
		if got != want || (err == nil) != (want > 0) {
			t.Fatalf("%d (%v), want %d, of %+v: %+v", got, err, want, supply, s.Tasks)
		}
		if want > 0 {
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d sets have a budget", seen)
	}
}
