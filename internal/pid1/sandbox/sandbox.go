// Package sandbox gives the supervisor its containers: the container runtime
// with output as lines, health checks from within, and a reaper for what is
// left to PID 1.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/pid1/devices"
	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/pid1/tasks"
	"github.com/instar-os/instar/internal/system"
)

// Runtime is a supervise.Runtime.
type Runtime struct {
	Container     *container.Runtime
	Configuration string
	Reaper        *Reaper
	Devices       *devices.Watcher // nil: containers get no devices
	Remover       *Remover         // nil: Close of a sandbox removes all of it at once
	Tasks         *tasks.Keeper    // nil: no thread is real-time
}

// Lacks returns what a container waits for beside other containers, and a
// channel that is closed when that may have changed.
func (r *Runtime) Lacks(c *system.Container) (what []string, changed <-chan struct{}) {
	if r.Devices == nil {
		return nil, nil
	}
	return r.Devices.Lacks(c)
}

// Prepare implements supervise.Runtime.
func (r *Runtime) Prepare(c *system.Container) (supervise.Sandbox, error) {
	r.Remover.wait(c.Name)
	var s *container.Sandbox
	err := r.Reaper.Spawn(func() (int, error) {
		var err error
		s, err = r.Container.Prepare(c, r.Configuration)
		return 0, err
	})
	if err != nil {
		return nil, err
	}
	b := &box{s: s, c: c, reaper: r.Reaper, remover: r.Remover, keeper: r.Tasks, detach: func() {}}
	if r.Devices == nil {
		return b, nil
	}
	if b.detach, err = r.Devices.Attach(c, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return b, nil
}

// Spare makes a sandbox ahead of Prepare.
func (r *Runtime) Spare(c *system.Container) error {
	r.Remover.wait(c.Name)
	return r.Reaper.Spawn(func() (int, error) { return 0, r.Container.Spare(c) })
}

type box struct {
	s       *container.Sandbox
	c       *system.Container
	reaper  *Reaper
	remover *Remover
	life    lifetime
	detach  func()
	keeper  *tasks.Keeper
	tasks   *tasks.Life // of its command; nil for none
}

func (b *box) Warnings() []string { return b.s.Warnings() }
func (b *box) Memory() int64      { return b.s.Stats().Memory }
func (b *box) Kill() error        { return b.s.Kill() }

// Close implements supervise.Sandbox.
func (b *box) Close() error {
	b.life.end()
	b.tasks.End()
	b.detach()
	if b.remover == nil {
		return b.s.Close()
	}
	b.s.Release()
	b.remover.later(b.c.Name, b.s.Close)
	return nil
}

// Start implements supervise.Sandbox.
func (b *box) Start(args []string, stdout, stderr io.WriteCloser) (supervise.Process, error) {
	p, err := b.spawn(b.s.Start, args, nil, stdout, stderr)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// spawn starts a process with its output in pipes.
func (b *box) spawn(start func([]string, *os.File, *os.File, *os.File) (*container.Process, error), args []string, stdin *os.File, stdout, stderr io.WriteCloser) (*process, error) {
	var out, err pipe
	failed := errors.Join(out.open(), err.open(), out.give(out.w, b.c), err.give(err.w, b.c))
	p := b.newProcess()
	if failed == nil {
		failed = b.reaper.Spawn(func() (int, error) {
			var e error
			if p.Process, e = start(args, stdin, out.w, err.w); e != nil {
				return 0, e
			}
			return p.PID(), nil
		})
	}
	out.w.Close()
	err.w.Close()
	p.pipes = [2]*os.File{out.r, err.r}
	p.output.Go(func() { drain(out.r, stdout, &p.heard[0]) })
	p.output.Go(func() { drain(err.r, stderr, &p.heard[1]) })
	if failed != nil {
		p.output.Wait()
		return nil, failed
	}
	return p, nil
}

// A pipe carries one stream.
type pipe struct{ r, w *os.File }

func (p *pipe) open() (err error) {
	p.r, p.w, err = os.Pipe()
	return err
}

// give makes an end the container's user's, who may open it again as /dev/stdout.
func (p *pipe) give(end *os.File, c *system.Container) error {
	if end == nil {
		return nil // it could not be opened
	}
	return end.Chown(int(c.IDs.Base+c.UID), int(c.IDs.Base+c.GID))
}

func (p *pipe) close() { closeAll([]*os.File{p.r, p.w}) }

// drain copies until all writers are gone, to the log and to who is attached.
func drain(from *os.File, to io.WriteCloser, more io.Writer) {
	if from != nil {
		io.Copy(io.MultiWriter(to, more), from) // a reader that fails has ended; writers of lines never fail
		from.Close()
	}
	to.Close()
}

type process struct {
	*container.Process
	reaper *Reaper
	pipes  [2]*os.File
	output sync.WaitGroup
	heard  [2]ears

	in  *os.File // what its standard input comes from; nil for nothing
	tty bool     // in is a terminal's other end

	mu      sync.Mutex
	writers map[*os.File]bool // other descriptors of in

	over chan struct{} // closed when it has ended and its output is read
	code int           // after that
}

func (b *box) newProcess() *process {
	return &process{reaper: b.reaper, over: make(chan struct{})}
}

// abandon kills the process and lets Wait not care for its output any more.
func (p *process) abandon() {
	p.Signal(int(syscall.SIGKILL))
	for _, r := range p.pipes {
		r.SetReadDeadline(time.Now()) // fails only when it is closed
	}
}

// Wait returns when the process has ended and its output is written. The
// container's other processes, which could hold the pipes, end with its first.
func (p *process) Wait() (int, error) {
	exit, err := p.Process.Wait()
	p.reaper.Forget(p.PID())
	p.output.Wait()
	if p.in != nil {
		p.in.Close() // a terminal is closed already
	}
	p.code = exit.Status()
	close(p.over)
	if err != nil {
		return 0, err
	}
	return p.code, nil
}

// Signal implements supervise.Process; that there is nobody any more is no
// error.
func (p *process) Signal(sig int) error {
	if err := p.Process.Signal(syscall.Signal(sig)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending signal %d: %w", sig, err)
	}
	return nil
}

// Takes implements supervise.Process.
func (p *process) Takes(sig int) bool { return p.Process.Takes(syscall.Signal(sig)) }
