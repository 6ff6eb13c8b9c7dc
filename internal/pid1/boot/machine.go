// Package boot takes a machine from the first instruction of PID 1 to running
// containers and to its end, on a device (Device) or as containers on another
// Linux (Contained).
package boot

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/pid1/devices"
	"github.com/instar-os/instar/internal/pid1/flight"
	"github.com/instar-os/instar/internal/pid1/links"
	"github.com/instar-os/instar/internal/pid1/logs"
	"github.com/instar-os/instar/internal/pid1/network"
	"github.com/instar-os/instar/internal/pid1/networks"
	"github.com/instar-os/instar/internal/pid1/sandbox"
	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/pid1/tasks"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/volume"
	"github.com/instar-os/instar/internal/wire"
)

// Ending is how a machine ends.
type Ending string

// The ways to end.
const (
	PowerOff Ending = "power off"
	Reboot   Ending = "reboot"
)

// machine is the state of a boot. Its fields are set by the steps, in order,
// before the control protocol is served, and read only from then on; what
// configuration runs, after switches, only the supervisor knows.
type machine struct {
	contained bool
	began     time.Time     // of the kernel, or of a contained machine
	ready     time.Duration // from then to main
	log       *logs.Book
	reaper    sandbox.Reaper
	remover   sandbox.Remover
	spares    keeper

	system        digest.Digest
	store         *store.Store
	manifest      *system.Manifest
	configuration *system.Configuration // that was booted
	whole         *system.Configuration // of a host, in one of its units; else nil
	runtime       container.Runtime
	quota         bool            // the data's file system has project quotas
	volumes       *volume.Control // nil: no data
	devices       *devices.Watcher
	tasks         *tasks.Keeper  // nil: no container has tasks
	monitor       *tasks.Monitor // nil: nothing is measured
	unmeasured    string         // why
	between       atomic.Bool    // two configurations: nothing is proven
	looked        sync.Mutex
	oldest        map[string]oldest // of chains, under looked
	calibrating   sync.Mutex        // held while the kernel is measured
	network       *network.Network
	networks      *networks.Networks // of the configuration
	links         links.Table
	supervisor    *supervise.Supervisor
	switcher      switcher
	updates       *updates // nil: none are taken
	standing      standing
	warnings      []string
	flight        *flight.Recorder
	loadKernel    func(configuration string) error // for a reboot without firmware; nil: that is not possible
	face          wire.Control                     // answers instead of the machine, when it is set
	lines         supervise.Log                    // takes what containers print instead of the log, when it is set

	pace     func() // called before each step; nil: nobody cares
	timeline []string
	step     string // that was begun last
	undo     []step // what the end takes down, the last first
	ending   chan Ending
}

// A step of boot or end. Its name completes "could not …".
type step struct {
	name string
	do   func() error
}

func newMachine(console io.Writer, began time.Time) *machine {
	now := time.Now()
	m := &machine{
		began: began, ready: now.Sub(began), ending: make(chan Ending, 1),
		log: logs.New(console, time.Now, began),
	}
	m.record()
	m.remover.Failed = func(container string, err error) {
		m.log.Printf("%s: removing its sandbox: %v", container, err)
	}
	return m
}

// containersOf returns the runtime of a configuration's containers.
func (m *machine) containersOf(configuration string) *sandbox.Runtime {
	return &sandbox.Runtime{Container: &m.runtime, Configuration: configuration, Reaper: &m.reaper, Devices: m.devices, Remover: &m.remover, Tasks: m.tasks}
}

// run does steps and notes how long each took. It stops at the first failure.
func (m *machine) run(steps []step) error {
	for _, s := range steps {
		m.stepping()
		began := time.Now()
		m.step = s.name
		err := s.do()
		m.noteStep(s.name, began, err)
		m.timeline = append(m.timeline, fmt.Sprintf("%s %s", s.name, time.Since(began).Round(10*time.Microsecond)))
		if err != nil {
			return fmt.Errorf("could not %s: %w", s.name, err)
		}
	}
	return nil
}

func (m *machine) stepping() {
	if m.pace != nil {
		m.pace()
	}
}

// later adds a step to the end, before all that were added.
func (m *machine) later(name string, do func() error) {
	m.undo = append(m.undo, step{name, do})
}

// takeDown does the steps of the end down to a length of the list, whatever
// fails.
func (m *machine) takeDown(to int) {
	for len(m.undo) > to {
		s := m.undo[len(m.undo)-1]
		m.undo = m.undo[:len(m.undo)-1]
		m.stepping()
		if err := s.do(); err != nil {
			m.log.Printf("could not %s: %v", s.name, err)
		}
	}
}

// end asks for the end; the first who asks says how.
func (m *machine) end(how Ending) {
	select {
	case m.ending <- how:
	default:
	}
}

// readManifest opens the store and reads the verified manifest.
func (m *machine) readManifest(dir string) error {
	st, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	m.store = st
	m.later("close the store", st.Close)
	m.runtime.Store = dir
	m.manifest, err = st.System(m.system)
	return err
}

// choose selects a configuration of the manifest; "" is the default.
func (m *machine) choose(name string) error {
	if name == "" {
		name = m.manifest.Default
	}
	c, ok := m.manifest.Configuration(name)
	if !ok {
		return fmt.Errorf("system %s has no configuration %q", m.system.Short(), name)
	}
	m.configuration = c
	return nil
}

// fallback returns the configuration that always works.
func (m *machine) fallback() *system.Configuration {
	for i := range m.manifest.Configurations {
		if c := &m.manifest.Configurations[i]; c.Fallback {
			return c
		}
	}
	return nil
}

// keep puts containers' data and the log below a directory that lasts.
func (m *machine) keep(dir string) error {
	if err := m.keepData(filepath.Join(dir, "containers"), m.quota); err != nil {
		return err
	}
	if err := m.log.Keep(filepath.Join(dir, "logs")); err != nil {
		return err
	}
	m.later("close the log", m.log.Release)
	m.keepRecord(dir)
	return nil
}

// plan makes the supervisor; the control protocol and the containers need it.
func (m *machine) plan() (err error) {
	m.limitLogs()
	if err := m.link(); err != nil {
		return err
	}
	if err := m.watchDevices(); err != nil {
		return err
	}
	m.runtime.Disks = m.disks()
	if err := m.keepTasks(); err != nil {
		return err
	}
	m.supervisor, err = supervise.New(m.configuration, m.containersOf(m.configuration.Name), m.scribe())
	if err == nil {
		m.supervisor.Watch(m.noteContainer)
	}
	return err
}

// start starts the containers.
func (m *machine) start() error {
	m.supervisor.Run()
	ctx, cancel := context.WithCancel(context.Background())
	go m.watchHealth(ctx)
	kept := m.keepSpares(ctx)
	m.later("stop the containers", func() error {
		cancel()
		m.supervisor.Shutdown()
		<-kept
		m.remover.Drain()
		return m.runtime.Close()
	})
	return nil
}

// watchHealth says once when all containers are healthy, until ctx ends.
func (m *machine) watchHealth(ctx context.Context) {
	if m.supervisor.Healthy(ctx) == nil {
		m.flight.Healthy()
		m.log.Printf("all containers of %s are healthy after %s", m.supervisor.Configuration().Name, time.Since(m.began).Round(time.Millisecond))
	}
}

func (m *machine) showTimeline() {
	m.log.Printf("boot: %s", strings.Join(m.timeline, ", "))
}

// kernel returns the kernel's release.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// sinceBoot returns the time since the kernel started.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
