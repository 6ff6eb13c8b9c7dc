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
	suspends bool
	behind   bool // it may have several jobs to do at once, and does them in one go
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
// that gives way to its equals these count as more urgent, which is safe, and so
// does an equal with a deadline beyond its period: its thread does the next job,
// when that is ready already, before it lets others run. The loads are sorted, the
// most urgent first; inOrder says that above are the first of them.
func rivals(loads []load, i int) (above, beside []load, inOrder bool) {
	l := &loads[i]
	from, to := i, i+1
	for from > 0 && loads[from-1].urgency == l.urgency {
		from--
	}
	for to < len(loads) && loads[to].urgency == l.urgency {
		to++
	}
	above = loads[:from:from]
	if to-from == 1 {
		return above, nil, true
	}
	inOrder = true
	for k := from; k < to; k++ {
		switch {
		case k == i:
		case l.turns || loads[k].behind:
			above, inOrder = append(above, loads[k]), false
		default:
			beside = append(beside, loads[k])
		}
	}
	return above, beside, inOrder
}

// tally counts the work of more urgent tasks before an instant that only grows,
// so that most tasks cost no division.
type tally struct {
	of    []load
	count []Time // jobs of each
	next  []Time // up to there they are no more
	sum   Time
	at    Time // the instant
}

// take makes it count tasks up to an instant of at least from. When it counts the
// first of them already, up to no later, it goes on from there.
func (t *tally) take(of []load, from Time) {
	if t.at > from || len(t.of) > len(of) {
		t.count, t.next, t.sum, t.at = t.count[:0], t.next[:0], 0, 0
	}
	for len(t.count) < len(of) {
		t.count, t.next = append(t.count, 0), append(t.next, 0)
	}
	t.of = of
}

// before returns all work that is before w > 0.
func (t *tally) before(w Time) Time {
	t.at = w
	for i, limit := range t.next {
		if w <= limit {
			continue
		}
		h := &t.of[i]
		n := ceilDiv(add(w, h.jitter), h.period)
		t.sum = add(t.sum, mul(n-t.count[i], h.cost))
		t.count[i] = n
		t.next[i] = max(mul(n, h.period)-h.jitter, w)
	}
	return t.sum
}

// first returns what must be done before the end of a job that is ready at x,
// whatever its end is: blocking, the jobs of the task itself up to this one, and
// jobs of equally urgent tasks that are ready by x. To it comes all work of more
// urgent tasks before that end.
//
// Sources: Joseph, Pandya 1986; Lehoczky 1990 (busy windows); Audsley et al.
// 1993 and Tindell, Burns, Wellings 1994 (jitter, long deadlines); Martin,
// Minet, George 2005 (first come, first served within a priority).
func (l *load) first(x Time, beside []load) Time {
	sum := add(l.blocking, mul(x/l.period+1, l.own))
	for i := range beside {
		h := &beside[i]
		sum = add(sum, mul(add(x, h.jitter)/h.period+1, h.cost))
	}
	return sum
}

// among returns what is done of the task and its equals in a busy window of
// length w, with blocking.
func (l *load) among(w Time, beside []load) Time {
	sum := add(l.blocking, mul(ceilDiv(w, l.period), l.own))
	for i := range beside {
		sum = add(sum, mul(ceilDiv(add(w, beside[i].jitter), beside[i].period), beside[i].cost))
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

// descent is what the analysis of a processor's tasks, the most urgent first,
// keeps from one to the next.
type descent struct {
	reached Time  // the first job of the window of a less urgent task ends no earlier than its own work after it
	sum     quick // of the first loads
	summed  int   // loads
	jitter  bool  // one of them has some
	work    tally // of the first loads
}

// above sums more urgent tasks, and says whether one has jitter. Unless they are
// other ones they are the first of all.
func (d *descent) above(loads []load, other bool) (sum quick, jitter bool) {
	if other {
		d = &descent{}
	}
	for i := d.summed; i < len(loads); i++ {
		d.sum.add(share{loads[i].cost, loads[i].period})
		d.jitter = d.jitter || loads[i].jitter > 0
	}
	d.summed = max(d.summed, len(loads))
	return d.sum, d.jitter
}

// respond computes the longest response time of a task.
func (l *load) respond(above, beside []load, inOrder bool, d *descent) Response {
	r := Response{Task: l.name, Deadline: l.due, Blocking: l.blocking}
	if overfull(l, above, beside, inOrder, d) {
		r.Why = "it and the tasks that are as urgent or more need more than the whole processor, or all of it with nothing to make up for blocking and jitter"
		return r
	}
	steps := maxSteps
	if len(beside) == 0 {
		from := max(l.in.Until(l.start(above, nil)), add(d.reached, l.own))
		work := &d.work
		if !inOrder {
			work = &tally{} // those above are not the first loads
		}
		work.take(above, from)
		l.alone(&r, work, from, &steps)
	} else {
		l.amid(&r, above, beside, &steps)
	}
	if r.Why != "" {
		r.Bound, r.Jobs = 0, nil
		return r
	}
	for i, j := range r.Jobs {
		if took := add(j.End-j.Ready, l.release); took > r.Bound {
			r.Bound, r.Critical = took, i
		}
	}
	r.Holds = r.Bound <= l.due
	r.Exact = l.exact && (inOrder || l.turns)
	if !r.Holds {
		l.blame(&r, above, beside)
	}
	return r
}

// alone follows the jobs of a task without equals, each a period after the one
// before, until one has ended when the next is ready: there its window ends.
func (l *load) alone(r *Response, work *tally, from Time, steps *int) {
	end := from
	for x := Time(0); ; x = add(x, l.period) {
		first, ok := l.first(x, nil), false
		end, ok = settle(max(end, l.in.Until(first)), steps, func(w Time) Time { return l.in.Until(add(first, work.before(w))) })
		switch {
		case !ok:
			r.Why = fmt.Sprintf("undecided: the end of a job was not found in %d steps", maxSteps)
			return
		case len(r.Jobs) >= maxJobs:
			r.Why = fmt.Sprintf("undecided: its busy window of more than %d ns has more than %d jobs", x, maxJobs)
			return
		}
		r.Jobs = append(r.Jobs, Job{Ready: x, End: end})
		if end <= add(x, l.period) {
			r.Window = end
			return
		}
	}
}

// amid finds the window of a task that has equals, and its jobs in it.
func (l *load) amid(r *Response, above, beside []load, steps *int) {
	var work tally
	work.take(above, 0)
	window, ok := settle(l.in.Until(l.start(above, beside)), steps, func(w Time) Time { return l.in.Until(add(l.among(w, beside), work.before(w))) })
	if !ok {
		r.Why = fmt.Sprintf("undecided: the end of its busy window was not found in %d steps", maxSteps)
		return
	}
	r.Window = window
	ready, ok := l.moments(beside, window)
	if !ok {
		r.Why = fmt.Sprintf("undecided: its busy window of %d ns has more than %d jobs", window, maxJobs)
		return
	}
	work.take(above, 0)
	r.Jobs = make([]Job, 0, len(ready))
	end := Time(1)
	for _, x := range ready { // later jobs end later
		first := l.first(x, beside)
		if end, ok = settle(max(end, l.in.Until(first)), steps, func(w Time) Time { return l.in.Until(add(first, work.before(w))) }); !ok {
			r.Why = fmt.Sprintf("undecided: the end of a job was not found in %d steps", maxSteps)
			return
		}
		r.Jobs = append(r.Jobs, Job{Ready: x, End: end})
	}
}

// reaches returns what a less urgent task's first job can begin its search with:
// the end of this one's, which was not blocked, is before it, and all its own
// work is behind that.
func (l *load) reaches(r *Response) Time {
	if len(r.Jobs) == 0 || l.blocking > 0 || l.own != l.cost || !l.in.whole() {
		return 0
	}
	return r.Jobs[0].End
}

// start is work that is in every busy window: one job of each task.
func (l *load) start(above, beside []load) Time {
	sum := add(l.blocking, l.own)
	for _, list := range [][]load{above, beside} {
		for i := range list {
			sum = add(sum, list[i].cost)
		}
	}
	return max(sum, 1)
}

// blame says which job is late, and keeps the steps that prove it.
func (l *load) blame(r *Response, above, beside []load) {
	job := &r.Jobs[r.Critical]
	limit := add(job.Ready, l.due) - l.release
	first := l.first(job.Ready, beside)
	var work tally
	work.take(above, 0)
	next := func(w Time) Time { return l.in.Until(add(first, work.before(w))) }
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
func overfull(l *load, above, beside []load, inOrder bool, d *descent) bool {
	lack := l.in.lack()
	sum, extra := d.above(above, !inOrder)
	for _, s := range append(lack, share{l.own, l.period}) {
		sum.add(s)
	}
	for i := range beside {
		sum.add(share{beside[i].cost, beside[i].period})
		extra = extra || beside[i].jitter > 0
	}
	if to, sure := sum.compare(); sure {
		return to > 0
	}
	shares := append(lack, share{l.own, l.period})
	for _, list := range [][]load{above, beside} {
		for i := range list {
			shares = append(shares, share{list[i].cost, list[i].period})
		}
	}
	used := compareToOne(shares)
	return used > 0 || used == 0 && (extra || l.blocking > 0 || !l.in.whole())
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
			return add(s.blocking(t, s.on(t.CPU)), mul(Time(t.Suspensions), s.hold(s.on(t.CPU))))
		}
	}
	return 0
}

// Cost is what a job takes of its processor at most, nanoseconds: with the
// kernel's part and what it spins.
func Cost(s *Set, t *Task) Time { return s.prepared().cost(t) }
