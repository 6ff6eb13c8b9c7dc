package update

import (
	"context"
	"io"
	"os"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
)

// worthSeeds is how many bytes must be missing before the device's own contents
// are cut to find some of them: it reads all of them.
const worthSeeds = 256 << 10

// locate finds, of chunks that are needed in this order, those that the spool,
// objects of the store, and boot parts have, or will have when they are needed.
// The spool must not be emptied before the row's place that is returned.
func (p *puller) locate(ctx context.Context, need []int, sp *spool) (found map[int]known, until int64, err error) {
	missing := map[chunk.ID]bool{}
	for _, i := range need {
		missing[p.x.Chunks[i].ID] = true
	}
	kept := map[chunk.ID]known{}
	var have int64
	sp.each(func(id chunk.ID, at int64) {
		if missing[id] {
			kept[id] = known{sp.f, at}
			delete(missing, id)
		}
	})
	for _, i := range need {
		if c := p.x.Chunks[i]; missing[c.ID] {
			have += c.Raw
		}
	}
	seeded := map[chunk.ID]known{}
	if have >= worthSeeds {
		if seeded, err = p.cutSeeds(ctx, missing); err != nil {
			return nil, 0, err
		}
	}
	found, until = p.assign(need, kept, seeded)
	return found, until, nil
}

// assign says of each chunk where it is when it is needed. The spool has it once,
// for the first content that needs it; the next ones find it in that content,
// when it is an object. What the spool has of contents far behind, which came
// before the power was cut, is not waited for, so that the spool stays small.
func (p *puller) assign(need []int, kept, seeded map[chunk.ID]known) (found map[int]known, until int64) {
	found = map[int]known{}
	type part struct {
		known
		end int64 // of the content that it is in
	}
	made := map[chunk.ID]part{}
	var fresh int64 // bytes that come into the spool
	list := p.missing()
	for _, i := range need {
		c := p.x.Chunks[i]
		for len(list) > 0 && list[0].End() <= c.At {
			list = list[1:]
		}
		k, ok := seeded[c.ID]
		if m, is := made[c.ID]; !ok && is && m.end <= c.At {
			k, ok = m.known, true
		}
		if !ok && fresh <= spoolLimit {
			if k, ok = kept[c.ID]; ok {
				until = c.At
			}
		}
		if ok {
			found[i] = k
		} else {
			fresh += c.Raw
		}
		if o := list[0]; made[c.ID].from == nil && o.Kind == delta.Object && o.At <= c.At && c.End() <= o.End() {
			open := func() (io.ReaderAt, error) { return p.env.Store.Open(o.Digest) }
			made[c.ID] = part{known{lazy(open), c.At - o.At}, o.End()}
		}
	}
	return found, until
}

// cutSeeds finds chunks in what the device has.
func (p *puller) cutSeeds(ctx context.Context, want map[chunk.ID]bool) (map[chunk.ID]known, error) {
	found := map[chunk.ID]known{}
	return found, p.seeds(func(size int64, open func() (io.ReaderAt, error)) error {
		if err := ctx.Err(); err != nil || size < chunk.MinSize {
			return err
		}
		r, err := open()
		if err != nil || r == nil {
			return nil // what is not there is no seed
		}
		err = chunk.Each(io.NewSectionReader(r, 0, size), func(at int64, b []byte) error {
			if id := chunk.IDOf(b); want[id] && found[id].from == nil {
				found[id] = known{lazy(open), at}
			}
			return nil
		})
		if c, ok := r.(io.Closer); ok {
			c.Close()
		}
		return err
	})
}

// lazy opens what it reads each time, for there may be thousands.
type lazy func() (io.ReaderAt, error)

// ReadAt implements io.ReaderAt.
func (l lazy) ReadAt(b []byte, off int64) (int, error) {
	r, err := l()
	if err != nil {
		return 0, err
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	return r.ReadAt(b, off)
}

// seeds calls f for the contents of what runs, or of all systems of a store that
// runs none.
func (p *puller) seeds(f func(size int64, open func() (io.ReaderAt, error)) error) error {
	st := p.env.Store
	systems := []digest.Digest{p.env.Running}
	if p.env.Running.IsZero() {
		var err error
		if systems, err = st.Systems(); err != nil {
			return err
		}
	}
	c, err := st.Closure(systems...)
	if err != nil {
		return err
	}
	for _, o := range c.Objects {
		err := f(o.Size, func() (io.ReaderAt, error) {
			file, err := st.Open(o.Digest)
			if err != nil {
				return nil, err
			}
			return file, nil
		})
		if err != nil {
			return err
		}
	}
	for _, o := range c.Images {
		if err := f(o.Size, func() (io.ReaderAt, error) { return os.Open(st.ImagePath(o.Digest)) }); err != nil {
			return err
		}
	}
	return p.bootSeeds(systems, f)
}

func (p *puller) bootSeeds(systems []digest.Digest, f func(int64, func() (io.ReaderAt, error)) error) error {
	if p.env.Part == nil {
		return nil
	}
	for _, d := range systems {
		m, err := p.env.Store.System(d)
		if err != nil {
			return err
		}
		for _, o := range append(m.Kernel.Parts(), m.Kernel.Initrd) {
			part := p.env.Part(o) // found once: it is hashed
			if part == nil {
				continue
			}
			// It stays open.
			if err := f(o.Size, func() (io.ReaderAt, error) { return io.NewSectionReader(part, 0, part.Size()), nil }); err != nil {
				return err
			}
		}
	}
	return nil
}
