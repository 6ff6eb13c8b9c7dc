package store

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/durable"
)

// A staging area is a directory of one open Store below tmp. It holds what is
// written but not committed. Its owner keeps a lock on the file "owner" in it,
// so that others can tell a living owner from a crashed one.
type staging struct {
	tmp   string // the directory of all staging areas
	dir   string
	owner *os.File
	fs    durable.FS
	sync  func(dir string) error // fs.SyncFS, but for tests

	mu      sync.Mutex
	pending map[string]string // path in the staging area -> final path
	failed  error             // of a sync, after which nothing here can be trusted
}

// newStaging makes a staging area and removes those of crashed owners. Areas
// are made and removed under the lock on tmp/lock only: without it, one process
// could remove the area that another has made and not locked yet, or trip over
// one that is half removed.
func newStaging(k durable.FS, tmp string) (*staging, error) {
	gate, err := flock(filepath.Join(tmp, lockFile), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	if err := removeDead(k, tmp); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(tmp, "stage-")
	if err != nil {
		return nil, err
	}
	owner, err := flock(filepath.Join(dir, "owner"), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, errors.Join(err, k.RemoveAll(dir))
	}
	return &staging{tmp: tmp, dir: dir, owner: owner, fs: k, sync: k.SyncFS, pending: map[string]string{}}, nil
}

// removeDead removes the staging areas that nobody holds.
func removeDead(k durable.FS, tmp string) error {
	areas, err := filepath.Glob(filepath.Join(tmp, "stage-*"))
	if err != nil {
		return err
	}
	for _, dir := range areas {
		f, err := flock(filepath.Join(dir, "owner"), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(k.RemoveAll(dir), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (g *staging) close() error {
	gate, err := flock(filepath.Join(g.tmp, lockFile), unix.LOCK_EX)
	if err != nil {
		return errors.Join(err, g.owner.Close())
	}
	return errors.Join(g.fs.RemoveAll(g.dir), g.owner.Close(), gate.Close())
}

// create starts a file in the staging area.
func (g *staging) create() (*durable.File, error) { return g.fs.CreateTemp(g.dir, "new-") }

// add takes a finished file of the area, to be renamed to final at the next
// commit. Of two files for one name the first stays.
func (g *staging) add(file, key, final string) error {
	staged := filepath.Join(g.dir, key)
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.pending[staged]; ok {
		return g.fs.Unlink(file)
	}
	if err := g.fs.Move(file, staged); err != nil {
		return err
	}
	g.pending[staged] = final
	return nil
}

// path returns where a staged file is, if it is staged.
func (g *staging) path(key string) (string, bool) {
	if g == nil {
		return "", false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	staged := filepath.Join(g.dir, key)
	_, ok := g.pending[staged]
	return staged, ok
}

// commit gives all staged files their final names. If a rename fails, some
// have theirs and the others are as before, and it may be run again. If a sync
// fails it fails for ever: Linux reports a lost write once, so that a second
// sync would succeed and prove nothing.
//
// syncfs; for each file: rename; syncfs.
func (g *staging) commit() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed != nil || len(g.pending) == 0 {
		return g.failed
	}
	if g.failed = g.sync(g.dir); g.failed != nil {
		return g.failed
	}
	err := g.rename()
	g.failed = g.sync(g.dir)
	return errors.Join(err, g.failed)
}

// settle commits, and waits as well for names that another process has made
// and not synced yet: such objects are found, and not put again.
//
// As commit; without anything pending: syncfs.
func (g *staging) settle() error {
	if g.busy() {
		return g.commit()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		g.failed = g.sync(g.dir)
	}
	return g.failed
}

// rename moves what is pending to its final place, making the directories of
// objects as they are needed.
func (g *staging) rename() error {
	for _, staged := range slices.Sorted(maps.Keys(g.pending)) {
		final := g.pending[staged]
		err := g.fs.Move(staged, final)
		if errors.Is(err, os.ErrNotExist) {
			if err = g.fs.Mkdir(filepath.Dir(final), 0o755); err == nil || errors.Is(err, os.ErrExist) {
				err = g.fs.Move(staged, final)
			}
		}
		if err != nil {
			return err
		}
		delete(g.pending, staged)
	}
	return nil
}

// busy reports whether something waits for the next commit.
func (g *staging) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.pending) > 0
}
