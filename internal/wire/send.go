package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Outgoing is an update to be sent.
type Outgoing struct {
	Front io.Reader                             // what stands before the body
	Body  func(offset int64) (io.Reader, error) // the body from there on; called at most once
}

// ErrRefused is in the chain of the error of an update that the machine refused
// before it wrote anything.
var ErrRefused = errors.New("the machine refuses the update")

// Send gives an update to the machine and tells what the machine says of it. It
// returns when the system waits for the next boot.
func (c *Client) Send(ctx context.Context, r UpdateRequest, u Outgoing, said func(UpdateEvent)) (UpdateStaged, error) {
	in, toIn := io.Pipe()
	fromOut, out := io.Pipe()
	wants := make(chan int64, 1)
	go feed(ctx, toIn, u, wants)
	h := &hearing{wants: wants, said: said}
	heard := make(chan struct{})
	go func() { h.listen(fromOut); close(heard) }()

	var trouble strings.Builder
	result, err := c.Update(ctx, r, Terminal{Stdin: in, Stdout: out, Stderr: &bounded{&trouble, 4 << 10}})
	in.CloseWithError(errEnded)
	out.Close()
	<-heard
	switch {
	case err != nil:
		return UpdateStaged{}, err
	case h.err != nil:
		return UpdateStaged{}, h.err
	case h.staged == nil || result.Code != 0:
		return UpdateStaged{}, fmt.Errorf("the machine's receiver has ended with %d: %s", result.Code, strings.TrimSpace(trouble.String()))
	}
	return *h.staged, nil
}

// feed writes the front, waits until the machine says what it wants, and writes
// the body.
func feed(ctx context.Context, to *io.PipeWriter, u Outgoing, wants <-chan int64) {
	_, err := io.Copy(to, u.Front)
	if err == nil {
		select {
		case offset, ok := <-wants:
			if ok {
				var body io.Reader
				if body, err = u.Body(offset); err == nil {
					_, err = io.Copy(to, body)
				}
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	to.CloseWithError(err)
}

// hearing is what came of the events.
type hearing struct {
	wants  chan<- int64
	said   func(UpdateEvent)
	staged *UpdateStaged
	err    error
}

func (h *hearing) listen(r io.Reader) {
	defer close(h.wants)
	lines := bufio.NewScanner(r)
	wanted := false
	for lines.Scan() {
		var e UpdateEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch {
		case e.Want != nil && !wanted:
			wanted = true
			h.wants <- *e.Want
		case e.Staged != nil:
			h.staged = e.Staged
		case e.Error != "":
			h.err = fmt.Errorf("%w: %s", ErrRemote, e.Error)
		case len(e.Refused) > 0:
			var why []string
			for _, p := range e.Refused {
				why = append(why, p.Text)
			}
			h.err = fmt.Errorf("%w: %s", ErrRefused, strings.Join(why, "; "))
		}
		if h.said != nil {
			h.said(e)
		}
	}
	io.Copy(io.Discard, r)
}

// bounded keeps the first bytes that are written.
type bounded struct {
	b    *strings.Builder
	left int
}

// Write implements io.Writer.
func (w *bounded) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.b.Write(p[:n])
	w.left -= n
	return len(p), nil
}
