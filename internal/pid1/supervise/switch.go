package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// A Target is what a switch goes to.
type Target struct {
	Configuration *system.Configuration
	Runtime       Runtime       // of its containers, also of those that are kept
	Within        time.Duration // to become healthy
}

// A step of a switch. undo takes back what do did, also when it stopped half
// way; nil when there is nothing to take back.
type step struct {
	name string // completes "could not …"
	do   func(context.Context) error
	undo func(context.Context) error
}

// An ErrReturned says why a switch came to nothing. Back is nil when what ran
// before is healthy again.
type ErrReturned struct {
	Why, Back error
}

func (e *ErrReturned) Error() string {
	if e.Back != nil {
		return fmt.Sprintf("%v; going back to what ran before: %v", e.Why, e.Back)
	}
	return fmt.Sprintf("%v; what ran before runs again", e.Why)
}

func (e *ErrReturned) Unwrap() []error { return []error{e.Why, e.Back} }

// Switch changes the set of containers to the target's: those that Changes
// keeps run on, those that go are stopped in reverse order, those that come are
// started in order. It returns when all are healthy. When a container does not
// end, cannot be started, or is not healthy in time, it undoes its steps, the
// last first, and returns an *ErrReturned; a target that cannot be run at all
// is refused with another error before anything is touched. One switch is done
// at a time. The end of ctx is a failure like others; Shutdown ends a switch
// where it is.
func (s *Supervisor) Switch(ctx context.Context, t Target) error {
	sw, err := s.begin(t)
	if err != nil {
		return err
	}
	defer s.update(func() { s.switching = false })
	steps := sw.steps()
	for i, st := range steps {
		why := st.do(ctx)
		if why == nil {
			continue
		}
		if errors.Is(why, errClosing) {
			return why
		}
		why = fmt.Errorf("could not %s: %w", st.name, why)
		s.log.Printf("switching from %s to %s: %v; going back", sw.from.configuration.Name, t.Configuration.Name, why)
		back := sw.undo(context.WithoutCancel(ctx), steps[:i+1])
		return &ErrReturned{why, back}
	}
	sw.leave(sw.going)
	return nil
}

// A change is a switch under way.
type change struct {
	s        *Supervisor
	within   time.Duration
	from, to *arrangement
	going    []*unit // of from, not of to
	coming   []*unit // of to, not of from
	resume   []*unit // of going, those that ran before
}

// begin decides what is kept and makes the new arrangement beside the old one.
func (s *Supervisor) begin(t Target) (*change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return nil, errClosing
	case s.switching:
		return nil, errSwitching
	}
	sw := &change{s: s, within: t.Within, from: s.now}
	kept := map[string]bool{}
	for _, c := range s.now.changes(t.Configuration) {
		kept[c.Container] = c.Act == wire.ActKept
	}
	var err error
	sw.to, err = arrange(t.Configuration, t.Runtime, func(c *system.Container) *unit {
		if kept[c.Name] {
			return s.now.unit(c.Name)
		}
		return newUnit(s, c)
	})
	if err != nil {
		return nil, err
	}
	sw.going, sw.coming = sw.from.lacking(sw.to), sw.to.lacking(sw.from)
	for _, u := range sw.going {
		if u.alive() {
			sw.resume = append(sw.resume, u)
		}
	}
	s.switching = true
	return sw, nil
}

// steps returns the switch as data.
func (sw *change) steps() []step {
	return []step{
		{"stop " + names(sw.going), sw.stop, sw.startAgain},
		{"take over the new set", sw.adopt, sw.giveBack},
		{"start " + names(sw.coming), sw.start, sw.stopComing},
		{"become healthy", sw.healthy, nil},
	}
}

// undo takes steps back, the last first, whatever fails, and waits for the
// health of what ran before.
func (sw *change) undo(ctx context.Context, steps []step) error {
	var errs []error
	for _, st := range slices.Backward(steps) {
		if st.undo != nil {
			errs = append(errs, st.undo(ctx))
		}
	}
	if err := sw.wait(ctx, sw.resume); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (sw *change) stop(context.Context) error { return sw.end(sw.from, sw.going) }

// end stops units of an arrangement; those that do not end are an error.
func (sw *change) end(a *arrangement, units []*unit) error {
	sw.s.stopAll(a, units)
	sw.s.mu.Lock()
	defer sw.s.mu.Unlock()
	if sw.s.closing {
		return errClosing
	}
	var errs []error
	for _, u := range units {
		if u.stuck != nil {
			errs = append(errs, fmt.Errorf("%s %w", u.c.Name, u.stuck))
		}
	}
	return errors.Join(errs...)
}

func (sw *change) startAgain(context.Context) error {
	for _, u := range sw.resume {
		u.setWant(true)
	}
	return nil
}

// adopt makes the new arrangement the supervisor's.
func (sw *change) adopt(context.Context) error {
	sw.s.update(func() { sw.s.now = sw.to })
	for _, u := range sw.coming {
		sw.s.running.Go(u.run)
	}
	return nil
}

// giveBack is called when the coming units have been stopped.
func (sw *change) giveBack(context.Context) error {
	sw.s.update(func() { sw.s.now = sw.from })
	sw.leave(sw.coming)
	return nil
}

// leave ends the goroutines of units that have been stopped.
func (sw *change) leave(units []*unit) {
	for _, u := range units {
		u.retire()
	}
}

func (sw *change) start(context.Context) error {
	for _, u := range sw.coming {
		u.setWant(true)
	}
	return nil
}

func (sw *change) stopComing(context.Context) error { return sw.end(sw.to, sw.coming) }

func (sw *change) healthy(ctx context.Context) error { return sw.wait(ctx, sw.to.units) }

// wait waits until units are healthy or done. It does not wait for what will
// not come: a start that failed, a container that is not started again.
func (sw *change) wait(ctx context.Context, units []*unit) error {
	ctx, cancel := context.WithTimeout(ctx, sw.within)
	defer cancel()
	var failed error
	err := sw.s.until(ctx, func() bool {
		failed = nil
		if sw.s.closing {
			failed = errClosing
			return true
		}
		all := true
		for _, u := range units {
			if err := u.hopeless(); err != nil {
				failed = errors.Join(failed, err)
			}
			all = all && u.satisfied()
		}
		return all || failed != nil
	})
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(failed, err)
	}
	return fmt.Errorf("not healthy within %s: %s", sw.within, sw.s.unsatisfied(units))
}

// hopeless says under s.mu why the unit will not become healthy.
func (u *unit) hopeless() error {
	switch {
	case u.startErr != nil:
		return fmt.Errorf("%s: %w", u.c.Name, u.startErr)
	case !u.alive() && !u.satisfied():
		return fmt.Errorf("%s: %s", u.c.Name, u.status.Detail)
	}
	return nil
}

// unsatisfied names the units that are not healthy, and why.
func (s *Supervisor) unsatisfied(units []*unit) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, u := range units {
		if !u.satisfied() {
			text := u.c.Name + " is " + string(u.status.State)
			if u.status.Detail != "" {
				text += " (" + u.status.Detail + ")"
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}

func names(units []*unit) string {
	if len(units) == 0 {
		return "nothing"
	}
	var all []string
	for _, u := range units {
		all = append(all, u.c.Name)
	}
	return strings.Join(all, ", ")
}
