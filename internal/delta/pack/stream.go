package pack

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// defaultSolid is how many bytes of small contents one stream holds: what a cut
// transfer has on its spool at most, unless a single content is larger.
const defaultSolid = 4 << 20

// maxPatch is the largest content, in bytes, that is compared with its base by
// this package's own simple method.
const maxPatch = 16 << 20

// packer makes streams.
type packer struct {
	st       *store.Store
	need     *needed
	body     *os.File
	size     int64 // of body
	parallel int
	solid    int64
	progress func(done, total int64)
}

// job is one stream: its contents, and what became of them.
type job struct {
	list   []content
	stream delta.Stream
	data   []byte
	err    error
	done   chan struct{}
}

// streams makes all streams, several at a time, and writes them in order.
func (p *packer) streams(ctx context.Context) error {
	jobs := p.jobs()
	var total, done int64
	for _, j := range jobs {
		total += j.bytes()
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	slots := make(chan struct{}, p.parallel)
	running.Go(func() {
		for _, j := range jobs {
			slots <- struct{}{}
			running.Go(func() {
				if j.err = ctx.Err(); j.err == nil {
					j.err = p.encode(ctx, j)
				}
				close(j.done)
			})
		}
	})
	var first error
	for _, j := range jobs {
		<-j.done
		if first == nil {
			if first = j.err; first == nil {
				first = p.append(j)
			}
			if first != nil {
				cancel()
			}
		}
		j.data = nil
		<-slots
		if done += j.bytes(); p.progress != nil {
			p.progress(done, total)
		}
	}
	return first
}

func (j *job) bytes() int64 {
	var n int64
	for _, c := range j.list {
		n += c.Size
	}
	return n
}

// jobs groups the contents: the manifest, large ones and images alone, small
// ones together.
func (p *packer) jobs() []*job {
	var jobs []*job
	var open *job
	var size int64
	for _, c := range p.need.list {
		alone := c.Kind == delta.System || c.Kind == delta.Image || c.Kind == delta.Part || c.Size >= p.solid
		if open == nil || alone || size+c.Size > p.solid {
			open, size = &job{done: make(chan struct{})}, 0
			jobs = append(jobs, open)
		}
		open.list, size = append(open.list, c), size+c.Size
		if alone {
			open = nil
		}
	}
	return jobs
}

func (p *packer) append(j *job) error {
	h := &p.need.head
	for _, c := range j.list {
		h.Entries = append(h.Entries, c.Entry)
	}
	h.Streams = append(h.Streams, j.stream)
	n, err := p.body.WriteAt(j.data, p.size)
	p.size += int64(n)
	return err
}

// encode tries what may make a stream small and takes the smallest.
func (p *packer) encode(ctx context.Context, j *job) error {
	raw, err := p.contents(j.list)
	if err != nil {
		return err
	}
	tries := []func() (*attempt, error){func() (*attempt, error) { return squeeze(delta.Bytes, delta.Whole, raw, raw) }}
	if c := &j.list[0]; len(j.list) == 1 && c.Kind == delta.Image {
		text, err := p.listing(c.Digest)
		if err != nil {
			return err
		}
		if p.rebuilds(ctx, text, c.Digest) {
			tries = append(tries,
				func() (*attempt, error) { return squeeze(delta.Listing, delta.Whole, text, text) },
				func() (*attempt, error) { return p.patched(c, delta.Listing, text) })
		}
	} else if len(j.list) == 1 {
		tries = append(tries, func() (*attempt, error) { return p.patched(c, delta.Bytes, raw) })
	}
	var best *attempt
	for _, try := range tries {
		a, err := try()
		if err != nil {
			return err
		}
		if a != nil && (best == nil || len(a.data) < len(best.data)) {
			best = a
		}
	}
	j.list[0].Base = best.base
	j.data = best.data
	j.stream = delta.Stream{Form: best.form, Method: best.method, Coding: best.coding, Count: len(j.list), Raw: best.raw, Stored: int64(len(best.data))}
	return p.check(j, best.want)
}

// rebuilds reports whether a listing gives the image that it was made of.
func (p *packer) rebuilds(ctx context.Context, text []byte, want digest.Digest) bool {
	t, err := tree.Parse(text)
	if err != nil {
		return false
	}
	o, err := p.st.PutImage(ctx, t)
	return err == nil && o.Digest == want
}

// check decodes a stream as a device will, and compares.
func (p *packer) check(j *job, want []byte) error {
	u := &delta.Update{}
	for _, c := range j.list {
		u.Entries = append(u.Entries, c.Entry)
	}
	got := make([]byte, 0, len(want))
	err := u.Decode(j.stream, bytes.NewReader(j.data), p.base, func(_ delta.Entry, r io.Reader) error {
		b, err := io.ReadAll(r)
		got = append(got, b...)
		return err
	})
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("it decodes to something else")
	}
	if err != nil {
		return fmt.Errorf("checking what was made of %s: %w", j.list[0].path, err)
	}
	return nil
}

// base implements delta.Base out of the builder's store.
func (p *packer) base(e delta.Entry, form delta.Form) (io.ReaderAt, int64, error) {
	c, ok := p.need.bases[key{e.Kind, e.Base}]
	if !ok {
		return nil, 0, errors.New("no base has it")
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
	form   delta.Form
	method delta.Method
	coding delta.Coding
	base   digest.Digest
	raw    int64
	data   []byte
	want   []byte // what it decodes to
}

func squeeze(form delta.Form, method delta.Method, raw, want []byte) (*attempt, error) {
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(raw); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	a := &attempt{form: form, method: method, coding: delta.Deflate, raw: int64(len(raw)), data: b.Bytes(), want: want}
	if b.Len() >= len(raw) {
		a.coding, a.data = delta.Plain, raw
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

// patched tries copies from the base that resembles the content most; nil when
// there is none.
func (p *packer) patched(c *content, form delta.Form, raw []byte) (*attempt, error) {
	base, ok := p.need.resembling(c)
	if !ok || c.Size > maxPatch || base.Size > 4*maxPatch {
		return nil, nil
	}
	old, err := p.form(base, form)
	if err != nil {
		return nil, err
	}
	a, err := squeeze(form, delta.Patch, makePatch(old, raw, form == delta.Bytes), raw)
	if err != nil {
		return nil, err
	}
	a.base = base.Digest
	return a, nil
}

func (p *packer) contents(list []content) ([]byte, error) {
	var all []byte
	for _, c := range list {
		b, err := p.content(c)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.Kind, c.path, err)
		}
		all = append(all, b...)
	}
	return all, nil
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
