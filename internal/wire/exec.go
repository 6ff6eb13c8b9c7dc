package wire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// MethodExec runs a command in a container. Its parameters are an ExecRequest;
// the answer, an ExecResult, comes when the command has ended. In between,
// lines that are Frames go both ways, with the request's ID as their session.
const MethodExec = "exec"

// ExecRequest asks for a further process in a running container.
type ExecRequest struct {
	Container string   `json:"container"`
	Args      []string `json:"args,omitempty"` // empty: the container's shell
	Env       []string `json:"env,omitempty"`  // KEY=VALUE, beside the container's own
	TTY       bool     `json:"tty,omitempty"`  // a terminal instead of three pipes
	Size      TermSize `json:"size,omitzero"`  // of the terminal
}

// ExecResult is the end of a command.
type ExecResult struct {
	Code int `json:"code"` // 128+n for signal n
}

// TermSize is the size of a terminal in characters.
type TermSize struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// An Event is what a terminal's user does beside typing. One of its fields is
// set.
type Event struct {
	Size   TermSize // the terminal's new size
	Signal int      // to be sent to the command
}

// Terminal is where a command's input comes from and where its output goes.
// Any of its fields may be nil: no input, output that nobody wants, no events.
// Stdin's Read must not outlive the session by more than its own next return.
type Terminal struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Events         <-chan Event
}

// Limits of sessions, in bytes. A sender may have Window bytes of a stream on
// the way that its receiver has not consumed yet; the receiver gives credit
// for what it has. Who sends more loses the session.
const (
	MaxData     = 16 << 10  // of one frame
	Window      = 128 << 10 // of one stream of one session
	maxSessions = 32        // of one connection; further ones are refused
	maxEvents   = 64        // that wait for a command; later ones are dropped
)

// The streams of a session.
const (
	streamIn = iota
	streamOut
	streamErr
	streams
)

// Frame is a line of a session that is under way. Frames of unknown sessions
// are dropped: the two ends learn of an end at different times.
type Frame struct {
	Session string    `json:"session"`
	Stream  int       `json:"stream,omitempty"` // 0 input, 1 output, 2 errors
	Data    []byte    `json:"data,omitempty"`   // base64; at most MaxData bytes
	End     bool      `json:"end,omitempty"`    // no more of Stream
	Credit  int       `json:"credit,omitempty"` // bytes of Stream that were consumed
	Size    *TermSize `json:"size,omitempty"`
	Signal  int       `json:"signal,omitempty"`
	Close   bool      `json:"close,omitempty"` // the client has gone
}

// Exec runs a command in a container and returns when it has ended and its
// output is written. When ctx ends before, the command is killed.
func (c *Client) Exec(ctx context.Context, r ExecRequest, t Terminal) (ExecResult, error) {
	var result ExecResult
	err := c.session(ctx, MethodExec, r, t, &result)
	return result, err
}

// session makes a call with frames both ways.
func (c *Client) session(ctx context.Context, method string, params any, t Terminal, result any) error {
	id := c.newID()
	s := newSession(id, func(f Frame) error { return c.send(ctx, f) })
	c.mu.Lock()
	c.sessions[id] = s
	c.mu.Unlock()
	ended := make(chan struct{})
	written := make(chan struct{})
	go func() { s.copyOut(t.Stdout, t.Stderr); close(written) }()

	err := c.callAs(ctx, id, method, params, result, func() { // frames before it would be lost
		go s.copyIn(t.Stdin)
		go s.forward(t.Events, ended)
	})
	close(ended)
	if ctx.Err() != nil {
		// The caller has gone, the command shall go as well.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
		defer cancel()
		c.send(ctx, Frame{Session: id, Close: true})
	}
	c.mu.Lock()
	delete(c.sessions, id)
	c.mu.Unlock()
	s.finish() // what came before the answer is still read
	if ctx.Err() == nil {
		<-written
	}
	return err
}

// closePatience is how long a client that goes tries to say so.
const closePatience = 2 * time.Second

// copyIn sends what the caller has as the command's input.
func (s *session) copyIn(from io.Reader) {
	if from != nil {
		io.Copy(writer{s, streamIn}, from) // what fails has ended
	}
	s.send(Frame{Session: s.id, Stream: streamIn, End: true})
}

// copyOut writes the command's output until the session's end. Output that
// cannot be written is dropped, so that the command goes on.
func (s *session) copyOut(stdout, stderr io.Writer) {
	done := make(chan struct{})
	go func() {
		drain(stderr, reader{s, streamErr})
		close(done)
	}()
	drain(stdout, reader{s, streamOut})
	<-done
}

func drain(to io.Writer, from io.Reader) {
	if to != nil {
		if _, err := io.Copy(to, from); err == nil {
			return
		}
	}
	io.Copy(io.Discard, from)
}

// forward sends events until the call has ended.
func (s *session) forward(events <-chan Event, ended <-chan struct{}) {
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			f := Frame{Session: s.id, Signal: e.Signal}
			if e.Signal == 0 {
				f.Size = &e.Size
			}
			s.send(f)
		case <-ended:
			return
		}
	}
}

// session serves one session of a stream.
func (s *stream) session(ctx context.Context, c Control, req Request) Response {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ss := s.sessions.get(req.ID)
	ss.onClose(cancel)
	stop := context.AfterFunc(ctx, ss.finish)
	defer stop()
	defer ss.finish()
	result, err := sessionOf(ctx, c, req, Terminal{
		Stdin: reader{ss, streamIn}, Stdout: writer{ss, streamOut}, Stderr: writer{ss, streamErr}, Events: ss.events,
	})
	if broken := ss.broken(); broken != nil {
		err = broken
	}
	if err != nil {
		return Response{ID: req.ID, Error: err.Error()}
	}
	b, err := json.Marshal(result)
	if err != nil {
		return Response{ID: req.ID, Error: err.Error()}
	}
	return Response{ID: req.ID, Result: b}
}

var errTooMuch = errors.New("more data on the way than a session may have")

var errNoUpdates = errors.New("this machine takes no updates")
