package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a supervisor that remembers what it was asked.
type fake struct {
	mu      sync.Mutex
	asked   []string
	release chan struct{} // Stop waits for it
	big     int           // bytes of log text
}

func (f *fake) note(s string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, s)
	return nil
}

func (f *fake) Status() Status { return Status{Machine: "greenhouse", Healthy: true} }
func (f *fake) Logs(r LogsRequest) (LogsReply, error) {
	if r.Container == "x" {
		return LogsReply{}, errors.New("no container x")
	}
	text := "hello <&>"
	if f.big > 0 {
		text = strings.Repeat("x", f.big)
	}
	return LogsReply{Lines: []LogLine{{Seq: r.After + 1, Container: r.Container, Text: text}}, More: true}, nil
}
func (f *fake) Start(_ context.Context, c string) error { return f.note("start " + c) }
func (f *fake) Stop(ctx context.Context, c string) error {
	select {
	case <-f.release:
	case <-ctx.Done():
		return ctx.Err()
	}
	return f.note("stop " + c)
}
func (f *fake) Restart(_ context.Context, c string) error { return f.note("restart " + c) }
func (f *fake) PowerOff() error                           { return f.note("poweroff") }
func (f *fake) Reboot() error                             { return errors.New("not here") }

func serve(t *testing.T, f *fake) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Listen(ctx, l, f) }()
	c, err := Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.Close()
		if _, err := c.Status(context.Background()); err == nil {
			t.Error("a call over a closed stream succeeded")
		}
	})
	return c
}

func TestCalls(t *testing.T) {
	f := &fake{release: make(chan struct{})}
	c := serve(t, f)
	ctx := t.Context()
	stopped := make(chan error)
	go func() { stopped <- c.Stop(ctx, "a") }()

	st, err := c.Status(ctx)
	if err != nil || st.Machine != "greenhouse" || !st.Healthy {
		t.Errorf("status %+v, %v", st, err)
	}
	logs, err := c.Logs(ctx, LogsRequest{Container: "a", After: 7})
	if err != nil || len(logs.Lines) != 1 || logs.Lines[0].Seq != 8 || logs.Lines[0].Text != "hello <&>" || !logs.More {
		t.Errorf("logs %+v, %v", logs, err)
	}
	_, err = c.Logs(ctx, LogsRequest{Container: "x"})
	if !errors.Is(err, ErrRemote) || err.Error() != "asking the supervisor for logs: the supervisor answered: no container x" {
		t.Errorf("logs of x: %v", err)
	}
	for _, err := range []error{c.Start(ctx, "b"), c.Restart(ctx, "c"), c.PowerOff(ctx)} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := c.Reboot(ctx); !errors.Is(err, ErrRemote) {
		t.Errorf("reboot: %v", err)
	}
	if err := c.Call(ctx, "dance", nil, nil); err == nil || !strings.Contains(err.Error(), `unknown method "dance"`) {
		t.Errorf("unknown method: %v", err)
	}
	if err := c.Call(ctx, MethodStart, 7, nil); err == nil || !strings.Contains(err.Error(), "parameters of start") {
		t.Errorf("wrong parameters: %v", err)
	}
	close(f.release)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := strings.Join(f.asked, ";"); got != "start b;restart c;poweroff;stop a" {
		t.Errorf("asked: %s", got)
	}
}

func TestLimits(t *testing.T) {
	f := &fake{big: MaxResponse}
	c := serve(t, f)
	if _, err := c.Logs(t.Context(), LogsRequest{}); err == nil || !strings.Contains(err.Error(), "more than 4194304") {
		t.Errorf("answer that is too long: %v", err)
	}
	if err := c.Start(t.Context(), strings.Repeat("x", MaxRequest)); err == nil || !strings.Contains(err.Error(), "more than 65536") {
		t.Errorf("request that is too long: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Stop(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that is not answered: %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("after a time-out: %v", err)
	}
}

// TestSerial has a client on a stream that holds rests of others.
func TestSerial(t *testing.T) {
	host, port := net.Pipe()
	defer port.Close()
	go func() {
		// What a former client did not read, and what it had half written.
		io.WriteString(port, "sult\":{}}\n{\"id\":\"old-1\",\"result\":{\"machine\":\"other\"}}\n[1]\n")
		Serve(context.Background(), struct {
			io.Reader
			io.Writer
		}{io.MultiReader(strings.NewReader("{\"id\":\"o"), port), port}, &fake{})
	}()
	c := NewClient(host)
	defer c.Close()
	st, err := c.Status(t.Context())
	if err != nil || st.Machine != "greenhouse" {
		t.Errorf("status %+v, %v", st, err)
	}
}

func TestServeAnswersGarbage(t *testing.T) {
	in := strings.NewReader("\nnot json\n{\"method\":\"status\"}\n" + strings.Repeat("x", MaxRequest+1) + "\n{\"id\":\"1\",\"method\":\"reboot\"}\n{\"id\":")
	var out bytes.Buffer
	if err := Serve(t.Context(), struct {
		io.Reader
		io.Writer
	}{in, &out}, &fake{}); err != nil {
		t.Error(err)
	}
	want := `{"id":"","error":"not a request"}
{"id":"","error":"not a request"}
{"id":"","error":"request longer than 65536 bytes"}
{"id":"1","error":"not here"}
`
	if out.String() != want {
		t.Errorf("got %s\nwant %s", out.String(), want)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\n\nbb\nccccccccccccccccccccc\nd"), 8)
	f.Add(bytes.Repeat([]byte("x"), 9000), 5000)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(0, min(limit, 1<<16))
		l := newLineReader(bytes.NewReader(b), limit)
		for _, want := range bytes.SplitAfter(b, []byte("\n")) {
			got, err := l.next()
			want, ended := bytes.CutSuffix(want, []byte("\n"))
			switch {
			case !ended:
				if err != io.EOF {
					t.Fatalf("rest %q: got %q, %v", want, got, err)
				}
			case len(want) > limit:
				if err != ErrTooLong {
					t.Fatalf("line of %d bytes: got %q, %v", len(want), got, err)
				}
			case err != nil || !bytes.Equal(got, want):
				t.Fatalf("got %q, %v; want %q", got, err, want)
			}
		}
	})
}

func FuzzServe(f *testing.F) {
	f.Add([]byte(`{"id":"1","method":"logs","params":{"tail":-1}}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		Serve(ctx, struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), io.Discard}, &fake{})
	})
}
