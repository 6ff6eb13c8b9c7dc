package publish

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/trust"
)

// place is where a chunk is: in a pack that is whole, or in the open one.
type place struct {
	pack   chunk.Pack // zero: the open one
	stored int64
	offset int64
}

// level is deflate's. The best one takes five times as long for 0.2 % (bench-chunks).
const level = 6

// packer makes chunks and packs.
type packer struct {
	ctx   context.Context
	st    *store.Store
	dir   string
	o     Options
	index chunk.Index
	known map[chunk.ID]place

	open   *durable.Pending // the pack under way; nil: none
	sum    hash.Hash        // of it
	size   int64
	mine   []int // chunks of the index that are in it
	packed bytes.Buffer
	z      *flate.Writer

	done, total, stored int64
	fresh               int
}

// learn finds the chunks of the indexes in the directory. One that these keys
// have not signed is none.
func (p *packer) learn() error {
	var keys trust.Keys
	for _, k := range p.o.Keys {
		keys = append(keys, k.Public())
	}
	names, err := filepath.Glob(filepath.Join(p.dir, "*"+Extension))
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		x, err := chunk.Read(f, keys)
		f.Close()
		if err != nil {
			continue
		}
		for _, c := range x.Chunks {
			pack := x.Packs[c.Pack]
			if info, err := os.Stat(filepath.Join(p.dir, pack.File())); err == nil && info.Size() == pack.Size {
				p.known[c.ID] = place{pack, c.Stored, c.Offset}
			}
		}
	}
	return nil
}

// run cuts contents that share chunks.
func (p *packer) run(list []listed) error {
	var all []io.Reader
	for _, c := range list {
		all = append(all, &checked{c: c})
	}
	return chunk.Each(io.MultiReader(all...), func(_ int64, b []byte) error {
		if p.done += int64(len(b)); p.o.Progress != nil {
			p.o.Progress(p.done, p.total)
		}
		return p.put(b)
	})
}

// checked reads a content, which must be what its name says.
type checked struct {
	c listed
	f io.ReadCloser
	h *digest.Hasher
}

// Read implements io.Reader.
func (r *checked) Read(b []byte) (int, error) {
	if r.f == nil {
		var err error
		if r.f, err = r.c.open(); err != nil {
			return 0, err
		}
		r.h = digest.New()
	}
	n, err := r.f.Read(b)
	r.h.Write(b[:n])
	if err != nil {
		r.f.Close()
	}
	if errors.Is(err, io.EOF) && r.h.Sum() != r.c.Digest {
		err = fmt.Errorf("%s %s is damaged; run instar store verify", r.c.Kind, r.c.Digest)
	}
	return n, err
}

// put adds a chunk to the row.
func (p *packer) put(b []byte) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	c := chunk.Chunk{ID: chunk.IDOf(b), Raw: int64(len(b))}
	at, ok := p.known[c.ID]
	if !ok {
		var err error
		if at, err = p.write(b); err != nil {
			return err
		}
		p.known[c.ID] = at
		p.fresh++
		p.stored += at.stored
	}
	c.Stored, c.Offset = at.stored, at.offset
	if at.pack.Size == 0 {
		p.mine = append(p.mine, len(p.index.Chunks))
	} else {
		c.Pack = p.pack(at.pack)
	}
	p.index.Chunks = append(p.index.Chunks, c)
	if p.size >= p.o.Pack {
		return p.close()
	}
	return nil
}

// pack returns the number of a pack in the index.
func (p *packer) pack(pack chunk.Pack) int {
	for i, q := range p.index.Packs {
		if q == pack {
			return i
		}
	}
	p.index.Packs = append(p.index.Packs, pack)
	return len(p.index.Packs) - 1
}

// write appends a chunk to the open pack, compressed when that helps.
func (p *packer) write(b []byte) (place, error) {
	if p.open == nil {
		f, err := durable.Create(filepath.Join(p.dir, "packs"), 0o644)
		if err != nil {
			return place{}, err
		}
		p.open, p.sum, p.size = f, sha256.New(), 0
	}
	p.packed.Reset()
	if p.z == nil {
		var err error
		if p.z, err = flate.NewWriter(&p.packed, level); err != nil {
			return place{}, err
		}
	}
	p.z.Reset(&p.packed)
	if _, err := p.z.Write(b); err != nil {
		return place{}, err
	}
	if err := p.z.Close(); err != nil {
		return place{}, err
	}
	stored := b
	if p.packed.Len() < len(b) {
		stored = p.packed.Bytes()
	}
	at := place{stored: int64(len(stored)), offset: p.size}
	if _, err := p.open.Write(stored); err != nil {
		return place{}, err
	}
	p.sum.Write(stored)
	p.size += at.stored
	return at, nil
}

// close gives the open pack its name, and tells its chunks.
func (p *packer) close() error {
	if p.open == nil {
		return nil
	}
	pack := chunk.Pack{Name: [sha256.Size]byte(p.sum.Sum(nil)), Size: p.size}
	n := p.pack(pack)
	for _, i := range p.mine {
		c := &p.index.Chunks[i]
		c.Pack = n
		p.known[c.ID] = place{pack, c.Stored, c.Offset}
	}
	f := p.open
	p.open, p.mine, p.size = nil, nil, 0
	return f.Commit(filepath.Join(p.dir, pack.File()))
}

// drop gives up a pack that is not whole.
func (p *packer) drop() {
	if p.open != nil {
		p.open.Abort()
	}
}
