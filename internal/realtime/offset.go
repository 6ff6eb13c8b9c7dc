package realtime

import (
	"fmt"
	"slices"
)

// Phases is the certificate of a bound that knows when tasks of one clock are
// released: they are not all released together. Which moment of each clock the
// busy window begins at is not known, so that every one is looked at.
//
// Sources: Tindell 1994 ("Adding time-offsets to schedulability analysis") and
// Palencia, González Harbour 1998 ("Schedulability analysis for tasks with static
// and dynamic offsets"): the longest response is in a window that begins when, of
// each clock, some task that is as urgent or more becomes ready, as late after its
// event as it can. To try all combinations is exact; to take from each other
// clock, at each length, the most that it can do from any moment is the
// approximation of the second source, and an upper bound.
type Phases struct {
	Clocks   []Clock   `json:"clocks"`             // the first one is the task's own, or that of the task alone
	Every    bool      `json:"every,omitempty"`    // all combinations of moments; else moments of the first clock alone
	Windows  []Phase   `json:"windows"`            // of every combination
	Critical [2]int    `json:"critical,omitempty"` // window and job that bind
	Refuted  []Refuted `json:"refuted,omitempty"`  // steps to a job that is late
}

// Clock is tasks whose events stand at known places of a common time, of which
// the rest is not known: they repeat after Cycle.
type Clock struct {
	Tasks []string `json:"tasks"`
	Cycle Time     `json:"cycle"`
}

// Phase is a busy window that begins at known moments of its clocks.
type Phase struct {
	At     []Time   `json:"at"`     // moment of each clock, or of the first alone
	Window Time     `json:"window"` // its length
	Jobs   []Placed `json:"jobs"`   // of the task within it
}

// Placed is a job whose event is at a known place of the busy window, before its
// begin when negative.
type Placed struct {
	Event int64 `json:"event"`
	End   Time  `json:"end"` // at the latest
}

// Refuted are the steps of the iteration to the end of a job beyond its deadline.
type Refuted struct {
	At    []Time `json:"at"`
	Event int64  `json:"event"`
	Steps []Time `json:"steps"`
}

// Limits of the search for moments.
const (
	maxMoments  = 2_000      // of one clock; when it has more, its tasks of equal periods are clocks of their own
	maxCombined = 20_000     // combinations of moments times tasks; above, the approximation
	maxPhases   = 50_000     // jobs of a certificate
	maxWork     = 50_000_000 // times that a task's jobs are counted
)

// group is the tasks of a clock, and the moments at which a window may begin.
type group struct {
	of      []load
	own     int // index of the task that is analysed, -1: it is not of this clock
	cycle   Time
	moments []Time
}

// best returns the shorter one of two bounds: that of events which may all come
// together, and that of events which stand on clocks.
func (l *load) best(loads []load, i int, d *descent) Response {
	above, beside, inOrder := rivals(loads, i)
	together := l.respond(above, beside, inOrder, d)
	if d.reached = 0; len(beside) == 0 && inOrder {
		d.reached = l.reaches(&together)
	}
	if !clocked(loads, l.urgency) {
		return together
	}
	placed, ok := phased(loads, i)
	if ok && (together.Bound == 0 || placed.Bound < together.Bound) {
		return placed
	}
	// Its worst case may never happen, unless the other bound says so.
	together.Exact = together.Exact && ok && placed.Exact && placed.Bound == together.Bound
	return together
}

// clocked says that two tasks of at least that urgency stand on the same clock.
func clocked(loads []load, urgency int) bool {
	var seen map[string]bool
	for k := range loads {
		c := loads[k].clock
		if c == "" || loads[k].urgency < urgency {
			continue
		}
		if seen[c] {
			return true
		}
		if seen == nil {
			seen = map[string]bool{}
		}
		seen[c] = true
	}
	return false
}

// phased bounds the response of loads[i] with the places of events. ok is false
// when that takes too long to find.
func phased(loads []load, i int) (r Response, ok bool) {
	l := &loads[i]
	if l.suspends { // then its offset says nothing
		return r, false
	}
	groups, ok := l.groups(loads, i)
	if !ok {
		return r, false
	}
	r = Response{Task: l.name, Deadline: l.due, Blocking: l.blocking}
	above, beside, inOrder := rivals(loads, i)
	if overfull(l, above, beside, false, &descent{}) {
		return r, false
	}
	s := &phases{l: l, groups: groups, every: combinations(groups) <= maxCombined/len(loads)}
	s.steps = maxWork / s.effort()
	p := &Phases{Every: s.every}
	for _, g := range groups {
		c := Clock{Cycle: g.cycle}
		for k := range g.of {
			c.Tasks = append(c.Tasks, g.of[k].name)
		}
		p.Clocks = append(p.Clocks, c)
	}
	jobs := 0
	for at := range s.starts() {
		w, ok := s.window(at)
		if jobs += len(w.Jobs); !ok || jobs > maxPhases {
			return r, false
		}
		for k, j := range w.Jobs {
			if took := j.End - j.Event; took > r.Bound {
				r.Bound, p.Critical = took, [2]int{len(p.Windows), k}
			}
		}
		p.Windows = append(p.Windows, w)
	}
	r.Phases, r.Holds = p, r.Bound <= l.due
	r.Window = p.Windows[p.Critical[0]].Window
	r.Exact = l.exact && s.every && len(beside) == 0 && inOrder // equals count as more urgent
	if !r.Holds {
		s.blame(&r)
	}
	return r, true
}

// groups sorts the task and those that are as urgent or more by clocks, its own
// first. A clock with too many moments falls apart into its periods.
func (l *load) groups(loads []load, i int) (all []group, ok bool) {
	key := func(k int) string {
		if loads[k].clock == "" {
			return fmt.Sprint("alone ", k)
		}
		return "clock " + loads[k].clock
	}
	byKey := map[string]int{}
	place := func(k int, key string) {
		at, ok := byKey[key]
		if !ok {
			at = len(all)
			byKey[key] = at
			all = append(all, group{own: -1})
		}
		g := &all[at]
		if k == i {
			g.own = len(g.of)
		}
		g.of = append(g.of, loads[k])
	}
	order := []int{i}
	for k := range loads {
		if k != i && loads[k].urgency >= l.urgency {
			order = append(order, k)
		}
	}
	for _, k := range order {
		place(k, key(k))
	}
	if ok = look(all); !ok {
		all, byKey = nil, map[string]int{}
		for _, k := range order {
			place(k, fmt.Sprint(key(k), " ", loads[k].period))
		}
		ok = look(all)
	}
	return all, ok
}

func look(all []group) bool {
	for k := range all {
		if !all[k].look() {
			return false
		}
	}
	return true
}

// look finds the moments of a clock at which a window may begin: when one of its
// tasks becomes ready as late as it can.
func (g *group) look() bool {
	g.cycle, g.moments = 1, nil
	for k := range g.of {
		if g.cycle = lcm(g.cycle, g.of[k].period); g.cycle > MaxTime {
			return false
		}
	}
	for k := range g.of {
		t := &g.of[k]
		if g.cycle/t.period > maxMoments {
			return false
		}
		for m := (t.offset + t.jitter) % t.period; m < g.cycle; m += t.period {
			if g.moments = append(g.moments, m); len(g.moments) > maxMoments {
				return false
			}
		}
	}
	slices.Sort(g.moments)
	g.moments = slices.Compact(g.moments)
	return true
}

func lcm(a, b Time) Time {
	x, y := a, b
	for y > 0 {
		x, y = y, x%y
	}
	return mul(a/x, b)
}

func combinations(groups []group) int {
	n := 1
	for i := range groups {
		if n *= len(groups[i].moments); n > maxCombined {
			return n
		}
	}
	return n
}

// phases is the search for the longest response of one task.
type phases struct {
	l      *load
	groups []group
	every  bool
	steps  int
}

// effort is how many times jobs of a task are counted in one step.
func (s *phases) effort() int {
	n := 0
	for k, g := range s.groups {
		if k == 0 || s.every {
			n += len(g.of)
		} else {
			n += len(g.of) * len(g.moments)
		}
	}
	return n
}

// starts yields the combinations of moments that have to be looked at.
func (s *phases) starts() func(yield func([]Time) bool) {
	free := 1
	if s.every {
		free = len(s.groups)
	}
	return func(yield func([]Time) bool) {
		index := make([]int, free)
		for {
			at := make([]Time, free)
			for k := range at {
				at[k] = s.groups[k].moments[index[k]]
			}
			if !yield(at) {
				return
			}
			k := 0
			for ; k < free; k++ {
				if index[k]++; index[k] < len(s.groups[k].moments) {
					break
				}
				index[k] = 0
			}
			if k == free {
				return
			}
		}
	}
}

// phase returns the time from a moment of its clock to the task's next event
// after it, 1 to its period.
func (l *load) phase(at Time) Time {
	x := (at - l.offset) % l.period
	if x < 0 {
		x += l.period
	}
	return l.period - x
}

// jobs returns how many jobs are ready in a window of length w that begins at a
// moment: those whose events came before and which were late, and those since.
func (l *load) jobs(at, w Time) Time {
	f := l.phase(at)
	return (l.jitter+f)/l.period + ceilDiv(w-f, l.period)
}

// work returns what a clock's tasks do in a window of length w from a moment, all
// but the task itself.
func (g *group) work(at, w Time) Time {
	var sum Time
	for k := range g.of {
		if k != g.own {
			sum = add(sum, mul(g.of[k].jobs(at, w), g.of[k].cost))
		}
	}
	return sum
}

// others returns what all tasks but the one itself do in a window of length w.
func (s *phases) others(at []Time, w Time) Time {
	sum := s.l.blocking
	for k := range s.groups {
		g := &s.groups[k]
		if k < len(at) {
			sum = add(sum, g.work(at[k], w))
			continue
		}
		var most Time
		for _, m := range g.moments {
			most = max(most, g.work(m, w))
		}
		sum = add(sum, most)
	}
	return sum
}

// window looks at all jobs of the task in the window that begins at these moments.
func (s *phases) window(at []Time) (Phase, bool) {
	own := &s.groups[0].of[s.groups[0].own]
	f := own.phase(at[0])
	before := (own.release + f) / own.period // jobs that were late for the begin, and are ready at it
	p := Phase{At: at}
	length, ok := settle(1, &s.steps, func(w Time) Time {
		return s.l.in.Until(add(s.others(at, w), mul(before+ceilDiv(w-f, own.period), own.own)))
	})
	if !ok || (length-f)/own.period+before > maxPhases {
		return p, false
	}
	p.Window = length
	for k := Time(0); ; k++ {
		event := f + (k-before)*own.period
		if event >= length {
			return p, true
		}
		end, ok := settle(1, &s.steps, func(w Time) Time {
			return s.l.in.Until(add(s.others(at, w), mul(k+1, own.own)))
		})
		if !ok {
			return p, false
		}
		p.Jobs = append(p.Jobs, Placed{event, end})
	}
}

// blame says which job is late, and keeps the steps that prove it.
func (s *phases) blame(r *Response) {
	p := r.Phases
	w := p.Windows[p.Critical[0]]
	j := w.Jobs[p.Critical[1]]
	limit := j.Event + s.l.due
	proof := Refuted{At: w.At, Event: j.Event}
	last := Time(0)
	for len(proof.Steps) < maxTrace && last <= limit {
		next := s.l.in.Until(add(s.others(w.At, max(last, 1)), mul(Time(p.Critical[1])+1, s.l.own)))
		proof.Steps = append(proof.Steps, next)
		last = next
	}
	p.Refuted = []Refuted{proof}
	r.Why = fmt.Sprintf("job %d of the busy window that begins at %d ns of clock %s, with its event at %d ns of the window, ends %d ns after the begin: %d ns too late",
		p.Critical[1]+1, w.At[0], s.clock(), j.Event, j.End, j.End-limit)
}

func (s *phases) clock() string {
	if c := s.l.clock; c != "" {
		return c
	}
	return "of the task itself"
}
