// Package fit searches what a set of tasks leaves open: priorities, processors,
// the least budget of a server; and how much of a set may change until it does
// not hold. Whatever it returns was proven by realtime.Analyse.
package fit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// Time is nanoseconds.
type Time = realtime.Time

// ErrNone says that nothing was found. Unless its text says that none exists,
// there may be one that the search does not reach.
var ErrNone = errors.New("nothing was found that holds")

// maxLevels is how many priorities Linux has for tasks.
const maxLevels = 99

func due(t *realtime.Task) Time {
	if t.Deadline == 0 {
		return t.Period
	}
	return t.Deadline
}

func clone(s *realtime.Set) *realtime.Set {
	c := *s
	c.Tasks = slices.Clone(s.Tasks)
	return &c
}

func holds(s *realtime.Set) bool {
	r, err := realtime.Analyse(s)
	return err == nil && r.Holds
}

// DeadlineMonotonic returns the set with the priorities of its tasks of fixed
// priority in the order of what their deadlines leave after their jitter, on
// each processor from top downwards. With deadlines up to the period and no
// blocking no order is better (Leung, Whitehead 1982; with jitter Zuhily, Burns
// 2007). It does not say whether they hold.
func DeadlineMonotonic(s *realtime.Set, top int) (*realtime.Set, error) {
	out := clone(s)
	for _, cpu := range s.CPUs() {
		order := fixed(out, cpu)
		slices.SortStableFunc(order, func(a, b *realtime.Task) int {
			return cmp.Compare(due(a)-a.Jitter, due(b)-b.Jitter)
		})
		for i, t := range order {
			if t.Priority = top - i; t.Priority < 1 {
				return nil, fmt.Errorf("CPU %d: %d tasks do not fit below priority %d", cpu, len(order), top)
			}
		}
	}
	return out, nil
}

// fixed returns the tasks of fixed priority on a processor.
func fixed(s *realtime.Set, cpu int) []*realtime.Task {
	var all []*realtime.Task
	for i := range s.Tasks {
		if t := &s.Tasks[i]; t.CPU == cpu && t.Policy != realtime.Deadline {
			all = append(all, t)
		}
	}
	return all
}

// Priorities returns the set with priorities for which it holds, on each
// processor from top downwards, by Audsley's algorithm (1991; 2001): the least
// urgent place goes to any task that meets its deadline there. If it finds none
// there is none that the analysis can prove; among tasks that suspend themselves
// there may be one. Deadline tasks stay.
func Priorities(s *realtime.Set, top int) (*realtime.Set, error) {
	out := clone(s)
	for _, cpu := range s.CPUs() {
		open := fixed(out, cpu)
		if len(open) > min(top, maxLevels) {
			return nil, fmt.Errorf("CPU %d: %d tasks do not fit below priority %d", cpu, len(open), top)
		}
		// The longest deadlines are the likeliest to bear the last place.
		slices.SortStableFunc(open, func(a, b *realtime.Task) int { return cmp.Compare(due(b)-b.Jitter, due(a)-a.Jitter) })
		for level := top - len(open) + 1; len(open) > 0; level++ {
			i := place(out, open, level, top+1)
			if i < 0 {
				return nil, fmt.Errorf("CPU %d: none of %s meets its deadline at priority %d, below all others: %w",
					cpu, names(open), level, ErrNone)
			}
			open[i].Priority = level
			open = slices.Delete(open, i, i+1)
		}
	}
	if !holds(out) {
		return nil, fmt.Errorf("the deadline tasks do not hold, whatever the priorities: %w", ErrNone)
	}
	return out, nil
}

// place returns the index of an open task that meets its deadline at a level
// with all other open ones above it, -1 when none does.
func place(s *realtime.Set, open []*realtime.Task, level, above int) int {
	for i, t := range open {
		for _, o := range open {
			o.Priority = min(above, maxLevels)
			if o == t {
				o.Priority = level
			}
		}
		if meets(s, t) {
			return i
		}
	}
	return -1
}

func meets(s *realtime.Set, t *realtime.Task) bool {
	only := *s
	only.Tasks = slices.DeleteFunc(slices.Clone(s.Tasks), func(o realtime.Task) bool { return o.CPU != t.CPU })
	r, err := realtime.Analyse(&only)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(r.Tasks, func(v realtime.Response) bool { return v.Task == t.Name })
	return r.Tasks[i].Holds
}

func names(tasks []*realtime.Task) []string {
	var all []string
	for _, t := range tasks {
		all = append(all, t.Name)
	}
	return all
}
