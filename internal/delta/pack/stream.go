package pack

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/instar-os/instar/internal/bindiff"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// maxCompared is the largest content, in bytes, that is compared with a base:
// the comparison takes six times as much memory.
const maxCompared = 256 << 20

// maxAlone is how many bytes without any base are coded by the models of
// differences, which make 2 MB/s: half a second of a device's time.
const maxAlone = 1 << 20

// packer makes streams.
type packer struct {
	st       *store.Store
	need     *needed
	body     *os.File
	size     int64 // of body
	solid    int64
	progress func(done, total int64)
}

// streams makes all streams, one after the other: a difference keeps all
// processors busy, and its memory is bounded once.
func (p *packer) streams(ctx context.Context) error {
	jobs, err := p.jobs()
	if err != nil {
		return err
	}
	var total, done int64
	for _, j := range jobs {
		total += j.bytes()
	}
	for _, j := range jobs {
		if err := p.encode(ctx, j); err != nil {
			return err
		}
		if done += j.bytes(); p.progress != nil {
			p.progress(done, total)
		}
	}
	return nil
}

// encode tries what may make a stream small and takes the smallest.
func (p *packer) encode(ctx context.Context, j *job) error {
	var all []*attempt
	if d, err := p.difference(ctx, j); err != nil {
		return fmt.Errorf("comparing %s: %w", j.list[0].path, err)
	} else if d != nil {
		all = append(all, d)
	}
	if j.form == delta.Bytes || len(j.list) == 1 {
		w, err := p.whole(j)
		if err != nil {
			return err
		}
		all = append(all, w)
	}
	best := slices.MinFunc(all, func(a, b *attempt) int { return cmp.Compare(len(a.data), len(b.data)) })
	for i := range j.list {
		j.list[i].Base = digest.Digest{}
		if best.method == delta.Difference {
			j.list[i].Base = j.bases[i].Digest
		}
	}
	s := delta.Stream{Class: j.class(), Form: j.form, Method: best.method, Coding: best.coding, Count: len(j.list), Raw: best.raw, Stored: int64(len(best.data))}
	if err := p.check(j, s, best.data); err != nil {
		return fmt.Errorf("checking what was made of %s: %w", j.list[0].path, err)
	}
	h := &p.need.head
	for _, c := range j.list {
		h.Entries = append(h.Entries, c.Entry)
	}
	h.Streams = append(h.Streams, s)
	n, err := p.body.WriteAt(best.data, p.size)
	p.size += int64(n)
	return err
}

// check decodes a stream as a device will, and compares.
func (p *packer) check(j *job, s delta.Stream, data []byte) error {
	u := &delta.Update{}
	for _, c := range j.list {
		u.Entries = append(u.Entries, c.Entry)
	}
	i := 0
	return u.Decode(s, bytes.NewReader(data), p.base, func(_ delta.Entry, r io.Reader) error {
		want, err := p.form(j.list[i], j.form)
		if err != nil {
			return err
		}
		i++
		same := comparer{want}
		if _, err := io.Copy(&same, r); err != nil {
			return err
		}
		if len(same.rest) > 0 {
			return fmt.Errorf("%d bytes are missing", len(same.rest))
		}
		return nil
	})
}

// comparer is a writer that refuses anything but the bytes it expects.
type comparer struct{ rest []byte }

func (c *comparer) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(c.rest, b) {
		return 0, errors.New("it decodes to something else")
	}
	c.rest = c.rest[len(b):]
	return len(b), nil
}

// base implements delta.Base out of the builder's store.
func (p *packer) base(e delta.Entry, form delta.Form) (io.ReaderAt, int64, error) {
	c, ok := p.need.bases[key{e.Kind, e.Base}]
	if !ok {
		return nil, 0, errors.New("no base has it")
	}
	if e.Kind == delta.Object {
		f, err := p.st.Open(c.Digest)
		return f, c.Size, err
	}
	b, err := p.form(c, form)
	return bytes.NewReader(b), int64(len(b)), err
}

func (p *packer) form(c content, form delta.Form) ([]byte, error) {
	if form == delta.Listing {
		return p.listing(c.Digest)
	}
	return p.content(c)
}

// attempt is one way to write a stream.
type attempt struct {
	method delta.Method
	coding delta.Coding
	raw    int64
	data   []byte
}

// difference compares the contents of a job with their bases; nil where there
// is nothing to compare with and no gain to be expected from it.
func (p *packer) difference(ctx context.Context, j *job) (*attempt, error) {
	if j.bytes() > maxAlone && !slices.ContainsFunc(j.bases, func(b content) bool { return !b.Digest.IsZero() }) {
		return nil, nil
	}
	a := &attempt{method: delta.Difference, coding: delta.Plain}
	var b bytes.Buffer
	var pairs []bindiff.Pair
	for i, c := range j.list {
		pair := bindiff.Pair{Name: c.path, New: func() ([]byte, error) { return p.form(c, j.form) }}
		if base := j.bases[i]; !base.Digest.IsZero() {
			pair.Old = func() ([]byte, error) { return p.form(base, j.form) }
		}
		pairs = append(pairs, pair)
		size := c.Size
		if j.form == delta.Listing {
			text, err := p.listing(c.Digest)
			if err != nil {
				return nil, err
			}
			size = int64(len(text))
			b.Write(binary.AppendUvarint(nil, uint64(size)))
		}
		if size > maxCompared {
			return nil, nil
		}
		a.raw += size
	}
	if _, err := bindiff.Encode(ctx, &b, pairs, bindiff.Options{Trusted: true}); err != nil {
		return nil, err
	}
	a.data = b.Bytes()
	return a, nil
}

// whole compresses the contents of a job, one behind the other.
func (p *packer) whole(j *job) (*attempt, error) {
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	a := &attempt{method: delta.Whole, coding: delta.Deflate}
	for _, c := range j.list {
		raw, err := p.form(c, j.form)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(raw); err != nil {
			return nil, err
		}
		a.raw += int64(len(raw))
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if a.data = b.Bytes(); int64(b.Len()) < a.raw {
		return a, nil
	}
	a.coding, a.data = delta.Plain, make([]byte, 0, a.raw)
	for _, c := range j.list {
		raw, err := p.form(c, j.form)
		if err != nil {
			return nil, err
		}
		a.data = append(a.data, raw...)
	}
	return a, nil
}

func (p *packer) listing(d digest.Digest) ([]byte, error) {
	t, err := p.st.Image(d)
	if err != nil {
		return nil, err
	}
	b, err := t.MarshalText()
	if err == nil && len(b) > delta.MaxListing {
		err = fmt.Errorf("the listing of image %s has %d bytes, more than %d", d.Short(), len(b), delta.MaxListing)
	}
	return b, err
}

// content reads a content out of the store, verified.
func (p *packer) content(c content) ([]byte, error) {
	var b []byte
	var err error
	switch c.Kind {
	case delta.System:
		var m *system.Manifest
		if m, err = p.st.System(c.Digest); err == nil {
			b, err = m.Encode()
		}
	case delta.Image:
		b, err = os.ReadFile(p.st.ImagePath(c.Digest))
	default:
		b, err = p.object(c)
	}
	if err == nil && (int64(len(b)) != c.Size || digest.Of(b) != c.Digest) {
		err = errors.New("its content is not what its name says; run instar store verify")
	}
	return b, err
}

// object reads an object; small ones may stand in an image only.
func (p *packer) object(c content) ([]byte, error) {
	f, err := p.st.Open(c.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
