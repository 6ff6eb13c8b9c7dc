package supervise

import (
	"fmt"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// How often a process that took no signal is looked at while its time runs:
// programs install their handlers within milliseconds of their start, or never.
const (
	firstLook = 2 * time.Millisecond
	lastLook  = 100 * time.Millisecond
)

// stop asks the process to end, one signal after the other, and kills the
// sandbox when it does not.
func (u *unit) stop(sb Sandbox, p Process, ended <-chan end) end {
	u.busyFor(time.Duration(u.c.Stop.Longest()) + killGrace + startLimit)
	u.thaw(sb)
	u.set(wire.Stopping, "")
	for _, step := range u.c.Stop.Steps() {
		if e, ok := u.ask(p, step, ended); ok {
			u.s.log.Printf("%s: stopped with %s", u.c.Name, describe(e.code))
			return e
		}
	}
	u.s.log.Printf("%s: has not ended within %s, killing it", u.c.Name, time.Duration(u.c.Stop.Longest()))
	if err := sb.Kill(); err != nil {
		u.s.log.Printf("%s: killing it: %v", u.c.Name, err)
	}
	select {
	case e := <-ended:
		return e
	case <-time.After(killGrace):
		err := fmt.Errorf("does not end though killed %s ago", killGrace)
		u.s.update(func() { u.stuck = err })
		return end{err: err}
	}
}

// ask sends a signal and waits for the end of the process; false when the
// step's time is over. The kernel drops what the first process of a PID
// namespace has no handler for, so that a signal right after the start may come
// to nothing: it is sent once more when the process takes it.
func (u *unit) ask(p Process, step system.StopStep, ended <-chan end) (end, bool) {
	over := time.NewTimer(time.Duration(step.Wait))
	defer over.Stop()
	send := func() {
		if err := p.Signal(step.Signal); err != nil {
			u.s.log.Printf("%s: asking it to end: %v", u.c.Name, err)
		}
	}
	heard, pause := p.Takes(step.Signal), firstLook
	send()
	for {
		var look <-chan time.Time
		if !heard {
			look = time.After(pause)
			pause = min(2*pause, lastLook)
		}
		select {
		case e := <-ended:
			return e, true
		case <-over.C:
			return end{}, false
		case <-look:
			if heard = p.Takes(step.Signal); heard {
				send()
			}
		}
	}
}
