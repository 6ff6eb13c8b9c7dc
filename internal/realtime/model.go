// Package realtime decides whether tasks meet their deadlines, exactly where
// that is possible, and says why. It computes with values only: nothing is
// measured or configured here.
//
// All times are integers in nanoseconds. Sums that exceed an int64 saturate,
// which can only make a verdict worse. Every verdict comes with a certificate
// that Check verifies without the analysis that found it.
package realtime

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// Time is a duration or an instant in nanoseconds.
type Time = int64

// Never is what a sum that is too large becomes.
const Never Time = math.MaxInt64

// Policy is how a task is scheduled.
type Policy string

// The policies, as Linux has them (sched(7)).
const (
	FIFO       Policy = "fifo"     // fixed priority; equal ones in the order of their release
	RoundRobin Policy = "rr"       // fixed priority; equal ones in turns
	Deadline   Policy = "deadline" // earliest deadline first
)

// Section is a critical section: how long a task may hold a resource.
type Section struct {
	Resource string `json:"resource"`
	Length   Time   `json:"length"`
}

// Task is a sequence of jobs. Every job needs at most WCET of its processor and
// must be done within Deadline after its event; events are at least Period
// apart, and a job may become ready up to Jitter after its event.
type Task struct {
	Name     string `json:"name"`
	CPU      int    `json:"cpu"`
	Policy   Policy `json:"policy"`
	WCET     Time   `json:"wcet"`
	BCET     Time   `json:"bcet,omitempty"`     // the least that a job needs, when that is known
	Period   Time   `json:"period"`             // or least distance of two events
	Deadline Time   `json:"deadline,omitempty"` // 0: Period; may be longer than it
	Jitter   Time   `json:"jitter,omitempty"`
	Priority int    `json:"priority,omitempty"` // 1 to 99, larger is more urgent; FIFO and RoundRobin

	// Clock is what its events stand on, at Offset and each Period from then on;
	// those of tasks with the same clock have known distances. "": a clock of its
	// own, or none, when Period is only the least distance.
	Clock  string `json:"clock,omitempty"`
	Offset Time   `json:"offset,omitempty"`

	// NonPreemptive is the longest time that it runs without giving way.
	NonPreemptive Time      `json:"nonPreemptive,omitempty"`
	Sections      []Section `json:"sections,omitempty"` // not nested

	// Suspension is how long a job waits by itself in all, for a device or an
	// answer, in at most Suspensions pieces.
	Suspension  Time `json:"suspension,omitempty"`
	Suspensions int  `json:"suspensions,omitempty"`
}

// Protocol bounds how long a task waits for a resource that a less urgent one
// holds.
type Protocol string

// The protocols.
const (
	Inheritance Protocol = "inheritance" // priority inheritance: PTHREAD_PRIO_INHERIT
	Ceiling     Protocol = "ceiling"     // immediate ceiling, stack resource policy: PTHREAD_PRIO_PROTECT
)

// Overheads are what the kernel takes, nanoseconds.
type Overheads struct {
	Switch   Time `json:"switch"`   // of one context switch
	Release  Time `json:"release"`  // timer interrupt and wake-up, per job
	Measured bool `json:"measured"` // else every verdict that holds is conditional
}

// Set is the tasks of a machine. Each task stays on its processor.
type Set struct {
	Tasks     []Task    `json:"tasks"`
	Protocol  Protocol  `json:"protocol,omitempty"` // "": Inheritance
	Supply    Supply    `json:"supply,omitzero"`    // what each processor gives to the set
	Overheads Overheads `json:"overheads,omitzero"`

	shared map[string]map[int]Time // Spinning: by resource and CPU the longest section
}

// Limits of a set: they bound what a foreign file can make us compute.
const (
	MaxTasks    = 10_000
	MaxTime     = Time(1) << 53 // about 104 days
	maxSections = 64
)

// Check returns everything that is wrong with a set.
func (s *Set) Check() error {
	if len(s.Tasks) == 0 {
		return errors.New("there are no tasks")
	}
	if len(s.Tasks) > MaxTasks {
		return fmt.Errorf("%d tasks; at most %d are analysed", len(s.Tasks), MaxTasks)
	}
	var errs []error
	if s.Protocol != "" && s.Protocol != Inheritance && s.Protocol != Ceiling && s.Protocol != Spinning {
		errs = append(errs, fmt.Errorf("protocol %q is none of %s, %s, %s", s.Protocol, Inheritance, Ceiling, Spinning))
	}
	if err := s.Supply.check(); err != nil {
		errs = append(errs, err)
	}
	for _, o := range []Time{s.Overheads.Switch, s.Overheads.Release} {
		if o < 0 || o > MaxTime {
			errs = append(errs, fmt.Errorf("an overhead of %d ns", o))
		}
	}
	names := make(map[string]bool, len(s.Tasks))
	home := map[string]int{}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		if err := t.check(); err != nil {
			errs = append(errs, fmt.Errorf("task %q: %w", t.Name, err))
		}
		if names[t.Name] {
			errs = append(errs, fmt.Errorf("task %q: there are two of that name", t.Name))
		}
		names[t.Name] = true
		for _, c := range t.Sections {
			if cpu, ok := home[c.Resource]; ok && cpu != t.CPU && s.Protocol != Spinning {
				errs = append(errs, fmt.Errorf("task %q: resource %q is also locked on CPU %d; locks across processors need the protocol %s", t.Name, c.Resource, cpu, Spinning))
			}
			if t.Suspension > 0 && s.Protocol == Spinning {
				errs = append(errs, fmt.Errorf("task %q: with the protocol %s a task that locks does not suspend itself", t.Name, Spinning))
			}
			home[c.Resource] = t.CPU
		}
	}
	return errors.Join(errs...)
}

func (t *Task) check() error {
	switch {
	case t.Name == "" || len(t.Name) > 128 || strings.ContainsFunc(t.Name, func(r rune) bool { return r < ' ' }):
		return errors.New("its name is empty, too long or unprintable")
	case t.Policy != FIFO && t.Policy != RoundRobin && t.Policy != Deadline:
		return fmt.Errorf("policy %q is none of fifo, rr, deadline", t.Policy)
	case t.Offset != 0 && t.Clock == "":
		return errors.New("its offset is on no clock")
	case len(t.Clock) > 128 || strings.ContainsFunc(t.Clock, func(r rune) bool { return r < ' ' }):
		return errors.New("its clock's name is too long or unprintable")
	case t.CPU < 0:
		return fmt.Errorf("CPU %d", t.CPU)
	case t.WCET <= 0 || t.Period <= 0:
		return errors.New("wcet and period must be greater than zero")
	case t.Policy != Deadline && (t.Priority < 1 || t.Priority > 99):
		return fmt.Errorf("priority %d is not between 1 and 99", t.Priority)
	case t.Policy == Deadline && t.Priority != 0:
		return errors.New("a deadline task has no priority")
	case len(t.Sections) > maxSections:
		return fmt.Errorf("%d critical sections; at most %d are analysed", len(t.Sections), maxSections)
	case t.Suspension > 0 && t.Suspensions < 1:
		return errors.New("it suspends itself, but suspensions does not say how often")
	case t.Suspensions < 0 || t.Suspensions > 1000:
		return fmt.Errorf("%d suspensions", t.Suspensions)
	case t.BCET < 0 || t.BCET > t.WCET:
		return errors.New("its bcet must not be longer than its wcet")
	case t.NonPreemptive > t.WCET:
		return errors.New("it cannot be non-preemptive for longer than its wcet")
	}
	for _, v := range []Time{t.WCET, t.Period, t.Deadline, t.Jitter, t.NonPreemptive, t.Suspension, t.Offset} {
		if v < 0 || v > MaxTime {
			return fmt.Errorf("a time of %d ns is not between 0 and %d", v, MaxTime)
		}
	}
	for _, c := range t.Sections {
		if c.Length <= 0 || c.Length > t.WCET || c.Resource == "" {
			return fmt.Errorf("the section on %q has %d ns; it must be a part of the wcet", c.Resource, c.Length)
		}
	}
	return nil
}

// due returns the relative deadline.
func (t *Task) due() Time {
	if t.Deadline == 0 {
		return t.Period
	}
	return t.Deadline
}

// cost returns what a job takes of its processor: with a switch to it and one
// back (Burns, Tindell, Wellings 1995), its release, and what it spins.
func (s *Set) cost(t *Task) Time {
	return add(add(t.WCET, s.spins(t)), add(mul(2, s.Overheads.Switch), s.Overheads.Release))
}

// CPUs returns the processors that tasks stand on, ascending.
func (s *Set) CPUs() []int {
	var all []int
	for i := range s.Tasks {
		if !slices.Contains(all, s.Tasks[i].CPU) {
			all = append(all, s.Tasks[i].CPU)
		}
	}
	slices.Sort(all)
	return all
}

// Saturating arithmetic of values that are not negative.

func add(a, b Time) Time {
	if a > Never-b {
		return Never
	}
	return a + b
}

func mul(a, b Time) Time {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high > 0 || low > uint64(Never) {
		return Never
	}
	return Time(low)
}

func ceilDiv(a, b Time) Time {
	if a <= 0 {
		return 0
	}
	return (a-1)/b + 1
}
