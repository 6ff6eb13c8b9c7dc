// Package store keeps objects (contents of files, named by fs-verity digest),
// images (composefs images of trees) and systems (manifests) in a directory.
// The directory is the same on the builder and on a device; a device opens it
// read-only.
//
// A name in objects, images or systems appears only when its content is
// durable, and a system only when all that it needs is. docs/format/store.md
// describes the directory, docs/design/store.md says why it is so.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
)

// Names within a store's directory.
const (
	objectsDir = "objects"
	imagesDir  = "images"
	systemsDir = "systems"
	rootsDir   = "roots"
	tmpDir     = "tmp"
	lockFile   = "lock"
)

// ErrBusy says that another process or Store is using the directory.
var ErrBusy = errors.New("the store is in use")

// ErrMissing says that the store does not hold what was asked for.
var ErrMissing = errors.New("not in the store")

// Options of Open. The zero value opens for writing.
type Options struct {
	// ReadOnly opens what is there without a lock and without writing
	// anything; the directory must exist. Such a Store does not keep a
	// concurrent ExecuteGC from deleting what it reads.
	ReadOnly bool

	// FS is what makes changes last; the zero value is the kernel's.
	FS durable.FS
}

// Store is an open store. It is safe for concurrent use, and several processes
// may have the same directory open. Close it.
type Store struct {
	dir      string
	readOnly bool
	fs       durable.FS
	lock     *os.File // flock: shared while open, exclusive while deleting
	staging  *staging // nil when read-only

	mu    sync.Mutex
	known map[digest.Digest]int64  // objects seen in objects/ while the lock was held: sizes
	small map[digest.Digest][]byte // contents of small objects
}

// Open opens the store at dir, making it when it is not there. It waits while
// another process deletes garbage, and removes what crashed processes left in
// the staging area.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, readOnly: o.ReadOnly, fs: o.FS, known: map[digest.Digest]int64{}, small: map[digest.Digest][]byte{}}
	if o.ReadOnly {
		if _, err := os.Stat(filepath.Join(dir, objectsDir)); err != nil {
			return nil, fmt.Errorf("opening store %s: %w", dir, err)
		}
		return s, nil
	}
	if err := s.create(); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) create() error {
	for _, d := range []string{objectsDir, imagesDir, systemsDir, rootsDir, tmpDir} {
		if err := s.fs.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			return err
		}
	}
	var err error
	if s.lock, err = flock(filepath.Join(s.dir, lockFile), unix.LOCK_SH); err != nil {
		return err
	}
	if s.staging, err = newStaging(s.fs, filepath.Join(s.dir, tmpDir)); err != nil {
		return errors.Join(err, s.lock.Close())
	}
	return nil
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// Close gives the store up. What was put and not committed is gone.
func (s *Store) Close() error {
	if s.readOnly {
		return nil
	}
	return errors.Join(s.staging.close(), s.lock.Close())
}

// errReadOnly is what writing to a read-only Store answers.
func (s *Store) errReadOnly(doing string) error {
	return fmt.Errorf("%s in store %s: %w", doing, s.dir, fs.ErrPermission)
}

// flock opens path, making it, and locks it as how says.
func flock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := relock(f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// relock changes the lock of f; it answers ErrBusy when LOCK_NB says not to wait.
func relock(f *os.File, how int) error {
	for {
		switch err := unix.Flock(int(f.Fd()), how); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrBusy
		case err != nil:
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		default:
			return nil
		}
	}
}

// ObjectPath returns the path of an object's file, whether it is there or not.
func (s *Store) ObjectPath(d digest.Digest) string {
	return filepath.Join(s.dir, objectsDir, d.Path())
}

// ObjectsDir returns the directory that overlayfs takes as data-only layer.
func (s *Store) ObjectsDir() string { return filepath.Join(s.dir, objectsDir) }

// ImagePath returns the path of an image's file, whether it is there or not.
func (s *Store) ImagePath(d digest.Digest) string {
	return filepath.Join(s.dir, imagesDir, d.String())
}

// SystemPath returns the path of a manifest's file, whether it is there or not.
func (s *Store) SystemPath(d digest.Digest) string {
	return filepath.Join(s.dir, systemsDir, d.String())
}
