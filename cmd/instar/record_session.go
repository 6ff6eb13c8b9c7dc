package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/observe"
	"github.com/instar-os/instar/internal/recording"
	"github.com/instar-os/instar/internal/store"
)

// A recordSession runs one machine twice.
type recordSession struct {
	*app
	flags   recordFlags
	def     *config.Definition
	lock    *lock.Lock
	store   *store.Store
	names   []string
	command []string
}

// record runs the whole machine and writes what was opened.
func (s *recordSession) record(ctx context.Context, out []recorded) error {
	res, err := s.build(ctx, true)
	if err != nil {
		return err
	}
	var observers []*observe.Observer
	f := s.runFlags()
	f.watch = s.names
	for range s.names {
		o, err := observe.Start()
		if err != nil {
			return err
		}
		observers = append(observers, o)
		f.groups = append(f.groups, o.Group())
	}
	runErr := s.run(ctx, res, f)
	for i, o := range observers {
		seen, err := o.Finish()
		if runErr != nil || err != nil {
			runErr = errors.Join(runErr, err)
			continue
		}
		runErr = s.write(i, res, seen, out)
	}
	return runErr
}

// write writes the recording of a container.
func (s *recordSession) write(i int, res *assemble.Result, seen map[string]observe.Seen, out []recorded) error {
	name := s.names[i]
	r, err := s.builder(s.store).Record(s.def, runtime.GOARCH, name, res, seen)
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir(), filepath.FromSlash(s.def.Containers[name].Recorded.For(runtime.GOARCH)))
	if s.flags.add {
		if err := addEarlier(r, file); err != nil {
			return err
		}
	}
	if len(r.Entries) == 0 {
		return fmt.Errorf("nothing of container %s was opened", name)
	}
	text := r.Text()
	out[i].Files = strings.Count(string(text), "\n") - 4 // of its head
	out[i].Before, err = containerBytes(s.store, res, name)
	if err != nil {
		return err
	}
	return durable.WriteFile(file, 0o644, text)
}

// addEarlier adds what a file has of the same container.
func addEarlier(r *recording.Recording, file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	earlier, err := recording.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w; leave --add out to write it anew", file, err)
	}
	if earlier.Arch != r.Arch || earlier.Container != r.Container {
		return fmt.Errorf("%s is of container %s on %s; leave --add out to write it anew", file, earlier.Container, earlier.Arch)
	}
	r.Entries = append(r.Entries, earlier.Entries...)
	return nil
}

// proveRun builds with the recordings and runs what they leave.
func (s *recordSession) proveRun(ctx context.Context, out []recorded) error {
	res, err := s.build(ctx, false)
	if err != nil {
		return err
	}
	for i, name := range s.names {
		out[i].Container, out[i].File = name, s.def.Containers[name].Recorded.For(runtime.GOARCH)
		if out[i].After, err = containerBytes(s.store, res, name); err != nil {
			return err
		}
		if s.flags.check {
			out[i].Before = out[i].After + res.Removed[name].Bytes()
		}
	}
	return s.run(ctx, res, s.runFlags())
}

func (s *recordSession) build(ctx context.Context, whole bool) (*assemble.Result, error) {
	b := s.builder(s.store)
	b.Unrecorded = whole
	res, err := b.System(ctx, s.def, s.lock, runtime.GOARCH)
	s.progress.done()
	return res, err
}

func (s *recordSession) runFlags() runFlags {
	return runFlags{configuration: s.flags.configuration, network: s.flags.network, waitHealthy: true, timeout: s.flags.timeout}
}

// run starts the machine, waits for its health, runs the commands beside it and
// stops it.
func (s *recordSession) run(ctx context.Context, res *assemble.Result, f runFlags) error {
	dir := s.runDir(s.def.Machine)
	init, err := s.startInit(s.store, res.Digest, res.Manifest, f, dir)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- init.Wait() }()
	tried := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { tried <- s.try(ctx, init.Process.Pid, filepath.Join(dir, "control.sock")) }()
	select {
	case err = <-tried:
		return errors.Join(err, stopInit(init, ended))
	case err := <-ended:
		return errors.Join(errInitEnded, err)
	}
}

// try waits for health and runs the smoke commands and the one of the command
// line.
func (s *recordSession) try(ctx context.Context, pid int, control string) error {
	st, err := s.waitStatus(ctx, control, s.flags.timeout)
	if err != nil {
		return err
	}
	if !st.Healthy {
		return errors.Join(printStatus(s.err, st), fmt.Errorf("the machine is not healthy after %s", s.flags.timeout))
	}
	for _, name := range s.def.Configurations[s.flags.configuration].Containers {
		if smoke := s.def.Containers[name].Smoke; len(smoke) > 0 {
			if err := s.beside(ctx, pid, smoke); err != nil {
				return fmt.Errorf("smoke of container %s: %w", name, err)
			}
		}
	}
	if len(s.command) == 0 {
		return nil
	}
	if err := s.beside(ctx, pid, s.command); err != nil {
		return fmt.Errorf("%s: %w", s.command[0], err)
	}
	return nil
}

// beside runs a command in the definition's directory and in the network
// namespace of the machine, whose first process is the child of pid.
func (s *recordSession) beside(ctx context.Context, pid int, command []string) error {
	if s.flags.network == "host" {
		return s.hostCommand(ctx, command).Run()
	}
	first, err := machineProcess(pid)
	if err != nil {
		return err
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", first))
	if err != nil {
		return err
	}
	defer ns.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- s.hostCommand(ctx, command).Run()
	}()
	return <-done
}

// machineProcess is the process whose network is the machine's: a child of pid,
// whichever of its threads has started it.
func machineProcess(pid int) (int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	var children string
	for _, t := range tasks {
		if more, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name())); err == nil {
			children += " " + string(more)
		}
	}
	for _, word := range strings.Fields(children) {
		if n, err := strconv.Atoi(word); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("the machine has no process any more")
}

func (s *recordSession) hostCommand(ctx context.Context, command []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = s.dir()
	cmd.Stdout, cmd.Stderr = s.err, s.err
	self, err := os.Executable()
	if err != nil {
		self = "instar"
	}
	file, err := filepath.Abs(s.file)
	if err != nil {
		file = s.file
	}
	cmd.Env = append(os.Environ(), "INSTAR="+self, "INSTAR_FILE="+file)
	return cmd
}
