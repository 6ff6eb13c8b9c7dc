package chain

import (
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// maxRounds of analysis until jitters do not grow any more.
const maxRounds = 1000

// ErrGrows says that the response times of tasks which release each other do not
// come to rest.
var ErrGrows = errors.New("the response times grow without end")

// Propagate analyses tasks that are released by the end of the job before them:
// after names for a task the one that it follows. Such a task has the period of
// the one that begins its chain, and its jitter follows from the response times
// before it (holistic analysis: Tindell, Clark 1994), and from lag, which is how
// long the release itself can take at most. The returned set has these
// jitters; all times of the report, deadlines as well, are counted from the event
// of the chain's first task. A task that follows none keeps its own jitter. When
// a deadline is missed the search ends, and bounds may still be too small.
func Propagate(s *realtime.Set, after map[string]string, lag Time) (*realtime.Set, *realtime.Report, error) {
	with, err := Inherit(s, after)
	if err != nil {
		return nil, nil, err
	}
	out := *with
	index := byName(&out)
	for range maxRounds {
		r, err := realtime.Analyse(&out)
		if err != nil {
			return nil, nil, err
		}
		if !r.Holds {
			return &out, r, nil // jitters only grow, and so do bounds
		}
		bounds := map[string]Time{}
		for i := range r.Tasks {
			bounds[r.Tasks[i].Task] = r.Tasks[i].Bound
		}
		changed := false
		for name, before := range after {
			t := &out.Tasks[index[name]]
			if j := add(bounds[before], lag); j > t.Jitter {
				t.Jitter, changed = j, true
			}
			if t.Jitter > realtime.MaxTime/2 {
				return nil, nil, fmt.Errorf("task %s: %w", name, ErrGrows)
			}
		}
		if !changed {
			for i := range r.Tasks {
				r.Tasks[i].Exact = false // the latest of all need not come together
			}
			return &out, r, nil
		}
	}
	return nil, nil, ErrGrows
}

func byName(s *realtime.Set) map[string]int {
	index := map[string]int{}
	for i := range s.Tasks {
		index[s.Tasks[i].Name] = i
	}
	return index
}

// Inherit returns the set in which each task that follows another has the period
// of its chain's first, and checks it.
func Inherit(s *realtime.Set, after map[string]string) (*realtime.Set, error) {
	out := *s
	out.Tasks = slices.Clone(s.Tasks)
	s = &out
	index := byName(s)
	for name := range after {
		i, ok := index[name]
		if !ok {
			return nil, fmt.Errorf("%q follows another task, but there is no task of that name", name)
		}
		at := name
		for steps := 0; ; steps++ {
			before, ok := after[at]
			if !ok {
				break
			}
			if _, known := index[before]; !known {
				return nil, fmt.Errorf("task %s follows %q, which does not exist", at, before)
			}
			if at = before; steps > len(after) {
				return nil, fmt.Errorf("task %s follows itself", name)
			}
		}
		t := &s.Tasks[i]
		first := &s.Tasks[index[at]]
		if t.Clock != "" {
			return nil, fmt.Errorf("task %s follows %s, and has no place on a clock", name, after[name])
		}
		if t.Period != 0 && t.Period != first.Period {
			return nil, fmt.Errorf("task %s has a period of %d ns; it follows %s, which has %d", name, t.Period, at, first.Period)
		}
		t.Period, t.Jitter = first.Period, 0
	}
	return s, s.Check()
}
