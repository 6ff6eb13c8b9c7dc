package fit

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// Order is how processors are tried for the next task.
type Order string

// The orders.
const (
	First Order = "first" // the first that holds
	Worst Order = "worst" // the least used that holds: leaves most slack
	Best  Order = "best"  // the most used that holds: leaves processors free
)

// maxMoves of tasks that the search tries after the orders have failed.
const maxMoves = 2000

// Partition returns the set with each task on one of the processors such that it
// holds: the most demanding tasks first, each where the exact analysis takes it,
// with priorities by Audsley's algorithm when auto is set. When a task fits
// nowhere, tasks of the processors are moved or exchanged to make room for it.
// Tasks that lock the same resource stay together.
func Partition(s *realtime.Set, cpus []int, how Order, top int, auto bool) (*realtime.Set, error) {
	if len(cpus) == 0 {
		return nil, fmt.Errorf("no processors: %w", ErrNone)
	}
	p := &partition{set: s, top: top, auto: auto, cpus: cpus, parts: make([][]group, len(cpus)), moves: maxMoves}
	groups := together(s)
	slices.SortStableFunc(groups, func(a, b group) int { return b.used.Cmp(a.used) })
	for _, g := range groups {
		if !p.put(g, how) && !p.make(g) {
			return nil, fmt.Errorf("task %s fits on none of %d processors: %w", g.tasks[0].Name, len(cpus), ErrNone)
		}
	}
	return p.result()
}

// group is tasks that must be on the same processor.
type group struct {
	tasks []realtime.Task
	used  *big.Rat // of a processor
}

func together(s *realtime.Set) []group {
	of := make([]int, len(s.Tasks)) // the first task of its group
	for i := range s.Tasks {
		of[i] = i
		for k := range i {
			if share(&s.Tasks[i], &s.Tasks[k]) && of[k] != of[i] {
				from, to := max(of[i], of[k]), min(of[i], of[k])
				for j := range i + 1 {
					if of[j] == from {
						of[j] = to
					}
				}
			}
		}
	}
	var all []group
	for i := range s.Tasks {
		if of[i] != i {
			continue
		}
		g := group{used: new(big.Rat)}
		for k := range s.Tasks {
			if of[k] == i {
				g.tasks = append(g.tasks, s.Tasks[k])
				g.used.Add(g.used, big.NewRat(s.Tasks[k].WCET, min(s.Tasks[k].Period, due(&s.Tasks[k]))))
			}
		}
		all = append(all, g)
	}
	return all
}

func share(a, b *realtime.Task) bool {
	return slices.ContainsFunc(a.Sections, func(x realtime.Section) bool {
		return slices.ContainsFunc(b.Sections, func(y realtime.Section) bool { return x.Resource == y.Resource })
	})
}

type partition struct {
	set   *realtime.Set
	top   int
	auto  bool
	cpus  []int
	parts [][]group
	moves int
}

// solve returns the tasks of one processor with their priorities.
func (p *partition) solve(cpu int, groups []group) ([]realtime.Task, bool) {
	s := *p.set
	s.Tasks = nil
	for _, g := range groups {
		s.Tasks = append(s.Tasks, g.tasks...)
	}
	for i := range s.Tasks {
		s.Tasks[i].CPU = cpu
	}
	if len(s.Tasks) == 0 {
		return nil, true
	}
	if !p.auto {
		return s.Tasks, holds(&s)
	}
	out, err := Priorities(&s, p.top)
	if err != nil {
		return nil, false
	}
	return out.Tasks, true
}

func (p *partition) fits(i int, groups []group) bool {
	_, ok := p.solve(p.cpus[i], groups)
	return ok
}

// put adds a group to the first processor that takes it.
func (p *partition) put(g group, how Order) bool {
	order := make([]int, len(p.parts))
	for i := range order {
		order[i] = i
	}
	if how != First {
		slices.SortStableFunc(order, func(a, b int) int {
			c := load(p.parts[a]).Cmp(load(p.parts[b]))
			if how == Best {
				c = -c
			}
			return cmp.Or(c, cmp.Compare(a, b))
		})
	}
	for _, i := range order {
		if with := append(slices.Clone(p.parts[i]), g); p.fits(i, with) {
			p.parts[i] = with
			return true
		}
	}
	return false
}

func load(groups []group) *big.Rat {
	sum := new(big.Rat)
	for _, g := range groups {
		sum.Add(sum, g.used)
	}
	return sum
}

// make makes room for a group by moving one other away, or by exchanging two.
func (p *partition) make(g group) bool {
	for i := range p.parts {
		for k, out := range p.parts[i] {
			here := append(slices.Delete(slices.Clone(p.parts[i]), k, k+1), g)
			if p.moves--; p.moves < 0 {
				return false
			}
			if p.fits(i, here) && p.rehouse(i, here, out) {
				return true
			}
		}
	}
	return false
}

// rehouse finds a place for what had to leave processor i.
func (p *partition) rehouse(i int, here []group, out group) bool {
	for j := range p.parts {
		if j == i {
			continue
		}
		if there := append(slices.Clone(p.parts[j]), out); p.fits(j, there) {
			p.parts[i], p.parts[j] = here, there
			return true
		}
		for k, back := range p.parts[j] {
			there := append(slices.Delete(slices.Clone(p.parts[j]), k, k+1), out)
			if p.moves--; p.moves < 0 {
				return false
			}
			if more := append(slices.Clone(here), back); p.fits(j, there) && p.fits(i, more) {
				p.parts[i], p.parts[j] = more, there
				return true
			}
		}
	}
	return false
}

// result returns the set in its own order.
func (p *partition) result() (*realtime.Set, error) {
	out := clone(p.set)
	for i, groups := range p.parts {
		tasks, _ := p.solve(p.cpus[i], groups)
		for _, t := range tasks {
			k := slices.IndexFunc(out.Tasks, func(o realtime.Task) bool { return o.Name == t.Name })
			out.Tasks[k] = t
		}
	}
	if !holds(out) {
		return nil, fmt.Errorf("the processors hold, the whole set does not: %w", ErrNone)
	}
	return out, nil
}
