package links

import (
	"fmt"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// List describes the links in the configuration's order.
func (t *Table) List() wire.LinksReply {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := wire.LinksReply{Links: []wire.LinkStatus{}}
	for _, l := range t.links {
		out.Links = append(out.Links, l.status())
	}
	return out
}

func (l *link) status() wire.LinkStatus {
	p := layout(&l.Link)
	s := wire.LinkStatus{
		Name: l.Name, Type: string(l.Type), From: l.From, To: l.To,
		Size: l.Size, Depth: l.Depth, Validity: p.Validity, Address: l.Address,
	}
	if l.reader == nil {
		return s
	}
	if l.Type == system.QueueingLink {
		s.Policy = "reject"
		if l.Drop {
			s.Policy = "drop"
		}
	}
	state := l.reader.State()
	s.Written, s.Queued, s.Rejected, s.Lost = state.Written, state.Queued, state.Rejected, state.Lost
	if l.Type == system.SamplingLink && state.Written > 0 {
		if got, err := l.reader.Read(make([]byte, l.Size)); err == nil { // one that cannot be read has no age
			s.Age, s.DataAge, s.Valid = got.Age, got.DataAge, got.Valid
		}
	}
	return s
}

// Read returns the last value of a sampling link, or takes the oldest message
// of a queueing link that leads outside.
func (t *Table) Read(name string) (wire.LinkValue, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, err := t.named(name)
	switch {
	case err != nil:
		return wire.LinkValue{}, err
	case l.reader == nil:
		return wire.LinkValue{}, fmt.Errorf("link %s is a %s, which only its ends can read", name, l.Type)
	case l.Type == system.QueueingLink && l.To[0] != system.Outside:
		return wire.LinkValue{}, fmt.Errorf("link %s leads to %s, which would miss the message", name, l.To[0])
	}
	buf := make([]byte, l.Size)
	got, err := l.reader.Read(buf)
	if err != nil {
		return wire.LinkValue{}, err
	}
	return wire.LinkValue{Data: buf[:got.Length], Sequence: got.Sequence, Age: got.Age, Valid: got.Valid, Lost: got.Lost}, nil
}

// Write writes to a link from outside.
func (t *Table) Write(name string, data []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, err := t.named(name)
	switch {
	case err != nil:
		return err
	case l.writer == nil && l.From != system.Outside:
		return fmt.Errorf("link %s comes from %s, its only writer", name, l.From)
	case l.writer == nil:
		return fmt.Errorf("link %s is a %s, which only its ends can write", name, l.Type)
	}
	return l.writer.Write(data)
}
