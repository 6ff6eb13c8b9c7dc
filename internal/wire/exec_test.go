package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Exec of the fake does what the first argument says.
func (f *fake) Attach(ctx context.Context, r AttachRequest, t Terminal) (AttachResult, error) {
	x, err := f.Exec(ctx, ExecRequest{Args: []string{r.Container}}, t)
	return AttachResult(x), err
}

func (f *fake) Exec(ctx context.Context, r ExecRequest, t Terminal) (ExecResult, error) {
	switch r.Args[0] {
	case "cat":
		_, err := io.Copy(t.Stdout, t.Stdin)
		return ExecResult{Code: 7}, err
	case "flood":
		_, err := t.Stdout.Write(make([]byte, 20*Window))
		fmt.Fprint(t.Stderr, "done")
		return ExecResult{}, err
	case "events":
		for range 2 {
			e := <-t.Events
			fmt.Fprint(t.Stdout, e, " ")
		}
		return ExecResult{}, nil
	case "hang":
		f.note("hangs")
		<-ctx.Done()
		f.note("killed")
		return ExecResult{}, ctx.Err()
	case "sleep": // reads nothing
		<-f.release
		return ExecResult{Code: 3}, nil
	}
	return ExecResult{}, errors.New("no such program")
}

func (f *fake) Kill(r KillRequest) error { return f.note(fmt.Sprint("kill ", r.Container, r.Signal)) }
func (f *fake) Pause(c string) error     { return f.note("pause " + c) }
func (f *fake) Unpause(c string) error   { return f.note("unpause " + c) }
func (f *fake) Top(c string) (TopReply, error) {
	return TopReply{Processes: []ProcessStatus{{PID: 1, Command: c}}}, nil
}
func (f *fake) Stats() (StatsReply, error) {
	return StatsReply{Containers: []ContainerStats{{Name: "a", Memory: 5}}}, nil
}

func TestOperate(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	ctx := t.Context()
	if err := errors.Join(c.Kill(ctx, KillRequest{"a", 9}), c.Pause(ctx, "a"), c.Unpause(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	top, err := c.Top(ctx, "a")
	if err != nil || len(top.Processes) != 1 || top.Processes[0].Command != "a" {
		t.Error(top, err)
	}
	st, err := c.Stats(ctx)
	if err != nil || st.Containers[0].Memory != 5 {
		t.Error(st, err)
	}
	if got := strings.Join(f.asked, ","); got != "kill a9,pause a,unpause a" {
		t.Error(got)
	}
}

func TestExec(t *testing.T) {
	c := serve(t, &fake{})
	ctx := t.Context()
	input := strings.Repeat("0123456789", Window/2) // five windows
	var out bytes.Buffer
	r, err := c.Exec(ctx, ExecRequest{Args: []string{"cat"}}, Terminal{Stdin: strings.NewReader(input), Stdout: &out})
	if err != nil || r.Code != 7 || out.String() != input {
		t.Errorf("cat: %v, %v, %d of %d bytes", r, err, out.Len(), len(input))
	}
	var errs bytes.Buffer
	out.Reset()
	r, err = c.Exec(ctx, ExecRequest{Args: []string{"flood"}}, Terminal{Stdout: &out, Stderr: &errs})
	if err != nil || out.Len() != 20*Window || errs.String() != "done" {
		t.Errorf("flood: %v, %v, %d bytes, %q", r, err, out.Len(), errs.String())
	}
	if r, err = c.Exec(ctx, ExecRequest{Args: []string{"flood"}}, Terminal{}); err != nil {
		t.Errorf("nobody wants it: %v, %v", r, err)
	}
	events := make(chan Event, 2)
	events <- Event{Size: TermSize{24, 80}}
	events <- Event{Signal: 2}
	out.Reset()
	_, err = c.Exec(ctx, ExecRequest{Args: []string{"events"}}, Terminal{Stdout: &out, Events: events})
	if err != nil || out.String() != "{{24 80} 0} {{0 0} 2} " {
		t.Errorf("events: %q, %v", out.String(), err)
	}
	if _, err = c.Exec(ctx, ExecRequest{Args: []string{"x"}}, Terminal{}); !errors.Is(err, ErrRemote) {
		t.Error(err)
	}
}

// Two sessions and a question at once over one stream; one of them reads
// nothing and holds nobody up.
func TestSessionsShareAStream(t *testing.T) {
	f := &fake{release: make(chan struct{})}
	c := serve(t, f)
	var running sync.WaitGroup
	running.Go(func() {
		r, err := c.Exec(t.Context(), ExecRequest{Args: []string{"sleep"}}, Terminal{Stdin: bytes.NewReader(make([]byte, 3*Window))})
		if err != nil || r.Code != 3 {
			t.Error(r, err)
		}
	})
	for range 3 {
		var out bytes.Buffer
		if _, err := c.Exec(t.Context(), ExecRequest{Args: []string{"cat"}}, Terminal{Stdin: strings.NewReader("x"), Stdout: &out}); err != nil || out.String() != "x" {
			t.Error(out.String(), err)
		}
	}
	if st, err := c.Status(t.Context()); err != nil || !st.Healthy {
		t.Error(st, err)
	}
	close(f.release)
	running.Wait()
}

func TestExecEndsWithItsCaller(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			f.mu.Lock()
			n := len(f.asked)
			f.mu.Unlock()
			if n == 1 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := c.Exec(ctx, ExecRequest{Args: []string{"hang"}}, Terminal{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		killed := len(f.asked) == 2
		f.mu.Unlock()
		if killed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the command outlives its caller")
		}
	}
}

// raw speaks the protocol by hand.
func raw(t *testing.T, f *fake, lines ...any) *json.Decoder {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { Serve(context.Background(), theirs, f); close(done) }()
	t.Cleanup(func() { ours.Close(); <-done })
	go func() {
		enc := json.NewEncoder(ours)
		for _, l := range lines {
			enc.Encode(l)
		}
	}()
	return json.NewDecoder(ours)
}

func TestSessionLimits(t *testing.T) {
	hang := Request{ID: "1", Method: MethodExec, Params: json.RawMessage(`{"args":["hang"]}`)}
	data := Frame{Session: "1", Data: make([]byte, MaxData)}
	tooMany := []any{hang}
	for range Window/MaxData + 1 {
		tooMany = append(tooMany, data)
	}
	all := []any{}
	for i := range maxSessions + 1 {
		r := hang
		r.ID = fmt.Sprint(i)
		all = append(all, r)
	}
	for name, row := range map[string]struct {
		lines []any
		want  string
	}{
		"a frame too long":   {[]any{hang, Frame{Session: "1", Data: make([]byte, MaxData+1)}}, errTooMuch.Error()},
		"more than a window": {tooMany, errTooMuch.Error()},
		"credit from nobody": {[]any{hang, Frame{Session: "1", Stream: 1, Credit: 1}}, errTooMuch.Error()},
		"negative credit":    {[]any{hang, Frame{Session: "1", Stream: 1, Credit: -1}}, errTooMuch.Error()},
		"the ID again":       {[]any{hang, hang}, "runs already"},
		"too many sessions":  {all, "run already over this connection"},
		"closed":             {[]any{hang, Frame{Session: "1", Stream: 99}, Frame{Session: "1", Close: true}}, "context canceled"},
	} {
		var r Response
		if err := raw(t, &fake{}, row.lines...).Decode(&r); err != nil || !strings.Contains(r.Error, row.want) {
			t.Errorf("%s: %v %+v, want %q", name, err, r, row.want)
		}
	}
}

// FuzzSession feeds lines to a server with a command that echoes.
func FuzzSession(f *testing.F) {
	open := `{"id":"1","method":"exec","params":{"args":["cat"]}}` + "\n"
	f.Add([]byte(open + `{"session":"1","data":"aGVsbG8="}` + "\n" + `{"session":"1","end":true}` + "\n"))
	f.Add([]byte(open + `{"session":"1","credit":9223372036854775807,"stream":1}` + "\n" + `{"session":"1","stream":-1}` + "\n"))
	f.Add([]byte(open + `{"session":"1","size":{"rows":1,"cols":70000}}` + "\n" + `{"session":"1","signal":-1,"close":true}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		release := make(chan struct{})
		close(release)
		Serve(t.Context(), struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), &out}, &fake{release: release})
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) || len(line) > MaxResponse {
				t.Errorf("line %q", line)
			}
		}
	})
}
