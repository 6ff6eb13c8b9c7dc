package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// GCPlan says what no root needs. It is a value: print it, then execute it.
type GCPlan struct {
	Roots  []digest.Digest `json:"roots"` // systems that stay, sorted
	Keep   Amount          `json:"keep"`
	Delete Closure         `json:"delete"`
	Free   Amount          `json:"free"`
}

// Amount is a number of files and their bytes.
type Amount struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func amount(c *Closure) Amount {
	return Amount{len(c.Systems) + len(c.Images) + len(c.Objects), c.Bytes()}
}

// String returns the plan for people: a line each for systems and images, and
// sums.
func (p *GCPlan) String() string {
	var b strings.Builder
	for _, o := range p.Delete.Systems {
		fmt.Fprintf(&b, "delete system %s\n", o.Digest)
	}
	for _, o := range p.Delete.Images {
		fmt.Fprintf(&b, "delete image %s (%d bytes)\n", o.Digest, o.Size)
	}
	fmt.Fprintf(&b, "delete %d objects (%d bytes)\n", len(p.Delete.Objects), sum(p.Delete.Objects))
	fmt.Fprintf(&b, "keep %d files (%d bytes), free %d files (%d bytes)\n",
		p.Keep.Files, p.Keep.Bytes, p.Free.Files, p.Free.Bytes)
	return b.String()
}

// PlanGC finds what neither the given systems nor the store's roots need. A
// root that is missing or damaged is an error: what it needs cannot be known.
func (s *Store) PlanGC(roots []digest.Digest) (*GCPlan, error) {
	named, err := s.Roots()
	if err != nil {
		return nil, fmt.Errorf("planning garbage collection: %w", err)
	}
	live := slices.Clone(roots)
	for _, r := range named {
		live = append(live, r.System)
	}
	slices.SortFunc(live, func(a, b digest.Digest) int { return strings.Compare(string(a[:]), string(b[:])) })
	live = slices.Compact(live)
	keep, err := s.Closure(live...)
	if err != nil {
		return nil, fmt.Errorf("planning garbage collection: %w", err)
	}
	all, err := s.contents()
	if err != nil {
		return nil, fmt.Errorf("planning garbage collection: %w", err)
	}
	there := Closure{within(all.Systems, keep.Systems), within(all.Images, keep.Images), within(all.Objects, keep.Objects)} // a device has boot parts elsewhere
	p := &GCPlan{Roots: live, Keep: amount(&there)}
	p.Delete = Closure{without(all.Systems, keep.Systems), without(all.Images, keep.Images), without(all.Objects, keep.Objects)}
	p.Free = amount(&p.Delete)
	return p, nil
}

// without returns what of list is not in keep; both are sorted by digest.
func without(list, keep []system.Object) []system.Object {
	out := []system.Object{}
	for _, o := range list {
		if _, ok := slices.BinarySearchFunc(keep, o, byDigest); !ok {
			out = append(out, o)
		}
	}
	return out
}

// within returns what of list is also in other; both are sorted by digest.
func within(list, other []system.Object) []system.Object {
	out := []system.Object{}
	for _, o := range list {
		if _, ok := slices.BinarySearchFunc(other, o, byDigest); ok {
			out = append(out, o)
		}
	}
	return out
}

// ExecuteGC deletes what the plan lists and what is garbage still: it takes
// the store for itself, and plans again. It answers ErrBusy while another
// process or Store has the directory open for writing, or when this Store has
// something put and not committed. No other method of this Store may run
// meanwhile. If it stops half way, every system that is left is whole, and it
// may be run again with a new plan.
//
// flock exclusive; unlink systems, fsync; unlink images, fsync; unlink objects, syncfs.
func (s *Store) ExecuteGC(ctx context.Context, p *GCPlan) error {
	if s.readOnly {
		return s.errReadOnly("collecting garbage")
	}
	if s.staging.busy() {
		return fmt.Errorf("collecting garbage: something is put and not committed: %w", ErrBusy)
	}
	err := relock(s.lock, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = s.collect(ctx, p)
	}
	s.forget() // also when another process could collect between the two locks
	if err = errors.Join(err, relock(s.lock, unix.LOCK_SH)); err != nil {
		return fmt.Errorf("collecting garbage: %w", err)
	}
	return nil
}

func (s *Store) collect(ctx context.Context, p *GCPlan) error {
	now, err := s.PlanGC(p.Roots)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		dir            string
		path           func(digest.Digest) string
		planned, still []system.Object
		sync           func(dir string) error
	}{
		{systemsDir, s.SystemPath, p.Delete.Systems, now.Delete.Systems, s.fs.SyncDir},
		{imagesDir, s.ImagePath, p.Delete.Images, now.Delete.Images, s.fs.SyncDir},
		{objectsDir, s.ObjectPath, p.Delete.Objects, now.Delete.Objects, s.fs.SyncFS}, // their names are in 256 directories
	} {
		for _, o := range within(step.planned, step.still) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.fs.Unlink(step.path(o.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := step.sync(filepath.Join(s.dir, step.dir)); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what the Store remembers of objects.
func (s *Store) forget() {
	s.mu.Lock()
	clear(s.known)
	clear(s.small)
	s.mu.Unlock()
}

// contents lists all files of the store that have the name of a digest.
func (s *Store) contents() (Closure, error) {
	systems, err := s.listFlat(systemsDir)
	if err != nil {
		return Closure{}, err
	}
	images, err := s.listFlat(imagesDir)
	if err != nil {
		return Closure{}, err
	}
	objects, err := s.listObjects()
	return Closure{systems, images, objects}, err
}

func (s *Store) listFlat(dir string) ([]system.Object, error) {
	return list(filepath.Join(s.dir, dir), "")
}

// listObjects lists objects/, sorted.
func (s *Store) listObjects() ([]system.Object, error) {
	top := filepath.Join(s.dir, objectsDir)
	shards, err := os.ReadDir(top)
	if err != nil {
		return nil, err
	}
	out := []system.Object{}
	for _, e := range shards {
		if !e.IsDir() || len(e.Name()) != 2 {
			continue
		}
		more, err := list(filepath.Join(top, e.Name()), e.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// list returns the regular files in dir whose names, after prefix, are digests.
func list(dir, prefix string) ([]system.Object, error) {
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := []system.Object{}
	for _, e := range names {
		d, err := digest.Parse(prefix + e.Name())
		if err != nil || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, system.Object{Digest: d, Size: info.Size()})
	}
	return out, nil
}

// Objects lists the objects that are committed, sorted by digest.
func (s *Store) Objects() ([]system.Object, error) { return s.listObjects() }
