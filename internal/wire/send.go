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

	// Ranges returns parts of packs, one behind the other, when Front is an index
	// of chunks; see UpdateEvent. It is called again when they were read.
	Ranges func(list [][3]int64) (io.Reader, error)
}

// ErrRefused is in the chain of the error of an update that the machine refused
// before it wrote anything.
var ErrRefused = errors.New("the machine refuses the update")

// Send gives an update to the machine and tells what the machine says of it. It
// returns when the system waits for the next boot.
func (c *Client) Send(ctx context.Context, r UpdateRequest, u Outgoing, said func(UpdateEvent)) (UpdateStaged, error) {
	h, err := c.converse(ctx, r, u, said)
	if err == nil && h.staged == nil {
		err = errors.New("the machine says nothing of it")
	}
	if err != nil {
		return UpdateStaged{}, err
	}
	return *h.staged, nil
}

// Check asks the machine what it would say of an update.
func (c *Client) Check(ctx context.Context, r UpdateRequest, u Outgoing) (UpdateChecked, error) {
	r.DryRun = true
	h, err := c.converse(ctx, r, u, nil)
	if err == nil && h.checked == nil {
		err = errors.New("the machine says nothing of it")
	}
	if err != nil {
		return UpdateChecked{}, err
	}
	return *h.checked, nil
}

func (c *Client) converse(ctx context.Context, r UpdateRequest, u Outgoing, said func(UpdateEvent)) (*hearing, error) {
	in, toIn := io.Pipe()
	fromOut, out := io.Pipe()
	wants := make(chan want, 1)
	fed, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(fed)
		err := feed(ctx, toIn, u, wants)
		failed <- err // before the machine learns that nothing more comes
		toIn.CloseWithError(err)
	}()
	h := &hearing{wants: wants, fed: fed, said: said}
	heard := make(chan struct{})
	go func() { h.listen(fromOut); close(heard) }()

	var trouble strings.Builder
	result, err := c.Update(ctx, r, Terminal{Stdin: in, Stdout: out, Stderr: &bounded{&trouble, 4 << 10}})
	in.CloseWithError(errEnded)
	out.Close()
	<-heard
	switch {
	case err != nil:
		return h, err
	case h.err != nil:
		return h, sourceFirst(failed, h.err)
	case result.Code != 0:
		return h, fmt.Errorf("the machine's receiver has ended with %d: %s", result.Code, strings.TrimSpace(trouble.String()))
	}
	return h, nil
}

// sourceFirst puts in front of what the machine says why its source has failed,
// which the machine cannot know: to it the stream is cut.
func sourceFirst(failed <-chan error, said error) error {
	select {
	case err := <-failed:
		if err != nil && !errors.Is(err, errEnded) {
			return fmt.Errorf("%w; %w", err, said)
		}
	default: // it is still at work
	}
	return said
}

// want is what the machine asks for: the body from an offset on, or ranges.
type want struct {
	offset int64
	ranges [][3]int64
}

var errNoPacks = errors.New("the machine asks for parts of packs, and this is no index of chunks")

// feed writes the front, and then what the machine says that it wants. Of an
// update that is all; parts of packs it may ask for more than once.
func feed(ctx context.Context, to io.Writer, u Outgoing, wants <-chan want) error {
	_, err := io.Copy(to, u.Front)
	for more := true; err == nil && more; {
		select {
		case w, ok := <-wants:
			if more = ok && w.ranges != nil; ok {
				err = w.copy(to, u)
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return err
}

func (w want) copy(to io.Writer, u Outgoing) error {
	var body io.Reader
	var err error
	switch {
	case w.ranges == nil:
		body, err = u.Body(w.offset)
	case u.Ranges == nil:
		err = errNoPacks
	default:
		body, err = u.Ranges(w.ranges)
	}
	if err == nil {
		_, err = io.Copy(to, body)
	}
	return err
}

// hearing is what came of the events.
type hearing struct {
	wants   chan<- want
	fed     <-chan struct{} // closed when nothing more is fed
	ranges  [][3]int64      // that were asked for so far
	said    func(UpdateEvent)
	staged  *UpdateStaged
	checked *UpdateChecked
	err     error
}

// maxWanted is how many ranges may be asked for at once.
const maxWanted = 1 << 18

func (h *hearing) ask(w want) {
	select {
	case h.wants <- w:
	case <-h.fed:
	}
}

func (h *hearing) listen(r io.Reader) {
	defer close(h.wants)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxRequest)
	wanted := false
	for lines.Scan() {
		var e UpdateEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch {
		case e.Want != nil && !wanted:
			wanted = true
			h.ask(want{offset: *e.Want})
		case len(e.Ranges) > 0:
			if h.ranges = append(h.ranges, e.Ranges...); !e.More || len(h.ranges) > maxWanted {
				h.ask(want{ranges: h.ranges})
				h.ranges = nil
			}
		case e.Staged != nil:
			h.staged = e.Staged
		case e.Checked != nil:
			h.checked = e.Checked
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
