package check

import (
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// phased is a certificate of a bound that knows the places of events.
type phased struct {
	s      *set
	t      *realtime.Task
	v      *realtime.Response
	clocks [][]*realtime.Task // the first one has t
}

// phases verifies a bound that rests upon offsets: that the clocks are those of
// the set, that every moment at which a window can begin is there, and that in
// each of these windows every job of the task ends in time.
func phases(s *set, t *realtime.Task, v *realtime.Response) error {
	p := &phased{s: s, t: t, v: v}
	if t.Suspension > 0 {
		return fmt.Errorf("it suspends itself, so that its offset says nothing")
	}
	if err := p.sort(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, w := range v.Phases.Windows {
		if err := p.window(w); err != nil {
			return err
		}
		seen[fmt.Sprint(w.At)] = true
	}
	if missing := p.missing(nil, seen); missing != nil {
		return fmt.Errorf("the certificate says nothing of a window that begins at %v", missing)
	}
	if v.Holds {
		return nil
	}
	for _, r := range v.Phases.Refuted {
		if err := p.refuted(r); err != nil {
			return err
		}
	}
	return nil
}

// sort finds the tasks of each clock, and sees that none is left out.
func (p *phased) sort() error {
	placed := map[string]bool{}
	for k, c := range p.v.Phases.Clocks {
		var all []*realtime.Task
		for _, name := range c.Tasks {
			i := slices.IndexFunc(p.s.Tasks, func(t realtime.Task) bool { return t.Name == name })
			if i < 0 || placed[name] {
				return fmt.Errorf("task %q is on two clocks, or on none", name)
			}
			o := &p.s.Tasks[i]
			if placed[name] = true; len(c.Tasks) > 1 && (o.Clock == "" || o.Suspension > 0 || len(all) > 0 && o.Clock != all[0].Clock) {
				return fmt.Errorf("task %q is on no clock with the others", name)
			}
			if o.CPU != p.t.CPU || rank(o) < rank(p.t) || c.Cycle <= 0 || c.Cycle%o.Period != 0 {
				return fmt.Errorf("clock %d with task %q does not repeat after %d ns", k, name, c.Cycle)
			}
			all = append(all, o)
		}
		p.clocks = append(p.clocks, all)
	}
	for i := range p.s.Tasks {
		if o := &p.s.Tasks[i]; o.CPU == p.t.CPU && rank(o) >= rank(p.t) && !placed[o.Name] {
			return fmt.Errorf("task %s is left out", o.Name)
		}
	}
	if len(p.clocks) == 0 || !slices.Contains(p.clocks[0], p.t) {
		return fmt.Errorf("its own clock is not the first")
	}
	return nil
}

// offset of a task on its clock. One that suspends itself stands on none.
func offset(t *realtime.Task) int64 {
	if t.Suspension > 0 || t.Clock == "" {
		return 0
	}
	return t.Offset
}

// moments are when tasks of a clock become ready as late as they can.
func (p *phased) moments(clock int) []int64 {
	var all []int64
	for _, o := range p.clocks[clock] {
		_, _, jitter := cost(p.s, o)
		for m := (offset(o) + jitter) % o.Period; m < p.v.Phases.Clocks[clock].Cycle; m += o.Period {
			all = append(all, m)
		}
	}
	return all
}

// missing returns a combination of moments that was not looked at.
func (p *phased) missing(at []int64, seen map[string]bool) []int64 {
	if len(at) == len(p.clocks) || len(at) == 1 && !p.v.Phases.Every {
		if seen[fmt.Sprint(at)] {
			return nil
		}
		return at
	}
	for _, m := range p.moments(len(at)) {
		if found := p.missing(append(slices.Clone(at), m), seen); found != nil {
			return found
		}
	}
	return nil
}

// whole says that there is a moment of each clock that has to be known.
func (p *phased) whole(at []int64) bool {
	return len(at) == 1 && !p.v.Phases.Every || len(at) == len(p.clocks) && p.v.Phases.Every
}

// count is how many jobs of a task are ready before w in a window that begins at
// a moment: their events are at most the jitter before it.
func count(o *realtime.Task, jitter, at, w int64) int64 {
	first := offset(o) - at // of some event
	return ceil(w-first, o.Period) - ceil(-jitter-first, o.Period)
}

// others sums what all but the task do before w.
func (p *phased) others(at []int64, w int64) *sum {
	total := new(sum)
	total.add(1, p.v.Blocking)
	for k, c := range p.clocks {
		from := at[min(k, len(at)):min(k+1, len(at))]
		if len(from) == 0 {
			from = p.moments(k)
		}
		most := new(sum)
		for _, m := range from {
			one := new(sum)
			for _, o := range c {
				if _, other, jitter := cost(p.s, o); o != p.t {
					one.add(count(o, jitter, m, w), other)
				}
			}
			if one.Cmp(&most.Int) > 0 {
				most = one
			}
		}
		total.Add(&total.Int, &most.Int)
	}
	return total
}

// until sums what is done up to the end w of the job with that event.
func (p *phased) until(at []int64, w, event int64) *sum {
	own, _, _ := cost(p.s, p.t)
	total := p.others(at, w)
	total.add(count(p.t, p.t.Jitter, at[0], event+1), own)
	return total
}

func (p *phased) window(w realtime.Phase) error {
	if !p.whole(w.At) {
		return fmt.Errorf("a window from %v is from no moment of each clock", w.At)
	}
	own, _, _ := cost(p.s, p.t)
	length := p.others(w.At, w.Window)
	length.add(count(p.t, p.t.Jitter, w.At[0], w.Window), own)
	if w.Window <= 0 || !length.atMost(p.s.least(w.Window)) {
		return fmt.Errorf("a busy window of %d ns from %v does not end", w.Window, w.At)
	}
	ended := map[int64]bool{}
	for _, j := range w.Jobs {
		if ended[j.Event] = true; !p.until(w.At, j.End, j.Event).atMost(p.s.least(j.End)) || j.End-j.Event > p.v.Bound {
			return fmt.Errorf("the job with its event at %d of the window from %v does not end by %d, or not within the bound", j.Event, w.At, j.End)
		}
	}
	first := offset(p.t) - w.At[0]
	for k := ceil(-p.t.Jitter-first, p.t.Period); first+k*p.t.Period < w.Window; k++ {
		if !ended[first+k*p.t.Period] {
			return fmt.Errorf("the certificate says nothing of a job with its event at %d of the window from %v", first+k*p.t.Period, w.At)
		}
	}
	return nil
}

// refuted verifies the steps to a late job.
func (p *phased) refuted(r realtime.Refuted) error {
	last := int64(1)
	if !p.whole(r.At) {
		return fmt.Errorf("the steps are from no moment")
	}
	for _, step := range r.Steps {
		if p.until(r.At, last, r.Event).atMost(p.s.least(step - 1)) {
			return fmt.Errorf("the step to %d does not follow from the one to %d", step, last)
		}
		last = step
	}
	if last-r.Event <= p.v.Deadline {
		return fmt.Errorf("the steps end at %d, which is not late", last)
	}
	return nil
}
