package boot

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// switcher is what a machine needs to go to another configuration.
type switcher struct {
	loader *loader // nil: nothing can be booted
	argued bool    // the command line chose the configuration over the loader

	busy sync.Mutex // held during a switch

	mu   sync.Mutex
	last *wire.SwitchStatus
}

// Configurations implements wire.Control.
func (m *machine) Configurations() (wire.Configurations, error) {
	out := wire.Configurations{
		Current: m.supervisor.Configuration().Name, Default: m.manifest.Default, List: []wire.ConfigurationInfo{},
	}
	for _, c := range m.manifest.Configurations {
		info := wire.ConfigurationInfo{Name: c.Name, Fallback: c.Fallback, Containers: []string{}}
		for _, ct := range c.Containers {
			info.Containers = append(info.Containers, ct.Name)
		}
		out.List = append(out.List, info)
	}
	if m.noReboot() != "" {
		return out, nil
	}
	var err error
	out.Next, out.Once, err = m.switcher.loader.next()
	if out.Next == "" {
		out.Next = m.manifest.Default
	}
	return out, err
}

// PlanSwitch implements wire.Control.
func (m *machine) PlanSwitch(r wire.SwitchRequest) (wire.SwitchPlan, error) {
	to, ok := m.manifest.Configuration(r.Configuration)
	if !ok {
		return wire.SwitchPlan{}, fmt.Errorf("system %s has no configuration %q; it has %s", m.system.Short(), r.Configuration, names(m.manifest))
	}
	if !slices.Contains([]wire.SwitchMode{wire.SwitchLive, wire.SwitchReboot, wire.SwitchOnce}, r.Mode) || r.Within < 0 {
		return wire.SwitchPlan{}, fmt.Errorf("a switch %q within %s", r.Mode, r.Within)
	}
	from := m.supervisor.Configuration()
	p := wire.SwitchPlan{
		From: from.Name, To: to.Name, Mode: r.Mode,
		Changes: m.supervisor.Changes(to), Reboot: m.obstacles(from, to), NoReboot: m.noReboot(),
	}
	if r.Kexec {
		p.NoKexec = m.noKexec()
		p.Kexec = p.NoKexec == ""
	}
	return p, nil
}

// obstacles says why a live switch would not give what a boot gives.
func (m *machine) obstacles(from, to *system.Configuration) []string {
	if from.Name == to.Name {
		return nil
	}
	var why []string
	if !slices.Equal(from.Command, to.Command) {
		why = append(why, fmt.Sprintf("the kernel was started with %q, %s wants %q", strings.Join(from.Command, " "), to.Name, strings.Join(to.Command, " ")))
	}
	if !m.contained && !m.manifest.Boot.DataFS.Digest.IsZero() {
		switch {
		case from.Fallback:
			why = append(why, fmt.Sprintf("%s is the fallback: the data partition is not mounted", from.Name))
		case to.Fallback:
			why = append(why, fmt.Sprintf("%s is the fallback: it runs without the data partition, which is mounted", to.Name))
		}
	}
	if !placedAlike(from.RealTime, to.RealTime) {
		why = append(why, fmt.Sprintf("%s and %s have other partitions of processors, or interrupts", from.Name, to.Name))
	}
	// Containers are most of the text, and stand for themselves.
	x, y := *from, *to
	x.Containers, y.Containers = nil, nil
	if sameBoot(x, y) {
		return why
	}
	for _, field := range supervise.Differing(x, y, "name", "fallback", "command", "containers", "links", "networks", "checks", "realtime") {
		why = append(why, fmt.Sprintf("the %s of %s and %s differ", field, from.Name, to.Name))
	}
	return why
}

// sameBoot is the quick answer for configurations of which all that a boot gives
// is the same; others are compared by name.
func sameBoot(x, y system.Configuration) bool {
	for _, c := range []*system.Configuration{&x, &y} {
		c.Name, c.Fallback, c.Command, c.Links, c.Networks, c.Checks, c.RealTime = "", false, nil, nil, nil, nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// noReboot says why the machine cannot boot another configuration by itself.
func (m *machine) noReboot() string {
	s := &m.switcher
	switch {
	case m.contained:
		return "it runs as containers on another Linux, which has no boot of its own"
	case s.loader == nil:
		return "its firmware keeps no variables"
	case s.argued:
		return "its kernel command line was given a configuration from outside, which stands above the boot loader's"
	}
	if err := s.loader.present(); err != nil {
		return err.Error()
	}
	return ""
}

// Switch implements wire.Control.
func (m *machine) Switch(ctx context.Context, r wire.SwitchRequest) (wire.SwitchPlan, error) {
	if !m.switcher.busy.TryLock() {
		return wire.SwitchPlan{}, errors.New("the machine is switching to another configuration")
	}
	defer m.switcher.busy.Unlock()
	p, err := m.PlanSwitch(r)
	switch {
	case err != nil:
		return p, err
	case r.Mode != wire.SwitchLive:
		err := m.switchByReboot(&p)
		return p, err
	case len(p.Reboot) > 0:
		return p, fmt.Errorf("switching live from %s to %s would not be what a boot gives: %s", p.From, p.To, strings.Join(p.Reboot, "; "))
	}
	if r.Within == 0 {
		r.Within = wire.DefaultWithin
	}
	// It goes on when whoever asked for it goes away.
	return p, m.switchLive(context.WithoutCancel(ctx), p, r.Within)
}

// switchByReboot executes a plan; without firmware when it says so and the
// kernel takes the next one, which it tells in the plan.
func (m *machine) switchByReboot(p *wire.SwitchPlan) error {
	if p.NoReboot != "" {
		return fmt.Errorf("this machine cannot boot %s: %s", p.To, p.NoReboot)
	}
	if sys := m.awaited(); sys != "" {
		return fmt.Errorf("the next boot is the trial of system %s", sys)
	}
	how, by := Reboot, "the firmware"
	if p.Kexec {
		if err := m.loadKernel(p.To); err != nil {
			p.Kexec, p.NoKexec = false, err.Error()
			m.log.Printf("not without firmware: %v", err)
		} else {
			how, by = Kexec, "kexec"
		}
	}
	// Once without firmware leaves no trace: what boots later stays as it was.
	var err error
	switch {
	case p.Mode == wire.SwitchReboot: // from then on if it proves itself
		err = m.tryConfiguration(p.To)
	case how == Reboot:
		err = m.switcher.loader.set(p.To, true)
	}
	if err != nil {
		return err
	}
	m.log.Printf("the next boot runs %s (%s, by %s)", p.To, p.Mode, by)
	m.end(how)
	return nil
}

// switchLive executes a plan and keeps how it ended.
func (m *machine) switchLive(ctx context.Context, p wire.SwitchPlan, within time.Duration) error {
	to, _ := m.manifest.Configuration(p.To)
	st := wire.SwitchStatus{From: p.From, To: p.To, Outcome: wire.OutcomeUnderWay, Began: time.Now().UTC()}
	began := time.Now()
	before := m.switcher.note(&st)
	m.flight.Hurry()
	m.log.Printf("switching from %s to %s: %s", p.From, p.To, describe(p.Changes))
	rt := m.containersOf(to.Name)
	defer m.spares.wake()
	defer m.unproven()()
	m.devices.Use(to)
	from := m.supervisor.Configuration()
	err := m.rewired(to, func() error {
		return m.relink(from, to, func() error {
			return m.supervisor.Switch(ctx, supervise.Target{Configuration: to, Runtime: rt, Within: within})
		})
	})
	if err != nil {
		m.devices.Use(m.supervisor.Configuration())
	}
	ended := st
	ended.Took = time.Since(began)
	var back *supervise.ErrReturned
	switch {
	case err == nil:
		ended.Outcome = wire.OutcomeDone
		m.log.Printf("switched from %s to %s in %s", p.From, p.To, ended.Took.Round(time.Microsecond))
	case errors.As(err, &back):
		ended.Outcome, ended.Why = wire.OutcomeReturned, err.Error()
		if back.Back != nil {
			ended.Outcome = wire.OutcomeFailed
		}
		m.log.Printf("not switched from %s to %s: %v", p.From, p.To, err)
	default: // refused, nothing was touched
		m.switcher.note(before)
		return err
	}
	m.switcher.note(&ended)
	return err
}

// note keeps the state of a switch and returns what was kept before.
func (s *switcher) note(st *wire.SwitchStatus) *wire.SwitchStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.last
	s.last = st
	return before
}

func (s *switcher) status() *wire.SwitchStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// describe says in one line what becomes of the containers.
func describe(changes []wire.Change) string {
	var parts []string
	for _, act := range []wire.Act{wire.ActKept, wire.ActStopped, wire.ActRestarted, wire.ActStarted} {
		var which []string
		for _, c := range changes {
			if c.Act == act {
				which = append(which, c.Container)
			}
		}
		if len(which) > 0 {
			parts = append(parts, string(act)+" "+strings.Join(which, ", "))
		}
	}
	return strings.Join(parts, "; ")
}
