package update

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/instar-os/instar/internal/chunk"
)

// A row reads contents out of chunks, both in the order of the index. The chunk
// that one content ends in may be the one that the next begins in.
type row struct {
	ctx  context.Context
	x    *chunk.Index
	list []int // chunks to come
	from interface {
		chunk(i int) ([]byte, error)
	}
	now int    // the chunk at hand
	b   []byte // of it; nil: none
}

// content reads a content to its end.
func (w *row) content(c chunk.Content) io.Reader { return &part{w: w, at: c.At, end: c.End()} }

// part reads a part of the row.
type part struct {
	w       *row
	at, end int64
}

// Read implements io.Reader.
func (r *part) Read(b []byte) (int, error) {
	if r.at == r.end {
		return 0, io.EOF
	}
	w := r.w
	for w.b == nil || w.x.Chunks[w.now].End() <= r.at {
		if err := w.next(); err != nil {
			return 0, err
		}
	}
	c := w.x.Chunks[w.now]
	if c.At > r.at {
		return 0, errors.New("the chunks before are not there")
	}
	n := copy(b, w.b[r.at-c.At:min(c.Raw, r.end-c.At)])
	r.at += int64(n)
	return n, nil
}

func (w *row) next() (err error) {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if len(w.list) == 0 {
		return errors.New("there are no further chunks")
	}
	w.now, w.list = w.list[0], w.list[1:]
	w.b, err = w.from.chunk(w.now)
	return err
}

// fetched gives chunks: known ones from where they are, others out of the stream
// that was asked for.
type fetched struct {
	p       *puller
	known   map[int]known // by the numbers of chunks
	spool   *spool        // takes what is fetched; nil: nothing is kept
	body    io.Reader
	done    int64
	total   int64
	resumed int64
	stored  []byte
	raw     []byte
}

// known is where a chunk is on this device.
type known struct {
	from io.ReaderAt
	at   int64
}

// ask asks for the chunks that are not known.
func (f *fetched) ask(list []int) (err error) {
	var missing []int
	for _, i := range list {
		c := f.p.x.Chunks[i]
		f.total += c.Stored
		if _, ok := f.known[i]; !ok {
			missing = append(missing, i)
		} else {
			f.resumed += c.Stored
		}
	}
	if len(missing) > 0 {
		f.body, err = f.p.src.Ranges(f.p.x.Ranges(missing))
	}
	return err
}

// chunk returns a chunk, verified, until the next call.
func (f *fetched) chunk(i int) ([]byte, error) {
	c := f.p.x.Chunks[i]
	f.raw = append(f.raw[:0], make([]byte, c.Raw)...)
	if k, ok := f.known[i]; ok {
		if _, err := k.from.ReadAt(f.raw, k.at); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if chunk.IDOf(f.raw) != c.ID {
			return nil, fmt.Errorf("chunk %x has changed on this device meanwhile", c.ID[:6])
		}
		return f.raw, nil
	}
	if f.body == nil {
		return nil, errors.New("a chunk was not asked for")
	}
	f.stored = append(f.stored[:0], make([]byte, c.Stored)...)
	if _, err := io.ReadFull(f.body, f.stored); err != nil {
		return nil, cut(err)
	}
	b, err := c.Unpack(f.stored, f.raw)
	if err == nil && f.spool != nil {
		err = f.spool.add(c.ID, b)
	}
	if f.done += c.Stored; f.p.env.Progress != nil && f.spool != nil {
		f.p.env.Progress(Progress{f.resumed + f.done, f.total, f.resumed})
	}
	return b, err
}

// A spool keeps chunks that came, until the contents that they belong to are
// durable: ID, length in four bytes, bytes. It counts by the IDs, so that nothing
// of it has to last.
type spool struct {
	f    *os.File
	size int64
}

func openSpool(path string) (*spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return &spool{f: f}, err
}

func (s *spool) close() { s.f.Close() }

// spoolHead is what stands before each chunk, in bytes.
const spoolHead = 16 + 4

func (s *spool) add(id chunk.ID, b []byte) error {
	head := binary.LittleEndian.AppendUint32(id[:], uint32(len(b)))
	if _, err := s.f.WriteAt(append(head, b...), s.size); err != nil {
		return err
	}
	s.size += int64(spoolHead + len(b))
	return nil
}

func (s *spool) reset() error {
	s.size = 0
	return s.f.Truncate(0)
}

// each calls f for each chunk that is whole, and stops at the first that is not.
func (s *spool) each(f func(id chunk.ID, at int64)) {
	s.size = 0
	head, b := make([]byte, spoolHead), make([]byte, chunk.MaxSize)
	for {
		if _, err := s.f.ReadAt(head, s.size); err != nil {
			return
		}
		n := binary.LittleEndian.Uint32(head[16:])
		if n == 0 || n > chunk.MaxSize {
			return
		}
		if _, err := s.f.ReadAt(b[:n], s.size+spoolHead); err != nil || chunk.IDOf(b[:n]) != chunk.ID(head[:16]) {
			return
		}
		f(chunk.ID(head[:16]), s.size+spoolHead)
		s.size += spoolHead + int64(n)
	}
}
