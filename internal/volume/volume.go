// Package volume keeps the directories of containers that last: one volume for
// each configuration, container and path, with a version of its format,
// snapshots from before each change that could lose something, and a limit of
// its size.
//
// A volume is a directory of generations, numbered and never changed in
// number, and a record beside it that names the current one and the snapshots.
// Every change makes a new generation, makes it last, and then replaces the
// record, which is one durable rename: whatever is cut before has changed
// nothing, and what the record does not name is swept away at the next use.
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/system"
)

// Store is the directory of all volumes. Its methods can be used from many
// goroutines; one process uses a directory at a time.
type Store struct {
	Dir   string
	Quota bool             // Dir's file system enforces project quotas
	Now   func() time.Time // the clock, for the times of snapshots
	FS    durable.FS       // what makes changes last; the zero value is the kernel's

	mu       sync.Mutex
	volumes  map[string]*state
	projects map[uint32]bool // quota projects in use; nil before the first is needed
}

// state is what is known about a volume while the machine runs.
type state struct {
	mu    sync.Mutex // held while the volume changes
	users int        // open handles
}

// ErrInUse says that a container holds the volume.
var ErrInUse = errors.New("its container runs; stop it first")

// Handle is a volume in use.
type Handle struct {
	Dir      string // of the current generation
	Warnings []string

	release func()
}

// Close lets go of the volume. It may be called more than once.
func (h *Handle) Close() { h.release() }

// Name names a volume.
type Name struct {
	Configuration, Container, Path string
}

func (n Name) String() string { return n.Configuration + "/" + n.Container + ":" + n.Path }

func (s *Store) place(n Name) place {
	return place{filepath.Join(s.Dir, n.Configuration, n.Container, slug(n.Path)), s.FS}
}

func (s *Store) state(n Name) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.volumes == nil {
		s.volumes = map[string]*state{}
	}
	dir := s.place(n).dir
	if s.volumes[dir] == nil {
		s.volumes[dir] = &state{}
	}
	return s.volumes[dir]
}

// Open returns the current generation of a volume for a container that starts,
// and makes the volume when there is none. When what is there is of an older
// version, a snapshot is made first; when it is of a newer one, the newest
// snapshot that the container understands takes its place if that is declared,
// and else it is an error. It may be cut at any point and repeated.
func (s *Store) Open(configuration, container string, d system.Data) (*Handle, error) {
	n := Name{configuration, container, d.Path}
	st := s.state(n)
	st.mu.Lock()
	defer st.mu.Unlock()
	h, held, err := s.openHeld(n, d)
	if err != nil {
		return nil, fmt.Errorf("data %s: %w", d.Path, err)
	}
	st.users++
	h.release = sync.OnceFunc(func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.users--
		held.Close()
	})
	return h, nil
}

// openHeld opens a volume and holds it against changes by other processes. One
// that is not there yet nobody can change.
func (s *Store) openHeld(n Name, d system.Data) (h *Handle, held *os.File, err error) {
	p := s.place(n)
	if held, err = p.hold(); err != nil {
		return nil, nil, err
	}
	if h, err = s.open(n, d); err == nil && held == nil {
		held, err = p.hold()
	}
	if err != nil && held != nil {
		held.Close()
	}
	return h, held, err
}

func (s *Store) open(n Name, d system.Data) (*Handle, error) {
	p := s.place(n)
	r, err := p.read()
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &record{Format: Format, Path: d.Path}
	} else if err := p.sweep(r); err != nil {
		return nil, fmt.Errorf("removing what an earlier change left: %w", err)
	}
	was := *r
	r.Size, r.Keep, r.Budget = d.Size, d.Snapshots.Keep, d.Snapshots.Budget
	switch {
	case r.Current == 0:
		err = s.create(p, r, d)
	case r.Version < d.Version:
		err = s.upgrade(p, r, d.Version)
	case r.Version > d.Version:
		err = s.downgrade(p, r, d)
	case was.Size != r.Size || was.Keep != r.Keep || was.Budget != r.Budget:
		err = p.write(r)
	}
	if err != nil {
		return nil, err
	}
	h := &Handle{Dir: p.generation(r.Current)}
	if err := s.limit(p, r); err != nil {
		return nil, err
	}
	if d.Size > 0 && !s.Quota {
		h.Warnings = append(h.Warnings, fmt.Sprintf("the size of its data %s is not limited: the file system has no project quotas", d.Path))
	}
	return h, p.sweep(r)
}

// create makes the first generation.
func (s *Store) create(p place, r *record, d system.Data) error {
	if err := s.FS.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	dir := p.generation(1)
	if err := s.FS.RemoveAll(dir); err != nil { // cut before the record was written
		return err
	}
	if err := s.FS.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chown(dir, int(d.UID), int(d.GID)); err != nil {
		return err
	}
	if err := os.Chmod(dir, fileMode(d.Mode)); err != nil {
		return err
	}
	if err := s.FS.SyncDir(dir); err != nil {
		return err
	}
	if err := s.FS.SyncDir(p.dir); err != nil {
		return err
	}
	r.Version, r.Current, r.Last = d.Version, 1, 1
	return p.write(r)
}

// limit puts the current generation into a quota project of its own and sets
// its limit. It does nothing where there are no quotas.
func (s *Store) limit(p place, r *record) error {
	if !s.Quota {
		return nil
	}
	if r.Project == 0 {
		id, err := s.newProject()
		if err != nil {
			return err
		}
		if err := assign(p.generation(r.Current), id); err != nil {
			return err
		}
		r.Project = id
		if err := p.write(r); err != nil {
			return err
		}
	}
	return linux.SetProjectLimit(s.Dir, r.Project, r.Size)
}

// firstProject is the lowest quota project that is given to a volume; 0 is
// everything else.
const firstProject = 1

// newProject returns a quota project that no record names.
func (s *Store) newProject() (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.projects == nil {
		used := map[uint32]bool{}
		err := s.each(func(_ Name, _ place, r *record) error {
			used[r.Project] = true
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("finding a free quota project: %w", err)
		}
		s.projects = used
	}
	id := uint32(firstProject)
	for s.projects[id] {
		id++
	}
	s.projects[id] = true
	return id, nil
}

// each calls f for every volume that has a record, in order.
func (s *Store) each(f func(Name, place, *record) error) error {
	records, err := filepath.Glob(filepath.Join(s.Dir, "*", "*", ".*.json"))
	if err != nil {
		return err
	}
	slices.Sort(records)
	for _, file := range records {
		base := filepath.Base(file)
		dir := filepath.Dir(file)
		p := place{filepath.Join(dir, base[1:len(base)-len(".json")]), s.FS}
		r, err := p.read()
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if r == nil {
			continue
		}
		n := Name{filepath.Base(filepath.Dir(dir)), filepath.Base(dir), r.Path}
		if err := f(n, p, r); err != nil {
			return err
		}
	}
	return nil
}

// fileMode turns Linux' mode bits into Go's.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}
