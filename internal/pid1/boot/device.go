package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/kexec"
	"github.com/instar-os/instar/internal/pid1/network"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/system"
)

// Where things are on a device.
const (
	runDir     = "/run/instar"
	storeDir   = runDir + "/store"
	dataDir    = runDir + "/data"
	scratchDir = runDir + "/scratch" // instead of data, in memory
	stateDir   = runDir + "/containers"
	socketPath = runDir + "/control.sock"
	resolvPath = runDir + "/resolv.conf"
	modulesDir = "/modules"
	cgroupRoot = "/sys/fs/cgroup"
	cgroupDir  = cgroupRoot + "/instar"
)

// openFiles is the hard limit of open files; a container gets less unless it
// declares otherwise.
const openFiles = 1 << 19

// Waiting times.
const (
	diskPatience   = 30 * time.Second // for the store's disk to appear
	emergencyPause = 60 * time.Second // for a reader, before a reboot
	panicSeconds   = "10"             // the kernel's, when this process dies
)

// The arguments of the kernel command line.
const (
	systemKey        = "instar.system"
	configurationKey = "instar.configuration"
)

// device is a machine that owns its hardware.
type device struct {
	*machine
	cmdline linux.Cmdline
	sysfs   *os.Root
	disk    string // that the store is on, "vda"
	kept    kept   // of tasks, by the gate
	watchdog
}

// Device runs the machine from PID 1's first instruction to its end. It
// returns only when the machine could not be ended.
func Device() error {
	ready := sinceBoot()
	signals := make(chan os.Signal, 4) // from the start: the kernel drops what PID 1 does not take
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	err := errors.Join(container.LeaveRamfs(), openConsole())
	d := &device{machine: newMachine(os.Stdout, time.Now().Add(-ready))}
	d.machine.loadKernel = d.loadKernel
	d.updates = newUpdates(d)
	d.pace = func() { d.watchdog.allow(stepLimit) }
	defer d.panicked()
	if err == nil {
		err = d.run(d.mounts())
	}
	if err == nil {
		err = d.run(d.early())
	}
	if err == nil {
		err = d.startAny()
	}
	how := Reboot
	switch {
	case err == nil:
		d.showTimeline()
		d.sabotage()
		how = d.wait(signals)
		d.log.Printf("going to %s", how)
		d.noteEnd(d.endOf(how))
		d.ended()
	case errors.Is(err, errGoBack):
		d.log.Printf("%v", err)
		d.noteEnd(reason.Rollback, err.Error())
	case d.trying():
		d.log.Printf("what is on trial cannot run: %v", err)
		if err := d.giveUp(failureCode(err), err.Error()); err != nil {
			d.log.Printf("going back: %v", err)
		}
		d.noteEnd(reason.Rollback, err.Error())
	default:
		d.emergency(err, signals)
		d.noteEnd(reason.CannotRun, err.Error())
	}
	return d.halt(how)
}

// openConsole makes the standard streams of the kernel's console.
func openConsole() error {
	dev := linux.Mount{Source: "dev", Target: "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID, Data: "mode=0755"}
	if err := dev.Do(); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("opening the console: %w", err)
	}
	for std := range 3 {
		if err := unix.Dup3(fd, std, 0); err != nil && fd != std {
			return fmt.Errorf("opening the console: %w", err)
		}
	}
	return nil
}

// panicked shows a panic of the boot's own goroutine, and reboots. In any
// other goroutine the runtime shows it on the same console, this process ends,
// and the kernel reboots by its own panic.
func (d *device) panicked() {
	p := recover()
	if p == nil {
		return
	}
	stack := debug.Stack()
	fmt.Fprintf(os.Stderr, "\ninstar-init: panic: %v\n%s\nrebooting in %s\n", p, stack, emergencyPause)
	d.flight.Wrong(reason.InitCrash, d.step, fmt.Sprintf("panic: %v\n%s", p, stack))
	d.noteEnd(reason.InitCrash, fmt.Sprint(p))
	unix.Sync()
	time.Sleep(emergencyPause)
	linux.End(linux.Restart)
}

// mounts returns the kernel's file systems.
func (d *device) mounts() []step {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	var steps []step
	for _, m := range []linux.Mount{
		{Source: "proc", Target: "/proc", Type: "proc", Flags: safe},
		{Source: "sys", Target: "/sys", Type: "sysfs", Flags: safe},
		{Source: "devpts", Target: "/dev/pts", Type: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "mode=0620,gid=5,ptmxmode=0666"},
		{Source: "shm", Target: "/dev/shm", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=1777"},
		{Source: "run", Target: "/run", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0755"},
		{Source: "cgroup", Target: cgroupRoot, Type: "cgroup2", Flags: safe, Data: "nsdelegate"},
	} {
		steps = append(steps, step{"mount " + m.Target, m.Do})
	}
	return steps
}

// early returns the steps up to the manifest.
func (d *device) early() []step {
	return []step{
		{"set up the process", d.setUp},
		{"read the kernel command line", d.readCmdline},
		{"load the kernel modules", d.loadModules},
		{"arm the watchdog", d.armWatchdog},
		{"mount the firmware's variables", d.mountVariables},
		{"find the store", d.findStore},
		{"read the configuration", d.chooseDecided},
		{"set the host name", func() error { return unix.Sethostname([]byte(d.manifest.Hostname)) }},
		{"bring up loopback", network.Loopback},
	}
}

// setUp is what needs nothing but the mounts.
func (d *device) setUp() (err error) {
	if d.sysfs, err = os.OpenRoot("/sys"); err != nil {
		return err
	}
	for _, dir := range []string{runDir, stateDir, cgroupDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	d.runtime.State, d.runtime.Cgroup, d.runtime.Resolv = stateDir, cgroupDir, resolvPath
	// All of them at once, ahead of the containers: the files of a controller that
	// another container enables appear after the kernel says that it is enabled.
	enableControllers(cgroupRoot)
	enableControllers(cgroupDir)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: openFiles, Max: openFiles}); err != nil {
		d.warn("raising the limit of open files: %v", err)
	}
	if b, err := os.ReadFile("/proc/sys/kernel/panic"); err == nil && strings.TrimSpace(string(b)) == "0" {
		if err := os.WriteFile("/proc/sys/kernel/panic", []byte(panicSeconds), 0); err != nil {
			d.warn("a panic will not reboot the machine: %v", err)
		}
	}
	if err := linux.CatchCtrlAltDel(); err != nil {
		d.warn("%v", err)
	}
	go d.reaper.Run(context.Background())
	d.witness()
	return nil
}

func (d *device) warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	d.warnings = append(d.warnings, w)
	d.log.Printf("warning: %s", w)
}

// enableControllers lets cgroups below a cgroup have limits. What the kernel
// lacks is noticed, and warned of, when a container wants it.
func enableControllers(dir string) {
	for _, name := range []string{"cpu", "io", "memory", "pids"} {
		os.WriteFile(dir+"/cgroup.subtree_control", []byte("+"+name), 0)
	}
}

// parameters are of kernel modules. A watchdog that is armed runs on while one
// kernel starts another; before every other end it is stopped.
var parameters = map[string]string{"watchdog": "stop_on_reboot=0"}

func (d *device) loadModules() error {
	names, err := linux.LoadModules(modulesDir, parameters)
	if err == nil {
		d.log.Printf("%d kernel modules", len(names))
	}
	return err
}

// mountVariables mounts what UEFI firmware keeps; other firmware has none.
func (d *device) mountVariables() error {
	const dir = linux.EFIVariables
	defer d.noteStages()
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	m := linux.Mount{Source: "efivarfs", Target: dir, Type: "efivarfs", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC}
	if err := m.Do(); err != nil {
		d.warn("%v", err)
		return nil
	}
	d.switcher.loader = newLoader(dir, d.system)
	d.flight.SetWords(firmwareWords())
	return nil
}

func (d *device) readCmdline() error {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	d.cmdline = linux.ParseCmdline(string(b))
	name, ok := d.cmdline.Lookup(systemKey)
	if !ok {
		return fmt.Errorf("it has no %s=", systemKey)
	}
	d.switcher.argued = d.cmdline.Count(configurationKey) > 1
	d.system, err = digest.Parse(name)
	return err
}

// startAny starts the configuration that was asked for, else the fallback.
func (d *device) startAny() error {
	mark := len(d.undo)
	err := d.run(d.configure())
	if err != nil {
		d.flight.Wrong(reason.ConfigFailed, d.step, err.Error())
	}
	safe := d.fallback()
	if err == nil || safe == nil || safe == d.configuration || d.trying() {
		return err // what is on trial goes back instead
	}
	d.log.Printf("configuration %s: %v", d.configuration.Name, err)
	d.log.Printf("starting the fallback %s", safe.Name)
	d.noteEnd(reason.Fallback, "the fallback runs, which writes nothing to the data partition")
	d.takeDown(mark)
	d.warnings = append(d.warnings, fmt.Sprintf("configuration %s: %v", d.configuration.Name, err))
	d.configuration, d.runtime.Data, d.network = safe, nil, nil
	return d.run(d.configure())
}

// configure returns the steps that belong to a configuration. The fallback
// does without the data partition, which may be what is broken.
func (d *device) configure() []step {
	keep := step{"mount the data partition", d.mountData}
	if d.configuration.Fallback || d.manifest.Boot.DataFS.Digest.IsZero() {
		keep = step{"make room for data in memory", func() error {
			d.recordInMemory()
			return d.keepData(scratchDir, false)
		}}
	}
	if d.configuration.Host != nil {
		return d.inhabit(keep)
	}
	return []step{
		keep,
		{"bring up the network", d.startNetwork},
		{"build the networks", func() error { return d.wire(d.sysfs.FS()) }},
		{"plan the containers", d.plan},
		{"open the control socket", func() error { return d.serve(socketPath) }},
		{"open the control port", func() error { return d.servePort(d.sysfs.FS(), "/dev") }},
		{"start the containers", d.start},
		{"watch over the boot", d.judge},
		{"feed the watchdog by what runs", d.watch},
	}
}

func (d *device) startNetwork() error {
	n := &network.Network{Sysfs: d.sysfs.FS(), Hostname: d.manifest.Hostname, Resolv: resolvPath, Log: d.log.Printf}
	d.network = n
	ctx, cancel := context.WithCancel(context.Background())
	d.later("stop the network", func() error {
		cancel()
		n.Wait()
		return nil
	})
	return n.Start(ctx, d.manifest.Interfaces)
}

// wait returns how the machine shall end: by the control protocol, by
// Ctrl-Alt-Del (SIGINT from the kernel), or by SIGTERM.
func (d *device) wait(signals <-chan os.Signal) Ending {
	select {
	case how := <-d.ending:
		return how
	case s := <-signals:
		if s == unix.SIGINT {
			return Reboot
		}
		return PowerOff
	}
}

// emergency says why the machine cannot run and waits for a reader.
func (d *device) emergency(err error, signals <-chan os.Signal) {
	d.log.Printf("EMERGENCY: this machine cannot run: %v", err)
	d.flight.Identify(d.identity())
	d.flight.Wrong(reason.CannotRun, d.step, err.Error())
	if d.manifest != nil {
		d.log.Printf("system %s of %s, configurations %s", d.system, d.manifest.Machine, names(d.manifest))
	}
	d.log.Printf("rebooting in %s", emergencyPause)
	select {
	case <-signals:
	case <-d.ending:
	case <-time.After(emergencyPause):
	}
}

func names(m *system.Manifest) string {
	var all []string
	for _, c := range m.Configurations {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}

// halt takes everything down and ends the machine.
func (d *device) halt(how Ending) error {
	if d.supervisor != nil { // also a machine without a watchdog does not hang here
		time.AfterFunc(d.supervisor.StopLimit()+stepLimit, func() { linux.End(linux.Restart) })
	}
	argument := d.standing.rebootArgument() // the record is closed with the rest
	d.takeDown(0)
	if how == Kexec {
		d.watchdog.handOn()
	} else {
		d.disarmWatchdog()
	}
	d.log.Printf("%s", how)
	err := d.log.Close()
	// A serial port still holds the last words; a console that is none cannot
	// be drained.
	unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1)
	if how == Kexec {
		unix.Sync()
		err = errors.Join(err, kexec.Start())
		fmt.Fprintf(os.Stderr, "instar-init: %v; rebooting through the firmware\n", err)
		how = Reboot
	}
	if how == Reboot {
		if argument != "" {
			err = errors.Join(err, linux.EndWith(argument))
		}
		return errors.Join(err, linux.End(linux.Restart))
	}
	return errors.Join(err, linux.End(linux.PowerOff))
}
