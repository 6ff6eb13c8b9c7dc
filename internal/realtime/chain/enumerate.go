package chain

import (
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// maxTicks is how many turns of the schedule an enumeration follows.
const maxTicks = 2_000_000

// Enumerate runs the schedule until it repeats and follows every value through
// it: each job takes the newest value when it begins and gives its own when it
// ends (implicit communication). The result is the longest reaction time, which is
// the largest data age, too, of a set in which nothing is open: all tasks of all
// processors stand on one clock without jitter, need the same time for each job,
// do not lock or suspend, and have different priorities where they are fixed. ok
// is false for every other set, and for one that takes too long to follow.
//
// Source: Feiertag et al. 2009 ("A compositional framework for end-to-end path
// delay calculation of automotive systems under different path semantics");
// Günzel et al. 2021 (its enumeration by jobs).
func Enumerate(s *realtime.Set, p Path) (Time, bool) {
	e, ok := newEnumeration(s, p)
	if !ok {
		return 0, false
	}
	return e.run()
}

type enumeration struct {
	s      *realtime.Set
	path   []int
	place  []int // of each task in the path, -1: it is not there
	costs  []Time
	hyper  Time
	begin  Time // from then on all tasks have events
	open   []*following
	value  []Time // the newest output of each stage: the event of the first task's job that it rests on
	last   Time   // what the last output rested on
	most   Time
	change bool // an output was seen from begin on
}

// following is a job.
type following struct {
	task        int
	event, left Time
	begun       bool
	rests       Time
}

func newEnumeration(s *realtime.Set, p Path) (*enumeration, bool) {
	e := &enumeration{s: s, hyper: 1, place: make([]int, len(s.Tasks))}
	if len(p.After) > 0 || p.LET || s.Supply != (realtime.Supply{}) {
		return nil, false
	}
	taken := map[[2]int]bool{}
	clock := s.Tasks[0].Clock
	for i := range s.Tasks {
		t := &s.Tasks[i]
		rank := [2]int{t.CPU, t.Priority}
		if t.Clock == "" || t.Clock != clock || t.Jitter != 0 || t.BCET != t.WCET || t.Suspension != 0 || t.NonPreemptive != 0 || len(t.Sections) > 0 ||
			t.Policy == realtime.Deadline || taken[rank] {
			return nil, false
		}
		taken[rank] = true
		e.hyper = lcm(e.hyper, t.Period)
		e.begin = max(e.begin, t.Offset)
		e.costs = append(e.costs, realtime.Cost(s, t))
		e.place[i] = slices.Index(p.Tasks, t.Name)
	}
	jobs := Time(0)
	for i := range s.Tasks {
		jobs += e.hyper / s.Tasks[i].Period
	}
	if e.hyper > realtime.MaxTime/8 || jobs > maxTicks/8 {
		return nil, false
	}
	for _, name := range p.Tasks {
		e.path = append(e.path, slices.IndexFunc(s.Tasks, func(t realtime.Task) bool { return t.Name == name }))
		e.value = append(e.value, -1)
	}
	e.last = -1
	return e, true
}

// run follows the schedule for as long as it takes to repeat (Leung, Merrill
// 1980: from the last offset and one hyperperiod on, when all deadlines are met)
// and values to go through it.
func (e *enumeration) run() (Time, bool) {
	until := e.begin + 4*e.hyper + Time(len(e.path))*e.hyper
	next := make([]Time, len(e.s.Tasks))
	for i := range next {
		next[i] = e.s.Tasks[i].Offset
	}
	now := Time(0)
	for ticks := 0; now < until; ticks++ {
		if ticks > maxTicks {
			return 0, false
		}
		soon := until
		for i := range next {
			if next[i] <= now {
				e.open = append(e.open, &following{task: i, event: next[i], left: e.costs[i]})
				next[i] += e.s.Tasks[i].Period
			}
			soon = min(soon, next[i])
		}
		running := e.choose()
		for _, j := range running {
			soon = min(soon, now+j.left)
		}
		for _, j := range running {
			j.left -= soon - now
		}
		now = soon
		for _, j := range running {
			if j.left == 0 {
				e.end(j, now)
			}
		}
		if len(e.open) > 4*len(next)+64 {
			return 0, false // it does not catch up
		}
	}
	return e.most, e.change
}

// choose returns the job that runs on each processor, and lets those that begin
// take their values: after all outputs of this instant.
func (e *enumeration) choose() []*following {
	best := map[int]*following{}
	for _, j := range e.open {
		t := &e.s.Tasks[j.task]
		if b := best[t.CPU]; b == nil || t.Priority > e.s.Tasks[b.task].Priority || j.task == b.task && j.event < b.event {
			best[t.CPU] = j
		}
	}
	var out []*following
	for _, j := range best {
		if !j.begun {
			switch k := e.place[j.task]; {
			case k == 0:
				j.rests = j.event
			case k > 0:
				j.rests = e.value[k-1]
			}
			j.begun = true
		}
		out = append(out, j)
	}
	return out
}

// end gives a job's output. What changed just after the event of the job on which
// the last output rested has waited for this one.
func (e *enumeration) end(j *following, now Time) {
	e.open = slices.DeleteFunc(e.open, func(o *following) bool { return o == j })
	k := e.place[j.task]
	if k < 0 {
		return
	}
	e.value[k] = j.rests
	if k < len(e.path)-1 || j.rests < 0 {
		return
	}
	if e.last >= e.begin+e.hyper && j.rests > e.last {
		e.most, e.change = max(e.most, now-e.last), true
	}
	if j.rests > e.last {
		e.last = j.rests
	}
}
