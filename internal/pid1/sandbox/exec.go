package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/wire"
)

// shells are what stands for a container's shell, the first that is there.
var shells = []string{"/bin/bash", "/bin/sh", "/usr/bin/sh", "/bin/busybox"}

// outputGrace is how long output is awaited after a command's end: processes
// that it left behind may hold its pipes.
const outputGrace = 500 * time.Millisecond

// A lifetime lets commands be started until a sandbox ends.
type lifetime struct {
	mu    sync.RWMutex
	ended bool
}

func (l *lifetime) during(f func() error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.ended {
		return errors.New("the container has ended")
	}
	return f()
}

func (l *lifetime) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// An execution is a further command of the container with its streams' ends:
// ours, and the command's, which are closed once it has them.
type execution struct {
	p       *container.Process
	in      *os.File // where its input is written to
	out     []*os.File
	theirs  []*os.File
	tty     bool
	reading sync.WaitGroup
}

// Exec implements supervise.Operated.
func (b *box) Exec(ctx context.Context, r wire.ExecRequest, t wire.Terminal) (int, error) {
	var x *execution
	err := b.life.during(func() (err error) {
		x, err = b.execute(r)
		return err
	})
	if err != nil {
		return 0, err
	}
	if x.tty && t.Stdout == nil {
		t.Stdout = io.Discard
	}
	kill := context.AfterFunc(ctx, func() { x.p.SignalGroup(syscall.SIGKILL) })
	defer kill()
	go x.feed(t.Stdin)
	done := make(chan struct{})
	go x.obey(t.Events, done)
	for i, to := range []io.Writer{t.Stdout, t.Stderr}[:len(x.out)] {
		x.reading.Go(func() { copyAll(to, x.out[i]) })
	}
	exit, err := x.p.Wait()
	b.reaper.Forget(x.p.PID())
	close(done)
	for _, f := range x.out {
		f.SetReadDeadline(time.Now().Add(outputGrace)) // fails only when it is closed
	}
	x.reading.Wait()
	x.in.Close()
	for _, f := range x.out {
		f.Close()
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return exit.Status(), err
}

// copyAll reads to the end, also when nobody wants it.
func copyAll(to io.Writer, from io.Reader) {
	if to != nil {
		if _, err := io.Copy(to, from); err == nil {
			return
		}
	}
	io.Copy(io.Discard, from)
}

// execute starts the command.
func (b *box) execute(r wire.ExecRequest) (*execution, error) {
	args := append([]string(nil), r.Args...)
	if len(args) == 0 {
		shell, err := b.s.Find(shells...)
		if err != nil {
			return nil, err
		}
		args = []string{shell}
		if strings.HasSuffix(shell, "/busybox") {
			args = append(args, "sh")
		}
	} else if !strings.Contains(args[0], "/") {
		var err error
		if args[0], err = b.s.Find(args[0]); err != nil {
			return nil, err
		}
	}
	for _, kv := range r.Env {
		if key, _, ok := strings.Cut(kv, "="); !ok || key == "" {
			return nil, fmt.Errorf("environment %q: want KEY=VALUE", kv)
		}
	}
	x := &execution{tty: r.TTY}
	err := x.open(b, r)
	if err == nil {
		err = b.reaper.Spawn(func() (pid int, err error) {
			x.p, err = b.s.ExecEnv(r.Env, args, x.theirs[0], x.theirs[1], x.theirs[2])
			if err != nil {
				return 0, err
			}
			return x.p.PID(), nil
		})
	}
	closeAll(x.theirs)
	if err != nil {
		closeAll(append(x.out, x.in))
		return nil, err
	}
	return x, nil
}

// open makes a terminal or three pipes.
func (x *execution) open(b *box, r wire.ExecRequest) error {
	if r.TTY {
		base := int(b.c.IDs.Base)
		master, peer, err := b.s.Terminal(base+int(b.c.UID), base+ttyGroup)
		if err != nil {
			return err
		}
		x.in, x.out, x.theirs = master, []*os.File{master}, []*os.File{peer, peer, peer}
		if r.Size.Rows > 0 && r.Size.Cols > 0 {
			return container.Resize(master, r.Size.Rows, r.Size.Cols)
		}
		return nil
	}
	for i := range 3 {
		rd, wr, err := os.Pipe()
		if err != nil {
			return err
		}
		if i == 0 {
			x.in, x.theirs = wr, append(x.theirs, rd)
		} else {
			x.out, x.theirs = append(x.out, rd), append(x.theirs, wr)
		}
	}
	return nil
}

// ttyGroup is the number of Debian's group tty, to which terminals belong.
const ttyGroup = 5

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close() // a terminal stands three times
		}
	}
}

// feed writes input until its end. A terminal's end of input is a character.
func (x *execution) feed(from io.Reader) {
	if from == nil {
		if !x.tty {
			x.in.Close()
		}
		return
	}
	_, err := io.Copy(x.in, from)
	switch {
	case !x.tty:
		x.in.Close()
	case err == nil:
		x.in.Write([]byte{endOfInput})
	}
}

// endOfInput is the default VEOF, Ctrl-D: termios(3).
const endOfInput = 4

// obey passes on what the terminal's user does until the command has ended.
// What cannot be done any more is too late.
func (x *execution) obey(events <-chan wire.Event, done <-chan struct{}) {
	for {
		select {
		case e := <-events:
			switch {
			case e.Signal > 0:
				x.p.SignalGroup(syscall.Signal(e.Signal))
			case x.tty:
				container.Resize(x.in, e.Size.Rows, e.Size.Cols)
			}
		case <-done:
			return
		}
	}
}
