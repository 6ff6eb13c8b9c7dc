package boot

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/pid1/trial"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// gatePause is how often the gate looks, lookGrace how long a look may take
// beyond the deadline before it is late without it, and gateGrace how long it may take to
// say that a boot is late before the watchdog says it.
const (
	gatePause = 500 * time.Millisecond
	lookGrace = 5 * time.Second
	gateGrace = 30 * time.Second
)

// judge watches a boot until it has come to rest: what is on trial is confirmed
// or given up, by the machine alone. Each look is bounded, and the deadline does
// not wait for one that hangs.
func (d *device) judge() error {
	if d.standing.book == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.pass(ctx)
	}()
	d.later("stop the gate", func() error {
		cancel()
		<-done
		return nil
	})
	d.serving(d.updates.tidy, "the collection of garbage")
	return nil
}

// look is what one look found.
type look struct {
	missing  []string
	restarts int
}

func (d *device) pass(ctx context.Context) {
	c := d.manifest.Boot.Confirm.Resolved()
	g := &trial.Gate{After: time.Duration(c.After), Within: time.Duration(c.Within)}
	looks := make(chan look)
	go func() {
		for ctx.Err() == nil {
			select {
			case looks <- d.look(ctx):
			case <-ctx.Done():
			}
			select {
			case <-time.After(min(gatePause, g.After/4)):
			case <-ctx.Done():
			}
		}
	}()
	late := time.NewTimer(g.Within + lookGrace - d.age())
	defer late.Stop()
	for {
		passage := trial.Waiting
		select {
		case <-ctx.Done():
			return
		case l := <-looks:
			passage = g.Observe(d.age(), l.missing, l.restarts)
		case <-late.C:
			if !d.trying() {
				continue // nothing is late
			}
			passage = g.Observe(max(g.Within, d.age()), append(g.Missing(), "the last look has not ended"), 0)
		}
		d.tell(g)
		if d.passed(g, passage) {
			d.tell(g)
			return
		}
	}
}

// age is for how long init has run.
func (m *machine) age() time.Duration { return time.Since(m.began) - m.ready }

// passed acts upon a passage; true when there is nothing left to watch.
func (d *device) passed(g *trial.Gate, passage trial.Passage) bool {
	if passage == trial.Waiting {
		return false
	}
	if !d.trying() {
		// What is not on trial has come to rest by running on, unless its health
		// is the watchdog's business.
		if passage == trial.Late && d.manifest.Boot.WatchdogHealth > 0 {
			return false
		}
		d.rested()
		return true
	}
	if passage == trial.Passed {
		err := d.confirm(reason.Confirmed)
		if err != nil {
			d.log.Printf("%v", err) // and again at the next look, until it is late
		}
		if err == nil || d.age() < g.Within {
			return err == nil
		}
	}
	if err := d.giveUp(g.Verdict()); err != nil {
		d.log.Printf("going back: %v", err)
	}
	d.end(Reboot)
	return true
}

// look finds what does not hold.
func (d *device) look(ctx context.Context) look {
	st := d.control().Status()
	var l look
	for _, c := range st.Containers {
		l.restarts += c.Restarts
		if c.State != wire.Healthy && c.State != wire.Done {
			l.missing = append(l.missing, sentence("container "+c.Name+" is "+string(c.State), c.Detail))
		}
	}
	optional := map[string]bool{}
	for _, i := range d.manifest.Interfaces {
		optional[i.Name] = i.Optional
	}
	for _, i := range st.Interfaces {
		if i.State != "up" && !optional[i.Name] {
			l.missing = append(l.missing, sentence("interface "+i.Name+" is "+i.State, i.Detail))
		}
	}
	if st.Host != "" && !st.Healthy && l.missing == nil {
		l.missing = append(l.missing, "the host is "+st.Host)
	}
	cfg := d.supervisor.Configuration()
	if d.configuration.Host != nil {
		cfg = d.configuration
	}
	for _, ck := range cfg.Checks {
		if err := d.check(ctx, ck, st); err != nil {
			l.missing = append(l.missing, err.Error())
		}
	}
	return l
}

func sentence(what, detail string) string {
	if detail == "" {
		return what
	}
	return what + ": " + detail
}

// check does one declared check.
func (d *device) check(ctx context.Context, ck system.Check, st wire.Status) error {
	if ck.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ck.Timeout))
		defer cancel()
	}
	switch {
	case len(ck.Exec) > 0:
		res, err := d.control().Exec(ctx, wire.ExecRequest{Container: ck.Container, Args: ck.Exec},
			wire.Terminal{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("exit code %d", res.Code)
		}
		if err != nil {
			return fmt.Errorf("%s in container %s: %w", ck.Exec[0], ck.Container, err)
		}
	case ck.Link != "":
		return fresh(d.links.List().Links, ck)
	case ck.Interface != "":
		for _, i := range st.Interfaces {
			if i.Name == ck.Interface && i.State == "up" {
				return nil
			}
		}
		return fmt.Errorf("interface %s is not up", ck.Interface)
	case ck.Task != "":
		if d.monitor == nil {
			return fmt.Errorf("task %s is not measured: %s", ck.Task, d.unmeasured)
		}
		return d.kept.inTime(ck.Task, d.monitor.Tasks())
	case ck.Reach != "":
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", ck.Reach)
		if err != nil {
			return fmt.Errorf("%s cannot be reached: %w", ck.Reach, err)
		}
		return conn.Close()
	}
	return nil
}

func fresh(links []wire.LinkStatus, ck system.Check) error {
	for _, l := range links {
		switch {
		case l.Name != ck.Link:
		case l.Written == 0:
			return fmt.Errorf("link %s was never written", ck.Link)
		case l.Age > time.Duration(ck.Fresh):
			return fmt.Errorf("link %s was last written %s ago", ck.Link, l.Age.Round(time.Millisecond))
		default:
			return nil
		}
	}
	return fmt.Errorf("there is no link %s", ck.Link)
}

// tell keeps what a status says of the gate.
func (m *machine) tell(g *trial.Gate) {
	s := &m.standing
	s.told.Lock()
	defer s.told.Unlock()
	s.seen = wire.TrialStatus{Missing: g.Missing(), Held: g.Held(m.age())}
}

// trialStatus is what a status says of how the boot stands; nil without a record.
func (m *machine) trialStatus() *wire.TrialStatus {
	s := &m.standing
	if s.book == nil {
		return nil
	}
	s.told.Lock()
	st := s.seen
	s.told.Unlock()
	s.mu.Lock()
	action, back := s.decided.Action, s.back
	st.Why = s.decided.Why
	s.mu.Unlock()
	r, c := s.book.Record(), m.manifest.Boot.Confirm.Resolved()
	st.Standing, st.After, st.Took = wire.Settling, time.Duration(c.After), s.took
	switch t := r.Trial; {
	case back:
		st.Standing = wire.Failing
	case action == trial.Try && t != nil:
		st.Standing, st.Tries, st.Left = wire.OnTrial, t.Tries, max(time.Duration(c.Within)-m.age(), 0)
		if t.Same {
			st.Configuration = t.Configuration
		}
	case action == trial.Rescue:
		st.Standing = wire.Rescued
	case r.Unsettled == 0:
		st.Standing = wire.Settled
	}
	if t := r.Trial; t != nil && t.Phase == record.Staged && !t.Same {
		st.Staged = t.System.String()
	}
	return &st
}
