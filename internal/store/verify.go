package store

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// Kind is what a file of the store is.
type Kind string

// The kinds of files.
const (
	ObjectKind Kind = "object"
	ImageKind  Kind = "image"
	SystemKind Kind = "system"
)

// Report is what Verify found.
type Report struct {
	Checked Amount    `json:"checked"`
	Damaged []Finding `json:"damaged"` // content and name do not agree
	Missing []Finding `json:"missing"` // a system needs it and it is not there, or has another length
	Strange []string  `json:"strange"` // paths in the store's directory that have no business there
}

// Finding is one file that is not as it must be.
type Finding struct {
	Kind    Kind          `json:"kind"`
	Digest  digest.Digest `json:"digest"`
	Problem string        `json:"problem"`
}

// OK reports whether nothing is damaged or missing.
func (r *Report) OK() bool { return len(r.Damaged)+len(r.Missing) == 0 }

// Verify reads every object, image and manifest again and compares it with its
// name, on all processors, and looks for what systems need and is not there.
// progress, which may be nil, is called with the bytes done and in all, one
// call at a time. An error means that the check could not be made; damage is
// in the report.
func (s *Store) Verify(ctx context.Context, progress func(done, total int64)) (*Report, error) {
	all, err := s.contents()
	if err != nil {
		return nil, err
	}
	r := &Report{Checked: amount(&all), Damaged: []Finding{}, Missing: []Finding{}}
	if r.Damaged, err = s.rehash(ctx, &all, progress); err != nil {
		return nil, err
	}
	if r.Missing, err = s.missing(&all, r.Damaged); err != nil {
		return nil, err
	}
	if r.Strange, err = s.strange(); err != nil {
		return nil, err
	}
	return r, nil
}

// pathOf returns where a file of the store has its name.
func (s *Store) pathOf(k Kind, d digest.Digest) string {
	switch k {
	case ImageKind:
		return s.ImagePath(d)
	case SystemKind:
		return s.SystemPath(d)
	}
	return s.ObjectPath(d)
}

// rehash compares contents with names and returns what differs, in order.
func (s *Store) rehash(ctx context.Context, all *Closure, progress func(done, total int64)) ([]Finding, error) {
	type job struct {
		kind Kind
		system.Object
	}
	jobs := make(chan job)
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		done     int64
		findings = []Finding{}
		total    = all.Bytes()
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for j := range jobs {
				problem := s.rehashOne(j.kind, j.Digest)
				mu.Lock()
				if problem != "" {
					findings = append(findings, Finding{j.kind, j.Digest, problem})
				}
				if done += j.Size; progress != nil {
					progress(done, total)
				}
				mu.Unlock()
			}
		})
	}
	feed := func(k Kind, list []system.Object) {
		for _, o := range list {
			select {
			case jobs <- job{k, o}:
			case <-ctx.Done():
				return
			}
		}
	}
	feed(SystemKind, all.Systems)
	feed(ImageKind, all.Images)
	feed(ObjectKind, all.Objects)
	close(jobs)
	wg.Wait()
	sortFindings(findings)
	return findings, ctx.Err()
}

func sortFindings(list []Finding) {
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(string(a.Digest[:]), string(b.Digest[:])))
	})
}

// rehashOne says what is wrong with a file; "" when nothing is, or when it was
// deleted meanwhile.
func (s *Store) rehashOne(k Kind, d digest.Digest) string {
	f, err := os.Open(s.pathOf(k, d))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	defer f.Close()
	got, _, err := digest.FromReader(f)
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	if got != d {
		return "its content has digest " + got.String()
	}
	return ""
}

// missing finds what the undamaged systems need and the store does not have.
func (s *Store) missing(all *Closure, damaged []Finding) ([]Finding, error) {
	bad := map[digest.Digest]bool{}
	for _, f := range damaged {
		bad[f.Digest] = true
	}
	objects, images := map[digest.Digest]int64{}, map[digest.Digest]bool{}
	for _, o := range all.Objects {
		objects[o.Digest] = o.Size
	}
	for _, o := range all.Images {
		images[o.Digest] = true
	}
	found := map[Finding]bool{}
	for _, o := range all.Systems {
		if bad[o.Digest] {
			continue
		}
		if err := s.missingOf(o.Digest, objects, images, bad, found); err != nil {
			return nil, err
		}
	}
	out := []Finding{}
	for f := range found {
		out = append(out, f)
	}
	sortFindings(out)
	return out, nil
}

func (s *Store) missingOf(d digest.Digest, objects map[digest.Digest]int64, images, bad map[digest.Digest]bool, found map[Finding]bool) error {
	m, err := s.System(d)
	if err != nil {
		return err
	}
	need := set{}
	for _, o := range m.Objects() {
		need[o.Digest] = o.Size
	}
	for _, o := range m.Images() {
		switch {
		case !images[o.Digest]:
			found[Finding{ImageKind, o.Digest, "not there"}] = true
		case !bad[o.Digest]:
			objs, err := s.imageObjects(o.Digest)
			if err != nil {
				return err
			}
			for d, size := range objs {
				need[d] = size
			}
		}
	}
	for d, size := range need {
		if n, ok := objects[d]; !ok {
			found[Finding{ObjectKind, d, "not there"}] = true
		} else if n != size && !bad[d] {
			found[Finding{ObjectKind, d, "has another length than the system says"}] = true
		}
	}
	return nil
}

// strange lists what a store does not write, relative to its directory.
func (s *Store) strange() ([]string, error) {
	out := []string{}
	top := map[string]bool{objectsDir: true, imagesDir: true, systemsDir: true, rootsDir: true,
		tmpDir: true, incomingDir: true, lockFile: true, "lost+found": true}
	err := filepath.WalkDir(s.dir, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || p == s.dir {
			return err
		}
		rel, err := filepath.Rel(s.dir, p)
		if err != nil {
			return err
		}
		parts := strings.Split(rel, string(filepath.Separator))
		ok := top[parts[0]]
		switch {
		case rel == tmpDir || rel == incomingDir || rel == rootsDir || rel == "lost+found":
			return filepath.SkipDir
		case parts[0] == objectsDir && len(parts) == 2:
			ok = e.IsDir() && len(parts[1]) == 2
		case len(parts) > 1:
			_, err := digest.Parse(strings.Join(parts[1:], ""))
			ok = err == nil && e.Type().IsRegular()
		}
		if !ok {
			out = append(out, rel)
		}
		if !ok && e.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	return out, err
}
