// Package durable makes state last. What one of its functions has returned for
// without an error survives a loss of power, and a file never shows a mixture
// of old and new content: readers see the old file, the new one, or none.
//
// The order of system calls of each function, when nothing fails, stands in
// its comment.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempPattern names files that are being written. A crash may leave one
// behind; nothing ever reads it.
const tempPattern = ".durable-*"

// WriteFile replaces path with data, atomically and durably. The mode is exact,
// whatever the umask. It may be run again after any failure; on an error the
// old content stands and nothing is left behind.
//
// openat(temp, O_CREAT|O_EXCL), write, fchmod, fsync, close, rename(temp, path),
// fsync(directory).
func WriteFile(path string, mode fs.FileMode, data []byte) error {
	p, err := Create(filepath.Dir(path), mode)
	if err != nil {
		return err
	}
	if _, err := p.Write(data); err != nil {
		return errors.Join(err, p.Abort())
	}
	return p.Commit(path)
}

// Pending is a file that has no name yet. Exactly one of Commit and Abort ends
// it; Abort after Commit does nothing, so it can be deferred.
type Pending struct {
	f    *os.File
	mode fs.FileMode
}

// Create starts a file in dir, on whose file system it will be committed.
func Create(dir string, mode fs.FileMode) (*Pending, error) {
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return nil, fmt.Errorf("creating a file in %s: %w", dir, err)
	}
	return &Pending{f: f, mode: mode}, nil
}

// Write implements io.Writer.
func (p *Pending) Write(b []byte) (int, error) { return p.f.Write(b) }

// Name returns the temporary path.
func (p *Pending) Name() string { return p.f.Name() }

// Commit gives the file its name, replacing what had it. After an error before
// the rename the old file stands and the new one is removed; an error of the
// last fsync means that either may be there after a crash.
//
// fchmod, fsync, close, rename(temp, path), fsync(directory of path).
func (p *Pending) Commit(path string) error {
	if p.f == nil {
		return fmt.Errorf("committing %s: the file was committed or aborted before", path)
	}
	err := p.f.Chmod(p.mode)
	if err == nil {
		err = p.f.Sync()
	}
	err = errors.Join(err, p.f.Close())
	if err == nil {
		err = os.Rename(p.f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(p.f.Name()))
		p.f = nil
		return fmt.Errorf("writing %s: %w", path, err)
	}
	p.f = nil
	return SyncDir(filepath.Dir(path))
}

// Abort removes the file.
//
// close, unlink(temp).
func (p *Pending) Abort() error {
	if p.f == nil {
		return nil
	}
	err := errors.Join(p.f.Close(), os.Remove(p.f.Name()))
	p.f = nil
	return err
}

// Remove deletes the file or empty directory at path durably. That nothing is
// there is no error.
//
// unlink(path), fsync(directory).
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Rename moves oldpath to newpath on one file system, durably. The content of
// oldpath must be durable already.
//
// rename(oldpath, newpath), fsync(directory of newpath), fsync(directory of
// oldpath, when it is another).
func Rename(oldpath, newpath string) error {
	if err := os.Rename(oldpath, newpath); err != nil {
		return err
	}
	to, from := filepath.Dir(newpath), filepath.Dir(oldpath)
	if err := SyncDir(to); err != nil || to == from {
		return err
	}
	return SyncDir(from)
}

// MkdirAll makes dir and its missing parents, each durably. The mode is exact
// for what it makes and untouched for what is there.
//
// For each missing directory from the top: mkdir, chmod, fsync(parent).
func MkdirAll(dir string, mode fs.FileMode) error {
	switch info, err := os.Stat(dir); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := MkdirAll(parent, mode); err != nil {
		return err
	}
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		return MkdirAll(dir, mode) // somebody was faster
	}
	if err == nil {
		err = os.Chmod(dir, mode)
	}
	if err != nil {
		return err
	}
	return SyncDir(parent)
}

// SyncDir makes the names in dir durable.
//
// open(dir), fsync, close.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory %s: %w", dir, errors.Join(err, d.Close()))
	}
	return d.Close()
}

// SyncFS makes everything on dir's file system durable: content and names, of
// all files that were written before the call. One call is cheaper than an
// fsync for each of thousands of small files. Linux reports a write-back
// error that happened since the directory was opened, or before it when
// nobody saw it yet (since 5.8).
//
// open(dir), syncfs, close.
func SyncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", dir, errors.Join(err, d.Close()))
	}
	return d.Close()
}
