package trial

import (
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
)

// Why a system is not taken on trial.
var (
	ErrBad     = errors.New("it was found bad")
	ErrCurrent = errors.New("it is the last good system")
	ErrBusy    = errors.New("another trial is under way")
)

// Stage remembers that a system lies whole and verified in a slot, or that a
// configuration of the last good system (t.Same) is to be tried. It replaces
// what was staged before. Firmware must not know of it yet.
func Stage(r *record.Record, t record.Trial) error {
	v, judged := r.Verdict(t.System)
	switch {
	case r.Trial != nil && r.Trial.Phase != record.Staged && r.Trial.Phase != record.Failed:
		return fmt.Errorf("staging %s: %w: %s is %s", name(&t), ErrBusy, name(r.Trial), r.Trial.Phase)
	case t.Same && t.System != r.Current:
		return fmt.Errorf("staging %s: it is of system %s, the last good one is %s", name(&t), t.System.Short(), r.Current.Short())
	case !t.Same && t.System == r.Current:
		return fmt.Errorf("staging %s: %w", name(&t), ErrCurrent)
	case !t.Same && judged && !v.Good:
		return fmt.Errorf("staging %s: %w: %s: %s", name(&t), ErrBad, v.Reason, v.Detail)
	case t.Tries < 1:
		return fmt.Errorf("staging %s: with %d tries", name(&t), t.Tries)
	}
	t.Phase, t.Booted, t.Limit = record.Staged, 0, t.Tries
	r.Trial = &t
	return nil
}

// Arm says that firmware boots what is staged. Firmware is told first: a cut in
// between leaves a staged trial that is booted, which Decide takes for a trial,
// or one that is not, which stays staged. The other order would take a trial
// that never was for one that failed.
func Arm(r *record.Record) error {
	if r.Trial == nil || r.Trial.Phase != record.Staged {
		return errors.New("nothing is staged")
	}
	r.Trial.Phase = record.Armed
	return nil
}

// Confirm makes what is on trial the last good system. Firmware has been told
// to stay with it before.
func Confirm(r *record.Record, why reason.Code, now int64) error {
	t := r.Trial
	if t == nil || t.Phase != record.Running {
		return errors.New("nothing is on trial")
	}
	v := record.Verdict{System: t.System, Good: true, Reason: string(why), Time: now, Boot: r.Boots}
	if t.Same {
		v.Configuration = t.Configuration
	} else {
		r.Previous, r.Current = r.Current, t.System
	}
	r.Judge(v)
	r.Trial, r.Unsettled = nil, 0
	return nil
}

// Fail gives the verdict over what is on trial. The machine has to make
// firmware go back and to reboot.
func Fail(r *record.Record, why reason.Code, detail string, now int64) error {
	if t := r.Trial; t == nil || t.Phase != record.Running {
		return errors.New("nothing is on trial")
	}
	fail(r, why, detail, now)
	return nil
}

func fail(r *record.Record, why reason.Code, detail string, now int64) *record.Verdict {
	t := r.Trial
	v := record.Verdict{System: t.System, Reason: string(why), Detail: detail, Time: now, Boot: r.Boots}
	if t.Same {
		v.Configuration = t.Configuration
	}
	r.Judge(v)
	t.Phase, t.Tries = record.Failed, 0
	return &r.Verdicts[0]
}

// Home says, on another system than the one that failed, that firmware stays
// with it.
func Home(r *record.Record, system digest.Digest) {
	if t := r.Trial; t != nil && t.Phase == record.Failed && t.System != system {
		r.Trial = nil
	}
}

// Settle says that this boot has come to rest: it is healthy, or has run for
// long enough. What runs the fallback after boots that did not settle gets one
// try of its usual configuration at the next boot, no more.
func Settle(r *record.Record, rescued bool) {
	r.Unsettled = 0
	if rescued {
		r.Unsettled = MaxUnsettled - 1
	}
}

// End says that the machine ends in order, which is no sign of trouble.
func End(r *record.Record) { r.Unsettled = 0 }

// Forgive forgets the verdicts over a system, so that it may be staged again.
func Forgive(r *record.Record, sys digest.Digest) error {
	if !slices.ContainsFunc(r.Verdicts, func(v record.Verdict) bool { return v.System == sys }) {
		return fmt.Errorf("there is no verdict over system %s", sys.Short())
	}
	r.Acquit(sys)
	return nil
}
