package sandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/wire"
)

// Run implements supervise.Sandbox.
func (b *box) Run(stdout, stderr io.WriteCloser) (supervise.Process, error) {
	p, err := b.run(stdout, stderr)
	if err == nil {
		b.tasks = b.keeper.Attach(b.c, b.s.Cgroup(), p.PID())
	}
	return p, err
}

func (b *box) run(stdout, stderr io.WriteCloser) (supervise.Process, error) {
	switch {
	case b.c.TTY:
		return b.onTerminal(stdout, stderr)
	case !b.c.Stdin:
		return b.Start(b.c.Args, stdout, stderr)
	}
	var in pipe
	err := in.open()
	if err == nil {
		err = in.give(in.r, b.c)
	}
	if err != nil {
		in.close()
		stdout.Close()
		stderr.Close()
		return nil, err
	}
	p, err := b.spawn(b.s.Start, b.c.Args, in.r, stdout, stderr)
	in.r.Close()
	if err != nil {
		in.w.Close()
		return nil, err
	}
	p.in = in.w
	return p, nil
}

// onTerminal starts the command with a terminal for all its streams.
func (b *box) onTerminal(stdout, stderr io.WriteCloser) (supervise.Process, error) {
	stderr.Close()
	base := int(b.c.IDs.Base)
	master, peer, err := b.s.OwnTerminal(base+int(b.c.UID), base+ttyGroup)
	if err != nil {
		stdout.Close()
		return nil, err
	}
	p := b.newProcess()
	err = b.reaper.Spawn(func() (pid int, err error) {
		if p.Process, err = b.s.Start(b.c.Args, peer, peer, peer); err != nil {
			return 0, err
		}
		return p.PID(), nil
	})
	peer.Close()
	p.pipes[0], p.in, p.tty = master, master, true
	p.output.Go(func() { drain(master, stdout, &p.heard[0]) })
	if err != nil {
		p.output.Wait()
		return nil, err
	}
	return p, nil
}

// ears are those who hear one stream of output. What is written is never held
// up: who reads too slowly is dropped.
type ears struct {
	mu  sync.Mutex
	all map[*ear]bool
}

// Write implements io.Writer; it never fails.
func (e *ears) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for one := range e.all {
		if !one.hear(p) {
			delete(e.all, one)
		}
	}
	return len(p), nil
}

func (e *ears) add() *ear {
	one := &ear{}
	one.moved = sync.NewCond(&one.mu)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[*ear]bool{}
	}
	e.all[one] = true
	return one
}

func (e *ears) remove(one *ear) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all, one)
}

// maxHeard is what may wait for one listener, in bytes.
const maxHeard = 256 << 10

var errSlow = errors.New("its output comes faster than it is read here; the log has all of it that is kept")

// An ear holds what one listener has not read yet.
type ear struct {
	mu    sync.Mutex
	moved *sync.Cond
	data  []byte
	over  bool
	slow  bool
}

func (o *ear) hear(p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.moved.Broadcast()
	if len(o.data)+len(p) > maxHeard {
		o.slow = true
		return false
	}
	o.data = append(o.data, p...)
	return true
}

// end lets Read come to an end when all is read.
func (o *ear) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	o.moved.Broadcast()
}

// Read implements io.Reader.
func (o *ear) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.data) == 0 && !o.over && !o.slow {
		o.moved.Wait()
	}
	n := copy(p, o.data)
	o.data = o.data[n:]
	switch {
	case n > 0:
		return n, nil
	case o.slow:
		return 0, errSlow
	}
	return 0, io.EOF
}

// Attach implements supervise.Process.
func (p *process) Attach(ctx context.Context, r wire.AttachRequest, t wire.Terminal) (int, error) {
	var mine [2]*ear
	for i := range mine {
		mine[i] = p.heard[i].add()
		defer p.heard[i].remove(mine[i])
	}
	defer context.AfterFunc(ctx, func() { mine[0].end(); mine[1].end() })()
	left := make(chan struct{})
	defer close(left)
	p.resize(r.Size)
	go p.obey(t.Events, left)
	stop := p.feed(t.Stdin, r.EndInput)
	defer stop()

	told := make(chan error, 2)
	for i, to := range []io.Writer{t.Stdout, t.Stderr} {
		go func() { told <- tell(to, mine[i]) }()
	}
	var err error
	for over, n := p.over, 0; n < 2; {
		select {
		case e := <-told:
			err, n = errors.Join(err, e), n+1
			if e != nil {
				mine[0].end()
				mine[1].end()
			}
		case <-over:
			mine[0].end()
			mine[1].end()
			over = nil
		}
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, err
	}
	return p.code, nil
}

// tell copies what is heard; a writer that has gone is the session's matter.
func tell(to io.Writer, from *ear) error {
	if to == nil {
		to = io.Discard
	}
	_, err := io.Copy(to, from)
	if errors.Is(err, errSlow) {
		return err
	}
	return nil
}

// obey passes on what somebody does who is attached.
func (p *process) obey(events <-chan wire.Event, left <-chan struct{}) {
	for {
		select {
		case e := <-events:
			if e.Signal > 0 {
				p.Process.Signal(syscall.Signal(e.Signal)) // one that has ended needs none
			} else {
				p.resize(e.Size)
			}
		case <-left:
			return
		}
	}
}

func (p *process) resize(s wire.TermSize) {
	if p.tty && s.Rows > 0 && s.Cols > 0 {
		container.Resize(p.in, s.Rows, s.Cols) // one that has ended has none
	}
}

// feed writes somebody's input to the command, through a descriptor of its own
// that stop closes: a command that does not read holds nobody.
func (p *process) feed(from io.Reader, ends bool) (stop func()) {
	if p.in == nil || from == nil {
		return func() {}
	}
	to, err := p.input()
	if err != nil {
		return func() {} // it has ended
	}
	go func() {
		_, err := io.Copy(to, from)
		switch {
		case err != nil || !ends:
		case p.tty:
			to.Write([]byte{endOfInput})
		default:
			p.endInput()
		}
		p.release(to)
	}()
	return func() { p.release(to) }
}

// release closes somebody's way to the command's input; it may be called again.
func (p *process) release(f *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.writers, f)
	f.Close()
}

// endInput closes the command's input for all who are attached.
func (p *process) endInput() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in.Close()
	for f := range p.writers {
		f.Close()
	}
}

// input returns another descriptor of the command's input.
func (p *process) input() (*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	conn, err := p.in.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if e := conn.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); e != nil || err != nil {
		return nil, errors.Join(e, err)
	}
	f := os.NewFile(uintptr(fd), "input")
	if p.writers == nil {
		p.writers = map[*os.File]bool{}
	}
	p.writers[f] = true
	return f, nil
}
