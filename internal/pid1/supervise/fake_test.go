package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// A world is a fake runtime. Each container's behaviour is a script; what
// happens is recorded with the time since the world began.
type world struct {
	t     *testing.T
	began time.Time
	mu    sync.Mutex
	seen  []string
	lives map[string]int
	does  map[string]script
	open  int   // sandboxes not yet closed
	ghost *proc // the last immortal process
}

// A script is what a container does in its nth life, counted from 0.
type script struct {
	prepare  func(life int) error
	runs     func(life int, args []string) (time.Duration, int) // 0: until a signal
	probe    func(life int, after time.Duration) error
	deaf     bool          // ignores signals
	ready    time.Duration // when it takes signals; those before are lost
	minds    int           // the only signal that it ends by; 0: any
	immortal bool          // survives even Kill
	oomKills int64
}

func newWorld(t *testing.T, does map[string]script) *world {
	return &world{t: t, began: time.Now(), lives: map[string]int{}, does: does}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Since(w.began)
	w.seen = append(w.seen, fmt.Sprintf("%v "+format, append([]any{at}, args...)...))
}

func (w *world) history() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.seen, "\n")
}

func (w *world) Printf(format string, args ...any) { w.t.Logf(format, args...) }

func (w *world) Output(container, stream string) io.WriteCloser { return nil }

func (w *world) Prepare(c *system.Container) (Sandbox, error) {
	w.mu.Lock()
	life := w.lives[c.Name]
	w.lives[c.Name]++
	w.mu.Unlock()
	b := &box{w: w, c: c, life: life, does: w.does[c.Name], killed: make(chan struct{})}
	if b.does.prepare != nil {
		if err := b.does.prepare(life); err != nil {
			w.note("%s cannot be prepared", c.Name)
			return nil, err
		}
	}
	w.mu.Lock()
	w.open++
	w.mu.Unlock()
	return b, nil
}

type box struct {
	w      *world
	c      *system.Container
	life   int
	does   script
	once   sync.Once
	killed chan struct{}
	began  time.Time
}

func (b *box) Start(args []string, stdout, stderr io.WriteCloser) (Process, error) {
	if args[0] == "/missing" {
		return nil, errors.New("no such file")
	}
	b.began = time.Now()
	p := &proc{b: b, args: args, signal: make(chan int, 8)}
	if b.does.immortal {
		b.w.mu.Lock()
		b.w.ghost = p
		b.w.mu.Unlock()
	}
	b.w.note("%s start %s", b.c.Name, strings.Join(args, " "))
	return p, nil
}

func (b *box) Run(stdout, stderr io.WriteCloser) (Process, error) {
	return b.Start(b.c.Args, stdout, stderr)
}

func (b *box) Probe(ctx context.Context, h *system.Health, main Process) error {
	if b.does.probe == nil {
		return nil
	}
	err := b.does.probe(b.life, time.Since(b.began))
	if errors.Is(err, errHang) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (b *box) Memory() int64      { return 4096 }
func (b *box) Warnings() []string { return []string{"no limits"} }

func (b *box) Kill() error {
	b.once.Do(func() { close(b.killed) })
	return nil
}

func (b *box) Close() error {
	select {
	case <-b.killed:
	default:
		b.w.t.Errorf("%s: closed with processes that may be left", b.c.Name)
	}
	b.w.mu.Lock()
	b.w.open--
	b.w.mu.Unlock()
	return nil
}

type proc struct {
	b      *box
	args   []string
	signal chan int
}

func (p *proc) PID() int { return 7 }

func (p *proc) Attach(context.Context, wire.AttachRequest, wire.Terminal) (int, error) {
	return 3, nil
}

func (p *proc) Takes(int) bool { return time.Since(p.b.began) >= p.b.does.ready }

func (p *proc) Signal(sig int) error {
	if p.b.does.ready > 0 || p.b.does.minds > 0 {
		p.b.w.note("%s signal %d", p.b.c.Name, sig)
	}
	if p.Takes(sig) {
		p.signal <- sig
	}
	return nil
}

func (p *proc) Wait() (code int, err error) {
	defer func() { p.b.w.note("%s end %d", p.b.c.Name, code) }()
	var lasts <-chan time.Time
	if p.b.does.runs != nil {
		d, c := p.b.does.runs(p.b.life, p.args)
		code = c
		if d > 0 {
			lasts = time.After(d)
		}
	}
	killed := p.b.killed
	if p.b.does.immortal {
		killed = nil
	}
	for {
		select {
		case <-lasts:
			return code, nil
		case sig := <-p.signal:
			if !p.b.does.deaf && (p.b.does.minds == 0 || p.b.does.minds == sig) || sig < 0 {
				return 128 + sig, nil
			}
		case <-killed:
			return 128 + 9, nil
		}
	}
}

var errHang = errors.New("hang")

// container returns a container that is always restarted.
func container(name string, after ...string) system.Container {
	return system.Container{
		Name: name, Args: []string{"/" + name}, After: after,
		Restart: system.Restart{Policy: system.RestartAlways, Min: int64(100 * time.Millisecond), Max: int64(time.Second)},
		Stop:    system.Stop{Signal: 15, Timeout: int64(10 * time.Second)},
	}
}

func health(interval, timeout, within time.Duration, retries int) *system.Health {
	return &system.Health{TCP: "127.0.0.1:1", Interval: int64(interval), Timeout: int64(timeout), Within: int64(within), Retries: retries}
}

func (b *box) Exec(ctx context.Context, r wire.ExecRequest, t wire.Terminal) (int, error) {
	b.w.note("%s exec %s", b.c.Name, strings.Join(r.Args, " "))
	return 7, nil
}

func (b *box) Freeze(frozen bool) error {
	b.w.note("%s freeze %v", b.c.Name, frozen)
	return nil
}

func (b *box) OOMKills() int64 { return b.does.oomKills }

func (b *box) Usage() Usage { return Usage{Memory: 4096, OOMKills: b.does.oomKills} }

func (b *box) Processes() ([]wire.ProcessStatus, error) {
	return []wire.ProcessStatus{{PID: 5, Command: b.c.Name}}, nil
}
