// Package trial decides what a machine does with the system it has booted: run
// it, give it a try, go back to the last good one, or run the fallback. It is a
// set of functions over the record, without input or output: the caller makes
// each change last before it acts upon it.
//
// A trial has these phases, in the record:
//
//	staged   its slot is written; firmware does not know of it
//	armed    firmware boots it next
//	running  it has been booted, and has Tries boots left
//	failed   it was found bad; the machine is on its way back
//
// and ends with Confirm, which makes it the last good system, or with Home, when
// another system was booted after it failed. docs/design/trial.md has the table of
// states and why each leads where it does.
package trial

import (
	"fmt"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
)

// Action is what a machine does after its record was read.
type Action string

// The actions.
const (
	Run    Action = "run"    // what was booted, which is not on trial
	Try    Action = "try"    // what was booted, which must be confirmed in time
	Return Action = "return" // make firmware boot the last good system, and reboot
	Rescue Action = "rescue" // run the fallback configuration of what was booted
)

// Limits of a machine that does not come to rest.
const (
	// MaxUnsettled is how many boots in a row may end by a crash, a reset or a
	// loss of power before they settled; the next one runs the fallback.
	MaxUnsettled = 3

	// maxReturns is how many boots a failed trial may have before the machine
	// stops asking firmware for another system, and runs the fallback of this one.
	maxReturns = 3
)

// Boot is what is known of a boot before anything is started.
type Boot struct {
	System        digest.Digest
	Configuration string
	Now           int64 // seconds since 1970, as the machine believes

	// Cause says why the boot before, of a system, has come to nothing, as
	// hardware or a dying kernel tell; "" when nobody does. It is asked for a
	// verdict alone. nil: there is nobody to ask.
	Cause func(of digest.Digest) (reason.Code, string)
}

// Decision is what to do, and why.
type Decision struct {
	Action  Action
	Why     string          // for people; "" where there is nothing to say
	Verdict *record.Verdict // given by this decision; nil: none
	Home    int             // slot that firmware must be told to stay with, then Home(r); -1: none
	Begin   reason.Code     // how this boot begins, "" when the record does not say
}

// Decide takes note of a boot in the record and says what to do. The change of
// the record must last before anything is done; when it cannot be made to last,
// a Try is to be taken for a Return, or tries would never end.
func Decide(r *record.Record, b Boot) Decision {
	r.Boots++
	if r.Current.IsZero() && r.Trial == nil {
		r.Current = b.System // a new machine, or one that has lost its record
	}
	d := decide(r, b)
	if d.Home = -1; r.Trial != nil && r.Trial.Phase == record.Failed && !r.Trial.Same {
		d.Home = r.Trial.Home
	}
	if d.Action == Run || d.Action == Rescue { // tries are counted apart
		r.Unsettled++
	}
	if d.Action == Run && r.Unsettled > MaxUnsettled {
		d.Action = Rescue
		d.Why = join(d.Why, fmt.Sprintf("%d boots in a row have not settled", MaxUnsettled))
	}
	switch d.Action {
	case Try:
		d.Begin = reason.Trial
	case Rescue:
		d.Begin = reason.Fallback
	}
	return d
}

func decide(r *record.Record, b Boot) Decision {
	t := r.Trial
	switch {
	case t == nil:
		return untried(r, b)
	case t.On(b.System, b.Configuration) && t.Phase == record.Failed:
		t.Booted++
		if t.Booted > t.Limit+maxReturns {
			return Decision{Action: Rescue, Why: "firmware does not go back to the last good system"}
		}
		return Decision{Action: Return, Why: "what was booted has been found bad"}
	case t.On(b.System, b.Configuration):
		return try(r, b)
	}
	return elsewhere(r, b)
}

// untried is a boot while nothing is on trial.
func untried(r *record.Record, b Boot) Decision {
	if v, ok := r.Verdict(b.System); ok && !v.Good && b.System != r.Current {
		return Decision{Action: Rescue, Why: "system " + b.System.Short() + " was found bad: " + v.Reason}
	}
	if b.System != r.Current {
		return Decision{Action: Run, Why: "the last good system is " + r.Current.Short() + ", firmware has booted another"}
	}
	return Decision{Action: Run}
}

// try is a boot of what is on trial.
func try(r *record.Record, b Boot) Decision {
	t := r.Trial
	t.Booted++
	if t.Phase == record.Staged { // it was armed in firmware, and a cut kept the record from saying so
		t.Phase = record.Armed
	}
	if t.Tries == 0 {
		v := b.fail(r, reason.Reset, fmt.Sprintf("not confirmed in %d boots", t.Booted-1))
		return Decision{Action: Return, Why: "no tries are left", Verdict: v}
	}
	t.Tries--
	t.Phase = record.Running
	return Decision{Action: Try, Why: fmt.Sprintf("on trial, %d tries left", t.Tries)}
}

// elsewhere is a boot of something else than what is on trial.
func elsewhere(r *record.Record, b Boot) Decision {
	t := r.Trial
	d := Decision{Action: Run}
	switch t.Phase {
	case record.Staged:
	case record.Armed:
		d.Verdict = b.fail(r, reason.NoBoot, "firmware went back before init ran")
	case record.Running:
		d.Verdict = b.fail(r, reason.Loader, fmt.Sprintf("firmware went back after %d boots", t.Booted))
	}
	if t.Phase == record.Failed {
		d.Begin = reason.Rollback
	}
	if t.Phase == record.Failed && t.Same {
		r.Trial = nil // no slot is concerned
	}
	if d.Verdict != nil {
		d.Why = "the trial of " + name(t) + " has failed: " + d.Verdict.Reason
	}
	rest := untried(r, b)
	rest.Why, rest.Verdict, rest.Begin = join(d.Why, rest.Why), d.Verdict, d.Begin
	return rest
}

// fail gives the verdict that nobody on the system gave: by the cause that the
// machine was told of, or else by what the record lets one conclude.
func (b Boot) fail(r *record.Record, code reason.Code, detail string) *record.Verdict {
	if b.Cause != nil {
		if told, how := b.Cause(r.Trial.System); told != "" {
			code, detail = told, join(detail, how)
		}
	}
	return fail(r, code, detail, b.Now)
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

func name(t *record.Trial) string {
	if t.Same {
		return "configuration " + t.Configuration
	}
	return "system " + t.System.Short()
}
