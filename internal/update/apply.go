package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// stream makes the contents of a stream and makes them durable.
func (r *receiver) stream(ctx context.Context, s delta.Stream) error {
	err := r.u.Decode(s, r.spool, r.base, func(e delta.Entry, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		want := system.Object{Digest: e.Digest, Size: e.Size}
		switch {
		case e.Kind == delta.Object:
			return r.env.Store.PutAs(content, want)
		case s.Form == delta.Listing:
			return r.image(ctx, content, want)
		case e.Kind == delta.Image:
			return r.env.Store.PutImageAs(content, want)
		case e.Kind == delta.Part:
			return r.part(content, want)
		}
		return errors.New("a second manifest")
	})
	if err != nil {
		return err
	}
	return r.env.Store.Commit()
}

// image builds an image out of its tree's listing.
func (r *receiver) image(ctx context.Context, content io.Reader, want system.Object) error {
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	t, err := tree.Parse(text)
	if err != nil {
		return err
	}
	if err := r.learn(); err != nil {
		return err
	}
	o, err := r.env.Store.PutImage(ctx, t)
	if err == nil && o != want {
		err = fmt.Errorf("its listing gives image %s of %d bytes", o.Digest, o.Size)
	}
	return err
}

// learn has the store remember the small files of the base's images, which are
// no objects.
func (r *receiver) learn() error {
	if r.learned || r.u.Complete() {
		return nil
	}
	m, err := r.baseManifest()
	if err != nil {
		return err
	}
	for _, o := range m.Images() {
		if err := r.env.Store.LearnSmall(o.Digest); err != nil {
			return err
		}
	}
	r.learned = true
	return nil
}

// baseDigest returns the base of the update that the store has: what runs, when
// it is one.
func (r *receiver) baseDigest() (digest.Digest, bool) {
	var found digest.Digest
	for _, b := range r.u.Bases {
		if b == r.env.Running {
			return b, true
		}
		if _, err := r.env.Store.System(b); err == nil && found.IsZero() {
			found = b
		}
	}
	return found, !found.IsZero()
}

func (r *receiver) baseManifest() (*system.Manifest, error) {
	d, ok := r.baseDigest()
	if !ok {
		return nil, errors.New("none of the update's bases is here")
	}
	return r.env.Store.System(d)
}

// base implements delta.Base out of store and boot slots. What it gives is not
// verified: what is made of it is.
func (r *receiver) base(e delta.Entry, form delta.Form) (io.ReaderAt, int64, error) {
	switch {
	case form == delta.Listing:
		t, err := r.env.Store.Image(e.Base)
		if err != nil {
			return nil, 0, err
		}
		b, err := t.MarshalText()
		return bytes.NewReader(b), int64(len(b)), err
	case e.Kind == delta.System:
		m, err := r.env.Store.System(e.Base)
		if err != nil {
			return nil, 0, err
		}
		b, err := m.Encode()
		return bytes.NewReader(b), int64(len(b)), err
	case e.Kind == delta.Part:
		return r.basePart(e.Base)
	case e.Kind == delta.Image:
		return sized(openFile(r.env.Store.ImagePath(e.Base)))
	}
	return sized(r.env.Store.Open(e.Base))
}

func (r *receiver) basePart(d digest.Digest) (io.ReaderAt, int64, error) {
	m, err := r.baseManifest()
	if err != nil {
		return nil, 0, err
	}
	for _, o := range bootParts(m) {
		if o.Digest != d || r.env.Part == nil {
			continue
		}
		if c := r.env.Part(o); c != nil {
			return mappable(c)
		}
	}
	return nil, 0, errors.New("no boot slot has it")
}

// bootParts are what a boot slot is made of beside the store's stub.
func bootParts(m *system.Manifest) []system.Object {
	all := append(m.Kernel.Parts(), m.Kernel.Initrd)
	if m.Kernel.Loader != (system.Object{}) { // else the firmware is one
		all = append(all, m.Kernel.Loader)
	}
	return all
}
