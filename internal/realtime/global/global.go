// Package global decides whether tasks that may run on any of several equal
// processors meet their deadlines. No test is exact there; each is sufficient,
// and what one of them proves holds. Tasks under SCHED_DEADLINE without an
// affinity, and SCHED_FIFO threads of one root domain, are such tasks.
//
// Times are integers in nanoseconds; sums saturate, shares are exact fractions.
package global

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/instar-os/instar/internal/realtime"
)

// Time is nanoseconds.
type Time = realtime.Time

// Set is tasks that share processors. All are deadline tasks, or all have fixed
// priorities.
type Set struct {
	CPUs      int                `json:"cpus"` // equal processors
	Tasks     []realtime.Task    `json:"tasks"`
	Overheads realtime.Overheads `json:"overheads,omitzero"`
}

// Limits of a set.
const (
	MaxCPUs  = 4096
	MaxTasks = 1000
)

// Test is the name of what proved that a task meets its deadline.
type Test string

// The tests.
const (
	Density  Test = "density"  // the sum of densities: Goossens, Funk, Baruah 2003
	Response Test = "response" // interference in the window of one job: Bertogna, Cirinei 2007 (deadlines); Guan et al. 2009 (priorities)
	Carry    Test = "carry-in" // demand with at most one job less than processors carried in: Baruah 2007
)

// Report is the verdict over a set.
type Report struct {
	Holds       bool       `json:"holds"`
	Conditional bool       `json:"conditional,omitempty"` // it rests on overheads that nobody measured
	Tasks       []Verdict  `json:"tasks"`                 // in the order of the set
	Kernel      *Admission `json:"kernel,omitempty"`      // what the kernel would say to the deadline tasks
	Assumptions []string   `json:"assumptions"`
}

// Verdict is what is known of one task.
type Verdict struct {
	Task     string  `json:"task"`
	Holds    bool    `json:"holds"`
	By       Test    `json:"by,omitempty"`
	Bound    Time    `json:"bound,omitempty"` // no job takes longer, when all hold; 0: none is known but the deadline
	Deadline Time    `json:"deadline"`
	Late     Time    `json:"late,omitempty"`   // a job ends at most that much after its deadline, though the set is not proven; 0: not known
	Window   Time    `json:"window,omitempty"` // Carry: no longer time before the job has to be looked at
	Points   []Point `json:"points,omitempty"` // Carry: the work that proves all times before the job, from the longest on
	Why      string  `json:"why,omitempty"`    // it is not proven
}

// Point is the work that can hinder a job when all processors are busy for Before
// ahead of it.
type Point struct {
	Before Time `json:"before"`
	Work   Time `json:"work"`
}

// Admission is the kernel's test of a root domain: bandwidth only (Linux,
// Documentation/scheduler/sched-deadline.rst, 4.1).
type Admission struct {
	Accepts bool  `json:"accepts"`
	Used    int64 `json:"used"`  // in 2^-20 of one CPU
	Limit   int64 `json:"limit"` // of all CPUs
}

// Check returns everything that is wrong with a set, or not modelled.
func (s *Set) Check() error {
	switch {
	case s.CPUs < 1 || s.CPUs > MaxCPUs:
		return fmt.Errorf("%d processors; 1 to %d are analysed", s.CPUs, MaxCPUs)
	case len(s.Tasks) > MaxTasks:
		return fmt.Errorf("%d tasks; at most %d are analysed on shared processors", len(s.Tasks), MaxTasks)
	}
	plain := realtime.Set{Tasks: slices.Clone(s.Tasks), Overheads: s.Overheads}
	var errs []error
	for i := range s.Tasks {
		t := &s.Tasks[i]
		if err := fits(t, s.Tasks[0].Policy == realtime.Deadline); err != nil {
			errs = append(errs, fmt.Errorf("task %q: %w", t.Name, err))
		}
		plain.Tasks[i].CPU, plain.Tasks[i].Sections = 0, nil
	}
	return errors.Join(append(errs, plain.Check())...)
}

func fits(t *realtime.Task, deadlines bool) error {
	switch {
	case (t.Policy == realtime.Deadline) != deadlines:
		return errors.New("tasks of a shared set are all deadline tasks, or all have priorities")
	case t.Policy == realtime.RoundRobin:
		return errors.New("round robin is not analysed on shared processors: use fifo")
	case len(t.Sections) > 0 || t.NonPreemptive > 0:
		return errors.New("critical sections and parts without preemption are not analysed on shared processors: give the task a CPU")
	case t.Jitter > 0:
		return errors.New("release jitter is not analysed on shared processors: give the task a CPU")
	case t.Deadline > t.Period:
		return errors.New("a deadline longer than the period is not analysed on shared processors")
	}
	return nil
}

// job is a task in numbers: a suspension counts as computing.
type job struct {
	name         string
	c, d, t      Time
	priority     int
	slack, bound Time // of the analysis as far as it is
	holds        bool
}

func (s *Set) jobs() []job {
	all := make([]job, len(s.Tasks))
	for i := range s.Tasks {
		t := &s.Tasks[i]
		c := add(add(t.WCET, t.Suspension), add(mul(2, s.Overheads.Switch), s.Overheads.Release))
		d := t.Deadline
		if d == 0 {
			d = t.Period
		}
		all[i] = job{name: t.Name, c: c, d: d, t: t.Period, priority: t.Priority}
	}
	return all
}

// Analyse decides whether every job is proven to meet its deadline. The error
// says what is wrong with the set itself.
func Analyse(s *Set) (*Report, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	r := &Report{Assumptions: s.assumptions()}
	all := s.jobs()
	for i := range all {
		r.Tasks = append(r.Tasks, Verdict{Task: all[i].name, Deadline: all[i].d})
	}
	if s.Tasks[0].Policy == realtime.Deadline {
		s.deadlines(all, r)
		r.Kernel = s.admit()
	} else {
		priorities(all, s.CPUs, r)
	}
	r.Holds = true
	for i := range r.Tasks {
		r.Holds = r.Holds && r.Tasks[i].Holds
	}
	r.Conditional = r.Holds && !s.Overheads.Measured
	return r, nil
}

func (s *Set) assumptions() []string {
	all := []string{
		"the scheduler always runs the most urgent tasks that are ready, as many as there are processors; a task may move between any two of them at any time",
		"nothing of their urgency or above runs on these processors that is not in the set",
		"no job needs more than its wcet, with what its moves between processors cost, and events are never closer than the period",
	}
	if !s.Overheads.Measured {
		all = append(all, fmt.Sprintf("the kernel takes no more than %d ns a context switch and %d ns a release, which nobody measured", s.Overheads.Switch, s.Overheads.Release))
	}
	return all
}

// admit is dl_overflow of the kernel: 95 % of each CPU, by period.
func (s *Set) admit() *Admission {
	a := &Admission{Limit: int64(s.CPUs) * realtime.RTLimit}
	for i := range s.Tasks {
		a.Used = add(a.Used, realtime.Ratio(s.Tasks[i].WCET, s.Tasks[i].Period))
	}
	a.Accepts = a.Used <= a.Limit
	return a
}

func frac(a, b Time) *big.Rat { return big.NewRat(a, b) }

// used returns the sum of cost by period.
func used(all []job) *big.Rat {
	sum := new(big.Rat)
	for i := range all {
		sum.Add(sum, frac(all[i].c, all[i].t))
	}
	return sum
}

// largest returns the sum of the n largest of values that are not negative.
func largest(values []Time, n int) Time {
	slices.SortFunc(values, func(a, b Time) int { return cmp.Compare(b, a) })
	var sum Time
	for _, v := range values[:min(max(n, 0), len(values))] {
		sum = add(sum, max(v, 0))
	}
	return sum
}

// Saturating arithmetic of values that are not negative.

func add(a, b Time) Time {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func mul(a, b Time) Time {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}
