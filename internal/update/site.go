package update

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// site is a device's directory of one update under way.
type site struct {
	env *Env
	dir string
}

// Names in the directory.
const (
	manifestFile = "manifest"
	spoolFile    = "body"
	chunksFile   = "chunks"
	partPrefix   = "part-"
)

// newSite names the directory after the hash of what is signed.
func newSite(env *Env, id []byte) site {
	return site{env, filepath.Join(env.Store.Incoming(), hex.EncodeToString(id[:16]))}
}

// kept returns the manifest that an attempt before has left, nil when there is
// none.
func (s *site) kept(target digest.Digest) (*system.Manifest, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, manifestFile))
	if err != nil || digest.Of(b) != target {
		return nil, nil
	}
	return system.Decode(b)
}

// prepare makes the directory, after removing those of other updates.
func (s *site) prepare(m *system.Manifest) error {
	k := s.env.FS
	if err := clean(k, s.env.Store.Incoming(), filepath.Base(s.dir)); err != nil {
		return err
	}
	if err := k.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	return k.WriteFile(filepath.Join(s.dir, manifestFile), 0o600, b)
}

// clean removes directories of updates other than keep.
func clean(k interface{ RemoveAll(string) error }, dir, keep string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() != keep {
			if err := k.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// has reports whether a content is durable.
func (s *site) has(kind delta.Kind, o system.Object) bool {
	switch kind {
	case delta.Object:
		n, ok := s.env.Store.Size(o.Digest)
		return ok && n == o.Size
	case delta.Image:
		return s.env.Store.HasImage(o)
	case delta.Part:
		info, err := os.Stat(s.partPath(o.Digest))
		return err == nil && info.Size() == o.Size
	}
	return kind == delta.System // it is kept, or was read first
}

func (s *site) partPath(d digest.Digest) string {
	return filepath.Join(s.dir, partPrefix+d.String())
}

// part keeps a part of a boot slot until the slot is written.
func (s *site) part(content io.Reader, want system.Object) error {
	f, err := s.env.FS.Create(s.dir, 0o600)
	if err != nil {
		return err
	}
	h := digest.New()
	if _, err := io.Copy(io.MultiWriter(h, f), content); err != nil {
		return errors.Join(err, f.Abort())
	}
	if h.Sum() != want.Digest {
		return errors.Join(fmt.Errorf("its content has digest %s", h.Sum()), f.Abort())
	}
	return f.Commit(s.partPath(want.Digest))
}

// finish puts the system, when the store has all of it but what boot slots hold.
func (s *site) finish(ctx context.Context, m *system.Manifest) error {
	k := m.Kernel
	_, err := s.env.Store.PutDeviceSystem(ctx, m, append(k.Parts(), k.Image, k.Initrd, k.Loader, k.Init))
	return err
}
