package wire

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// A session is one end of the streams between a command and a terminal.
// Frames come in by deliver, which never blocks, and go out by send.
type session struct {
	id     string
	send   func(Frame) error
	events chan Event // nobody closes it

	mu     sync.Mutex
	moved  *sync.Cond
	in     [streams]inbox
	credit [streams]int // bytes that may be sent
	ended  bool         // nothing more comes in or goes out
	err    error        // why, when the peer broke the rules
	close  func()       // called once when the peer has gone
}

// An inbox holds what came in and was not read yet.
type inbox struct {
	data []byte
	end  bool
	read int // bytes read that no credit was given for
}

func newSession(id string, send func(Frame) error) *session {
	s := &session{id: id, send: send, events: make(chan Event, maxEvents), credit: [streams]int{Window, Window, Window}}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// deliver takes a frame from the peer.
func (s *session) deliver(f Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || f.Stream < 0 || f.Stream >= streams {
		return
	}
	in := &s.in[f.Stream]
	switch {
	case f.Close:
		s.fail(nil)
	case len(f.Data) > MaxData || len(in.data)+in.read+len(f.Data) > Window || f.Credit < 0 || s.credit[f.Stream] > Window-f.Credit:
		s.fail(errTooMuch)
	case !in.end:
		in.data, in.end = append(in.data, f.Data...), f.End
	}
	if !s.ended {
		s.credit[f.Stream] += f.Credit
	}
	s.event(f)
	s.moved.Broadcast()
}

// event passes on what is no data. A command that takes none loses them.
func (s *session) event(f Frame) {
	e := Event{Signal: f.Signal}
	switch {
	case f.Size != nil:
		e = Event{Size: *f.Size}
	case f.Signal <= 0:
		return
	}
	select {
	case s.events <- e:
	default:
	}
}

// fail ends the session under s.mu.
func (s *session) fail(err error) {
	s.ended, s.err = true, err
	if s.close != nil {
		s.close()
	}
}

// onClose says what to do when the peer ends the session.
func (s *session) onClose(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close = f
	if s.ended {
		f()
	}
}

// broken returns how the peer broke the rules, if it did.
func (s *session) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// finish lets readers come to an end after what has come in, and writers fail.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.moved.Broadcast()
}

// A reader reads a stream of a session; reading gives the peer credit.
type reader struct {
	s      *session
	stream int
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	in := &s.in[r.stream]
	for len(in.data) == 0 && !in.end && !s.ended {
		s.moved.Wait()
	}
	n := copy(p, in.data)
	in.data = in.data[n:]
	in.read += n
	credit := 0
	if !in.end && !s.ended && (in.read >= Window/2 || len(in.data) == 0) {
		credit, in.read = in.read, 0
	}
	s.mu.Unlock()
	if credit > 0 {
		if err := s.send(Frame{Session: s.id, Stream: r.stream, Credit: credit}); err != nil {
			return n, err
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// errEnded says that a session takes nothing any more.
var errEnded = errors.New("the session has ended")

// A writer writes a stream of a session; it waits for the peer's credit.
type writer struct {
	s      *session
	stream int
}

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) {
	s, done := w.s, 0
	for done < len(p) {
		s.mu.Lock()
		for s.credit[w.stream] == 0 && !s.ended {
			s.moved.Wait()
		}
		if s.ended {
			s.mu.Unlock()
			return done, errEnded
		}
		n := min(len(p)-done, MaxData, s.credit[w.stream])
		s.credit[w.stream] -= n
		s.mu.Unlock()
		if err := s.send(Frame{Session: s.id, Stream: w.stream, Data: p[done : done+n]}); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// sessions are those of one stream at the server, by the requests' IDs.
type sessions struct {
	mu   sync.Mutex
	open map[string]*session
}

// begin makes room for a session before the next line is read, so that frames
// right behind the request find it.
func (all *sessions) begin(id string, send func(Frame) error) error {
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.open) >= maxSessions {
		return fmt.Errorf("%d commands run already over this connection", maxSessions)
	}
	if all.open[id] != nil {
		return fmt.Errorf("a session %q runs already", id)
	}
	if all.open == nil {
		all.open = map[string]*session{}
	}
	all.open[id] = newSession(id, send)
	return nil
}

func (all *sessions) get(id string) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.open[id]
}

func (all *sessions) end(id string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.open, id)
}
