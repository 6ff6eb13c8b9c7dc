package boot

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/networks"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
	"github.com/instar-os/instar/internal/wiring"
)

// wire makes the networks of the configuration that is booted, and lets
// containers join them. They are taken down after the containers.
func (m *machine) wire(sysfs fs.FS) error {
	m.networks = &networks.Networks{Sysfs: sysfs, Devices: m.manifest.Interfaces, StandIn: m.contained, Log: m.log.Printf}
	m.runtime.Namespace = m.networks.Namespace
	m.later("take the networks down", m.networks.Close)
	return m.rewire(m.configuration, m.networks.Apply)
}

// wireContained is wire in a network namespace that is not the host's.
func (m *machine) wireContained(o Options, dir string) error {
	if o.HostNetwork {
		return m.rewire(m.configuration, nil)
	}
	// A sysfs shows the network namespace of who mounted it.
	t := linux.Mount{Source: "sys", Target: dir, Type: "sysfs", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY}
	if err := t.Do(); err != nil {
		return err
	}
	m.later("unmount its sysfs", func() error { return linux.Unmount(dir, unix.MNT_DETACH) })
	return m.wire(os.DirFS(dir))
}

// rewire hands the program of a configuration's networks on.
func (m *machine) rewire(c *system.Configuration, apply func(*wiring.Program) error) error {
	switch {
	case m.networks == nil && c.Networks == nil:
		return nil
	case m.networks == nil:
		return fmt.Errorf("configuration %s has networks, which would change this host's; run it without the host's network", c.Name)
	case c.Networks == nil:
		return apply(nil)
	}
	want := c.Networks.Program.Digest
	b, err := os.ReadFile(filepath.Join(m.runtime.Store, "objects", want.Path()))
	if err != nil {
		return fmt.Errorf("reading the network program: %w", err)
	}
	if got := digest.Of(b); got != want {
		return fmt.Errorf("the network program has digest %v, not %v", got, want)
	}
	p, err := wiring.Decode(b)
	if err != nil {
		return err
	}
	return apply(p)
}

// rewired goes over to the networks of a configuration around a switch: what
// comes is there before it, what goes stays until it is done, and what
// containers that are kept have is not touched. It goes back when do fails.
func (m *machine) rewired(to *system.Configuration, do func() error) error {
	if m.networks == nil {
		if err := m.rewire(to, nil); err != nil {
			return err
		}
		return do()
	}
	from := m.supervisor.Configuration()
	err := m.rewire(to, m.networks.Extend)
	if err == nil {
		if err = do(); err == nil {
			return m.rewire(to, m.networks.Apply)
		}
	}
	if back := m.rewire(from, m.networks.Apply); back != nil {
		m.log.Printf("going back to the networks of %s: %v", from.Name, back)
	}
	return err
}

// networkStatus tells about the networks of a configuration.
func (m *machine) networkStatus(c *system.Configuration) []wire.NetworkStatus {
	if c.Networks == nil || m.networks == nil {
		return nil
	}
	var out []wire.NetworkStatus
	for _, n := range c.Networks.List {
		s := wire.NetworkStatus{Name: n.Name, Type: string(n.Type), Gateway: n.Gateway, Members: []wire.NetworkMember{}}
		s.State, s.Detail = m.networks.State(n.Name)
		for _, b := range n.Members {
			s.Members = append(s.Members, wire.NetworkMember(b))
		}
		for _, p := range n.Published {
			s.Published = append(s.Published, wire.NetworkPort{MachinePort: p.MachinePort, Protocol: p.Protocol, On: p.On, Container: p.Container, Port: p.Port})
		}
		out = append(out, s)
	}
	return out
}
