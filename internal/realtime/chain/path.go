package chain

import (
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// Path is a chain as it is declared: tasks of a set, in the order in which data
// goes through them.
type Path struct {
	Tasks []string
	After map[string]string // the task whose end releases a task, by its name
	LET   bool              // all communicate by logical execution times: at the event and the deadline
	Late  Time              // how much later than its instant the output of such a task can appear
	Event bool              // what the first task reacts to is its own event
}

// Verdict is what is proven of a chain: both its reaction time and the age of its
// data are at most Bound.
type Verdict struct {
	Stages []Stage `json:"stages"`
	Bound  Time    `json:"bound"`
	Exact  bool    `json:"exact,omitempty"` // both can be that long
	Source string  `json:"source"`          // of the theorem
}

// ErrUnbounded says that a task of a chain has no bound.
var ErrUnbounded = errors.New("a task of it has no bound")

// Judge bounds a path through a set; bounds are those of its tasks' response
// times. Tasks that are released by the end of the one before them are one stage
// with it, since nothing waits between them; all others take the newest value at
// each of their events.
func Judge(s *realtime.Set, bounds map[string]Time, p Path) (*Verdict, error) {
	stages, err := p.stages(s, bounds)
	if err != nil {
		return nil, err
	}
	if err := Check(stages); err != nil {
		return nil, err
	}
	v := &Verdict{Stages: stages}
	v.Bound, v.Exact, v.Source = Bound(stages)
	if !v.Exact && !p.Event && !p.LET {
		if b, ok := Enumerate(s, p); ok {
			v.Bound, v.Exact, v.Source = b, true, "enumeration of the hyperperiod"
		}
	}
	return v, nil
}

func (p *Path) stages(s *realtime.Set, bounds map[string]Time) ([]Stage, error) {
	var out []Stage
	clock := ""
	known := true
	for i, name := range p.Tasks {
		k := slices.IndexFunc(s.Tasks, func(t realtime.Task) bool { return t.Name == name })
		if k < 0 {
			return nil, fmt.Errorf("there is no task %q", name)
		}
		t, worst := &s.Tasks[k], bounds[name]
		if worst == 0 {
			return nil, ErrUnbounded
		}
		before, follows := p.After[name]
		if known = known && !follows && t.Clock != "" && (i == 0 || t.Clock == clock); i == 0 {
			clock = t.Clock
		}
		if i > 0 && follows && before == p.Tasks[i-1] {
			last := &out[len(out)-1]
			last.Task, last.Worst, last.Priority = last.Task+", "+name, worst, 0
			continue
		}
		one := Stage{Task: name, Period: t.Period, Worst: worst, Jitter: t.Jitter, CPU: t.CPU, Priority: t.Priority, Event: p.Event && i == 0, Offset: t.Offset}
		if t.Suspension > 0 || follows {
			one.Priority = 0 // what it preempts may begin before its job ends
		}
		if p.LET {
			if follows {
				return nil, fmt.Errorf("task %s is released by another, and has no logical execution time", name)
			}
			one.LET, one.Worst = true, add(max(due(t), t.Jitter), p.Late)
		}
		out = append(out, one)
	}
	for i := range out {
		if out[i].Known = known; !known {
			out[i].Offset = 0
		}
	}
	return out, nil
}

func due(t *realtime.Task) Time {
	if t.Deadline == 0 {
		return t.Period
	}
	return t.Deadline
}
