package port

import (
	"fmt"
	"time"
)

// SamplingWriter writes the last value. It is used by one goroutine at a time,
// and there is one for a link.
type SamplingWriter struct{ m *memory }

// OpenSamplingWriter finds the port by its name and opens it.
func OpenSamplingWriter(want Message) (*SamplingWriter, error) {
	m, err := openNamed(want, Sampling, true)
	if err != nil {
		return nil, err
	}
	return &SamplingWriter{m}, nil
}

// NewSamplingWriter opens a port of which the files are known; they stay the
// caller's.
func NewSamplingWriter(e Ends, want Message) (*SamplingWriter, error) {
	m, err := open(e, want, Sampling, true)
	if err != nil {
		return nil, err
	}
	return &SamplingWriter{m}, nil
}

// Write replaces the value. It keeps nothing of data.
func (w *SamplingWriter) Write(data []byte) error { return w.WriteFrom(data, 0) }

// WriteFrom is Write for a value that rests on data which began before: origin is
// the least Origin of what was read for it, 0 for none.
func (w *SamplingWriter) WriteFrom(data []byte, origin time.Duration) error {
	if err := w.m.tooLarge(data); err != nil {
		return err
	}
	w.m.put(w.m.published()+1, data, origin)
	return w.m.signal()
}

// Close unmaps the port.
func (w *SamplingWriter) Close() error { return w.m.close() }

// SamplingReader reads the last value. It may be used by many goroutines, but
// not beside Close.
type SamplingReader struct{ m *memory }

// OpenSamplingReader finds the port by its name and opens it.
func OpenSamplingReader(want Message) (*SamplingReader, error) {
	m, err := openNamed(want, Sampling, false)
	if err != nil {
		return nil, err
	}
	return &SamplingReader{m}, nil
}

// NewSamplingReader opens a port of which the files are known; they stay the
// caller's.
func NewSamplingReader(e Ends, want Message) (*SamplingReader, error) {
	m, err := open(e, want, Sampling, false)
	if err != nil {
		return nil, err
	}
	return &SamplingReader{m}, nil
}

// attempts bounds a read against a writer that never rests; each fails only
// when the writer has written seven values during one copy.
const attempts = 1000

// Read copies the last value to buf, which has room for the message's size.
// ErrEmpty says that none was ever written. A value older than the link's
// validity is returned all the same, with Valid false.
func (r *SamplingReader) Read(buf []byte) (Sample, error) {
	for range attempts {
		n := r.m.published()
		if n == 0 {
			return Sample{}, fmt.Errorf("link %s: %w", r.m.layout.Link, ErrEmpty)
		}
		if s, err, whole := r.m.get(n, buf); whole {
			return s, err
		}
	}
	return Sample{}, fmt.Errorf("link %s: %w", r.m.layout.Link, ErrOverrun)
}

// State tells what the port has seen.
func (r *SamplingReader) State() State { return State{Written: r.m.published()} }

// Close unmaps the port.
func (r *SamplingReader) Close() error { return r.m.close() }
