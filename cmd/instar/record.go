package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/observe"
	"github.com/instar-os/instar/internal/recording"
	"github.com/instar-os/instar/internal/store"
)

// recordFlags are the flags of instar record.
type recordFlags struct {
	configuration, network string
	timeout                time.Duration
	add, check             bool
}

func recordCommand(a *app) *cobra.Command {
	var f recordFlags
	cmd := &cobra.Command{
		Use:   "record [CONTAINER...] [-- COMMAND [ARG...]]",
		Short: "Record which files containers use, and keep only those",
		Long: `Runs the machine as instar run does, from its whole trees, and writes for each
container the file that its key recorded names: what was opened until every
health check had passed, the command of its key smoke had ended with 0, and the
machine was stopped. COMMAND is run as well. Commands run on this host, in the
definition's directory and on the machine's network.

Then the system is built with the recordings and run again, with the same checks
and commands. --check does only that.

Without arguments all containers of the configuration are recorded that have the
key. --add keeps what earlier recordings have seen.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := args, []string(nil)
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				names, command = args[:n], args[n:]
			}
			return a.record(cmd.Context(), f, names, command)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.configuration, "configuration", "", "configuration to run instead of the default")
	fl.StringVar(&f.network, "network", "private", "private or host")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "time to become healthy")
	fl.BoolVar(&f.add, "add", false, "add to what the files hold already")
	fl.BoolVar(&f.check, "check", false, "only run what the recordings leave, with its checks and commands")
	return cmd
}

// recorded is one line of what record prints.
type recorded struct {
	Container string `json:"container"`
	File      string `json:"file"`
	Files     int    `json:"files"`  // that were opened
	Before    int64  `json:"before"` // bytes of its files, each content once
	After     int64  `json:"after"`
}

func (a *app) record(ctx context.Context, f recordFlags, names, command []string) error {
	if os.Getuid() != 0 {
		return errors.New("instar record runs the machine on this host and watches its files: it needs root")
	}
	def, lk, err := a.locked()
	if err != nil {
		return err
	}
	if _, err := chosenArches(def, []string{runtime.GOARCH}); err != nil {
		return fmt.Errorf("instar record needs a system for this host: %w", err)
	}
	if f.configuration == "" {
		f.configuration = def.Default
	}
	if names, err = toRecord(def, f.configuration, names); err != nil {
		return err
	}
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	s := &recordSession{app: a, flags: f, def: def, lock: lk, store: st, names: names, command: command}
	out := make([]recorded, len(names))
	if !f.check {
		if err := s.record(ctx, out); err != nil {
			return err
		}
	}
	if err := s.proveRun(ctx, out); err != nil {
		return fmt.Errorf("with the recordings: %w", err)
	}
	return a.print(out, func(w io.Writer) error { return printRecorded(w, out) })
}

// toRecord returns the containers that are to be recorded, which must name
// their files.
func toRecord(def *config.Definition, configuration string, names []string) ([]string, error) {
	c, ok := def.Configurations[configuration]
	if !ok {
		return nil, fmt.Errorf("--configuration %s: the definition has no such configuration", configuration)
	}
	if len(names) == 0 {
		for _, n := range c.Containers {
			if def.Containers[n].Recorded.For(runtime.GOARCH) != "" {
				names = append(names, n)
			}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("no container of configuration %s has the key recorded; write recorded: NAME.recorded to one", configuration)
		}
	}
	for _, n := range names {
		switch {
		case !slices.Contains(c.Containers, n):
			return nil, fmt.Errorf("configuration %s has no container %q; it has %s", configuration, n, strings.Join(c.Containers, ", "))
		case def.Containers[n].Recorded.For(runtime.GOARCH) == "":
			return nil, fmt.Errorf("%s: container %s does not say which file its recording is in; write recorded: %s.recorded to it", def.Containers[n].At, n, n)
		}
	}
	return names, nil
}

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

// containerBytes is the size of a container's files, each content once.
func containerBytes(st *store.Store, res *assemble.Result, name string) (int64, error) {
	u, err := st.Du([]digest.Digest{res.Digest}, nil)
	if err != nil {
		return 0, err
	}
	for _, c := range u.Systems[0].Configurations {
		for _, ct := range c.Containers {
			if ct.Name == name {
				return ct.Files.Bytes, nil
			}
		}
	}
	return 0, fmt.Errorf("the system has no container %s", name)
}

func printRecorded(w io.Writer, all []recorded) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range all {
		fmt.Fprintf(tw, "%s\t%s -> %s\t%s less\t%s\n", r.Container, bytesText(r.Before), bytesText(r.After), percent(r.Before-r.After, r.Before), r.File)
	}
	return tw.Flush()
}
