package schedule_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	rt "github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/schedule"
)

// TestWorstCaseHappens: the job that binds ends in the chart when the analysis
// says so, of random sets with all that fixed priorities have.
func TestWorstCaseHappens(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	seen := 0
	for range 600 {
		s := &rt.Set{Overheads: rt.Overheads{Switch: 1, Measured: true}}
		if r.IntN(3) == 0 {
			s.Supply = rt.Supply{Budget: 50, Period: 60 + r.Int64N(30), Slot: r.IntN(2) == 0}
		}
		for i := range 2 + r.IntN(3) {
			p := 100 + r.Int64N(400)
			s.Tasks = append(s.Tasks, rt.Task{Name: fmt.Sprint("t", i), Policy: rt.FIFO, Priority: 50 - r.IntN(3), WCET: 5 + r.Int64N(p/6), Period: p, Deadline: 2 * p, Jitter: r.Int64N(2) * r.Int64N(50)})
			if r.IntN(4) == 0 {
				s.Tasks[i].NonPreemptive = 1 + r.Int64N(5)
			}
		}
		rep, err := rt.Analyse(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range rep.Tasks {
			// With equal priorities other moments than the own period's can bind.
			ties := slices.ContainsFunc(s.Tasks, func(o rt.Task) bool {
				return o.Name != v.Task && o.Priority == priority(s, v.Task)
			})
			if !v.Holds || ties {
				continue
			}
			j := v.Jobs[v.Critical]
			c, err := schedule.Critical(s, v.Task, nil, j.End+10)
			if err != nil {
				t.Fatal(err)
			}
			row := c.Rows[slices.IndexFunc(c.Rows, func(r schedule.Row) bool { return r.Task == v.Task })]
			k := slices.IndexFunc(row.Jobs, func(x schedule.Job) bool { return x.Ready == j.Ready })
			if row.Jobs[k].End != j.End || row.Jobs[k].End-row.Jobs[k].Event != v.Bound {
				t.Fatalf("the job ready at %d ends at %d in the chart; the analysis says %d\n%+v\n%+v", j.Ready, row.Jobs[k].End, j.End, s, c)
			}
			seen++
			whole(t, c)
		}
	}
	if seen < 500 {
		t.Errorf("only %d worst cases", seen)
	}
}

func priority(s *rt.Set, name string) int {
	return s.Tasks[slices.IndexFunc(s.Tasks, func(t rt.Task) bool { return t.Name == name })].Priority
}

// whole: nothing runs twice at a time.
func whole(t *testing.T, c *schedule.Chart) {
	t.Helper()
	all := slices.Clone(c.Away)
	for _, r := range c.Rows {
		all = append(all, r.Runs...)
	}
	slices.SortFunc(all, func(a, b schedule.Run) int { return int(a.From - b.From) })
	for i := 1; i < len(all); i++ {
		if all[i].From < all[i-1].To {
			t.Fatalf("two at a time: %+v %+v", all[i-1], all[i])
		}
	}
}

func TestDeadlinesFirst(t *testing.T) {
	s := &rt.Set{Tasks: []rt.Task{
		{Name: "low", Policy: rt.FIFO, Priority: 99, WCET: 1, Period: 10},
		{Name: "a", Policy: rt.Deadline, WCET: 2, Period: 10, Deadline: 9},
		{Name: "b", Policy: rt.Deadline, WCET: 3, Period: 10, Deadline: 5},
	}}
	c, err := schedule.Critical(s, "low", nil, 10)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]schedule.Time{}
	for _, r := range c.Rows {
		got[r.Task] = r.Jobs[0].End
	}
	if got["b"] != 3 || got["a"] != 5 || got["low"] != 6 {
		t.Errorf("%v", got)
	}
}

func TestLong(t *testing.T) {
	s := &rt.Set{Tasks: []rt.Task{{Name: "a", Policy: rt.FIFO, Priority: 1, WCET: 1, Period: 2}}}
	if _, err := schedule.Critical(s, "a", nil, rt.MaxTime); !errors.Is(err, schedule.ErrLong) {
		t.Error(err)
	}
	if _, err := schedule.Critical(s, "x", nil, 5); err == nil {
		t.Error("a task that is not there was charted")
	}
}
