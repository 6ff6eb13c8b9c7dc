package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/host"
	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Hosted is the service of a machine whose init is not instar's: its network,
// its log and its control protocol. It tells systemd on the socket notify when
// it is ready, and ends with SIGTERM.
func Hosted(console io.Writer, notify string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	d := &device{machine: newMachine(host.OwnLines(console), time.Now().Add(-sinceBoot()))}
	err := d.run(d.hosted())
	if err == nil {
		if err = host.Notify(notify, "READY=1"); err == nil {
			select {
			case <-signals:
			case <-d.ending: // a switch to another configuration
				err = d.face.Reboot()
				<-signals
			}
			d.log.Printf("stopping")
			d.noteEnd(reason.Stopped, "")
			d.ended()
			err = errors.Join(err, host.Notify(notify, "STOPPING=1"))
		}
	}
	d.takeDown(0)
	return errors.Join(err, d.log.Close())
}

// hosted returns the steps of the service.
func (d *device) hosted() []step {
	return []step{
		{"read what the first stage found", d.settle},
		{"find the disk", d.takeUpdates},
		{"find devices", func() (err error) {
			if _, err := os.Stat(linux.EFIVariables); err == nil {
				d.switcher.loader = newLoader(linux.EFIVariables, d.system)
			}
			d.sysfs, err = os.OpenRoot("/sys")
			return err
		}},
		{"recall the trial", d.resume},
		{"open the log", func() error {
			if d.runtime.Data.Dir == scratchDir {
				d.recordInMemory()
				return nil
			}
			d.later("close the log", d.log.Release)
			d.keepRecord(dataDir)
			return d.log.Keep(filepath.Join(dataDir, "logs"))
		}},
		{"take lines of the containers", func() error {
			return d.serveLines(linesPath)
		}},
		{"bring up the network", d.startNetwork},
		{"build the networks", func() error { return d.wire(d.sysfs.FS()) }},
		{"make the links", d.link},
		{"follow the devices", d.watchDevices},
		{"give containers their ends", d.serveEnds},
		{"find the units", func() (err error) {
			none := *d.configuration // its containers are not ours
			none.Containers = nil
			d.supervisor, err = supervise.New(&none, nil, d.log)
			d.face = &host.Control{Control: d.machine, Configuration: d.configuration, Units: unitsDir, Run: host.Systemctl}
			return err
		}},
		{"open the control socket", func() error { return d.serve(socketPath) }},
		{"open the control port", func() error { return d.servePort(d.sysfs.FS(), "/dev") }},
		{"watch over the boot", d.judge},
	}
}

// takeUpdates lets the service take updates, on the disk that the first stage has
// found.
func (d *device) takeUpdates() error {
	r, err := host.ReadRecord(runDir)
	if err != nil || r.Disk == "" {
		return err
	}
	d.disk = r.Disk
	d.updates = newUpdates(d)
	d.updates.hosted = true
	return nil
}

// serveEnds gives the units what the service holds for their containers.
func (m *machine) serveEnds() error {
	m.serving(func(ctx context.Context) error {
		return host.ServeEnds(ctx, endsPath, m.ends, func(err error) { m.log.Printf("%v", err) })
	}, "the socket of links and networks")
	return nil
}

// ends returns what the service holds for a container.
func (m *machine) ends(container string) (host.Ends, error) {
	e := host.Ends{Namespace: -1}
	for i := range m.configuration.Containers {
		c := &m.configuration.Containers[i]
		if c.Name != container {
			continue
		}
		var err error
		if e.Links, err = m.links.Files(c); err == nil && c.Network == system.MemberNetwork {
			e.Namespace, err = m.networks.Namespace(container)
		}
		return e, err
	}
	return e, fmt.Errorf("configuration %s has no container %q", m.configuration.Name, container)
}

// ask makes the unit's container get what the service holds for it. Its files
// are the unit's own, until it ends.
func (m *machine) ask(c *system.Container) error {
	if !host.Holds(c) {
		return nil
	}
	e, err := host.AskEnds(endsPath, c.Name)
	if err != nil {
		return fmt.Errorf("asking %s for links and networks: %w", "instar.service", err)
	}
	m.later("give back its links and networks", func() error {
		var errs []error
		for _, f := range e.Links {
			errs = append(errs, f.Close())
		}
		if e.Namespace >= 0 {
			errs = append(errs, unix.Close(e.Namespace))
		}
		return errors.Join(errs...)
	})
	m.runtime.Descriptors = func(*system.Container) ([]*os.File, error) { return e.Links, nil }
	m.runtime.Namespace = func(string) (int, error) { return unix.FcntlInt(uintptr(e.Namespace), unix.F_DUPFD_CLOEXEC, 3) }
	return nil
}

// serveLines takes what the containers' units print into the log.
func (m *machine) serveLines(path string) error {
	l, err := host.ListenLines(path, m.log)
	if err != nil {
		return err
	}
	m.serving(l.Serve, "the log's socket")
	return nil
}

// Unit runs one container of the host's configuration until it ends or SIGTERM
// comes, tells systemd on the socket notify when it is healthy, and returns its
// exit status. What the container prints goes to out and errs, and to the
// machine's log.
func Unit(name, notify string, out, errs io.Writer) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	lines := &host.Lines{Path: linesPath, Out: out, Err: errs}
	m := newMachine(io.Discard, time.Now())
	err := m.run(m.unit(name, lines))
	code := 1
	if err == nil {
		code = m.attend(name, notify, signals, lines)
	}
	m.takeDown(0)
	return code, errors.Join(err, m.log.Close())
}

// unit returns the steps of a unit.
func (m *machine) unit(name string, lines *host.Lines) []step {
	socket := filepath.Join(unitsDir, name+".sock")
	return []step{
		{"read what the first stage found", m.settle},
		{"find the container", func() error { return m.only(name) }},
		{"find its cgroup", func() (err error) {
			m.runtime.Cgroup, err = delegated()
			return err
		}},
		{"plan the container", func() error {
			m.lines = lines
			if err := m.plan(); err != nil {
				return err
			}
			return m.ask(&m.configuration.Containers[0])
		}},
		{"open its control socket", func() error {
			if err := os.MkdirAll(unitsDir, 0o700); err != nil {
				return err
			}
			err := m.serve(socket)
			m.runtime.Control = socketPath // what the container may get is the machine's
			return err
		}},
		{"start the container", m.start},
	}
}

// only leaves nothing of the configuration but a container, and what is up to
// systemd: order and restarts.
func (m *machine) only(name string) error {
	all := *m.configuration
	all.Containers, all.Links, all.Networks = nil, nil, nil // instar.service holds them
	for _, c := range m.configuration.Containers {
		if c.Name == name {
			c.After, c.Needs, c.Restart.Policy = nil, nil, system.RestartNever
			all.Containers = []system.Container{c}
		}
	}
	if all.Containers == nil {
		return fmt.Errorf("configuration %s has no container %q", all.Name, name)
	}
	m.whole, m.configuration = m.configuration, &all
	return nil
}

// delegated returns the cgroup that systemd has left to this unit, whose own
// processes are one level below it (DelegateSubgroup=).
func delegated() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/"); ok && strings.Contains(path, "/") {
			dir := filepath.Join(cgroupRoot, filepath.Dir(path))
			enableControllers(dir)
			return dir, nil
		}
	}
	return "", errors.New("not in a unit with a delegated cgroup")
}

// attend waits until the container has ended, or stops it when systemd asks,
// and returns the exit status.
func (m *machine) attend(name, notify string, signals <-chan os.Signal, lines *host.Lines) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		if m.supervisor.Healthy(ctx) != nil {
			return
		}
		if err := host.Notify(notify, "READY=1\nSTATUS=healthy"); err != nil {
			lines.Printf("%s: %v", name, err)
		}
	}()
	ended := make(chan struct{})
	go func() {
		if m.supervisor.AtRest(ctx) == nil {
			close(ended)
		}
	}()
	select {
	case <-ended:
		return exitStatus(m.supervisor.Status())
	case <-signals:
		if err := host.Notify(notify, "STOPPING=1"); err != nil {
			lines.Printf("%s: %v", name, err)
		}
		m.supervisor.Shutdown()
		return 0
	}
}

// exitStatus is what a container at rest leaves its unit to say.
func exitStatus(list []wire.ContainerStatus, _ bool) int {
	for _, c := range list {
		switch {
		case c.State == wire.Done:
			return 0
		case c.ExitCode != nil:
			return *c.ExitCode
		}
	}
	return 1
}

// control returns who answers the control protocol.
func (m *machine) control() wire.Control {
	if m.face != nil {
		return m.face
	}
	return m
}

// Generate writes the units of the machine's containers to a directory, as a
// generator of systemd. On a machine without a host there are none.
func Generate(dir string) error {
	if _, err := os.Stat(filepath.Join(runDir, host.RecordName)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	m := newMachine(os.Stderr, time.Now())
	err := m.run([]step{
		{"read what the first stage found", func() error {
			_, err := m.recall()
			return err
		}},
		{"write the units", func() error { return host.WriteUnits(dir, host.Generate(m.configuration, runDir)) }},
	})
	m.takeDown(0)
	return errors.Join(err, m.log.Close())
}

// scribe returns who takes what containers print.
func (m *machine) scribe() supervise.Log {
	if m.lines != nil {
		return m.lines
	}
	return m.log
}
