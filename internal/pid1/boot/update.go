package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/wire"
)

// Limits of the process that takes an update, in bytes: what it may have at
// all, page cache and all, and what its collector aims at.
const (
	updateMemory = 96 << 20
	updateHeap   = "48MiB"
)

var errNoUpdates = errors.New("this machine takes no updates")

// Update implements wire.Updater.
func (m *machine) Update(ctx context.Context, r wire.UpdateRequest, t wire.Terminal) (wire.ExecResult, error) {
	if m.updates == nil {
		return wire.ExecResult{}, errNoUpdates
	}
	return m.updates.take(ctx, r, t)
}

// updates starts the process that takes an update: this program, as
// `instar-init receive`. What comes and goes passes through here unread.
type updates struct {
	d   *device
	one oneAtATime
	due chan struct{} // garbage is to be collected

	hosted bool // control groups are the init's

	peak int64 // KiB that the last process has taken at most
}

func newUpdates(d *device) *updates { return &updates{d: d, due: make(chan struct{}, 1)} }

func (u *updates) take(ctx context.Context, r wire.UpdateRequest, t wire.Terminal) (wire.ExecResult, error) {
	args := []string{"receive"}
	if r.Force {
		args = append(args, "--force")
	}
	if r.DryRun {
		args = append(args, "--dry-run")
	}
	if d := u.d.runtime.Data; d != nil && d.Dir != scratchDir {
		args = append(args, "--data", d.Dir)
	}
	code, err := u.alone(ctx, args, t)
	return wire.ExecResult{Code: code}, err
}

// oneAtATime lets one process write to the store.
type oneAtATime struct {
	mu    sync.Mutex
	under string        // what is under way: "receive", "collect"; "": nothing
	ended chan struct{} // closed when it has
}

// enter waits while garbage is collected, which takes seconds and which the
// machine does by itself. An update may take hours: it is an error.
func (o *oneAtATime) enter(ctx context.Context, what string) (leave func(), err error) {
	for {
		o.mu.Lock()
		if o.under == "" {
			o.under, o.ended = what, make(chan struct{})
			o.mu.Unlock()
			return o.leave, nil
		}
		under, ended := o.under, o.ended
		o.mu.Unlock()
		if under != "collect" {
			return nil, errors.New("another update is being received")
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, fmt.Errorf("garbage is being collected: %w", context.Cause(ctx))
		}
	}
}

func (o *oneAtATime) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.under = ""
	close(o.ended)
}

// alone runs a process that writes to the store, when there is no other.
func (u *updates) alone(ctx context.Context, args []string, t wire.Terminal) (int, error) {
	leave, err := u.one.enter(ctx, args[0])
	if err != nil {
		return 1, err
	}
	defer leave()
	if err := linux.Reconfigure(storeDir, false); err != nil {
		return 1, err
	}
	args = append([]string{"instar-init", args[0], "--store", storeDir, "--disk", "/dev/" + u.d.disk, "--system", u.d.system.String()}, args[1:]...)
	code, err := u.run(ctx, args, t)
	u.d.log.Printf("update: %s has ended with %d; it took %d KiB at most", args[1], code, u.peak)
	return code, errors.Join(err, linux.Reconfigure(storeDir, true))
}

// run runs the process until it ends; when ctx ends before, it is killed.
func (u *updates) run(ctx context.Context, args []string, t wire.Terminal) (int, error) {
	theirs, ours, err := pipes()
	if err != nil {
		return 1, err
	}
	defer closeAll(ours[:])
	attr := &os.ProcAttr{
		Files: theirs[:], Env: []string{"GOMEMLIMIT=" + updateHeap},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC},
	}
	if u.hosted {
		u.d.log.Printf("update: its memory is limited by its collector alone")
	} else if cgroup, err := updateCgroup(); err != nil {
		u.d.log.Printf("update: without a limit of memory: %v", err)
	} else {
		defer cgroup.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(cgroup.Fd())
	}
	var p *os.Process
	err = u.d.reaper.Spawn(func() (int, error) {
		var err error
		if p, err = os.StartProcess("/proc/self/exe", args, attr); err != nil {
			return 0, err
		}
		return p.Pid, nil
	})
	closeAll(theirs[:])
	if err != nil {
		return 1, fmt.Errorf("starting the process that takes updates: %w", err)
	}
	defer u.d.reaper.Forget(p.Pid)
	stop := context.AfterFunc(ctx, func() { p.Kill() })
	defer stop()
	return u.attend(p, ours, t)
}

// attend passes the streams on until the process has ended.
func (u *updates) attend(p *os.Process, ours [3]*os.File, t wire.Terminal) (int, error) {
	go func() { // ends with the session, or when the process has gone
		io.Copy(ours[0], t.Stdin)
		ours[0].Close()
	}()
	var reading sync.WaitGroup
	for i, to := range map[int]io.Writer{1: t.Stdout, 2: t.Stderr} {
		reading.Go(func() {
			if to == nil {
				to = io.Discard
			}
			io.Copy(to, ours[i])
			io.Copy(io.Discard, ours[i])
		})
	}
	reading.Wait()
	st, err := p.Wait()
	if err != nil {
		return 1, err
	}
	if usage, ok := st.SysUsage().(*syscall.Rusage); ok {
		u.peak = usage.Maxrss
	}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return st.ExitCode(), nil
}

// pipes makes three pipes: the ends of a process, and ours.
func pipes() (theirs, ours [3]*os.File, err error) {
	for i := range theirs {
		r, w, e := os.Pipe()
		if e != nil {
			closeAll(theirs[:])
			closeAll(ours[:])
			return theirs, ours, e
		}
		if theirs[i], ours[i] = w, r; i == 0 {
			theirs[i], ours[i] = r, w
		}
	}
	return theirs, ours, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// updateCgroup makes the cgroup of the process, with a limit of memory.
func updateCgroup() (*os.File, error) {
	dir := filepath.Join(cgroupRoot, "instar-update")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(strconv.Itoa(updateMemory)), 0); err != nil {
		return nil, err
	}
	return os.Open(dir)
}
