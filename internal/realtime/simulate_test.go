package realtime_test

import (
	"math/rand/v2"
	"slices"

	rt "github.com/instar-os/instar/internal/realtime"
)

// A simulation in unit steps of one processor: the truth that bounds are held
// against. It knows nothing of busy windows.

// event is a job to come: its event, and when it becomes ready.
type event struct {
	task  int
	event rt.Time
	ready rt.Time
	last  bool // loses every tie
}

type simJob struct {
	event
	order int
	done  rt.Time
	held  int // index in the task's sections that it is in, -1: none
	cost  rt.Time
	waits []wait  // its own suspensions: after how much work, how long
	until rt.Time // it suspends itself until then
	parts []part
	since int // order within its priority
}

type wait struct{ after, length rt.Time }

// part is a stretch of a job's work in which it holds a resource, or with no
// resource does not give way.
type part struct {
	from, to rt.Time
	resource string
}

// simulate runs events to their ends and returns the longest response time of
// each task.
func simulate(s *rt.Set, events []event, r *rand.Rand) []rt.Time {
	longest := make([]rt.Time, len(s.Tasks))
	var jobs []*simJob
	for i, e := range events {
		t := &s.Tasks[e.task]
		j := &simJob{event: e, order: i, cost: rt.Cost(s, t), held: -1}
		j.parts, j.waits = arrange(t, j.cost, r)
		jobs = append(jobs, j)
	}
	count := 0
	given := supply(s, r)
	for now := rt.Time(0); len(jobs) > 0; now++ {
		if !given(now) {
			continue
		}
		run := pick(s, jobs, now, &count)
		if run == nil {
			if now > 1<<20 {
				panic("the simulation does not end")
			}
			continue
		}
		run.done++
		if run.done == run.cost {
			longest[run.task] = max(longest[run.task], now+1-run.event.event)
			for i, j := range jobs {
				if j == run {
					jobs = append(jobs[:i], jobs[i+1:]...)
					break
				}
			}
			// A thread whose next event was before does its job without letting go.
			for _, j := range jobs {
				if j.task == run.task && j.ready <= now && j.since == 0 {
					j.since = run.since
					break
				}
			}
			continue
		}
		for _, w := range run.waits {
			if w.after == run.done {
				run.until = now + 1 + w.length
				run.since = 0
			}
		}
	}
	return longest
}

// supply draws when the processor is there: of each period some of the budget's
// units by the deadline, or at its begin and then as late as can be.
func supply(s *rt.Set, r *rand.Rand) func(now rt.Time) bool {
	p := s.Supply
	if p.Budget == p.Period {
		return func(rt.Time) bool { return true }
	}
	due := p.Deadline
	if due == 0 {
		due = p.Period
	}
	style, phase := r.IntN(3), rt.Time(r.IntN(int(p.Period)))
	if style == 0 {
		phase = p.Budget // the budget of the first period has just been used
	}
	drawn := map[rt.Time][]int{}
	return func(now rt.Time) bool {
		k, at := (now+phase)/p.Period, (now+phase)%p.Period
		switch {
		case p.Slot:
			return at < p.Budget
		case style == 0:
			return k > 0 && at >= due-p.Budget && at < due
		case drawn[k] == nil:
			drawn[k] = r.Perm(int(due))[:p.Budget]
		}
		return slices.Contains(drawn[k], int(at))
	}
}

// arrange says where in a job its critical sections, its part without
// preemption and its suspensions are.
func arrange(t *rt.Task, cost rt.Time, r *rand.Rand) (parts []part, waits []wait) {
	place := func(length rt.Time) rt.Time { return rt.Time(r.Int64N(int64(cost - length + 1))) }
	if t.NonPreemptive > 0 {
		from := place(t.NonPreemptive)
		return []part{{from, from + t.NonPreemptive, ""}}, nil
	}
	if len(t.Sections) > 0 {
		c := t.Sections[r.IntN(len(t.Sections))]
		from := place(c.Length)
		return []part{{from, from + c.Length, c.Resource}}, nil
	}
	if t.Suspension > 0 && cost > 1 {
		waits = []wait{{1 + r.Int64N(int64(cost-1)), r.Int64N(int64(t.Suspension + 1))}}
	}
	return nil, waits
}

func (j *simJob) part() *part {
	for i := range j.parts {
		if p := &j.parts[i]; p.from <= j.done && j.done < p.to {
			return p
		}
	}
	return nil
}

// inside says that a job has begun a part and not ended it.
func (j *simJob) inside() *part {
	if p := j.part(); p != nil && (j.done > p.from || j.held == 0) {
		return p
	}
	return nil
}

// pick returns the job that runs from now to now+1.
func pick(s *rt.Set, jobs []*simJob, now rt.Time, count *int) *simJob {
	var ready []*simJob
	first := map[int]*simJob{} // a task does its jobs one after the other, also when one suspends itself
	for _, j := range jobs {
		if f := first[j.task]; f == nil || j.event.event < f.event.event {
			first[j.task] = j
		}
	}
	for _, j := range jobs {
		if j.ready <= now && j.until <= now && first[j.task] == j {
			ready = append(ready, j)
		}
	}
	for _, j := range ready {
		if p := j.inside(); p != nil && p.resource == "" {
			return j
		}
	}
	// Queue order within a priority: by the time of becoming ready, now or again.
	for {
		var next *simJob
		for _, j := range ready {
			if j.since == 0 && (next == nil || before2(j, next)) {
				next = j
			}
		}
		if next == nil {
			break
		}
		*count++
		next.since = *count
	}
	key := func(j *simJob) [3]rt.Time {
		t := &s.Tasks[j.task]
		if t.Policy == rt.Deadline {
			tie := rt.Time(0)
			if j.last {
				tie = 1
			}
			return [3]rt.Time{-1000, j.event.event + rt.Due(t), tie}
		}
		return [3]rt.Time{-rt.Time(t.Priority), 0, rt.Time(j.since)}
	}
	less := func(a, b [3]rt.Time) bool {
		for i := range a {
			if a[i] != b[i] {
				return a[i] < b[i]
			}
		}
		return false
	}
	keys := map[*simJob][3]rt.Time{}
	for _, j := range ready {
		keys[j] = key(j)
		if p := j.inside(); p != nil && s.Protocol == rt.Ceiling {
			for _, o := range jobsAndTasks(s, p.resource) {
				if o.Policy == rt.Deadline {
					// The preemption level is the relative deadline: whoever has a
					// longer one, or as long, does not preempt.
					keys[j] = [3]rt.Time{-2000, 0, 0}
				} else if k := ([3]rt.Time{-rt.Time(o.Priority), -1, 0}); less(k, keys[j]) {
					keys[j] = k
				}
			}
		}
	}
	for {
		var best *simJob
		for _, j := range ready {
			if best == nil || less(keys[j], keys[best]) {
				best = j
			}
		}
		if best == nil {
			return nil
		}
		p := best.part()
		if p == nil || p.resource == "" || best.inside() != nil {
			if p != nil {
				best.held = 0
			}
			return best
		}
		holder := holding(jobs, p.resource)
		if holder == nil {
			best.held = 0
			return best
		}
		// The holder inherits; the waiting job is out of this choice.
		if less(keys[best], keys[holder]) {
			keys[holder] = keys[best]
		}
		for i, j := range ready {
			if j == best {
				ready = append(ready[:i:i], ready[i+1:]...)
				break
			}
		}
	}
}

func before2(a, b *simJob) bool {
	at := func(j *simJob) rt.Time { return max(j.ready, j.until) }
	if at(a) != at(b) {
		return at(a) < at(b)
	}
	if a.last != b.last {
		return b.last
	}
	return a.order < b.order
}

func holding(jobs []*simJob, resource string) *simJob {
	for _, j := range jobs {
		if p := j.inside(); p != nil && p.resource == resource {
			return j
		}
	}
	return nil
}

// jobsAndTasks returns the tasks that use a resource.
func jobsAndTasks(s *rt.Set, resource string) []*rt.Task {
	var all []*rt.Task
	for i := range s.Tasks {
		for _, c := range s.Tasks[i].Sections {
			if c.Resource == resource {
				all = append(all, &s.Tasks[i])
			}
		}
	}
	return all
}
