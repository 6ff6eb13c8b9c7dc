package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/instar-os/instar/internal/chunk"
)

// Index is an index of chunks and the packs beside it. Whoever receives what is
// in them verifies it.
type Index struct {
	*chunk.Index
	front []byte
	open  func(p chunk.Pack, at, end int64) (io.ReadCloser, error)
}

// Front returns the index itself.
func (x *Index) Front() io.Reader { return bytes.NewReader(x.front) }

// maxGap is how many bytes between two parts of a pack are read and dropped
// rather than asked around, which costs a round trip.
const maxGap = 8 << 10

// Ranges returns parts of packs, each as number of the pack, offset and length,
// one behind the other.
func (x *Index) Ranges(list [][3]int64) (io.Reader, error) {
	for _, r := range list {
		if r[0] < 0 || r[0] >= int64(len(x.Packs)) || r[1] < 0 || r[2] < 1 || r[1] > x.Packs[r[0]].Size-r[2] {
			return nil, fmt.Errorf("the machine asks for %d bytes at %d of pack %d, which has not that", r[2], r[1], r[0])
		}
	}
	return &gather{x: x, list: list}, nil
}

// gather reads parts of packs.
type gather struct {
	x    *Index
	list [][3]int64
	body io.ReadCloser // reads to the end of the last of a group of near parts
	at   int64         // in the pack
}

// Read implements io.Reader.
func (g *gather) Read(b []byte) (int, error) {
	if len(g.list) == 0 {
		return 0, io.EOF
	}
	if g.body == nil {
		if err := g.begin(); err != nil {
			return 0, err
		}
	}
	r := &g.list[0]
	if g.at < r[1] {
		n, err := io.CopyN(io.Discard, g.body, r[1]-g.at)
		if g.at += n; err != nil {
			return 0, g.short(err)
		}
	}
	n, err := g.body.Read(b[:min(int64(len(b)), r[2])])
	g.at, r[1], r[2] = g.at+int64(n), r[1]+int64(n), r[2]-int64(n)
	if r[2] == 0 {
		err = g.advance()
	}
	if err != nil {
		return n, g.short(err)
	}
	return n, nil
}

// begin opens a pack where the next part begins, for all parts that are near.
func (g *gather) begin() (err error) {
	first := g.list[0]
	end := first[1] + first[2]
	for _, r := range g.list[1:] {
		if r[0] != first[0] || r[1] < end || r[1] > end+maxGap {
			break
		}
		end = r[1] + r[2]
	}
	g.at = first[1]
	g.body, err = g.x.open(g.x.Packs[first[0]], g.at, end)
	return err
}

// advance goes on to the next part.
func (g *gather) advance() error {
	done := g.list[0]
	if g.list = g.list[1:]; len(g.list) > 0 {
		if next := g.list[0]; next[0] == done[0] && next[1] >= g.at && next[1] <= g.at+maxGap {
			return nil
		}
	}
	err := g.body.Close()
	g.body = nil
	return err
}

func (g *gather) short(err error) error {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("a pack is shorter than its index says: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// isIndex says whether an index comes.
func isIndex(r *bufio.Reader) bool {
	b, err := r.Peek(len(chunk.Magic))
	return err == nil && string(b) == chunk.Magic
}

func (x *Index) read(r io.Reader) (err error) {
	var kept bytes.Buffer
	x.Index, err = chunk.Inspect(io.TeeReader(r, &kept))
	x.front = kept.Bytes()
	return err
}

// FileIndex opens an index in a file with its packs beside it; nil when the file
// is something else.
func FileIndex(path string) (*Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if !isIndex(r) {
		return nil, nil
	}
	x := &Index{open: func(p chunk.Pack, at, end int64) (io.ReadCloser, error) {
		pack, err := os.Open(filepath.Join(filepath.Dir(path), p.File()))
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(pack, at, end-at), pack}, nil
	}}
	if err := x.read(r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}

// Index reads an index on a web server, whose packs are beside it; nil when the
// resource is something else.
func (c *Client) Index(ctx context.Context, url string) (*Index, error) {
	d := &download{c: c, ctx: ctx, url: url}
	defer d.close()
	r := bufio.NewReader(d)
	if !isIndex(r) {
		_, err := r.Peek(1)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return nil, err
	}
	base := url[:strings.LastIndex(url, "/")+1]
	x := &Index{open: func(p chunk.Pack, at, end int64) (io.ReadCloser, error) {
		return &ranged{download{c: c, ctx: ctx, url: base + p.File(), at: at, end: end, to: end, fresh: true}}, nil
	}}
	if err := x.read(r); err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return x, nil
}

// ranged is a download as a closer.
type ranged struct{ download }

// Close implements io.Closer.
func (r *ranged) Close() error { return r.close() }
