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
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// runFlags are the flags of instar run.
type runFlags struct {
	configuration, data, network string
	waitHealthy                  bool
	timeout                      time.Duration
	watch                        []string   // containers whose files are watched
	groups                       []*os.File // by fanotify groups, in their order
}

func runCommand(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [-- COMMAND [ARG...]]",
		Short: "Run the machine as containers on this Linux",
		Long: `Builds the system for this host's architecture and starts its own init, the same
bytes that a device boots, as the first process of new namespaces: the same
containers from the same store, without a virtual machine. Needs root and Linux
6.12 or later. It runs until interrupted or instar stop.

--network private (the default) gives the machine nothing but loopback; host
lets containers with "network: host" use this host's interfaces. With
--wait-healthy the status is printed once every container is healthy; a COMMAND
is then run, and the machine is stopped when it ends.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.waitHealthy = f.waitHealthy || len(args) > 0
			return a.run(cmd.Context(), f, args)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.configuration, "configuration", "", "configuration to start instead of the default")
	fl.StringVar(&f.data, "data", "", "directory that keeps the containers' data (default: none is kept)")
	fl.StringVar(&f.network, "network", "private", "private or host")
	fl.BoolVar(&f.waitHealthy, "wait-healthy", false, "wait until the machine is healthy and print its status")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "time to become healthy")
	return cmd
}

func (a *app) run(ctx context.Context, f runFlags, command []string) error {
	if os.Getuid() != 0 {
		return errors.New("instar run mounts file systems and makes namespaces: it needs root; instar vm does not")
	}
	def, lk, err := a.locked()
	if err != nil {
		return err
	}
	arches, err := chosenArches(def, []string{runtime.GOARCH})
	if err != nil {
		return fmt.Errorf("instar run needs a system for this host: %w", err)
	}
	res, st, err := a.system(ctx, def, lk, arches[0])
	if err != nil {
		return err
	}
	defer st.Close()
	a.progress.done()
	if f.configuration == "" {
		f.configuration = def.Default
	}
	if _, ok := res.Manifest.Configuration(f.configuration); !ok {
		return fmt.Errorf("--configuration %s: the definition has no such configuration", f.configuration)
	}
	dir := a.runDir(def.Machine)
	init, err := a.startInit(st, res.Digest, res.Manifest, f, dir)
	if err != nil {
		return err
	}
	return a.superviseInit(ctx, init, f, command, dir)
}

// startInit writes the system's own init beside the control socket and starts
// it; it makes its namespaces itself.
func (a *app) startInit(st *store.Store, d digest.Digest, m *system.Manifest, f runFlags, dir string) (*exec.Cmd, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	program, err := st.Bytes(m.Kernel.Init.Digest, m.Kernel.Init.Size)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "instar-init")
	if err := durable.WriteFile(path, 0o700, program); err != nil {
		return nil, err
	}
	storeDir, err := filepath.Abs(st.Dir())
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--store", storeDir, "--system", d.String(), "--configuration", f.configuration,
		"--state", filepath.Join(dir, "state"), "--control", filepath.Join(dir, "control.sock"), "--network", f.network}
	if f.data != "" {
		data, err := filepath.Abs(f.data)
		if err != nil {
			return nil, err
		}
		args = append(args, "--data", data)
	}
	if len(f.watch) > 0 {
		args = append(args, "--watch", strings.Join(f.watch, ","))
	}
	cmd := exec.Command(path, args...)
	cmd.ExtraFiles = f.groups
	cmd.Stdout, cmd.Stderr = a.err, a.err
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches it through us, once
	return cmd, cmd.Start()
}

// stopGrace is how long a machine may take to stop its containers.
const stopGrace = 30 * time.Second

func (a *app) superviseInit(ctx context.Context, init *exec.Cmd, f runFlags, command []string, dir string) error {
	ended := make(chan error, 1)
	go func() { ended <- init.Wait() }()
	err := a.besideInit(ctx, f, command, filepath.Join(dir, "control.sock"), ended)
	if errors.Is(err, errInitEnded) {
		return err
	}
	if err == nil && len(command) == 0 {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
	}
	return errors.Join(err, stopInit(init, ended))
}

// errInitEnded says that init ended before the machine was healthy.
var errInitEnded = errors.New("the machine has ended")

// besideInit waits for health and runs the command.
func (a *app) besideInit(ctx context.Context, f runFlags, command []string, control string, ended <-chan error) error {
	if !f.waitHealthy {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	healthy := make(chan error, 1)
	go func() {
		st, err := a.waitStatus(ctx, control, f.timeout)
		if err == nil {
			err = a.print(st, func(w io.Writer) error { return printStatus(w, st) })
		}
		if err == nil && !st.Healthy {
			err = fmt.Errorf("the machine is not healthy after %s", f.timeout)
		}
		healthy <- err
	}()
	select {
	case err := <-healthy:
		if err != nil || len(command) == 0 {
			return err
		}
	case err := <-ended:
		return errors.Join(errInitEnded, err)
	}
	return a.runBeside(ctx, command, nil)
}

// stopInit asks init to stop and kills it when it does not.
func stopInit(init *exec.Cmd, ended <-chan error) error {
	if err := init.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopGrace):
		return errors.Join(fmt.Errorf("the machine did not stop within %s and was killed", stopGrace), init.Process.Kill(), <-ended)
	}
}
