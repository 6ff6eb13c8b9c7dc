// Package chain bounds how long data takes through tasks that follow each other.
//
// Two quantities are meant, and both have the same bound. The reaction time is
// the longest time from a change in the world, which the first task may just have
// missed, to the end of the first job of the last task that knows of it. The data
// age is the longest time from the event of the first task's job that took a value
// to the end of the job that replaces the last output which rests on it. That
// their maxima are equal is a theorem of Günzel et al. 2023 ("On the equivalence
// of maximum reaction time and maximum data age for cause-effect chains").
//
// Tasks of a sampling chain run by their own clocks and take the newest value
// when a job begins; those of a queueing chain are released by the end of the job
// before them (Propagate).
package chain

import (
	"errors"
	"fmt"
	"math"

	"github.com/instar-os/instar/internal/realtime"
)

// Time is nanoseconds.
type Time = realtime.Time

// Stage is a task of a chain.
type Stage struct {
	Task   string `json:"task"`
	Period Time   `json:"period"` // of its events, which are regular: no two are further apart
	Worst  Time   `json:"worst"`  // the bound of its response time, from the event; with LET, when its output appears

	// LET: the task reads at its event and its output appears Worst after it,
	// whatever happens between (logical execution time: Henzinger et al. 2001).
	LET bool `json:"let,omitempty"`

	Jitter Time `json:"jitter,omitempty"` // of its release
	Known  bool `json:"known,omitempty"`  // Offset is known, on a clock that all tasks of the chain share
	Offset Time `json:"offset,omitempty"` // of its first event

	// Event: it is the first one, and what it reacts to is its own event, for which
	// nothing waits.
	Event bool `json:"event,omitempty"`

	// Where it runs: a task that preempts the next one on the same processor lets
	// that one begin only when its own output is there.
	CPU      int `json:"cpu"`
	Priority int `json:"priority,omitempty"` // 0: not of fixed priority
}

// Limits of a chain.
const (
	MaxStages = 1000
	maxJobs   = 1_000_000 // that an enumeration follows
)

// Check returns what is wrong with a chain.
func Check(c []Stage) error {
	if len(c) == 0 || len(c) > MaxStages {
		return fmt.Errorf("a chain of %d tasks; 1 to %d are analysed", len(c), MaxStages)
	}
	var errs []error
	for i, s := range c {
		if s.Event && (i > 0 || s.LET) {
			errs = append(errs, fmt.Errorf("task %s: only a chain's first task begins with its own event", s.Task))
		}
		for _, v := range []Time{s.Period, s.Worst, s.Jitter, s.Offset} {
			if v < 0 || v > realtime.MaxTime {
				errs = append(errs, fmt.Errorf("task %s: a time of %d ns", s.Task, v))
			}
		}
		if s.Period <= 0 || s.Worst < s.Jitter {
			errs = append(errs, fmt.Errorf("task %s: a period above zero and a response that contains the jitter are needed", s.Task))
		}
	}
	return errors.Join(errs...)
}

// Davare is the sum of all periods and response times (Davare et al. 2007): what
// comes just too late for a job waits for the next one and for its end. It holds
// whatever the offsets.
func Davare(c []Stage) Time {
	var sum Time
	for _, s := range c {
		sum = add(sum, add(s.wait(), s.Worst))
	}
	return sum
}

// wait is how long what came just too late for a job waits for the next event.
func (s *Stage) wait() Time {
	if s.Event {
		return 0
	}
	return s.Period
}

// Durr is Davare without the response times of tasks that preempt the next one:
// while a job of such a task is ready the next does not begin, so its response
// and the wait do not add up (Dürr et al. 2019, "End-to-end timing analysis of
// sporadic cause-effect chains in distributed systems"). It holds whatever the
// offsets.
func Durr(c []Stage) Time {
	var sum Time
	for i, s := range c {
		sum = add(sum, s.wait())
		if i+1 < len(c) && preempts(&s, &c[i+1]) {
			sum = add(sum, s.Jitter)
		} else {
			sum = add(sum, s.Worst)
		}
	}
	return sum
}

func preempts(s, next *Stage) bool {
	return !s.LET && !next.LET && s.CPU == next.CPU && s.Priority > next.Priority && next.Priority > 0
}

// Follow follows the data of every job of the first task through one hyperperiod
// (Kloda, Bertout, Sorel 2018, "Latency analysis for data chains of real-time
// periodic tasks"). Where all tasks have logical execution times the result is
// exact. ok is false when an offset is not known or the hyperperiod is too long.
func Follow(c []Stage) (bound Time, exact, ok bool) {
	hyper, offset := Time(1), Time(0)
	exact = true
	for _, s := range c {
		if !s.Known || s.Event {
			return 0, false, false
		}
		hyper = lcm(hyper, s.Period)
		offset = max(offset, s.Offset)
		exact = exact && s.LET && s.Jitter == 0
	}
	first := &c[0]
	if hyper == math.MaxInt64 || hyper/first.Period > maxJobs/Time(len(c)) {
		return 0, false, false
	}
	// From the first event of the first task at which all have begun.
	for r := first.at(offset); r < offset+hyper+first.Period; r += first.Period {
		seen := add(r, first.Period) // what changes after r is seen by the next job
		bound = max(bound, through(c, seen)-r)
	}
	return bound, exact, true
}

// at returns the first event at or after t.
func (s *Stage) at(t Time) Time {
	if t <= s.Offset {
		return s.Offset
	}
	return add(s.Offset, mul((t-s.Offset-1)/s.Period+1, s.Period))
}

// through returns when the output of the last task that rests on the first
// task's job of event r is there at the latest.
func through(c []Stage, r Time) Time {
	for i := range c[:len(c)-1] {
		s, next := &c[i], &c[i+1]
		if preempts(s, next) {
			r = next.at(add(r, s.Jitter)) // that job begins after the end of the job of r, which is ready by then
		} else {
			r = next.at(add(r, s.Worst))
		}
	}
	return add(r, c[len(c)-1].Worst)
}

// Bound returns the least of the bounds that apply, and its source.
func Bound(c []Stage) (bound Time, exact bool, source string) {
	bound, source = Davare(c), "Davare et al. 2007"
	if b := Durr(c); b < bound {
		bound, source = b, "Dürr et al. 2019"
	}
	if b, e, ok := Follow(c); ok && (b < bound || e) {
		bound, exact, source = b, e, "Kloda et al. 2018"
	}
	return bound, exact, source
}

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

func lcm(a, b Time) Time {
	x, y := a, b
	for y > 0 {
		x, y = y, x%y
	}
	return mul(a/x, b)
}
