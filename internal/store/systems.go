package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// PutSystem commits all that was put, checks that the store holds everything
// the manifest names, and stores the manifest durably. Running it again does
// no harm.
func (s *Store) PutSystem(m *system.Manifest) (digest.Digest, error) {
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
	for _, o := range m.Objects() {
		if !s.has(o.Digest, o.Size) {
			return digest.Digest{}, fmt.Errorf("system of %s: object %s of %d bytes: %w", m.Machine, o.Digest, o.Size, ErrMissing)
		}
	}
	for _, o := range m.Images() {
		if info, err := os.Stat(s.ImagePath(o.Digest)); err != nil || info.Size() != o.Size {
			return digest.Digest{}, fmt.Errorf("system of %s: image %s of %d bytes: %w", m.Machine, o.Digest, o.Size, ErrMissing)
		}
	}
	d := digest.Of(b)
	if err := s.fs.WriteFile(s.SystemPath(d), 0o444, b); err != nil {
		return d, fmt.Errorf("putting system %s: %w", d.Short(), err)
	}
	return d, nil
}

// System returns a manifest whose content matches its name.
func (s *Store) System(d digest.Digest) (*system.Manifest, error) {
	m, _, err := s.system(d)
	return m, err
}

// system also returns the manifest's length in bytes.
func (s *Store) system(d digest.Digest) (*system.Manifest, int64, error) {
	b, err := s.read(s.SystemPath(d), d, system.MaxSize)
	if err != nil {
		return nil, 0, fmt.Errorf("system %s: %w", d.Short(), err)
	}
	m, err := system.Decode(b)
	if err != nil {
		return nil, 0, fmt.Errorf("system %s: %w", d.Short(), err)
	}
	return m, int64(len(b)), nil
}

// read returns the verified content of a file of the store.
func (s *Store) read(path string, d digest.Digest, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readVerified(f, d, limit)
}

// Systems returns the digests of all systems, sorted.
func (s *Store) Systems() ([]digest.Digest, error) {
	list, err := s.listFlat(systemsDir)
	if err != nil {
		return nil, fmt.Errorf("listing systems: %w", err)
	}
	var out []digest.Digest
	for _, o := range list {
		out = append(out, o.Digest)
	}
	return out, nil
}

// Root is a name that keeps a system from being garbage.
type Root struct {
	Name   string        `json:"name"`
	System digest.Digest `json:"system"`
}

// SetRoot makes name stand for a system, durably. Names are as those of files,
// without a leading dot.
func (s *Store) SetRoot(name string, d digest.Digest) error {
	path, err := s.rootPath(name)
	if err != nil {
		return err
	}
	if _, err := s.System(d); err != nil {
		return fmt.Errorf("setting root %s: %w", name, err)
	}
	if err := s.fs.SyncDir(filepath.Join(s.dir, systemsDir)); err != nil {
		return fmt.Errorf("setting root %s: %w", name, err)
	}
	if err := s.fs.WriteFile(path, 0o644, []byte(d.String()+"\n")); err != nil {
		return fmt.Errorf("setting root %s: %w", name, err)
	}
	return nil
}

// DeleteRoot removes a name, durably. That it is not there is no error.
func (s *Store) DeleteRoot(name string) error {
	path, err := s.rootPath(name)
	if err != nil {
		return err
	}
	if err := s.fs.Remove(path); err != nil {
		return fmt.Errorf("deleting root %s: %w", name, err)
	}
	return nil
}

func (s *Store) rootPath(name string) (string, error) {
	if s.readOnly {
		return "", s.errReadOnly("changing root " + name)
	}
	if name == "" || len(name) > 128 || name[0] == '.' || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("%q cannot name a root", name)
	}
	return filepath.Join(s.dir, rootsDir, name), nil
}

// Roots returns all roots, sorted by name. A root that cannot be read is an
// error, because garbage is what no root needs.
func (s *Store) Roots() ([]Root, error) {
	list, err := os.ReadDir(filepath.Join(s.dir, rootsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []Root
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(s.dir, rootsDir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading root %s: %w", e.Name(), err)
		}
		d, err := digest.Parse(strings.TrimSuffix(string(b), "\n"))
		if err != nil {
			return nil, fmt.Errorf("reading root %s: %w", e.Name(), err)
		}
		out = append(out, Root{e.Name(), d})
	}
	return out, nil
}
