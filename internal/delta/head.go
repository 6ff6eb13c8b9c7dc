package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/take"
)

// encode appends the head. Numbers are unsigned varints (as encoding/binary's),
// strings have their length in front, digests are 32 bytes.
func (h *Head) encode(b []byte) []byte {
	b = appendString(b, h.Machine)
	b = appendString(b, h.Arch)
	b = binary.AppendUvarint(b, uint64(h.Epoch))
	b = append(b, h.Target[:]...)
	b = binary.AppendUvarint(b, uint64(len(h.Bases)))
	for _, d := range h.Bases {
		b = append(b, d[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(h.Entries)))
	for _, e := range h.Entries {
		flags := byte(e.Kind)
		if !e.Base.IsZero() {
			flags |= withBase
		}
		b = append(append(b, flags), e.Digest[:]...)
		b = binary.AppendUvarint(b, uint64(e.Size))
		if !e.Base.IsZero() {
			b = append(b, e.Base[:]...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(h.Streams)))
	for _, s := range h.Streams {
		b = append(b, byte(s.Class)<<4|byte(s.Form), byte(s.Method), byte(s.Coding))
		b = binary.AppendUvarint(b, uint64(s.Count))
		b = binary.AppendUvarint(b, uint64(s.Raw))
		b = binary.AppendUvarint(b, uint64(s.Stored))
	}
	return b
}

// withBase marks an entry with a base.
const withBase = 0x80

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// parseHead reads a head of a body of that size.
func parseHead(b []byte, body int64) (*Head, error) {
	p := take.From(b)
	h := &Head{Machine: p.Text(64), Arch: p.Text(16), Epoch: p.Number(math.MaxInt64), Target: p.Digest()}
	for range p.Number(MaxBases) {
		h.Bases = append(h.Bases, p.Digest())
	}
	for range p.Number(MaxEntries) {
		h.Entries = append(h.Entries, takeEntry(p))
		if p.Err() != nil {
			break
		}
	}
	for range p.Number(MaxStreams) {
		h.Streams = append(h.Streams, takeStream(p))
		if p.Err() != nil {
			break
		}
	}
	if err := p.End(); err != nil {
		return nil, err
	}
	return h, h.check(body)
}

func takeEntry(p *take.Taker) Entry {
	flags := p.Bytes(1)[0]
	e := Entry{Kind: Kind(flags &^ withBase), Digest: p.Digest(), Size: p.Number(MaxContent)}
	if flags&withBase != 0 {
		e.Base = p.Digest()
	}
	if e.Kind < Object || e.Kind >= lastKind {
		p.Fail(fmt.Errorf("a content of kind %d", e.Kind))
	}
	return e
}

func takeStream(p *take.Taker) Stream {
	b := p.Bytes(3)
	s := Stream{Class: Class(b[0] >> 4), Form: Form(b[0] & 15), Method: Method(b[1]), Coding: Coding(b[2]), Count: int(p.Number(MaxEntries))}
	s.Raw, s.Stored = p.Number(MaxBody), p.Number(MaxBody)
	return s
}

// check places the streams and finds what cannot be.
func (h *Head) check(body int64) error {
	entry, offset := 0, int64(0)
	for i := range h.Streams {
		s := &h.Streams[i]
		s.First, s.Offset = entry, offset
		entry, offset = entry+s.Count, offset+s.Stored
		if s.Count == 0 || entry > len(h.Entries) || offset > body {
			return fmt.Errorf("stream %d holds %d contents in %d bytes, beyond the end", i, s.Count, s.Stored)
		}
		if err := h.checkStream(*s); err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
	}
	if entry != len(h.Entries) || offset != body {
		return fmt.Errorf("streams hold %d of %d contents and %d of %d bytes", entry, len(h.Entries), offset, body)
	}
	seen := make(map[digest.Digest]Kind, len(h.Entries))
	for _, e := range h.Entries {
		if seen[e.Digest] == e.Kind {
			return fmt.Errorf("%s %s stands twice", e.Kind, e.Digest.Short())
		}
		seen[e.Digest] = e.Kind
	}
	if first := h.Streams; len(first) == 0 || first[0].Count != 1 || h.Entries[0].Kind != System || h.Entries[0].Digest != h.Target {
		return errors.New("the first stream is not the target's manifest alone")
	}
	return nil
}

func (h *Head) checkStream(s Stream) error {
	if s.Class > maxClass || s.Form < Bytes || s.Form >= lastForm || s.Method != Whole && s.Method != Difference || s.Coding < Plain || s.Coding >= lastCoding {
		return fmt.Errorf("class %d, form %d, method %d, coding %d: one of them is unknown", s.Class, s.Form, s.Method, s.Coding)
	}
	switch {
	case s.Method == Difference && s.Coding != Plain:
		return fmt.Errorf("a difference that is compressed again, by %s", s.Coding)
	case s.Method == Whole && s.Coding == Plain && s.Raw != s.Stored:
		return fmt.Errorf("%d bytes of %d, though not compressed", s.Stored, s.Raw)
	}
	var sum int64
	for _, e := range h.Contents(s) {
		sum += e.Size
		switch {
		case s.Method == Whole && !e.Base.IsZero():
			return fmt.Errorf("method %s for %s %s", s.Method, e.Kind, e.Digest.Short())
		case s.Form == Listing && e.Kind != Image:
			return fmt.Errorf("%s %s as a listing", e.Kind, e.Digest.Short())
		case e.Base == e.Digest:
			return fmt.Errorf("%s %s is its own base", e.Kind, e.Digest.Short())
		case e.Kind == System && e.Digest != h.Target:
			return fmt.Errorf("manifest %s is not the target's", e.Digest.Short())
		}
	}
	if s.Form == Listing && s.Method == Whole && s.Count != 1 {
		return errors.New("several listings")
	}
	if s.Form == Bytes && sum != s.Raw {
		return fmt.Errorf("contents of %d bytes out of %d", sum, s.Raw)
	}
	return nil
}
