package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// killGrace is how long a killed container may take to end; only processes
// that hang in the kernel need it.
const killGrace = 10 * time.Second

// A unit is a container under supervision. One goroutine, run, moves it
// through its states; everybody else sets want and kicks.
type unit struct {
	s      *Supervisor
	c      *system.Container
	kick   chan struct{} // want has changed
	retire context.CancelFunc
	ctx    context.Context // of run

	// Under s.mu.
	want     bool // it shall run
	active   bool // run is beyond idle
	attempts int  // starts that succeeded or failed
	startErr error
	stuck    error // the last stop did not end it
	status   wire.ContainerStatus
	sandbox  Sandbox
	main     Process // the command; nil while it does not run
	paused   bool
	bond
	before   wire.State // it was paused
	seen     uint64     // the last Ping that run has answered
	busy     time.Time  // until then run need not answer
	warnings []string
	blame    string // why this life is not healthy, whatever the checks say

	freezing sync.Mutex // one pause or unpause at a time; taken before s.mu
}

func newUnit(s *Supervisor, c *system.Container) *unit {
	u := &unit{
		s: s, c: c, kick: make(chan struct{}, 1),
		status: wire.ContainerStatus{Name: c.Name, State: wire.Waiting, Since: time.Now(), Stdin: c.Stdin || c.TTY, TTY: c.TTY},
	}
	u.ctx, u.retire = context.WithCancel(s.ctx)
	return u
}

// alive says under s.mu that it runs, or will without anybody's doing.
func (u *unit) alive() bool { return u.want || u.active }

// satisfied says under s.mu that containers after this one may start.
func (u *unit) satisfied() bool {
	return !u.leaving && (u.status.State == wire.Healthy || u.status.State == wire.Done)
}

func (u *unit) setWant(want bool) {
	u.s.update(func() { u.want = want && !u.s.closing })
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

// wanted is what run asks, over and over, wherever it waits.
func (u *unit) wanted() bool {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	u.answer()
	return u.want
}

// set moves the unit to a state; detail says why, "" for nothing to say.
func (u *unit) set(state wire.State, detail string) {
	u.s.update(func() {
		if u.blame != "" && state == wire.Healthy {
			state, detail = wire.Unhealthy, u.blame
		}
		if u.status.State != state {
			u.status.State, u.status.Since = state, time.Now()
			u.s.moved(u.c.Name, state, detail)
		}
		u.status.Detail = detail
	})
}

// run moves the unit through its lives until it is retired or the supervisor
// ends.
func (u *unit) run() {
	delay := backoff{min: time.Duration(u.c.Restart.Min), max: time.Duration(u.c.Restart.Max)}
	for u.idle() {
		if !u.await() {
			continue
		}
		began := time.Now()
		u.begin()
		end := u.live()
		u.finish()
		if !u.wanted() || end.lost && u.parted() {
			continue
		}
		wait, again := u.judge(end, &delay, time.Since(began))
		if again && u.pause(wait) {
			u.s.update(func() { u.status.Restarts++ })
		}
	}
}

// idle waits until the unit is wanted; false when the supervisor ends.
func (u *unit) idle() bool {
	u.s.update(func() {
		if u.want {
			return
		}
		u.active = false
		if st := u.status.State; st != wire.Done && st != wire.Failed && st != wire.Stopped {
			u.status.State, u.status.Since, u.status.Detail = wire.Stopped, time.Now(), ""
			u.s.moved(u.c.Name, wire.Stopped, "")
		}
	})
	for {
		u.s.mu.Lock()
		u.answer()
		u.active = u.want
		ok := u.want
		u.s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-u.kick:
		case <-u.ctx.Done():
			return false
		}
	}
}

// await waits for the containers this one comes after; false when it is not
// wanted any more.
func (u *unit) await() bool {
	for {
		missing, plugged := u.lacks()
		u.s.mu.Lock()
		u.answer()
		for _, d := range u.s.now.after[u] {
			if !d.satisfied() {
				missing = append(missing, fmt.Sprintf("%s (%s)", d.c.Name, d.status.State))
			}
		}
		want, changed := u.want, u.s.changed
		detail := "for " + strings.Join(missing, ", ")
		known := u.status.State == wire.Waiting && u.status.Detail == detail
		u.s.mu.Unlock()
		switch {
		case !want:
			return false
		case len(missing) == 0:
			return true
		case !known:
			u.set(wire.Waiting, detail)
			continue
		}
		select {
		case <-changed:
		case <-plugged:
		case <-u.kick:
		}
	}
}

// An end says how a life of a container ended.
type end struct {
	code int
	err  error  // it could not be started, or waited for
	why  string // when more is known than the code
	lost bool   // it was stopped for want of what it needs
}

// live is one life: sandbox, Prepare commands, command, and waiting for its
// end. Everything of it is gone afterwards.
func (u *unit) live() end {
	began := time.Now()
	u.s.update(func() { u.stuck, u.blame = nil, "" })
	u.set(wire.Starting, "")
	u.busyFor(startLimit)
	defer u.busyFor(0)
	sb, err := u.s.arrangement().runtime.Prepare(u.c)
	if err != nil {
		return u.failed(err)
	}
	u.warn(sb.Warnings())
	u.s.update(func() { u.sandbox = sb })
	defer u.discard(sb)

	for _, args := range u.c.Prepare {
		p, err := u.start(sb, args)
		if err != nil {
			return u.failed(fmt.Errorf("preparing with %s: %w", args[0], err))
		}
		if e := u.attend(sb, p, nil); e.err != nil || e.code != 0 || e.lost || !u.wanted() {
			lost := e.lost
			e.err = errors.Join(e.err, fmt.Errorf("preparing with %s ended with %s", args[0], describe(e.code)))
			e = u.failed(e.err)
			e.lost = lost
			return e
		}
	}
	p, err := sb.Run(u.s.log.Output(u.c.Name, "stdout"), u.s.log.Output(u.c.Name, "stderr"))
	if err != nil {
		return u.failed(err)
	}
	took := time.Since(began)
	u.s.update(func() {
		u.attempts, u.startErr = u.attempts+1, nil
		u.status.PID, u.status.StartTime = p.PID(), took
		u.main = p
	})
	u.s.log.Printf("%s: started, PID %d, in %s", u.c.Name, p.PID(), took.Round(time.Microsecond))
	if u.c.Health == nil && !u.c.OneShot {
		u.set(wire.Healthy, "")
	}
	e := u.attend(sb, p, u.checker())
	u.outOfMemory(sb, &e)
	u.s.update(func() {
		u.status.PID, u.main, u.paused = 0, nil, false
		if e.err == nil {
			u.status.ExitCode = &e.code
		}
	})
	return e
}

// warn keeps what could not be enforced, and says it when it is new.
func (u *unit) warn(list []string) {
	for _, w := range list {
		if !slices.Contains(u.warnings, w) {
			u.s.log.Printf("%s: warning: %s", u.c.Name, w)
		}
	}
	u.s.update(func() { u.warnings = list })
}

func (u *unit) checker() *checker {
	if u.c.Health == nil || u.c.OneShot {
		return nil
	}
	return &checker{h: u.c.Health, began: time.Now()}
}

func (u *unit) start(sb Sandbox, args []string) (Process, error) {
	return sb.Start(args, u.s.log.Output(u.c.Name, "stdout"), u.s.log.Output(u.c.Name, "stderr"))
}

// failed records a start that came to nothing.
func (u *unit) failed(err error) end {
	u.s.update(func() { u.attempts, u.startErr = u.attempts+1, err })
	return end{err: err}
}

func (u *unit) discard(sb Sandbox) {
	u.s.update(func() { u.sandbox = nil })
	err := sb.Kill()
	if err = errors.Join(err, sb.Close()); err != nil {
		u.s.log.Printf("%s: removing its sandbox: %v", u.c.Name, err)
	}
}

// attend waits for the end of a process, checks health meanwhile, and stops
// it when the unit is not wanted any more.
func (u *unit) attend(sb Sandbox, p Process, ck *checker) end {
	ended := make(chan end, 1)
	go func() {
		code, err := p.Wait()
		ended <- end{code: code, err: err}
	}()
	probe := ck.start(u, sb, p)
	defer probe.stop()
	u.busyFor(0)
	defer u.busyFor(startLimit)
	lost, changed := u.watchNeeds()
	for ; u.wanted() && lost == ""; lost, changed = u.watchNeeds() {
		select {
		case e := <-ended:
			return e
		case <-u.kick:
		case <-changed:
		case err := <-probe.results:
			ck.note(u, err)
		}
	}
	u.busyFor(u.s.StopLimit())
	probe.stop()
	u.letGo()
	e := u.stop(sb, p, ended)
	e.lost = lost != ""
	return e
}

// judge decides what follows the end of a life that nobody asked for.
func (u *unit) judge(e end, delay *backoff, lasted time.Duration) (wait time.Duration, again bool) {
	ok := e.err == nil && e.code == 0
	what := "ended with " + describe(e.code)
	if e.why != "" {
		what = e.why
	}
	if e.err != nil {
		what = e.err.Error()
	}
	policy := u.c.Restart.Policy
	switch {
	case ok && u.c.OneShot:
		u.rest(wire.Done, "")
		u.s.log.Printf("%s: done", u.c.Name)
		return 0, false
	case policy == system.RestartAlways, policy == system.RestartOnFailure && !ok:
		wait = delay.next(lasted)
		u.set(wire.Backoff, what)
		u.s.log.Printf("%s: %s; next start in %s", u.c.Name, what, wait)
		return wait, true
	case ok:
		u.rest(wire.Stopped, what)
	default:
		u.rest(wire.Failed, what)
	}
	u.s.log.Printf("%s: %s; not started again", u.c.Name, what)
	return 0, false
}

// rest ends the unit's activity by its own doing.
func (u *unit) rest(state wire.State, detail string) {
	u.set(state, detail)
	u.s.update(func() { u.want = false })
}

// pause waits before the next start; false when the unit is not wanted any
// more.
func (u *unit) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for u.wanted() {
		select {
		case <-t.C:
			return true
		case <-u.kick:
		}
	}
	return false
}

// describe names an exit code as people say it.
func describe(code int) string {
	if code > 128 {
		return fmt.Sprintf("signal %d", code-128)
	}
	return fmt.Sprintf("exit code %d", code)
}

// backoff is an exponential delay, forgotten after a life longer than max.
type backoff struct {
	min, max time.Duration
	last     time.Duration
}

func (b *backoff) next(lasted time.Duration) time.Duration {
	if b.last == 0 || lasted > b.max {
		b.last = b.min
	} else {
		b.last *= 2
	}
	b.last = max(min(b.last, b.max), b.min)
	return b.last
}
