package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/erofs"
	"github.com/instar-os/instar/internal/system"
)

// incomingDir is where updates keep what they have of a system until it is
// whole.
const incomingDir = "incoming"

// Incoming returns the directory of updates that are under way. It may not be
// there.
func (s *Store) Incoming() string { return filepath.Join(s.dir, incomingDir) }

// PutAs stores what r holds under the name that it must have; another content
// is an error, and is not kept.
func (s *Store) PutAs(r io.Reader, want system.Object) error {
	d, n, err := s.Put(r)
	if err == nil && (d != want.Digest || n != want.Size) {
		err = fmt.Errorf("%d bytes of digest %s, want %d of %s", n, d, want.Size, want.Digest)
	}
	return err
}

// PutImageAs stores an image that comes as bytes, under the name that it must
// have. As an object, it lasts after Commit.
func (s *Store) PutImageAs(r io.Reader, want system.Object) error {
	if s.readOnly {
		return s.errReadOnly("putting an image")
	}
	f, err := s.staging.create()
	if err != nil {
		return err
	}
	h := digest.New()
	n, err := io.CopyBuffer(io.MultiWriter(h, f), onlyReader{r}, make([]byte, inMemory))
	if err == nil && (n != want.Size || h.Sum() != want.Digest) {
		err = fmt.Errorf("image of %d bytes is not %s", n, want.Digest)
	}
	if err == nil {
		err = f.Chmod(0o444)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.staging.add(f.Name(), "image-"+want.Digest.String(), s.ImagePath(want.Digest))
	}
	if err != nil {
		return errors.Join(err, s.fs.Unlink(f.Name()))
	}
	return nil
}

// HasImage reports whether an image is there, with the length it must have.
func (s *Store) HasImage(o system.Object) bool {
	info, err := os.Lstat(s.ImagePath(o.Digest))
	return err == nil && info.Mode().IsRegular() && info.Size() == o.Size
}

// LearnSmall remembers the contents that stand in an image, so that images of
// the same small files can be put without objects of them.
func (s *Store) LearnSmall(d digest.Digest) error {
	root, _, err := s.imageNodes(d)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learnBelow(root)
	return nil
}

func (s *Store) learnBelow(n *erofs.Node) {
	if n.Data != nil {
		s.small[digest.Of(n.Data)] = n.Data
	}
	for _, c := range n.Children {
		s.learnBelow(c.Node)
	}
}

// PutDeviceSystem is PutSystem for a device, which has the parts of its boot
// slots elsewhere: it commits all that was put, checks that the store holds
// everything the system needs beside those, files of images as well, and
// stores the manifest durably. Running it again does no harm.
func (s *Store) PutDeviceSystem(ctx context.Context, m *system.Manifest, elsewhere []system.Object) (digest.Digest, error) {
	if s.readOnly {
		return digest.Digest{}, s.errReadOnly("putting a system")
	}
	b, err := m.Encode()
	if err != nil {
		return digest.Digest{}, err
	}
	if err := s.staging.settle(); err != nil {
		return digest.Digest{}, fmt.Errorf("committing to store %s: %w", s.dir, err)
	}
	d := digest.Of(b)
	if err := s.whole(ctx, m, elsewhere); err != nil {
		return d, fmt.Errorf("system %s of %s: %w", d.Short(), m.Machine, err)
	}
	if err := s.fs.WriteFile(s.SystemPath(d), 0o444, b); err != nil {
		return d, fmt.Errorf("putting system %s: %w", d.Short(), err)
	}
	return d, nil
}

// whole finds what of a system is not in the store.
func (s *Store) whole(ctx context.Context, m *system.Manifest, elsewhere []system.Object) error {
	except := map[digest.Digest]bool{}
	for _, o := range elsewhere {
		except[o.Digest] = true
	}
	need := set{}
	for _, o := range m.Objects() {
		if !except[o.Digest] {
			need[o.Digest] = o.Size
		}
	}
	for _, o := range m.Images() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !s.HasImage(o) {
			return fmt.Errorf("image %s of %d bytes: %w", o.Digest, o.Size, ErrMissing)
		}
		objects, err := s.imageObjects(o.Digest)
		if err != nil {
			return err
		}
		for d, size := range objects {
			need[d] = size
		}
	}
	for _, o := range need.sorted() {
		if !s.has(o.Digest, o.Size) {
			return fmt.Errorf("object %s of %d bytes: %w", o.Digest, o.Size, ErrMissing)
		}
	}
	return nil
}

// Content returns the verified content of an object of at most limit bytes, or
// of a small file of an image that LearnSmall has read.
func (s *Store) Content(d digest.Digest, limit int64) ([]byte, error) {
	s.mu.Lock()
	b, ok := s.small[d]
	s.mu.Unlock()
	if ok {
		return b, nil
	}
	return s.Bytes(d, limit)
}
