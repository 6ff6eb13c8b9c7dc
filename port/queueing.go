package port

import (
	"errors"
	"fmt"
	"time"
)

// QueueWriter adds to a queue. It is used by one goroutine at a time, and
// there is one for a link.
type QueueWriter struct{ m *memory }

// OpenQueueWriter finds the port by its name and opens it.
func OpenQueueWriter(want Message) (*QueueWriter, error) {
	m, err := openNamed(want, Queueing, true)
	if err != nil {
		return nil, err
	}
	return &QueueWriter{m}, nil
}

// NewQueueWriter opens a port of which the files are known; they stay the
// caller's.
func NewQueueWriter(e Ends, want Message) (*QueueWriter, error) {
	m, err := open(e, want, Queueing, true)
	if err != nil {
		return nil, err
	}
	return &QueueWriter{m}, nil
}

// Write adds a message. ErrFull says that the queue is full and its policy is
// to reject; with the other policy the oldest message is overwritten.
func (w *QueueWriter) Write(data []byte) error { return w.WriteFrom(data, 0) }

// WriteFrom is Write for a message that rests on data which began before: origin
// is the least Origin of what was read for it, 0 for none.
func (w *QueueWriter) WriteFrom(data []byte, origin time.Duration) error {
	if err := w.m.tooLarge(data); err != nil {
		return err
	}
	n := w.m.published()
	if w.m.layout.Policy == Reject && w.m.queued(n) >= uint64(w.m.layout.Depth) {
		store(w.m.mem, atRejected, load(w.m.mem, atRejected)+1)
		return fmt.Errorf("link %s: %w", w.m.layout.Link, ErrFull)
	}
	w.m.put(n+1, data, origin)
	return w.m.signal()
}

// State tells what the queue has seen.
func (w *QueueWriter) State() State { return w.m.state() }

// Close unmaps the port.
func (w *QueueWriter) Close() error { return w.m.close() }

// queued returns the number of messages not yet read. The cursor is the
// reader's word: one that lies gets an empty queue, and harms itself only.
func (m *memory) queued(published uint64) uint64 {
	consumed := load(m.cursor, atConsumed)
	if consumed > published {
		return 0
	}
	return min(published-consumed, uint64(m.layout.Depth))
}

func (m *memory) state() State {
	n := m.published()
	return State{Written: n, Rejected: load(m.mem, atRejected), Queued: m.queued(n), Lost: load(m.cursor, atLost)}
}

// QueueReader takes messages from a queue. It is used by one goroutine at a
// time, and there is one for a link.
type QueueReader struct{ m *memory }

// OpenQueueReader finds the port by its name and opens it.
func OpenQueueReader(want Message) (*QueueReader, error) {
	m, err := openNamed(want, Queueing, false)
	if err != nil {
		return nil, err
	}
	return &QueueReader{m}, nil
}

// NewQueueReader opens a port of which the files are known; they stay the
// caller's.
func NewQueueReader(e Ends, want Message) (*QueueReader, error) {
	m, err := open(e, want, Queueing, false)
	if err != nil {
		return nil, err
	}
	return &QueueReader{m}, nil
}

// Read copies the oldest message to buf, which has room for the message's
// size, and takes it from the queue. ErrEmpty says that there is none. A reader
// that crashes within Read gets the same message again.
func (r *QueueReader) Read(buf []byte) (Sample, error) {
	lost := uint64(0)
	for attempt := range uint64(attempts) {
		n, missed, ok := r.next(attempt)
		lost += missed
		if !ok {
			return Sample{Lost: lost}, fmt.Errorf("link %s: %w", r.m.layout.Link, ErrEmpty)
		}
		s, err, whole := r.m.get(n, buf)
		if !whole {
			continue // the writer has overwritten it
		}
		s.Valid, s.Lost = true, lost
		if !errors.Is(err, ErrSize) { // what does not fit stays for a larger buffer
			store(r.m.cursor, atConsumed, n)
		}
		return s, err
	}
	return Sample{Lost: lost}, fmt.Errorf("link %s: %w", r.m.layout.Link, ErrOverrun)
}

// next returns the number of the oldest message that is still there, and how
// many before it were overwritten or given up: each attempt that the writer
// overtook leaves one more of the oldest, which are the next to go. A cursor beyond the writer's count, which
// only memory gone bad can bring, starts over at the count.
func (r *QueueReader) next(attempt uint64) (n, missed uint64, ok bool) {
	published, consumed := r.m.published(), load(r.m.cursor, atConsumed)
	if consumed >= published {
		if consumed > published {
			store(r.m.cursor, atConsumed, published)
		}
		return 0, 0, false
	}
	keep := uint64(r.m.layout.Depth)
	keep -= min(attempt, keep-1)
	if published-consumed > keep {
		missed = published - consumed - keep
		consumed = published - keep
		store(r.m.cursor, atLost, load(r.m.cursor, atLost)+missed)
		store(r.m.cursor, atConsumed, consumed)
	}
	return consumed + 1, missed, true
}

// State tells what the queue has seen.
func (r *QueueReader) State() State { return r.m.state() }

// Close unmaps the port.
func (r *QueueReader) Close() error { return r.m.close() }
