// Package durable makes state last. What one of its functions has returned for
// without an error survives a loss of power, and a file never shows a mixture
// of old and new content: readers see the old file, the new one, or none.
//
// The order of system calls of each function, when nothing fails, stands in
// its comment. The functions of the package work on the kernel's file systems;
// the methods of FS can have somebody stand between, which is how the power-cut
// bench (docs/design/crash.md) records what is done, lets a call fail, or
// leaves one out to see that it is missed.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile replaces path with data; see FS.WriteFile.
func WriteFile(path string, mode fs.FileMode, data []byte) error {
	return FS{}.WriteFile(path, mode, data)
}

// Create starts a file in dir; see FS.Create.
func Create(dir string, mode fs.FileMode) (*Pending, error) { return FS{}.Create(dir, mode) }

// Remove deletes the file or empty directory at path; see FS.Remove.
func Remove(path string) error { return FS{}.Remove(path) }

// Rename moves oldpath to newpath; see FS.Rename.
func Rename(oldpath, newpath string) error { return FS{}.Rename(oldpath, newpath) }

// MkdirAll makes dir and its missing parents; see FS.MkdirAll.
func MkdirAll(dir string, mode fs.FileMode) error { return FS{}.MkdirAll(dir, mode) }

// SyncDir makes the names in dir durable; see FS.SyncDir.
func SyncDir(dir string) error { return FS{}.SyncDir(dir) }

// SyncFS makes everything on dir's file system durable; see FS.SyncFS.
func SyncFS(dir string) error { return FS{}.SyncFS(dir) }

// tempPattern names files that are being written. A crash may leave one
// behind; nothing ever reads it.
const tempPattern = ".durable-*"

// WriteFile replaces path with data, atomically and durably. The mode is exact,
// whatever the umask. It may be run again after any failure; on an error the
// old content stands and nothing is left behind.
//
// openat(temp, O_CREAT|O_EXCL), write, fchmod, fsync, close, rename(temp, path),
// fsync(directory).
func (k FS) WriteFile(path string, mode fs.FileMode, data []byte) error {
	p, err := k.Create(filepath.Dir(path), mode)
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
	f    *File
	mode fs.FileMode
}

// Create starts a file in dir, on whose file system it will be committed.
func (k FS) Create(dir string, mode fs.FileMode) (*Pending, error) {
	f, err := k.CreateTemp(dir, tempPattern)
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
	k := p.f.k
	err := p.f.Chmod(p.mode)
	if err == nil {
		err = p.f.Sync()
	}
	err = errors.Join(err, p.f.Close())
	if err == nil {
		err = k.Move(p.f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, k.Unlink(p.f.Name()))
		p.f = nil
		return fmt.Errorf("writing %s: %w", path, err)
	}
	p.f = nil
	return k.SyncDir(filepath.Dir(path))
}

// Abort removes the file.
//
// close, unlink(temp).
func (p *Pending) Abort() error {
	if p.f == nil {
		return nil
	}
	err := errors.Join(p.f.Close(), p.f.k.Unlink(p.f.Name()))
	p.f = nil
	return err
}

// Remove deletes the file or empty directory at path durably. That nothing is
// there is no error.
//
// unlink(path), fsync(directory).
func (k FS) Remove(path string) error {
	if err := k.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return k.SyncDir(filepath.Dir(path))
}

// Rename moves oldpath to newpath on one file system, durably. The content of
// oldpath must be durable already.
//
// rename(oldpath, newpath), fsync(directory of newpath), fsync(directory of
// oldpath, when it is another).
func (k FS) Rename(oldpath, newpath string) error {
	if err := k.Move(oldpath, newpath); err != nil {
		return err
	}
	to, from := filepath.Dir(newpath), filepath.Dir(oldpath)
	if err := k.SyncDir(to); err != nil || to == from {
		return err
	}
	return k.SyncDir(from)
}

// MkdirAll makes dir and its missing parents, each durably. The mode is exact
// for what it makes and untouched for what is there; a cut can leave a directory
// that lacks what the umask takes.
//
// For each missing directory from the top: mkdir; chmod and fsync(dir), when
// the umask took something; fsync(parent).
func (k FS) MkdirAll(dir string, mode fs.FileMode) error {
	switch info, err := os.Stat(dir); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := k.MkdirAll(parent, mode); err != nil {
		return err
	}
	err := k.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		return k.MkdirAll(dir, mode) // somebody was faster
	}
	if err != nil {
		return err
	}
	if err := k.exact(dir, mode); err != nil {
		return errors.Join(err, k.Unlink(dir)) // one that was there would keep its mode
	}
	return k.SyncDir(parent)
}

// exact gives a new directory the bits that the umask took.
func (k FS) exact(dir string, mode fs.FileMode) error {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() == mode.Perm() {
		return err
	}
	if err := k.Chmod(dir, mode); err != nil {
		return err
	}
	return k.SyncDir(dir)
}

// SyncDir makes the names in dir durable.
//
// open(dir), fsync, close.
func (k FS) SyncDir(dir string) error {
	return k.call(Call{Op: SyncDirOp, Path: dir}, func() error {
		return withDir(dir, "directory", func(d *os.File) error { return d.Sync() })
	})
}

// SyncFS makes everything on dir's file system durable: content and names, of
// all files that were written before the call. One call is cheaper than an
// fsync for each of thousands of small files. Linux reports a write-back
// error that happened since the directory was opened, or before it when
// nobody saw it yet (since 5.8).
//
// open(dir), syncfs, close.
func (k FS) SyncFS(dir string) error {
	return k.call(Call{Op: SyncFSOp, Path: dir}, func() error {
		return withDir(dir, "the file system of", func(d *os.File) error { return unix.Syncfs(int(d.Fd())) })
	})
}

func withDir(dir, what string, sync func(*os.File) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := sync(d); err != nil {
		return fmt.Errorf("syncing %s %s: %w", what, dir, errors.Join(err, d.Close()))
	}
	return d.Close()
}
