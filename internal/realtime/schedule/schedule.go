// Package schedule runs the tasks of one processor from the instant at which the
// analysis puts its worst case, to be looked at: the longest response that the
// analysis proves can be seen to happen.
package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// Time is nanoseconds.
type Time = realtime.Time

// Chart is what happens on a processor from the critical instant on, which is 0.
type Chart struct {
	Task  string `json:"task"` // whose worst case this is
	CPU   int    `json:"cpu"`
	Until Time   `json:"until"`
	Rows  []Row  `json:"rows"`           // the most urgent first
	Away  []Run  `json:"away,omitempty"` // when the processor is not given to the set
}

// Row is one task.
type Row struct {
	Task string `json:"task"`
	Jobs []Job  `json:"jobs"`
	Runs []Run  `json:"runs"`
}

// Job is an event and what became of it.
type Job struct {
	Event Time `json:"event"` // before 0 for jobs that are ready late
	Ready Time `json:"ready"`
	Due   Time `json:"due"`
	End   Time `json:"end"` // 0: after the chart's end
}

// Late says that a job missed its deadline, as far as the chart goes.
func (j *Job) Late(until Time) bool { return j.End > j.Due || j.End == 0 && j.Due < until }

// Run is a stretch of time. Blocked: of a less urgent task that cannot be preempted.
type Run struct {
	From    Time `json:"from"`
	To      Time `json:"to"`
	Blocked bool `json:"blocked,omitempty"`
}

// maxRuns of a chart: more cannot be looked at.
const maxRuns = 5000

// ErrLong says that a chart would have more than can be looked at.
var ErrLong = errors.New("too much happens until then to be drawn")

// one is a job that is not done.
type one struct {
	row, job int
	left     Time
	order    int
}

type machine struct {
	s     *realtime.Set
	tasks []*realtime.Task
	costs []Time // of a job, as the analysis counts it
	chart *Chart
	open  []one
	count int
}

// Critical charts the processor of a task from its critical instant: every task
// is ready at once, as late as its jitter allows, and from then on as often and
// as early as it can be; a less urgent task has just begun what blocks. Deadline
// tasks have no single critical instant: of them all begin together. Suspensions
// count as computing. Where the verdict v of the task rests upon offsets, tasks
// begin where its certificate says that its worst window begins; those of clocks
// which that leaves open begin together. v may be nil.
func Critical(s *realtime.Set, task string, v *realtime.Response, until Time) (*Chart, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	k := slices.IndexFunc(s.Tasks, func(t realtime.Task) bool { return t.Name == task })
	if k < 0 {
		return nil, fmt.Errorf("there is no task %q", task)
	}
	m := &machine{s: s, chart: &Chart{Task: task, CPU: s.Tasks[k].CPU, Until: until}}
	for i := range s.Tasks {
		if s.Tasks[i].CPU == m.chart.CPU {
			m.tasks = append(m.tasks, &s.Tasks[i])
		}
	}
	slices.SortStableFunc(m.tasks, func(a, b *realtime.Task) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(due(a), due(b)), cmp.Compare(a.Name, b.Name))
	})
	if err := m.events(places(s, v)); err != nil {
		return nil, err
	}
	return m.chart, m.run()
}

func rank(t *realtime.Task) int {
	if t.Policy == realtime.Deadline {
		return 100
	}
	return t.Priority
}

func due(t *realtime.Task) Time {
	if t.Deadline == 0 {
		return t.Period
	}
	return t.Deadline
}

// places returns the first events of tasks that a certificate places.
func places(s *realtime.Set, v *realtime.Response) map[string]Time {
	if v == nil || v.Phases == nil {
		return nil
	}
	out := map[string]Time{}
	w := v.Phases.Windows[v.Phases.Critical[0]]
	for k, at := range w.At {
		for _, name := range v.Phases.Clocks[k].Tasks {
			i := slices.IndexFunc(s.Tasks, func(t realtime.Task) bool { return t.Name == name })
			t := &s.Tasks[i]
			if t.Suspension > 0 {
				continue
			}
			first := t.Offset - at
			out[name] = first - (first+t.Jitter)/t.Period*t.Period
			if out[name] < -t.Jitter {
				out[name] += t.Period
			}
		}
	}
	return out
}

// events lists all jobs of the chart.
func (m *machine) events(places map[string]Time) error {
	for _, t := range m.tasks {
		m.costs = append(m.costs, realtime.Cost(m.s, t)+t.Suspension)
		row := Row{Task: t.Name}
		first, placed := places[t.Name]
		if !placed {
			first = -t.Jitter
		}
		for event := first; event < m.chart.Until; event += t.Period {
			ready := max(event, 0)
			if t.Name == m.chart.Task && !placed {
				ready = event + t.Jitter
			}
			if ready >= m.chart.Until {
				break
			}
			row.Jobs = append(row.Jobs, Job{Event: event, Ready: ready, Due: event + due(t)})
			if m.count++; m.count > maxRuns {
				return ErrLong
			}
		}
		m.chart.Rows = append(m.chart.Rows, row)
	}
	return nil
}

// run executes the jobs until the chart's end.
func (m *machine) run() error {
	now := Time(0)
	blocked := realtime.Blocking(m.s, m.chart.Task)
	for now < m.chart.Until {
		m.release(now)
		given, change := m.supply(now)
		next := min(m.arrival(now), change, m.chart.Until)
		switch i := m.pick(); {
		case !given:
			m.chart.Away = join(m.chart.Away, Run{From: now, To: next})
		case blocked > 0:
			next = min(next, now+blocked)
			blocked -= next - now
			if err := m.note(m.blocker(), Run{now, next, true}); err != nil {
				return err
			}
		case i >= 0:
			o := &m.open[i]
			next = min(next, now+o.left)
			o.left -= next - now
			if err := m.note(o.row, Run{From: now, To: next}); err != nil {
				return err
			}
			if o.left == 0 {
				m.chart.Rows[o.row].Jobs[o.job].End = next
				m.open = slices.Delete(m.open, i, i+1)
			}
		}
		now = next
	}
	return nil
}

// release opens the jobs that are ready now.
func (m *machine) release(now Time) {
	for r := range m.chart.Rows {
		for j, job := range m.chart.Rows[r].Jobs {
			if job.Ready == now {
				m.count++
				m.open = append(m.open, one{r, j, m.costs[r], m.count})
			}
		}
	}
}

// arrival is when the next job becomes ready.
func (m *machine) arrival(now Time) Time {
	next := m.chart.Until
	for r := range m.chart.Rows {
		for _, job := range m.chart.Rows[r].Jobs {
			if job.Ready > now {
				next = min(next, job.Ready)
				break
			}
		}
	}
	return next
}

// pick returns the index of the job that runs, -1 for none. The task that is
// looked at loses every tie.
func (m *machine) pick() int {
	best := -1
	for i := range m.open {
		if best < 0 || m.before(&m.open[i], &m.open[best]) {
			best = i
		}
	}
	return best
}

func (m *machine) before(a, b *one) bool {
	s, t := m.tasks[a.row], m.tasks[b.row]
	x, y := m.chart.Rows[a.row].Jobs[a.job], m.chart.Rows[b.row].Jobs[b.job]
	c := cmp.Compare(rank(t), rank(s))
	if c == 0 && rank(s) == 100 {
		c = cmp.Compare(x.Due, y.Due)
	}
	if c == 0 {
		c = cmp.Compare(x.Ready, y.Ready)
	}
	if c == 0 && a.row != b.row {
		switch m.chart.Task {
		case s.Name:
			c = 1
		case t.Name:
			c = -1
		}
	}
	return cmp.Or(c, cmp.Compare(a.order, b.order)) < 0
}

// blocker is the row of a less urgent task, else the last one.
func (m *machine) blocker() int {
	for i, t := range m.tasks {
		if t.NonPreemptive > 0 || len(t.Sections) > 0 {
			if k := slices.IndexFunc(m.tasks, func(o *realtime.Task) bool { return o.Name == m.chart.Task }); i > k {
				return i
			}
		}
	}
	return len(m.tasks) - 1
}

// note adds a run to a row.
func (m *machine) note(row int, r Run) error {
	runs := &m.chart.Rows[row].Runs
	*runs = join(*runs, r)
	if len(*runs) > maxRuns {
		return ErrLong
	}
	return nil
}

func join(runs []Run, r Run) []Run {
	if n := len(runs); n > 0 && runs[n-1].To == r.From && runs[n-1].Blocked == r.Blocked {
		runs[n-1].To = r.To
		return runs
	}
	return append(runs, r)
}

// supply says whether the processor is given to the set, and until when: the
// longest gap first, then the budget and the rest of each period.
func (m *machine) supply(now Time) (given bool, until Time) {
	p := &m.s.Supply
	if p.Budget == p.Period {
		return true, m.chart.Until
	}
	gap := p.Until(1) - 1
	if now < gap {
		return false, gap
	}
	at := (now - gap) % p.Period
	if at < p.Budget {
		return true, now - at + p.Budget
	}
	return false, now - at + p.Period
}
