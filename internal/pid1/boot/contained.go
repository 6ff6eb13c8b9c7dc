package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/network"
	"github.com/instar-os/instar/internal/reason"
)

// Options of a machine that runs as containers on another Linux.
type Options struct {
	Store         string
	System        digest.Digest
	Configuration string // "": the default
	State         string // directory, made when missing; it is left as it was
	Control       string // path of the control socket
	Data          string // directory that lasts; "": in memory
	HostNetwork   bool   // the host's interfaces instead of nothing but loopback
	Cgroup        string // directory of the cgroup, set by Contain

	// Watch are containers of which fanotify groups are told what is opened in
	// them. The groups are the descriptors from 3 on, in this order.
	Watch []string
}

// Contain runs a machine in namespaces of its own: it starts program, this
// very binary, with args as their PID 1, which has to call Contained with
// Options.Cgroup from the last argument that is added. SIGTERM and SIGINT stop
// the machine. It returns the exit code.
func Contain(program string, args []string, o Options) (code int, err error) {
	state, err := makeDir(o.State)
	if err != nil {
		return 1, fmt.Errorf("making the state directory: %w", err)
	}
	defer func() { err = errors.Join(err, state.remove()) }()
	cgroup := makeCgroup()
	defer func() { err = errors.Join(err, removeCgroup(cgroup)) }()

	flags := unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	if !o.HostNetwork {
		flags |= unix.CLONE_NEWNET
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	runtime.LockOSThread() // Pdeathsig is sent when this thread ends
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess(program, append(args, cgroup), &os.ProcAttr{
		Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, groups(o.Watch)...),
		Sys:   &syscall.SysProcAttr{Cloneflags: uintptr(flags), Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 1, fmt.Errorf("starting the machine: %w", err)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				p.Signal(s) // that it has ended, Wait tells
			case <-done:
				return
			}
		}
	}()
	st, err := p.Wait()
	if err != nil {
		return 1, fmt.Errorf("waiting for the machine: %w", err)
	}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return st.ExitCode(), nil
}

// dir is a directory that was perhaps made.
type dir struct {
	path string
	made bool
}

func makeDir(path string) (dir, error) {
	if err := os.Mkdir(path, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return dir{path, err == nil}, err
	}
	return dir{path, false}, nil
}

func (d dir) remove() error {
	if !d.made {
		return nil
	}
	return os.Remove(d.path)
}

// makeCgroup makes a cgroup of version 2 and returns its path, "" when this
// machine has none that could be used.
func makeCgroup() string {
	for _, root := range []string{cgroupRoot, cgroupRoot + "/unified"} {
		if !linux.Mounted(root, unix.CGROUP2_SUPER_MAGIC) {
			continue
		}
		removeStale(root)
		enableControllers(root)
		path := filepath.Join(root, "instar-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(path, 0o755) == nil {
			enableControllers(path)
			return path
		}
	}
	return ""
}

// removeStale removes the cgroups of those that were killed. Their names end in
// the PIDs they had.
func removeStale(root string) {
	found, err := filepath.Glob(root + "/instar-*")
	if err != nil {
		return
	}
	for _, path := range found {
		_, pid, _ := strings.Cut(filepath.Base(path), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			removeCgroup(path) // one that is in use after all stays
		}
	}
}

// removeCgroup removes the cgroup and those below it; their processes, which
// ended with the PID namespace, may take a moment to leave.
func removeCgroup(path string) error {
	if path == "" {
		return nil
	}
	var err error
	for range 100 {
		below, e := os.ReadDir(path)
		if e != nil {
			return e
		}
		for _, b := range below {
			if b.IsDir() {
				os.Remove(filepath.Join(path, b.Name()))
			}
		}
		if err = os.Remove(path); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// Contained runs the machine as PID 1 of the namespaces that Contain made,
// saying on the console what happens. nil is a clean stop.
func Contained(o Options, console io.Writer) error {
	signals := make(chan os.Signal, 4) // from the start: the kernel drops what PID 1 does not take
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	m := newMachine(console, time.Now())
	m.contained, m.system = true, o.System
	m.runtime.Watch = watch(o.Watch)
	err := m.run(m.contain(o))
	if err == nil {
		m.showTimeline()
		select {
		case <-m.ending:
		case <-signals:
		}
		m.log.Printf("stopping")
		m.noteEnd(reason.Stopped, "")
	} else {
		m.flight.Wrong(reason.ConfigFailed, m.step, err.Error())
		m.noteEnd(reason.CannotRun, err.Error())
	}
	m.takeDown(0)
	return errors.Join(err, m.log.Close())
}

// contain returns the steps of a contained machine.
func (m *machine) contain(o Options) []step {
	run := filepath.Join(o.State, "run")
	return []step{
		{"make the mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount /proc", linux.Mount{Source: "proc", Target: "/proc", Type: "proc", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC}.Do},
		{"make room in memory", func() error { return m.scratch(o, run) }},
		{"read the system", func() error { return m.readManifest(o.Store) }},
		{"read the configuration", func() error { return m.chooseContained(o.Configuration) }},
		{"set the host name", func() error { return unix.Sethostname([]byte(m.manifest.Hostname)) }},
		{"bring up loopback", network.Loopback},
		{"find room for data", func() error {
			if o.Data == "" {
				m.recordInMemory()
				return m.keepData(filepath.Join(run, "data"), false)
			}
			return m.keep(o.Data)
		}},
		{"build the networks", func() error { return m.wireContained(o, filepath.Join(run, "sys")) }},
		{"plan the containers", m.plan},
		{"open the control socket", func() error { return m.serve(o.Control) }},
		{"start the containers", m.start},
	}
}

// scratch mounts a tmpfs for what ends with the machine.
func (m *machine) scratch(o Options, run string) error {
	t := linux.Mount{Source: "instar", Target: run, Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0755"}
	if err := t.Do(); err != nil {
		return err
	}
	m.later("unmount its memory", func() error {
		return errors.Join(linux.Unmount(run, unix.MNT_DETACH), os.Remove(run))
	})
	m.runtime.State, m.runtime.Cgroup = filepath.Join(run, "containers"), o.Cgroup
	m.runtime.Resolv = filepath.Join(run, "resolv.conf")
	if err := os.MkdirAll(m.runtime.State, 0o700); err != nil {
		return err
	}
	var servers []byte
	if o.HostNetwork {
		var err error
		if servers, err = os.ReadFile("/etc/resolv.conf"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	go m.reaper.Run(context.Background())
	return os.WriteFile(m.runtime.Resolv, servers, 0o644)
}
