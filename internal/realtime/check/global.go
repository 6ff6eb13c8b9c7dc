package check

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/global"
)

// Global verifies the verdicts over tasks that share processors.
func Global(s *global.Set, r *global.Report) error {
	if len(r.Tasks) != len(s.Tasks) {
		return fmt.Errorf("%d verdicts over %d tasks", len(r.Tasks), len(s.Tasks))
	}
	g := &shared{s, r, nil}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		g.cost = append(g.cost, t.WCET+t.Suspension+2*s.Overheads.Switch+s.Overheads.Release)
	}
	holds := true
	for i := range r.Tasks {
		if err := g.verdict(i); err != nil {
			return fmt.Errorf("task %s: %w", s.Tasks[i].Name, err)
		}
		holds = holds && r.Tasks[i].Holds
	}
	if holds != r.Holds {
		return fmt.Errorf("the report says %v, its tasks %v", r.Holds, holds)
	}
	return nil
}

type shared struct {
	*global.Set
	r    *global.Report
	cost []int64
}

func (g *shared) verdict(k int) error {
	v, t := &g.r.Tasks[k], &g.Tasks[k]
	if v.Task != t.Name || v.Deadline != due(t) || v.Bound > v.Deadline {
		return fmt.Errorf("the verdict is over %s with a deadline of %d ns", v.Task, v.Deadline)
	}
	switch {
	case !v.Holds:
		return nil // on the safe side
	case t.Policy == realtime.Deadline && !g.r.Holds:
		return fmt.Errorf("it rests on tasks that are not proven")
	case v.By == global.Density:
		return g.density()
	case v.By == global.Response:
		return g.response(k, v)
	case v.By == global.Carry:
		return g.carry(k, v)
	}
	return fmt.Errorf("nothing proves it")
}

func (g *shared) density() error {
	sum, most := new(big.Rat), new(big.Rat)
	for i := range g.Tasks {
		d := big.NewRat(g.cost[i], due(&g.Tasks[i]))
		sum.Add(sum, d)
		if d.Cmp(most) > 0 {
			most = d
		}
	}
	limit := new(big.Rat).SetInt64(int64(g.CPUs))
	limit.Sub(limit, most.Mul(most, big.NewRat(int64(g.CPUs-1), 1)))
	if sum.Cmp(limit) > 0 {
		return fmt.Errorf("the sum of densities, %s, is more than %s", sum.FloatString(3), limit.FloatString(3))
	}
	return nil
}

// response verifies that a window as long as the bound holds the job and all
// that can interfere with it.
func (g *shared) response(k int, v *global.Verdict) error {
	c, x := g.cost[k], v.Bound
	var sum int64
	var extra []int64
	for i := range g.Tasks {
		o, co := &g.Tasks[i], g.cost[i]
		if i == k {
			continue
		}
		if o.Policy == realtime.Deadline {
			sum += min(g.anywhere(i, x), g.inside(i, due(&g.Tasks[k])), x-c+1)
			continue
		}
		if o.Priority < g.Tasks[k].Priority {
			continue
		}
		took := g.r.Tasks[i].Bound
		if o.Priority == g.Tasks[k].Priority {
			took = due(o)
		}
		if !g.r.Tasks[i].Holds {
			return fmt.Errorf("it rests on %s, which is not proven", o.Name)
		}
		body := max(x-co, 0)
		carried := body/o.Period*co + min(co, x) + min(max(body%o.Period-(o.Period-took), 0), co-1)
		alone := x/o.Period*co + min(x%o.Period, co)
		sum += min(alone, x-c+1)
		extra = append(extra, min(carried, x-c+1)-min(alone, x-c+1))
	}
	slices.Sort(extra)
	for i := range min(g.CPUs-1, len(extra)) {
		sum += max(extra[len(extra)-1-i], 0)
	}
	if x < c || c+sum/int64(g.CPUs) > x {
		return fmt.Errorf("a window of %d ns does not hold a job and what interferes with it", x)
	}
	return nil
}

// slack is what a task's response time leaves of its deadline.
func (g *shared) slack(i int) int64 {
	if b := g.r.Tasks[i].Bound; b > 0 {
		return due(&g.Tasks[i]) - b
	}
	return 0
}

func (g *shared) anywhere(i int, x int64) int64 {
	t, c := &g.Tasks[i], g.cost[i]
	reach := max(x+due(t)-c-g.slack(i), 0)
	return reach/t.Period*c + min(c, reach%t.Period)
}

func (g *shared) inside(i int, d int64) int64 {
	t, c := &g.Tasks[i], g.cost[i]
	n := max(floor(d-due(t), t.Period)+1, 0)
	return n*c + min(c, max(d-n*t.Period-g.slack(i), 0))
}

// carry verifies that the points prove every time before the job, and that
// longer times need no proof.
func (g *shared) carry(k int, v *global.Verdict) error {
	t, m := &g.Tasks[k], int64(g.CPUs)
	room := due(t) - g.cost[k]
	if !g.far(k, v.Window) {
		return fmt.Errorf("longer times before a job than %d ns matter", v.Window)
	}
	proven := v.Window + 1 // all times from there on are
	for _, p := range v.Points {
		if p.Before < proven-1 || p.Work >= m*(p.Before+room+1) || g.work(k, p.Before) > p.Work {
			return fmt.Errorf("%d ns before a job are not shown to be safe", p.Before)
		}
		proven = min(proven, floor(p.Work, m)-room)
	}
	if proven > 0 {
		return fmt.Errorf("nothing is said of times before a job up to %d ns", proven-1)
	}
	return nil
}

func (g *shared) work(k int, a int64) int64 {
	d := due(&g.Tasks[k])
	limit, end := a+d-g.cost[k]+1, a+d
	var sum int64
	var extra []int64
	for i := range g.Tasks {
		t, c := &g.Tasks[i], g.cost[i]
		alone, carried := max(floor(end-due(t), t.Period)+1, 0)*c, end/t.Period*c+min(c, end%t.Period)
		if i == k {
			alone, carried, limit = max(alone-c, 0), max(carried-c, 0), a
		}
		sum += min(alone, limit)
		extra = append(extra, min(carried, limit)-min(alone, limit))
		limit = a + d - g.cost[k] + 1
	}
	slices.Sort(extra)
	for i := range min(g.CPUs-1, len(extra)) {
		sum += max(extra[len(extra)-1-i], 0)
	}
	return sum
}

// far says that a longer time than a needs no look: what is carried in and what
// deadlines shorter than periods add has been made up for by then.
func (g *shared) far(k int, a int64) bool {
	spare := new(big.Rat).SetInt64(int64(g.CPUs))
	sum := new(big.Rat).SetInt64(int64(g.CPUs) * g.cost[k])
	costs := slices.Clone(g.cost)
	for i := range g.Tasks {
		share := big.NewRat(g.cost[i], g.Tasks[i].Period)
		spare.Sub(spare, share)
		sum.Add(sum, share.Mul(share, big.NewRat(g.Tasks[i].Period-due(&g.Tasks[i]), 1)))
	}
	slices.Sort(costs)
	for i := range min(g.CPUs-1, len(costs)) {
		sum.Add(sum, big.NewRat(costs[len(costs)-1-i], 1))
	}
	reach := new(big.Rat).Mul(spare, big.NewRat(a+due(&g.Tasks[k]), 1))
	return a >= 0 && spare.Sign() > 0 && sum.Cmp(reach) <= 0
}
