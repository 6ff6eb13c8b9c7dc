package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/wire"
)

// VM is a running virtual machine. Whoever started it calls Close.
type VM struct {
	cmd      *exec.Cmd
	name     string // of the emulator
	dir      string
	console  *Console
	stderr   *tailBuffer
	qmp      *qmp
	control  *wire.Client
	forwards map[string]string
	files    []io.Closer

	done    chan struct{} // closed when the emulator has ended and err is set
	err     error
	closing sync.Once
}

// Start starts a machine. ctx bounds the start, not the machine's life. When it
// fails nothing is left behind, and the error has what QEMU said.
func Start(ctx context.Context, o Options) (*VM, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if !o.NoKVM && HasKVM(o.Arch) {
		if v, err := startOne(ctx, o); err == nil {
			return v, nil
		}
		// There are hosts whose KVM makes machines that QEMU then cannot set
		// up (nested ones that refuse registers): emulate on those.
	}
	o.NoKVM = true
	return startOne(ctx, o)
}

func startOne(ctx context.Context, o Options) (*VM, error) {
	dir, err := os.MkdirTemp(o.Dir, "instar-vm-")
	if err != nil {
		return nil, fmt.Errorf("virtual machine: %w", err)
	}
	v := &VM{name: machines[o.Arch].program, dir: dir, stderr: &tailBuffer{}, done: make(chan struct{}), forwards: map[string]string{}}
	if err := v.start(ctx, o); err != nil {
		return nil, errors.Join(v.explain(err), v.Close())
	}
	return v, nil
}

func (v *VM) start(ctx context.Context, o Options) error {
	args, err := o.args(v.dir)
	if err != nil {
		close(v.done)
		return err
	}
	monitor, port, err := v.launch(o, args)
	if err != nil {
		close(v.done)
		return err
	}
	go v.wait()
	v.control = wire.NewClient(port)
	if v.qmp, err = newQMP(ctx, monitor); err != nil {
		return err
	}
	if o.DiskSize > 0 && o.Disk != "" {
		if _, err := v.qmp.do(ctx, "block_resize", map[string]any{"device": "disk", "size": o.DiskSize}); err != nil {
			return fmt.Errorf("growing the disk to %d bytes: %w", o.DiskSize, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Forward)) {
		if v.forwards[name], err = v.forward(ctx, o.Forward[name]); err != nil {
			return fmt.Errorf("forwarding %s: %w", name, err)
		}
	}
	_, err = v.qmp.do(ctx, "cont", nil)
	return err
}

// launch starts the emulator with two socket pairs, the monitor's and the
// control port's, and the console on its standard input and output.
func (v *VM) launch(o Options, args []string) (monitor, port net.Conn, err error) {
	monitor, theirMonitor, err := socketPair("monitor")
	if err != nil {
		return nil, nil, err
	}
	v.files = append(v.files, monitor)
	defer theirMonitor.Close()
	port, theirPort, err := socketPair("control")
	if err != nil {
		return nil, nil, err
	}
	v.files = append(v.files, port)
	defer theirPort.Close()

	v.cmd = o.Tools.Command(context.Background(), v.name, args...)
	v.cmd.Env = append(v.cmd.Environ(), "TMPDIR="+v.dir) // snapshots go there
	v.cmd.ExtraFiles = []*os.File{qmpFD - 3: theirMonitor, controlFD - 3: theirPort}
	v.cmd.Stderr = v.stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var in io.Writer
	if o.Stdin != nil {
		v.cmd.Stdin = o.Stdin
	} else {
		// A group of its own keeps ^C from the machine, so that it can be asked to power off.
		v.cmd.SysProcAttr.Setpgid = true
		pipe, err := v.cmd.StdinPipe()
		if err != nil {
			return nil, nil, fmt.Errorf("console: %w", err)
		}
		in = pipe
	}
	v.console = newConsole(v.name, in, o.Stdout)
	v.cmd.Stdout = v.console
	if err := v.cmd.Start(); err != nil {
		v.cmd = nil
		return nil, nil, fmt.Errorf("starting %s: %w", v.name, err)
	}
	return monitor, port, nil
}

// socketPair returns a connection and the file that its other end is.
func socketPair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair for the %s: %w", name, err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socket pair for the %s: %w", name, err)
	}
	return conn, theirs, nil
}

// wait collects the emulator's end.
func (v *VM) wait() {
	if err := v.cmd.Wait(); err != nil {
		v.err = fmt.Errorf("%s ended: %w%s", v.name, err, v.said())
	}
	v.console.end()
	close(v.done)
}

// said returns what the emulator wrote to standard error, for an error message.
func (v *VM) said() string {
	if s := strings.TrimSpace(v.stderr.String()); s != "" {
		return ": " + s
	}
	return ""
}

// explain prefers the emulator's own end over what a broken connection says.
func (v *VM) explain(err error) error {
	if v.cmd == nil {
		return err
	}
	select {
	case <-v.done:
	case <-time.After(time.Second):
		return fmt.Errorf("%w%s", err, v.said())
	}
	if v.err != nil {
		return v.err
	}
	return fmt.Errorf("%s ended early: %w%s", v.name, err, v.said())
}

// forward makes a port of the machine reachable and returns the host's address.
// Another program may take the free port before QEMU does, so it tries again.
func (v *VM) forward(ctx context.Context, port int) (string, error) {
	var said string
	for range 10 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		addr := l.Addr().String()
		l.Close()
		said, err = v.qmp.human(ctx, fmt.Sprintf("hostfwd_add lan tcp:%s-:%d", addr, port))
		if err != nil {
			return "", err
		}
		if said == "" {
			return addr, nil
		}
	}
	return "", errors.New(strings.TrimSpace(said))
}

// Console returns the machine's serial console.
func (v *VM) Console() *Console { return v.console }

// Forwards returns the host's address, HOST:PORT, of each forwarded port by its name.
func (v *VM) Forwards() map[string]string { return maps.Clone(v.forwards) }

// Done is closed when the machine has ended.
func (v *VM) Done() <-chan struct{} { return v.done }

// Wait waits for the machine's end. It returns nil when the machine powered
// off, an error with QEMU's words when the emulator failed, or ctx's error.
func (v *VM) Wait(ctx context.Context) error {
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the machine's end: %w", context.Cause(ctx))
	}
}

// Grace periods of PowerOff and Close.
const (
	controlGrace = 30 * time.Second
	buttonGrace  = 10 * time.Second
	quitGrace    = 5 * time.Second
)

// PowerOff ends the machine: by a request to its supervisor, else by its power
// button, else by ending the emulator. An error says that it did not power off
// by itself; the machine has ended in any case.
func (v *VM) PowerOff(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, controlGrace)
	defer cancel()
	controlErr := v.control.PowerOff(asked)
	grace := controlGrace
	if controlErr != nil {
		grace = time.Second // the machine's end may have cut the answer off
	}
	if v.endsWithin(asked, grace) {
		return v.err
	}
	if _, err := v.qmp.do(ctx, "system_powerdown", nil); err == nil && v.endsWithin(ctx, buttonGrace) {
		return v.err
	}
	v.quit()
	return errors.Join(fmt.Errorf("%s: the machine did not power off and was ended", v.name), controlErr)
}

func (v *VM) endsWithin(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-v.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// quit ends the emulator, cleanly when it listens, and waits for its end.
func (v *VM) quit() {
	if v.cmd == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), quitGrace)
	defer cancel()
	if v.qmp != nil {
		v.qmp.do(ctx, "quit", nil) // its own answer may be cut off by the end
		if v.endsWithin(ctx, quitGrace) {
			return
		}
	}
	v.cmd.Process.Kill()
	<-v.done
}

// Close ends the emulator if it still runs, and removes what the machine used.
// It may be called more than once and always leaves no process behind.
func (v *VM) Close() error {
	var err error
	v.closing.Do(func() {
		select {
		case <-v.done:
		default:
			v.quit()
		}
		for _, f := range v.files {
			f.Close()
		}
		if v.control != nil {
			v.control.Close()
		}
		err = os.RemoveAll(v.dir)
	})
	return err
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// maxStderr is how much of QEMU's messages is kept, in bytes.
const maxStderr = 64 << 10

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p)
	if over := t.b.Len() - maxStderr; over > 0 {
		t.b.Next(over)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
