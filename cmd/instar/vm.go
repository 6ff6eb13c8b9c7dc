package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/vm"
)

// vmFlags are the flags of instar vm.
type vmFlags struct {
	arch, disk, consoleTo string
	monitor               string
	configuration         string
	headless, waitHealthy bool
	isolated, noKVM       bool
	timeout               time.Duration
}

func vmCommand(a *app) *cobra.Command {
	var f vmFlags
	cmd := &cobra.Command{
		Use:   "vm [-- COMMAND [ARG...]]",
		Short: "Run the machine in QEMU",
		Long: `Builds the system, writes its disk image and boots it through UEFI firmware in
QEMU, which comes out of the lock's tool tree. The terminal becomes the
machine's serial console; Ctrl-A X ends it. What the machine writes is lost at
its end, unless --disk names an image file that keeps it.

--headless shows no console and runs until interrupted or instar stop.
With --wait-healthy it prints the machine's status once every container is
healthy; a COMMAND is then run with INSTAR_FORWARD_NAME=HOST:PORT for each
forwarded port, and the machine is powered off when it ends.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.headless, f.waitHealthy = true, true
			}
			return a.vm(cmd.Context(), f, args)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.arch, "arch", "", "architecture (default: the first of the definition)")
	fl.StringVar(&f.configuration, "configuration", "", "configuration to boot instead of the default")
	fl.StringVar(&f.disk, "disk", "", "disk image that keeps what the machine writes; made when it is not there")
	fl.BoolVar(&f.headless, "headless", false, "no console")
	fl.StringVar(&f.consoleTo, "console", "", "file that gets the console's output")
	fl.StringVar(&f.monitor, "monitor", "", "socket to make that QEMU serves its monitor protocol (QMP) on, to plug devices in and out")
	fl.BoolVar(&f.waitHealthy, "wait-healthy", false, "wait until the machine is healthy and print its status")
	fl.BoolVar(&f.isolated, "isolated", false, "the machine reaches nothing outside")
	fl.BoolVar(&f.noKVM, "no-kvm", false, "emulate even where KVM works")
	fl.DurationVar(&f.timeout, "timeout", 3*time.Minute, "time to become healthy")
	return cmd
}

func (a *app) vm(ctx context.Context, f vmFlags, command []string) error {
	def, lk, err := a.locked()
	if err != nil {
		return err
	}
	arches, err := chosenArches(def, pick(f.arch))
	if err != nil {
		return err
	}
	arch := arches[0]
	disk, size, err := a.vmDisk(ctx, def, lk, arch, f)
	if err != nil {
		return err
	}
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	tools, err := a.builder(st).VMTools(ctx, def, lk, arch)
	if err != nil {
		return err
	}
	console, closeConsole, err := a.console(f)
	if err != nil {
		return err
	}
	defer closeConsole()
	o := vm.Options{
		Tools: tools, Arch: arch, Memory: int64(def.VM.Memory), CPUs: def.VM.CPUs,
		Disk: disk, Persist: f.disk != "", DiskSize: size, Forward: def.VM.Forward, Isolated: f.isolated,
		Stdout: console, NoKVM: f.noKVM, Monitor: f.monitor, Watchdog: def.Boot.Watchdog > 0,
	}
	if f.configuration != "" {
		if _, ok := def.Configurations[f.configuration]; !ok {
			return fmt.Errorf("--configuration %s: the definition has no such configuration", f.configuration)
		}
		o.Extra = []string{"instar.configuration=" + f.configuration}
	}
	if !f.headless {
		o.Stdin = os.Stdin
	}
	a.progress.done()
	return a.runVM(ctx, def, o, f, command)
}

// pick returns the given word as a list, nothing for "".
func pick(word string) []string {
	if word == "" {
		return nil
	}
	return []string{word}
}

// console returns where the machine's console goes, and how to close it.
func (a *app) console(f vmFlags) (io.Writer, func(), error) {
	switch {
	case f.consoleTo != "":
		file, err := os.Create(f.consoleTo)
		if err != nil {
			return nil, nil, err
		}
		return file, func() { file.Close() }, nil
	case f.headless:
		return nil, func() {}, nil
	}
	return a.out, func() {}, nil
}

func (a *app) runVM(ctx context.Context, def *config.Definition, o vm.Options, f vmFlags, command []string) error {
	if o.Stdin != nil && term.IsTerminal(int(o.Stdin.Fd())) {
		old, err := term.MakeRaw(int(o.Stdin.Fd()))
		if err != nil {
			return err
		}
		defer term.Restore(int(o.Stdin.Fd()), old)
	}
	machine, err := vm.Start(ctx, o)
	if err != nil {
		return err
	}
	defer machine.Close()
	forwards := machine.Forwards()
	for _, name := range slices.Sorted(maps.Keys(forwards)) {
		fmt.Fprintf(a.err, "%s: %s\r\n", name, forwards[name])
	}
	stop, err := a.serveControl(def.Machine, machine)
	if err != nil {
		return err
	}
	defer stop()
	if f.waitHealthy {
		if err := a.waitVM(ctx, machine, f.timeout); err != nil {
			return err
		}
	}
	if len(command) > 0 {
		return errors.Join(a.runBeside(ctx, command, forwards), machine.PowerOff(context.WithoutCancel(ctx)))
	}
	select {
	case <-machine.Done():
		return machine.Wait(ctx)
	case <-ctx.Done():
		return machine.PowerOff(context.WithoutCancel(ctx))
	}
}

// waitVM prints the status once the machine is healthy.
func (a *app) waitVM(ctx context.Context, v *vm.VM, limit time.Duration) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	st, err := v.WaitHealthy(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.err, "healthy after %s\r\n", time.Since(began).Round(100*time.Millisecond))
	return a.print(st, func(w io.Writer) error { return printStatus(w, &st) })
}

// runBeside runs a command on the host that finds the machine's ports in its
// environment.
func (a *app) runBeside(ctx context.Context, command []string, forwards map[string]string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Env = os.Environ()
	for name, at := range forwards {
		key := "INSTAR_FORWARD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		cmd.Env = append(cmd.Env, key+"="+at)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ExitCode())
	}
	return err
}
