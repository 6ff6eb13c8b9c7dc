package fit

import (
	"errors"
	"fmt"

	"github.com/instar-os/instar/internal/realtime"
)

// Margin is how much of a task may change, all else being as declared, while
// the whole set holds.
type Margin struct {
	Task   string `json:"task"`
	WCET   Time   `json:"wcet"`   // the longest with which the set holds
	Jitter Time   `json:"jitter"` // the longest release jitter
	Binds  string `json:"binds"`  // the task that misses its deadline with one nanosecond more of computing
}

// Margins is what a set that holds has to spare.
type Margins struct {
	// Scale is the largest factor, in 2^-20, by which all WCETs (with critical
	// sections and parts without preemption) may grow together.
	Scale int64    `json:"scale"`
	Tasks []Margin `json:"tasks"`
}

// ErrFails says that a set does not hold, so that it has no margins.
var ErrFails = errors.New("the set does not hold: it has nothing to spare")

// Find returns the margins of a set. Each is a value that the analysis proves,
// and with one step more it does not; all smaller values hold as well, because a
// job may always take less than it is allowed to.
func Find(s *realtime.Set) (*Margins, error) {
	r, err := realtime.Analyse(s)
	if err != nil {
		return nil, err
	}
	if !r.Holds {
		return nil, ErrFails
	}
	m := &Margins{Scale: largest(1<<20, 1<<40, func(f Time) bool { return holds(scaled(s, f)) })}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		with := func(change func(t *realtime.Task)) *realtime.Set {
			c := clone(s)
			change(&c.Tasks[i])
			return c
		}
		longer := func(v Time) *realtime.Set { return with(func(t *realtime.Task) { t.WCET = v }) }
		later := func(v Time) *realtime.Set { return with(func(t *realtime.Task) { t.Jitter = v }) }
		g := Margin{Task: t.Name,
			WCET:   largest(t.WCET, due(t)+1, func(v Time) bool { return holds(longer(v)) }),
			Jitter: largest(t.Jitter, due(t)+1, func(v Time) bool { return holds(later(v)) })}
		g.Binds = binds(longer(g.WCET + 1))
		m.Tasks = append(m.Tasks, g)
	}
	return m, nil
}

// largest returns the largest value from low, which holds, up to high for which
// holds is true, if it is true up to there and false beyond.
func largest(low, high Time, holds func(Time) bool) Time {
	// Doubling steps first: margins are mostly small beside deadlines.
	step := Time(1)
	for low+step < high && holds(low+step) {
		low += step
		step *= 2
	}
	high = min(high, low+step)
	for low+1 < high {
		if mid := low + (high-low)/2; holds(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// scaled returns the set with everything that is computed multiplied by f/2^20.
func scaled(s *realtime.Set, f Time) *realtime.Set {
	c := clone(s)
	grow := func(v Time) Time { return min(mulShift(v, f), realtime.MaxTime) }
	for i := range c.Tasks {
		t := &c.Tasks[i]
		t.WCET, t.NonPreemptive = grow(t.WCET), grow(t.NonPreemptive)
		sections := make([]realtime.Section, len(t.Sections))
		for k, x := range t.Sections {
			sections[k] = realtime.Section{Resource: x.Resource, Length: grow(x.Length)}
		}
		if len(sections) > 0 {
			t.Sections = sections
		}
	}
	return c
}

// binds names the first task that does not hold.
func binds(s *realtime.Set) string {
	r, err := realtime.Analyse(s)
	if err != nil {
		return ""
	}
	for i := range r.Tasks {
		if !r.Tasks[i].Holds {
			return r.Tasks[i].Task
		}
	}
	return ""
}

// Budget returns the least budget each period, by the deadline of the supply, with
// which a set holds inside a server or slot. With Deadline 0 it is the period.
func Budget(s *realtime.Set, supply realtime.Supply) (Time, error) {
	with := func(v Time) *realtime.Set {
		c := *s
		c.Supply = supply
		c.Supply.Budget = v
		return &c
	}
	most := supply.Period
	if supply.Deadline > 0 {
		most = supply.Deadline
	}
	if most <= 0 || !holds(with(most)) {
		return 0, fmt.Errorf("not even the whole of its supply, %d ns each %d ns: %w", most, supply.Period, ErrNone)
	}
	short := largest(0, most, func(v Time) bool { return v == 0 || !holds(with(v)) })
	return short + 1, nil
}
