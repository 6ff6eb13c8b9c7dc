package deb

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb/control"
	"github.com/instar-os/instar/internal/source/fetch"
)

// defaultPriority is a source's when the definition names none, as apt's.
const defaultPriority = 500

// Source is one source of the definition.
type Source struct {
	Name   string
	Config config.Source
	Host   HostConfig
	Keys   func(file string) ([]byte, error) // reads a keyring file; needed when Config names one
}

// World is all packages for one architecture in all suites of some sources. It
// is for one goroutine at a time.
type World struct {
	arch     string // Debian's name
	goarch   string
	suites   []*suite
	packages map[string][]*Package            // by name, the preferred version first
	provided map[string][]*Package            // by what they provide
	known    map[*control.Relation][]*Package // answers to needs, by the first alternative's address
}

// DebianArch returns Debian's name of an architecture of Go.
func DebianArch(goarch string) (string, error) {
	names := map[string]string{
		"amd64": "amd64", "arm64": "arm64", "arm": "armhf", "386": "i386",
		"ppc64le": "ppc64el", "riscv64": "riscv64", "s390x": "s390x", "loong64": "loong64",
	}
	if n, ok := names[goarch]; ok {
		return n, nil
	}
	return "", fmt.Errorf("architecture %q: Debian has none that is known by this name", goarch)
}

// Load verifies the suites of the sources and reads their indices for an
// architecture, named as Go does. now is the time against which validity is
// held. With an offline client, the copies of the last call are used.
func Load(ctx context.Context, c *fetch.Client, sources []Source, goarch string, now time.Time) (*World, error) {
	arch, err := DebianArch(goarch)
	if err != nil {
		return nil, err
	}
	w := &World{arch: arch, goarch: goarch}
	var all []index
	for _, s := range sources {
		ixs, err := w.addSource(ctx, c, s, now)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		all = append(all, ixs...)
	}
	lists := make([][]*Package, len(all))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, ix := range all {
		g.Go(func() (err error) {
			lists[i], err = ix.read(ctx, c)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return w, w.fill(lists)
}

func (w *World) addSource(ctx context.Context, c *fetch.Client, s Source, now time.Time) ([]index, error) {
	base, err := Address(s.Config.Archive, s.Host)
	if err != nil {
		return nil, err
	}
	keys, err := s.keyring()
	if err != nil {
		return nil, err
	}
	components := s.Config.Components
	if len(components) == 0 {
		components = []string{"main"}
	}
	var out []index
	for _, name := range s.Config.Suites {
		su := &suite{source: s.Name, name: name, order: len(w.suites)}
		if err := su.load(ctx, c, base, keys, now, s.Config); err != nil {
			return nil, fmt.Errorf("suite %s: %w", name, err)
		}
		w.suites = append(w.suites, su)
		for _, comp := range components {
			ixs, err := su.indices(base, comp, w.arch)
			if err != nil {
				return nil, fmt.Errorf("suite %s: %w", name, err)
			}
			out = append(out, ixs...)
		}
	}
	return out, nil
}

func (s Source) keyring() (*Keyring, error) {
	file := s.Config.Keyring
	if file == "" || file == "debian" {
		return DebianKeyring()
	}
	if s.Keys == nil {
		return nil, fmt.Errorf("keyring %s: there is nothing to read it with", file)
	}
	data, err := s.Keys(file)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	k, err := ReadKeyring(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

func (s *suite) load(ctx context.Context, c *fetch.Client, base string, keys *Keyring, now time.Time, conf config.Source) error {
	file, err := c.GetFresh(ctx, base+"/dists/"+s.name+"/InRelease", maxRelease)
	if err != nil {
		return err
	}
	if s.release, err = ReadRelease(file, keys, now, conf.Expired == "accept"); err != nil {
		return fmt.Errorf("the signed index (InRelease): %w", err)
	}
	if !s.release.matches(s.name) {
		return fmt.Errorf("the signed index is that of suite %q, code name %q", s.release.Suite, s.release.Codename)
	}
	s.priority = conf.Priority
	if s.priority == 0 {
		s.priority = defaultPriority
	}
	if s.release.NotAutomatic && s.priority == defaultPriority { // apt_preferences(5)
		s.priority = 1
		if s.release.ButUpgrades {
			s.priority = 100
		}
	}
	return nil
}

// fill builds the maps. Versions of one name are ordered by the priority of
// their source, then by version, then by the order of the suites.
func (w *World) fill(lists [][]*Package) error {
	w.packages = map[string][]*Package{}
	w.provided = map[string][]*Package{}
	w.known = map[*control.Relation][]*Package{}
	for _, list := range lists {
		for _, p := range list {
			if p.Arch == w.arch || p.Arch == "all" {
				w.packages[p.Name] = append(w.packages[p.Name], p)
			}
		}
	}
	for _, versions := range w.packages {
		slices.SortStableFunc(versions, func(a, b *Package) int {
			return cmp.Or(cmp.Compare(b.from.priority, a.from.priority), control.Compare(b.Version, a.Version), cmp.Compare(a.from.order, b.from.order))
		})
		for _, p := range versions {
			if p.provides == "" {
				continue
			}
			groups, err := control.ParseRelations(p.provides)
			if err != nil {
				return fmt.Errorf("package %s: Provides: %w", p.Name, err)
			}
			for _, g := range groups {
				w.provided[g[0].Name] = append(w.provided[g[0].Name], p)
			}
		}
	}
	for name, ps := range w.provided {
		w.provided[name] = sortProviders(ps)
	}
	return nil
}

// sortProviders orders as apt does: Essential ones, then by priority rank, then
// by name; versions of one name stay in their order.
func sortProviders(ps []*Package) []*Package {
	slices.SortStableFunc(ps, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(essentialRank(a), essentialRank(b)), cmp.Compare(a.rank, b.rank), strings.Compare(a.Name, b.Name),
			cmp.Compare(b.from.priority, a.from.priority), control.Compare(b.Version, a.Version), cmp.Compare(a.from.order, b.from.order))
	})
	return slices.Compact(ps)
}

func essentialRank(p *Package) int {
	if p.Essential {
		return 0
	}
	return 1
}

// Arch returns Go's name of the architecture.
func (w *World) Arch() string { return w.goarch }

// Suites lists the suites for a lock, in the definition's order.
func (w *World) Suites() []lock.Suite {
	var out []lock.Suite
	for _, s := range w.suites {
		out = append(out, lock.Suite{
			Source: s.source, Suite: s.name, Date: s.release.Date.Format(time.RFC3339),
			InRelease: s.release.SHA256, SignedBy: s.release.SignedBy,
		})
	}
	return out
}

// Epoch returns the newest date among the suites in seconds since 1970.
func (w *World) Epoch() int64 {
	var newest int64
	for _, s := range w.suites {
		newest = max(newest, s.release.Date.Unix())
	}
	return newest
}

// Candidate returns the version of a package that is preferred. The name may
// be NAME=VERSION or NAME/SUITE.
func (w *World) Candidate(name string) (lock.Package, error) {
	ps, err := w.selected(name)
	if err != nil {
		return lock.Package{}, err
	}
	return ps[0].lock(), nil
}

// Depends returns the names of the packages that a package of this world names
// in Pre-Depends and Depends, alternatives included.
func (w *World) Depends(p lock.Package) []string {
	var out []string
	for _, q := range w.packages[p.Name] {
		if q.SHA256 != p.SHA256 {
			continue
		}
		groups, err := w.needs(q)
		if err != nil {
			return nil // Solve says why
		}
		for _, g := range groups {
			for _, r := range g {
				if !slices.Contains(out, r.Name) {
					out = append(out, r.Name)
				}
			}
		}
		return out
	}
	return nil
}

// Essential lists the names of the packages that are marked Essential.
func (w *World) Essential() []string {
	var out []string
	for name, ps := range w.packages {
		if ps[0].Essential {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (p *Package) lock() lock.Package {
	out := lock.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Source: p.from.source, SHA256: p.SHA256, Size: p.Size, Path: p.Path}
	out.SetOrigin(p.origin)
	return out
}

// needs returns what must be there for p, Pre-Depends first.
func (w *World) needs(p *Package) ([]control.Group, error) {
	if p.read {
		return p.groups, nil
	}
	for _, f := range []struct{ name, text string }{{"Pre-Depends", p.preDepends}, {"Depends", p.depends}} {
		groups, err := w.relations(p, f.name, f.text)
		if err != nil {
			return nil, err
		}
		p.groups = append(p.groups, groups...)
	}
	p.read = true
	return p.groups, nil
}

// relations reads a field, leaving out what does not count on the architecture.
func (w *World) relations(p *Package, field, text string) ([]control.Group, error) {
	groups, err := control.ParseRelations(text)
	if err != nil {
		return nil, fmt.Errorf("package %s: %s: %w", p.Name, field, err)
	}
	var out []control.Group
	for _, g := range groups {
		g = slices.DeleteFunc(g, func(r control.Relation) bool { return !r.Counts(w.arch) })
		if len(g) > 0 {
			out = append(out, g)
		}
	}
	return out, nil
}
