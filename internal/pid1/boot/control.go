package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// serve opens the control socket. Whoever can reach its path may use it: the
// directory protects it on another Linux, and on a device only containers that
// were given it see it.
func (m *machine) serve(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return err
	}
	m.runtime.Control = path
	m.serving(func(ctx context.Context) error { return wire.Listen(ctx, l, m.control()) }, "the control socket")
	return nil
}

// serving runs a server until the end.
func (m *machine) serving(serve func(context.Context) error, what string) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := serve(ctx); err != nil {
			m.log.Printf("%s: %v", what, err)
		}
	})
	m.later("close "+what, func() error {
		cancel()
		running.Wait()
		return nil
	})
}

// portName is the virtio serial port of the control protocol.
const portName = "org.instar.control"

// servePort serves the virtio serial port, when there is one.
func (m *machine) servePort(sysfs fs.FS, dev string) error {
	names, err := fs.Glob(sysfs, "class/virtio-ports/*/name")
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := fs.ReadFile(sysfs, name)
		if err != nil || strings.TrimSpace(string(b)) != portName {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dev, filepath.Base(filepath.Dir(name))), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		m.serving(func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, func() { f.Close() })
			defer stop()
			return wire.Serve(ctx, &port{ctx, f}, m.control())
		}, "the control port")
	}
	return nil
}

// portPause is how long a port waits for somebody at the other end.
const portPause = 100 * time.Millisecond

// A port is a virtio serial port: its end of file means that nobody has
// connected at the host's side, or not any more.
type port struct {
	ctx context.Context
	f   *os.File
}

func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := p.f.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		select {
		case <-time.After(portPause):
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
	}
}

func (p *port) Write(b []byte) (int, error) { return p.f.Write(b) }

// Status implements wire.Control.
func (m *machine) Status() wire.Status {
	s := wire.Status{
		Machine: m.manifest.Machine, System: m.system.String(), Configuration: m.supervisor.Configuration().Name, Switch: m.switcher.status(),
		Kernel: kernel(), Contained: m.contained, Started: m.began.UTC(), Uptime: time.Since(m.began),
		Interfaces: []wire.InterfaceStatus{}, Containers: []wire.ContainerStatus{},
		Warnings: append([]string(nil), m.warnings...), Trial: m.trialStatus(),
	}
	if !m.contained {
		s.Ready = m.ready
	}
	if m.network != nil {
		s.Interfaces = m.network.Status()
	}
	s.Networks = m.networkStatus(m.supervisor.Configuration())
	s.Containers, s.Healthy = m.supervisor.Status()
	m.countDropped(s.Containers)
	s.Devices = m.devices.Status()
	s.Healthy = s.Healthy && (m.network == nil || m.network.Healthy())
	s.Warnings = append(s.Warnings, m.supervisor.Warnings()...)
	return s
}

// Logs implements wire.Control.
func (m *machine) Logs(r wire.LogsRequest) (wire.LogsReply, error) {
	if r.Tail < 0 {
		return wire.LogsReply{}, fmt.Errorf("tail of %d lines", r.Tail)
	}
	return m.log.Page(r), nil
}

// Start implements wire.Control.
func (m *machine) Start(ctx context.Context, name string) error { return m.supervisor.Start(ctx, name) }

// Stop implements wire.Control.
func (m *machine) Stop(ctx context.Context, name string) error { return m.supervisor.Stop(ctx, name) }

// Restart implements wire.Control.
func (m *machine) Restart(ctx context.Context, name string) error {
	return m.supervisor.Restart(ctx, name)
}

// PowerOff implements wire.Control.
func (m *machine) PowerOff() error {
	m.end(PowerOff)
	return nil
}

// Reboot implements wire.Control.
func (m *machine) Reboot() error {
	m.end(Reboot)
	return nil
}
