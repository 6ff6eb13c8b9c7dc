package realtime

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// Report is the verdict over a set.
type Report struct {
	Holds       bool        `json:"holds"`
	Conditional bool        `json:"conditional,omitempty"` // it holds if the kernel's overheads are none, which nobody measured
	Tasks       []Response  `json:"tasks"`                 // by CPU, the most urgent first; deadline tasks before all others
	Demands     []Demand    `json:"demands,omitempty"`     // of each CPU with deadline tasks
	Kernel      []Admission `json:"kernel,omitempty"`      // what the kernel itself would say to the deadline tasks
	Plain       []int       `json:"plain,omitempty"`       // CPUs on which suspensions count as computing for everybody, and equals as more urgent
	Assumptions []string    `json:"assumptions"`
}

// Admission is the kernel's own test of deadline tasks: a bound on bandwidth,
// which is neither needed nor enough for all deadlines (Linux,
// Documentation/scheduler/sched-deadline.rst, 4).
type Admission struct {
	CPU     int   `json:"cpu"`
	Accepts bool  `json:"accepts"`
	Used    int64 `json:"used"`  // in 2^-20 of the CPU
	Limit   int64 `json:"limit"` // rt_runtime / rt_period
}

// edf is above every fixed priority, as the kernel's classes are.
const edf = 100

// Analyse decides whether every job of a set meets its deadline. The error says
// what is wrong with the set itself.
func Analyse(s *Set) (*Report, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	s = s.prepared()
	r := &Report{Holds: true, Assumptions: s.assumptions()}
	for _, cpu := range s.CPUs() {
		s.analyseCPU(cpu, r)
	}
	r.Conditional = r.Holds && !s.Overheads.Measured
	return r, nil
}

// analyseCPU adds the verdicts over the tasks of a processor. The sharper way to
// count suspensions is sound only while those that suspend themselves meet their
// deadlines, and the order of equals only while these do; when one does not, all is
// counted the plain way.
func (s *Set) analyseCPU(cpu int, r *Report) {
	tasks := s.on(cpu)
	leaned := leaned(tasks)
	if len(leaned) == 0 {
		s.judge(cpu, tasks, false, r)
		return
	}
	first := &Report{Holds: true}
	s.judge(cpu, tasks, false, first)
	if slices.ContainsFunc(first.Tasks, func(v Response) bool { return !v.Holds && leaned[v.Task] }) {
		first = &Report{Holds: true, Plain: []int{cpu}}
		s.judge(cpu, tasks, true, first)
	}
	r.Holds = r.Holds && first.Holds
	r.Tasks = append(r.Tasks, first.Tasks...)
	r.Demands = append(r.Demands, first.Demands...)
	r.Kernel = append(r.Kernel, first.Kernel...)
	r.Plain = append(r.Plain, first.Plain...)
}

// leaned returns the tasks that others' verdicts lean upon: those that suspend
// themselves, and those with equals, which a late one delays by doing its next job
// at once.
func leaned(tasks []*Task) map[string]bool {
	var out map[string]bool
	count := [100]int{}
	for _, t := range tasks {
		count[t.Priority]++
	}
	for _, t := range tasks {
		if t.Suspension > 0 || t.Policy != Deadline && count[t.Priority] > 1 {
			if out == nil {
				out = map[string]bool{}
			}
			out[t.Name] = true
		}
	}
	return out
}

func (s *Set) judge(cpu int, tasks []*Task, plain bool, r *Report) {
	tasks = slices.Clone(tasks)
	slices.SortStableFunc(tasks, func(a, b *Task) int {
		if x, y := a.urgency(), b.urgency(); x != y {
			return y - x
		}
		return cmp.Compare(a.Name, b.Name)
	})
	hold := s.hold(tasks)
	loads := make([]load, len(tasks))
	for i, t := range tasks {
		loads[i] = s.load(t, plain, hold)
	}
	s.relate(loads, tasks)
	first := slices.IndexFunc(loads, func(l load) bool { return l.urgency < edf })
	if first < 0 {
		first = len(loads)
	}
	if first > 0 {
		s.deadlines(cpu, loads[:first], tasks, r)
	}
	d := &descent{}
	r.Tasks = slices.Grow(r.Tasks, len(loads))
	for i := first; i < len(loads); i++ {
		v := loads[i].best(loads, i, d)
		v.CPU = cpu
		r.Holds = r.Holds && v.Holds
		r.Tasks = append(r.Tasks, v)
	}
}

// deadlines adds the verdict over the deadline tasks of a processor.
func (s *Set) deadlines(cpu int, loads []load, tasks []*Task, r *Report) {
	blocked := s.waits(tasks)
	d := analyseDeadlines(loads, cpu, blocked)
	r.Holds = r.Holds && d.Holds
	r.Demands = append(r.Demands, d)
	r.Kernel = append(r.Kernel, admit(cpu, tasks))
	_, window, _ := horizon(loads, blocked.most())
	steps := maxSteps / len(loads) // of all of them: each looks at all others
	for i := range loads {
		l := &loads[i]
		v := Response{Task: l.name, CPU: cpu, Deadline: l.due, Blocking: blocked.at(l.due - l.release), Window: window, Holds: d.Holds, Why: d.Why}
		bound, ok := Time(0), false
		if window < Never && len(loads) <= maxLatest {
			bound, ok = l.latest(slices.Concat(loads[:i], loads[i+1:]), window, blocked, &steps)
		}
		// The demand of all of them together is what is certified, and with
		// blocking it is the sharper test of the two.
		switch {
		case !d.Holds && ok && bound > l.due:
			v.Bound, v.Why = bound, fmt.Sprintf("a job can take %d ns, %d more than it has", bound, bound-l.due)
		case !d.Holds && ok:
			v.Bound, v.Why = bound, "its own jobs end in time, but of all deadline tasks of the CPU "+d.Why
		case d.Holds && ok && bound <= l.due:
			v.Bound, v.Exact = bound, l.exact && v.Blocking == 0 && !clocked(loads, 0)
		case d.Holds:
			v.Bound = l.due
		}
		if v.Window == Never {
			v.Window = 0
		}
		r.Tasks = append(r.Tasks, v)
	}
}

// on returns the tasks of a processor.
func (s *Set) on(cpu int) []*Task {
	var all []*Task
	for i := range s.Tasks {
		if s.Tasks[i].CPU == cpu {
			all = append(all, &s.Tasks[i])
		}
	}
	return all
}

func (t *Task) urgency() int {
	if t.Policy == Deadline {
		return edf
	}
	return t.Priority
}

// load turns a task into numbers.
//
// A task that suspends itself counts its suspension as if it computed for
// itself; for less urgent tasks it is as if its jobs came later by what its
// deadline leaves, or, with a deadline longer than its period, as if it computed
// (Chen et al. 2019, "Many suspensions, many problems").
//
// Whenever it suspends itself a less urgent task may begin what keeps it waiting,
// up to hold, and that once more for each job in a busy window.
func (s *Set) load(t *Task, plain bool, hold Time) load {
	l := load{name: t.Name, cost: s.cost(t), period: t.Period, jitter: t.Jitter, release: t.Jitter, due: t.due(),
		urgency: t.urgency(), in: &s.Supply, suspends: t.Suspension > 0, behind: plain || t.due() > t.Period, turns: t.Policy == RoundRobin || t.Suspension > 0}
	if l.own = l.cost; t.Suspension == 0 {
		l.clock, l.offset = t.Clock, t.Offset%t.Period
	} else {
		l.own = add(l.own, add(t.Suspension, mul(Time(t.Suspensions), hold)))
	}
	l.exact = t.Suspension == 0 && t.Policy != RoundRobin && t.NonPreemptive == 0 && len(t.Sections) == 0 && s.Supply.whole()
	if t.Suspension > 0 {
		if !plain && t.Policy != Deadline && t.due() <= t.Period {
			l.jitter = add(l.jitter, max(t.due()-l.cost, 0))
		} else {
			l.cost = l.own
		}
	}
	return l
}

// hold is the longest time for which any task of a processor waits for a less
// urgent one, when tasks suspend themselves; else it is not asked for.
func (s *Set) hold(tasks []*Task) Time {
	var most Time
	if !slices.ContainsFunc(tasks, func(t *Task) bool { return t.Suspension > 0 }) || !slices.ContainsFunc(tasks, (*Task).stubborn) {
		return 0
	}
	for _, t := range tasks {
		most = max(most, s.blocking(t, tasks))
	}
	return most
}

// relate adds to the loads of a processor's tasks what they do to each other.
func (s *Set) relate(loads []load, tasks []*Task) {
	stubborn := slices.ContainsFunc(tasks, (*Task).stubborn)
	turns := slices.ContainsFunc(tasks, func(t *Task) bool { return t.Suspension > 0 || t.Policy == RoundRobin })
	for i, t := range tasks {
		l := &loads[i]
		for _, o := range tasks {
			if !turns || !l.exact {
				break
			}
			l.exact = o == t || (o.Suspension == 0 || o.urgency() < t.urgency()) && (o.Policy != RoundRobin || o.urgency() != t.urgency())
		}
		if stubborn && t.Policy != Deadline {
			l.blocking = s.blocking(t, tasks)
			l.exact = l.exact && l.blocking == 0
		}
	}
}

// stubborn says that others may have to wait for a less urgent task.
func (t *Task) stubborn() bool { return t.NonPreemptive > 0 || len(t.Sections) > 0 }

// level is the least time from a job's being ready to its deadline: who has a
// shorter one may preempt (Baker 1991; with jitter, Spuri 1996).
func (t *Task) level() Time { return t.due() - t.Jitter }

// blocks says that a task may have to wait for a job of another that began
// before, though its own is more urgent.
func blocks(other, t *Task) bool {
	if t.Policy == Deadline && other.Policy == Deadline {
		return other != t && other.due() > t.level()
	}
	return other.urgency() < t.urgency()
}

// matters says that what blocks another task delays a task, too: that one is as
// urgent or more.
func matters(other, t *Task) bool {
	if t.Policy == Deadline && other.Policy == Deadline {
		return other.level() <= t.level()
	}
	return other.urgency() >= t.urgency()
}

// blocking bounds how long less urgent tasks keep a task waiting: one of them
// that does not give way, and those that hold what the task, or one more urgent,
// wants. With inheritance each less urgent task and each resource can do that
// once; with ceilings only one critical section in all can.
//
// Sources: Sha, Rajkumar, Lehoczky 1990; Baker 1991.
func (s *Set) blocking(t *Task, tasks []*Task) Time {
	wanted := map[string]bool{}
	for _, o := range tasks {
		if matters(o, t) {
			for _, c := range o.Sections {
				wanted[c.Resource] = true
			}
		}
	}
	var stiff, most, byTask, byResource Time
	longest := map[string]Time{}
	for _, o := range tasks {
		if !blocks(o, t) {
			continue
		}
		stiff = max(stiff, o.NonPreemptive, s.stuck(o))
		var its Time
		for _, c := range o.Sections {
			if wanted[c.Resource] {
				its = max(its, c.Length)
				longest[c.Resource] = max(longest[c.Resource], c.Length)
			}
		}
		most = max(most, its)
		byTask = add(byTask, its)
	}
	for _, length := range longest {
		byResource = add(byResource, length)
	}
	if s.Protocol == Ceiling || s.Protocol == Spinning {
		return max(stiff, most)
	}
	return add(stiff, min(byTask, byResource))
}

// waits returns the blocking of deadline tasks by their level.
func (s *Set) waits(tasks []*Task) waits {
	stubborn := slices.ContainsFunc(tasks, (*Task).stubborn)
	var levels []Time
	for _, t := range tasks {
		if t.Policy == Deadline {
			levels = append(levels, t.level())
		}
	}
	slices.Sort(levels)
	var w waits
	for _, level := range slices.Compact(levels) {
		var b Time
		for _, t := range tasks {
			if stubborn && t.Policy == Deadline && t.level() == level {
				b = max(b, s.blocking(t, tasks))
			}
		}
		w = append(w, struct{ from, length Time }{level, b})
	}
	// What waits longer at a higher level makes lower ones wait, too: the demand test needs that it never grows.
	for i := len(w) - 2; i >= 0; i-- {
		w[i].length = max(w[i].length, w[i+1].length)
	}
	return w
}

// RTLimit is what the kernel leaves to real time, in 2^-20 of a CPU: its defaults of /proc/sys/kernel/sched_rt_runtime_us of sched_rt_period_us.
const RTLimit = 950_000 * (1 << 20) / 1_000_000

func admit(cpu int, tasks []*Task) Admission {
	a := Admission{CPU: cpu, Limit: RTLimit}
	for _, t := range tasks {
		if t.Policy == Deadline {
			a.Used = add(a.Used, Ratio(t.WCET, t.Period))
		}
	}
	a.Accepts = a.Used <= a.Limit
	return a
}

// Ratio is to_ratio of kernel/sched/core.c: runtime by period, not by deadline,
// in 2^-20.
func Ratio(runtime, period Time) int64 {
	high, low := bits.Mul64(uint64(runtime), 1<<20)
	if high >= uint64(period) {
		return Never
	}
	q, _ := bits.Div64(high, low, uint64(period))
	return int64(min(q, uint64(Never)))
}

func (s *Set) assumptions() []string {
	all := []string{
		"tasks stay on their CPU, and nothing of their urgency or above runs there that is not in the set",
		"no job needs more than its wcet, and events are never closer than the period",
		"RT throttling and the fair server take nothing: they are off on these CPUs, or their share is a task of the set",
	}
	if !s.Supply.whole() {
		all = append(all, fmt.Sprintf("each CPU gives the set %d ns in each %d ns, by %d ns; giving and taking it costs the set nothing", s.Supply.Budget, s.Supply.Period, s.Supply.due()))
	}
	if !s.Overheads.Measured {
		all = append(all, fmt.Sprintf("the kernel takes no more than %d ns a context switch and %d ns a release, which nobody measured", s.Overheads.Switch, s.Overheads.Release))
	}
	if len(s.shared) > 0 {
		all = append(all, "a task that waits for a resource which other processors lock, or holds it, is not preempted; waits are served in order, and each section is entered once a job")
	}
	if slices.ContainsFunc(s.Tasks, func(t Task) bool { return t.Clock != "" }) {
		all = append(all, "events of tasks with a clock are at their offset on it and at each period from then on, no earlier and no later; deadline tasks are analysed as if all came together")
	}
	if slices.ContainsFunc(s.Tasks, func(t Task) bool { return len(t.Sections) > 0 }) {
		all = append(all, "critical sections are not nested")
	}
	return all
}
