package boot

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// A visit is somebody who is attached.
type visit struct {
	t      *testing.T
	in     *io.PipeWriter
	events chan wire.Event
	leave  func()
	over   chan struct{}
	code   int
	err    error

	mu         sync.Mutex
	out, aside strings.Builder
}

type heard struct {
	v  *visit
	to *strings.Builder
}

func (h heard) Write(p []byte) (int, error) {
	h.v.mu.Lock()
	defer h.v.mu.Unlock()
	return h.to.Write(p)
}

func (r *run) visit(t *testing.T, req wire.AttachRequest) *visit {
	t.Helper()
	c, err := wire.Dial(t.Context(), filepath.Join(r.dir, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	from, to := io.Pipe()
	v := &visit{t: t, in: to, events: make(chan wire.Event), leave: cancel, over: make(chan struct{})}
	go func() {
		defer close(v.over)
		defer c.Close()
		result, err := c.Attach(ctx, req, wire.Terminal{Stdin: from, Stdout: heard{v, &v.out}, Stderr: heard{v, &v.aside}, Events: v.events})
		v.code, v.err = result.Code, err
	}()
	t.Cleanup(func() { cancel(); to.Close(); <-v.over })
	return v
}

func (v *visit) types(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v.in, text); err != nil {
		v.t.Fatal(err)
	}
}

// hears waits until something was written.
func (v *visit) hears(want string) {
	v.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		v.mu.Lock()
		out, aside := v.out.String(), v.aside.String()
		v.mu.Unlock()
		if strings.Contains(out, want) || strings.Contains(aside, want) {
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("no %q in %q, %q", want, out, aside)
		}
	}
}

func (v *visit) ends() {
	v.t.Helper()
	select {
	case <-v.over:
	case <-time.After(time.Minute):
		v.t.Fatal("attach does not end")
	}
}

// TestAttach joins a command that keeps its input open, and one on a terminal.
func TestAttach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making containers needs root")
	}
	w := &world{dir: t.TempDir()}
	w.fill(t, nil, func(image system.Object) []system.Configuration {
		ear, screen, deaf := guest(image, "ear", "talk"), guest(image, "screen", "talk"), guest(image, "deaf", "talk")
		ear.Stdin, screen.TTY, screen.Init = true, true, true
		ear.Restart.Policy, screen.Restart.Policy, deaf.Restart.Policy = system.RestartNever, system.RestartNever, system.RestartNever
		return []system.Configuration{{Name: "day", Fallback: true, Containers: []system.Container{ear, screen, deaf}}}
	})
	r := w.start(t, build(t, "../../../cmd/instar-init"), "day")
	status := func(name string) wire.ContainerStatus {
		c, err := wire.Dial(t.Context(), filepath.Join(r.dir, "control.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range st.Containers {
			if s.Name == name {
				return s
			}
		}
		return wire.ContainerStatus{}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		console := r.console.String()
		if strings.Contains(console, "deaf: end of input") && strings.Count(console, "talking on") == 3 { // without stdin there is nothing to read
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the containers do not talk")
		}
	}
	if console := r.console.String(); !strings.Contains(console, "screen: talking on /dev/pts/0 <nil> true") {
		t.Error("the terminal is not the command's own")
	}

	first := r.visit(t, wire.AttachRequest{Container: "ear"})
	other := r.visit(t, wire.AttachRequest{Container: "ear"})
	first.types("one\n")
	first.hears("got one")
	first.hears("aside")
	other.types("two\n")
	other.hears("got two")
	first.hears("got two")
	first.events <- wire.Event{Signal: 10}
	first.hears("usr1")
	pid := status("ear").PID
	first.leave()
	first.ends()
	if !errors.Is(first.err, context.Canceled) {
		t.Errorf("who leaves: %v", first.err)
	}
	other.in.Close() // its end is not the command's
	last := r.visit(t, wire.AttachRequest{Container: "ear", EndInput: true})
	last.types("three\n")
	last.hears("got three")
	if s := status("ear"); s.PID != pid || !s.Stdin || s.TTY {
		t.Errorf("ear was %d and is %+v", pid, s)
	}
	last.in.Close()
	for _, v := range []*visit{last, other} {
		v.ends()
		if v.code != 6 || v.err != nil || !strings.HasSuffix(v.out.String(), "end of input\n") {
			t.Errorf("at the end: %d, %v, %q", v.code, v.err, v.out.String())
		}
	}
	gone := r.visit(t, wire.AttachRequest{Container: "ear"})
	gone.ends()
	if gone.err == nil || !strings.Contains(gone.err.Error(), "does not run") {
		t.Errorf("attached to what has ended: %v", gone.err)
	}

	on := r.visit(t, wire.AttachRequest{Container: "screen", EndInput: true, Size: wire.TermSize{Rows: 30, Cols: 100}})
	on.hears("size 30 100\r\n")
	on.events <- wire.Event{Size: wire.TermSize{Rows: 31, Cols: 101}}
	on.hears("size 31 101\r\n")
	on.types("hi\n")
	on.hears("hi\r\ngot hi\r\n")
	if s := status("screen"); !s.Stdin || !s.TTY {
		t.Errorf("screen: %+v", s)
	}
	on.in.Close()
	on.ends()
	if on.code != 6 || on.err != nil {
		t.Errorf("the terminal's end: %d, %v, %q", on.code, on.err, on.out.String())
	}
}
