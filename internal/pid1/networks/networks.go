// Package networks makes the networks of a configuration, as its program says:
// namespaces for the containers that are on them, interfaces, addresses, and
// the rules of what may pass. They are there before the first container starts,
// last over restarts, and change only by what differs when the configuration
// does.
package networks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/network"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wiring"
)

// Networks are the networks that are there. Its methods can be used from many
// goroutines.
type Networks struct {
	Sysfs fs.FS // of the machine's network namespace
	// Devices are the machine's interfaces as declared, which a network may be
	// over.
	Devices []system.Interface
	// StandIn makes a device that leads nowhere in place of one that this
	// machine, which runs as containers on another, does not have.
	StandIn bool
	Log     func(format string, args ...any)

	mu      sync.Mutex
	machine *linux.Netlink
	program *wiring.Program
	spaces  map[string]*linux.NetNS
	made    map[string]*made
	ruled   bool
}

// made is a network as far as it is there.
type made struct {
	wiring.Network                 // Steps: those that are done
	missing        *wiring.Network // what is to be made, when the last try failed
	err            error
}

// Apply makes the networks be those of a program; nil is none. What is the
// same stays. Networks whose device is not there are made when a container that
// is on them starts; any other failure is an error, after which Apply of what
// was before takes everything back.
func (n *Networks) Apply(p *wiring.Program) error { return n.change(p, true) }

// Extend is Apply that leaves standing what the program does not have, for
// containers that still run: Apply follows when they have ended. Only the rules
// are the program's at once.
func (n *Networks) Extend(p *wiring.Program) error { return n.change(p, false) }

func (n *Networks) change(p *wiring.Program, whole bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p == nil {
		p = &wiring.Program{}
	}
	if n.machine == nil {
		if len(p.Networks) == 0 {
			return nil
		}
		var err error
		if n.machine, err = linux.OpenNetlink(); err != nil {
			return err
		}
		n.spaces, n.made = map[string]*linux.NetNS{}, map[string]*made{}
		n.clear(p)
	}
	n.leave(p, whole)
	for _, s := range p.Settings {
		if err := set(s); err != nil {
			return err
		}
	}
	if err := n.rule(p.Rules); err != nil {
		return err
	}
	for _, s := range p.Spaces {
		if err := n.space(s); err != nil {
			return fmt.Errorf("making the network namespace of %s: %w", s.Container, err)
		}
	}
	n.program = p
	for i := range p.Networks {
		w := &p.Networks[i]
		if err := n.make(w); errors.Is(err, errNoDevice) {
			n.Log("network %s: %v; it is made when that is there", w.Name, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// clear takes down what somebody before made of a program and could not take
// down, because it was killed: the machine's ends of its networks, which have the
// same names and numbers. What is in namespaces goes with those.
func (n *Networks) clear(p *wiring.Program) {
	for i := range p.Networks {
		m := &made{Network: p.Networks[i]}
		for _, s := range m.Undo {
			if s.Space == "" {
				n.undo(m, s)
			}
		}
	}
}

// leave takes down what a program does not have, or only what stands in its
// way.
func (n *Networks) leave(p *wiring.Program, whole bool) {
	for _, name := range sorted(n.made) {
		m := n.made[name]
		i := slices.IndexFunc(p.Networks, func(w wiring.Network) bool { return w.Name == name })
		var next wiring.Network
		extends := i >= 0 && m.extends(&p.Networks[i])
		if !whole && (i < 0 || extends) {
			continue
		}
		if extends {
			next = p.Networks[i]
		}
		for _, s := range m.Undo {
			if !has(next.Undo, s) {
				n.undo(m, s)
			}
		}
		if next.Name == "" {
			delete(n.made, name)
			continue
		}
		m.Steps = slices.DeleteFunc(m.Steps, func(s wiring.Step) bool { return !has(next.Steps, s) })
		m.Undo = slices.DeleteFunc(m.Undo, func(s wiring.Step) bool { return !has(next.Undo, s) })
	}
	for _, name := range sorted(n.spaces) {
		if whole && !slices.ContainsFunc(p.Spaces, func(s wiring.Space) bool { return s.Container == name }) {
			if err := n.spaces[name].Close(); err != nil {
				n.Log("closing the network namespace of %s: %v", name, err)
			}
			delete(n.spaces, name)
		}
	}
}

// extends reports whether the network can become another one step by step.
func (m *made) extends(w *wiring.Network) bool {
	return m.Device == w.Device && len(m.Steps) > 0 && len(w.Steps) > 0 && equal(m.Steps[0], w.Steps[0])
}

func equal(a, b wiring.Step) bool { return reflect.DeepEqual(a, b) }

func has(list []wiring.Step, s wiring.Step) bool {
	return slices.ContainsFunc(list, func(o wiring.Step) bool { return equal(o, s) })
}

// undo does a step that takes something down; that it is gone already is fine.
func (n *Networks) undo(m *made, s wiring.Step) {
	if err := n.do(&m.Network, s, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		n.Log("network %s: %s: %v", m.Name, s.Label, err)
	}
}

// rule makes the rules be those of a program.
func (n *Networks) rule(batch []byte) error {
	if len(batch) == 0 {
		if !n.ruled {
			return nil
		}
		batch = wiring.NoRules()
	}
	if err := linux.ApplyRules(batch); err != nil {
		return fmt.Errorf("setting the rules between networks: %w", err)
	}
	n.ruled = true
	return nil
}

func (n *Networks) space(s wiring.Space) error {
	if n.spaces[s.Container] != nil {
		return nil
	}
	ns, err := linux.NewNetNS(func() error {
		for _, v := range s.Settings {
			if err := set(v); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		n.spaces[s.Container] = ns
	}
	return err
}

// set sets a value. A kernel without IPv6 needs none of its settings.
func set(s wiring.Setting) error {
	err := linux.WriteSysctl(s.Path, s.Value)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(s.Path, "net/ipv6/") {
		return nil
	}
	return err
}

var errNoDevice = errors.New("its device is not there")

// make does the steps of a network that are not done.
func (n *Networks) make(w *wiring.Network) (err error) {
	m := n.made[w.Name]
	if m == nil {
		m = &made{Network: wiring.Network{Name: w.Name, Device: w.Device}}
		n.made[w.Name] = m
	}
	for _, s := range w.Undo {
		if !has(m.Undo, s) {
			m.Undo = slices.Insert(m.Undo, 0, s) // before that of the bridge
		}
	}
	m.missing, m.err = w, nil
	defer func() {
		if err != nil {
			err = fmt.Errorf("making network %s: %w", w.Name, err)
			m.err = err
			return
		}
		m.missing = nil
	}()
	index := 0
	for _, s := range w.Steps {
		if has(m.Steps, s) {
			continue
		}
		if index == 0 && slices.ContainsFunc(s.Holes, func(h wiring.Hole) bool { return h.Kind == wiring.Index }) {
			if index, err = n.device(w.Device); err != nil {
				return err
			}
		}
		if err := n.do(w, s, index); err != nil {
			return fmt.Errorf("%s: %w", s.Label, err)
		}
		m.Steps = append(m.Steps, s)
		if w.Device.Interface == "" {
			index = 0 // a device that is moved is moved once
		}
	}
	return nil
}

// do fills the holes of a step and sends it.
func (n *Networks) do(w *wiring.Network, s wiring.Step, index int) error {
	message := slices.Clone(s.Message)
	for _, h := range s.Holes {
		value := index
		if h.Kind == wiring.Namespace {
			if n.spaces[h.Space] == nil {
				return fmt.Errorf("%s has no network namespace", h.Space)
			}
			value = n.spaces[h.Space].Fd()
		}
		binary.NativeEndian.PutUint32(message[h.At:], uint32(value))
	}
	if s.Space == "" {
		return n.machine.Send(message)
	}
	if n.spaces[s.Space] == nil {
		return unix.ENODEV // and its interfaces with it
	}
	return n.spaces[s.Space].Send(message)
}

// device finds the machine's device that a network needs.
func (n *Networks) device(d wiring.Device) (int, error) {
	all, err := linux.NetDevices(n.Sysfs)
	if err != nil {
		return 0, err
	}
	want := system.Match{Driver: d.Driver, MAC: d.MAC, Path: d.Path, Name: d.Name}
	what := "device"
	if d.Interface != "" {
		want, what = system.Match{Name: d.Interface}, "interface "+d.Interface
	}
	for _, dev := range all {
		if dev.Name == d.Interface || d.Interface == "" && network.Matches(want, dev) && !n.claimed(dev) {
			return dev.Index, nil
		}
	}
	if n.StandIn {
		return n.standIn(d.Interface)
	}
	return 0, fmt.Errorf("%s: %w", what, errNoDevice)
}

// claimed reports whether a device is one of the machine's declared interfaces.
func (n *Networks) claimed(dev linux.NetDevice) bool {
	return slices.ContainsFunc(n.Devices, func(i system.Interface) bool { return i.Name == dev.Name })
}

// standIn makes a cable to nowhere and returns the index of its end.
func (n *Networks) standIn(name string) (int, error) {
	index, steps := wiring.StandIn(name)
	n.Log("a cable that leads nowhere stands in for the device %s that this machine does not have", name)
	for _, s := range steps {
		if err := n.machine.Send(s.Message); err != nil {
			return 0, fmt.Errorf("%s: %w", s.Label, err)
		}
	}
	return index, nil
}

// Namespace returns a copy of the descriptor of a container's namespace, for
// the caller to close; -1 for a container that is on no network. It makes first
// what could not be made before.
func (n *Networks) Namespace(container string) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ns := n.spaces[container]
	if ns == nil {
		return -1, nil
	}
	for _, name := range sorted(n.made) {
		m := n.made[name]
		if m.missing != nil && slices.ContainsFunc(m.missing.Steps, func(s wiring.Step) bool { return s.Space == container }) {
			if err := n.make(m.missing); err != nil {
				return -1, err
			}
		}
	}
	fd, err := unix.FcntlInt(uintptr(ns.Fd()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, fmt.Errorf("passing on the network namespace of %s: %w", container, err)
	}
	return fd, nil
}

// State says how a network is: "up", or "down" and why.
func (n *Networks) State(name string) (state, detail string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.made[name]
	switch {
	case m == nil:
		return "down", ""
	case m.err != nil:
		return "down", m.err.Error()
	}
	return "up", ""
}

// Close takes everything down.
func (n *Networks) Close() error {
	err := n.Apply(nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine != nil {
		err = errors.Join(err, n.machine.Close())
		n.machine = nil
	}
	return err
}

func sorted[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
