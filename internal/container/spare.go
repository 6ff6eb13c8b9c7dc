package container

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/instar-os/instar/internal/system"
)

// spares are sandboxes that were made ahead of their containers' starts: the
// namespaces and mounts, which is most of what Prepare takes time for. Each is
// taken once. They are known by the container's place in the manifest.
type spares struct {
	mu   sync.Mutex
	m    map[*system.Container]*Sandbox
	made int // numbers their mount points
}

// CanSpare says whether a sandbox of the container can wait for its start: its
// mounts and namespaces belong to nobody else. Data has one user at a time, and
// a switch may first take a snapshot of it; namespaces on networks come with
// their configuration.
func CanSpare(c *system.Container) bool {
	return len(c.Data) == 0 && c.Network != system.MemberNetwork
}

// Spare makes a sandbox of a container ahead of Prepare, which then takes it. It
// does nothing when there is one already or CanSpare says no.
func (r *Runtime) Spare(c *system.Container) error {
	if !CanSpare(c) || r.spares.has(c) {
		return nil
	}
	l, err := r.launch(c)
	if err != nil {
		return fmt.Errorf("making a spare of container %s: %w", c.Name, err)
	}
	s := newSandbox(c, l, filepath.Join(r.State, r.spares.place()))
	if err := s.makeSpare(r, c, l); err != nil {
		return fmt.Errorf("making a spare of container %s: %w", c.Name, errors.Join(err, s.Close()))
	}
	if !r.spares.put(c, s) {
		return s.Close()
	}
	return nil
}

func (s *Sandbox) makeSpare(r *Runtime, c *system.Container, l *loadedLaunch) error {
	if err := s.build(r, c, l, r.parts(c, nil), func() error { return nil }); err != nil {
		return err
	}
	return s.ready(r, c)
}

// ready gives a spare its control group and a first process that waits in it,
// unless a container of the same name runs, whose control group it is.
func (s *Sandbox) ready(r *Runtime, c *system.Container) (err error) {
	s.cgroup, err = makeCgroup(r.cgroupOf(c), c, true)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil || s.cgroup == nil {
		return err
	}
	s.guard(r, c)
	return s.hold()
}

// KeepSpares removes the spares of other containers than some.
func (r *Runtime) KeepSpares(keep func(*system.Container) bool) error {
	var errs []error
	for _, s := range r.spares.others(keep) {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// evict removes the spares of other containers of the same name, one of which
// may have the control group.
func (r *Runtime) evict(c *system.Container) error {
	return r.KeepSpares(func(o *system.Container) bool { return o == c || o.Name != c.Name })
}

// place returns a name for a mount point; no container's begins with a dot.
func (p *spares) place() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	return ".spare-" + strconv.Itoa(p.made)
}

func (p *spares) has(c *system.Container) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[c] != nil
}

// put keeps a spare; false when there is one.
func (p *spares) put(c *system.Container, s *Sandbox) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m[c] != nil {
		return false
	}
	if p.m == nil {
		p.m = map[*system.Container]*Sandbox{}
	}
	p.m[c] = s
	return true
}

// take returns the spare of a container and forgets it, or nil.
func (p *spares) take(c *system.Container) *Sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.m[c]
	delete(p.m, c)
	return s
}

func (p *spares) others(keep func(*system.Container) bool) (out []*Sandbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, s := range p.m {
		if !keep(c) {
			delete(p.m, c)
			out = append(out, s)
		}
	}
	return out
}
