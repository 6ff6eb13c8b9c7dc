package realtime

import (
	"fmt"
	"slices"
)

// load is a task as the analysis sees it: everything that its declaration adds
// is in these numbers.
type load struct {
	name     string
	cost     Time // of a job, for less urgent tasks
	own      Time // of a job, for itself: with its suspension
	period   Time
	jitter   Time // of release, that less urgent tasks see: with deferral by suspension
	release  Time // its own release jitter
	due      Time
	blocking Time
	urgency  int
	in       *Supply
	turns    bool // it gives way to equally urgent tasks: round robin, or it suspends itself
	exact    bool // a response as long as the bound can happen
	clock    string
	offset   Time // of its events on that clock
}

// Limits of the search, over which the analysis gives up and says so.
const (
	maxSteps  = 10_000_000 // of fixed-point iterations, of one task
	maxJobs   = 1_000_000  // of one busy window
	maxTrace  = 10_000     // steps that a certificate keeps
	maxLatest = 500        // deadline tasks of a CPU whose longest responses are computed; of more, deadlines are the bounds
)

// Job is one job of the longest busy window, when it is ready as late as it
// can be. Times are nanoseconds from the window's begin.
type Job struct {
	Ready int64  `json:"ready"`           // its event was the release jitter earlier
	End   Time   `json:"end"`             // at the latest
	Steps []Time `json:"steps,omitempty"` // of the iteration to a job that is late, ending beyond its deadline
}

// Response is the verdict over one task of fixed priority, and its certificate.
type Response struct {
	Task     string  `json:"task"`
	CPU      int     `json:"cpu"`
	Holds    bool    `json:"holds"`
	Bound    Time    `json:"bound,omitempty"` // no job takes longer from its event to its end; 0: none is known
	Deadline Time    `json:"deadline"`
	Exact    bool    `json:"exact"` // a job can take that long
	Blocking Time    `json:"blocking,omitempty"`
	Window   Time    `json:"window,omitempty"` // length of the longest busy window
	Jobs     []Job   `json:"jobs,omitempty"`   // of the window, all that can bind
	Critical int     `json:"critical"`         // index in Jobs of the one that binds
	Phases   *Phases `json:"phases,omitempty"` // the certificate, instead of Jobs, when it rests upon offsets
	Why      string  `json:"why,omitempty"`    // it does not hold
}

// Slack is what the deadline leaves.
func (r *Response) Slack() Time { return r.Deadline - r.Bound }

// rivals returns the loads that are more urgent than one of them, and those
// that are equally urgent and served in the order of their release. For a task
// that gives way to its equals these count as more urgent, which is safe.
func rivals(loads []load, i int) (above, beside []load) {
	l := &loads[i]
	for k := range loads {
		switch {
		case k == i || loads[k].urgency < l.urgency:
		case loads[k].urgency > l.urgency || l.turns:
			above = append(above, loads[k])
		default:
			beside = append(beside, loads[k])
		}
	}
	return above, beside
}

// demand returns what must be done before the end w of a job that is ready at x:
// blocking, the jobs of the task itself up to this one, jobs of equally urgent
// tasks that are ready by x, and all of more urgent tasks that are before w.
//
// Sources: Joseph, Pandya 1986; Lehoczky 1990 (busy windows); Audsley et al.
// 1993 and Tindell, Burns, Wellings 1994 (jitter, long deadlines); Martin,
// Minet, George 2005 (first come, first served within a priority).
func (l *load) demand(w, x Time, above, beside []load) Time {
	sum := add(l.blocking, mul(x/l.period+1, l.own))
	for i := range beside {
		h := &beside[i]
		sum = add(sum, mul(add(x, h.jitter)/h.period+1, h.cost))
	}
	for i := range above {
		h := &above[i]
		sum = add(sum, mul(ceilDiv(add(w, h.jitter), h.period), h.cost))
	}
	return sum
}

// busy returns what is done in a busy window of length w.
func (l *load) busy(w Time, above, beside []load) Time {
	sum := add(l.blocking, mul(ceilDiv(w, l.period), l.own))
	for _, list := range [][]load{above, beside} {
		for i := range list {
			sum = add(sum, mul(ceilDiv(add(w, list[i].jitter), list[i].period), list[i].cost))
		}
	}
	return sum
}

// settle returns the least w of at least from for which f(w) <= w. f must not
// fall. steps is shared by the searches of one task.
func settle(from Time, steps *int, f func(Time) Time) (Time, bool) {
	for w := from; ; *steps-- {
		next := f(w)
		if next == Never || *steps <= 0 {
			return 0, false
		}
		if next <= w {
			return w, true
		}
		w = next
	}
}

// respond computes the longest response time of a task.
func (l *load) respond(above, beside []load) Response {
	r := Response{Task: l.name, Deadline: l.due, Blocking: l.blocking}
	if overfull(l, above, beside) {
		r.Why = "it and the tasks that are as urgent or more need more than the whole processor, or all of it with nothing to make up for blocking and jitter"
		return r
	}
	steps := maxSteps
	window, ok := settle(1, &steps, func(w Time) Time { return l.in.Until(l.busy(w, above, beside)) })
	if !ok {
		r.Why = fmt.Sprintf("undecided: the end of its busy window was not found in %d steps", maxSteps)
		return r
	}
	r.Window = window
	ready, ok := l.moments(beside, window)
	if !ok {
		r.Why = fmt.Sprintf("undecided: its busy window of %d ns has more than %d jobs", window, maxJobs)
		return r
	}
	for _, x := range ready {
		end, ok := settle(l.in.Until(l.demand(0, x, above, beside)), &steps, func(w Time) Time { return l.in.Until(l.demand(w, x, above, beside)) })
		if !ok {
			r.Bound, r.Jobs, r.Why = 0, nil, fmt.Sprintf("undecided: the end of a job was not found in %d steps", maxSteps)
			return r
		}
		r.Jobs = append(r.Jobs, Job{Ready: x, End: end})
		if took := add(end-x, l.release); took > r.Bound {
			r.Bound, r.Critical = took, len(r.Jobs)-1
		}
	}
	r.Holds = r.Bound <= l.due
	r.Exact = l.exact
	if !r.Holds {
		l.blame(&r, above, beside)
	}
	return r
}

// blame says which job is late, and keeps the steps that prove it.
func (l *load) blame(r *Response, above, beside []load) {
	job := &r.Jobs[r.Critical]
	limit := add(job.Ready, l.due) - l.release
	next := func(w Time) Time { return l.in.Until(l.demand(w, job.Ready, above, beside)) }
	for w := next(0); len(job.Steps) < maxTrace; w = next(w) {
		job.Steps = append(job.Steps, w)
		if w > limit {
			break
		}
	}
	r.Why = fmt.Sprintf("job %d of the busy window, ready %d ns after the critical instant, ends %d ns after it: %d ns too late",
		job.Ready/l.period+1, job.Ready, job.End, job.End-limit)
}

// overfull says whether a task and those as urgent or more need more than all
// of the processor, so that its window never ends: as much as the whole is too
// much when there is blocking or jitter that has to be made up for. The sum is
// exact.
func overfull(l *load, above, beside []load) bool {
	extra := l.blocking > 0 || !l.in.whole()
	shares := append(l.in.lack(), share{l.own, l.period})
	for _, list := range [][]load{above, beside} {
		for i := range list {
			shares = append(shares, share{list[i].cost, list[i].period})
			extra = extra || list[i].jitter > 0
		}
	}
	used := compareToOne(shares)
	return used > 0 || used == 0 && extra
}

// moments returns when a job of the task can be ready in a window of that
// length and have its longest response: with an own job at each multiple of the
// period, and whenever one more job of an equally urgent task is before it.
func (l *load) moments(beside []load, window Time) ([]Time, bool) {
	var all []Time
	for _, s := range append([]load{{period: l.period}}, beside...) {
		k := ceilDiv(s.jitter, s.period)
		for x := mul(k, s.period) - s.jitter; x < window; x = add(x, s.period) {
			if all = append(all, x); len(all) > maxJobs {
				return nil, false
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), true
}

// Blocking bounds how long less urgent tasks keep a task of fixed priority
// waiting, nanoseconds; 0 for one that is not in the set.
func Blocking(s *Set, task string) Time {
	s = s.prepared()
	for i := range s.Tasks {
		if t := &s.Tasks[i]; t.Name == task && t.Policy != Deadline {
			return mul(s.blocking(t, s.on(t.CPU)), Time(1+t.Suspensions))
		}
	}
	return 0
}

// Cost is what a job takes of its processor at most, nanoseconds: with the
// kernel's part and what it spins.
func Cost(s *Set, t *Task) Time { return s.prepared().cost(t) }
