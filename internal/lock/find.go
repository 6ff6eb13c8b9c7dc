package lock

import (
	"fmt"
	"sort"
	"strings"
)

// String returns "name=version:arch", which is unique among pinned packages.
func (p Package) String() string { return p.Name + "=" + p.Version + ":" + p.Arch }

// Find returns the package that ref names: a name, or name=version where
// several versions of that name are pinned. It is false when none or more than
// one answers.
func (in *Inputs) Find(ref string) (Package, bool) {
	p := in.finder()[ref]
	if p == nil {
		return Package{}, false
	}
	return *p, true
}

// Tree returns the packages of a tree in the order of its names; nil when the
// lock has no such tree.
func (in *Inputs) Tree(name string) []Package {
	var all []Package
	find := in.finder()
	for _, ref := range in.Trees[name] {
		if p := find[ref]; p != nil {
			all = append(all, *p)
		}
	}
	return all
}

// Ref returns the name under which Find answers with p: its name where that is
// enough, else name=version.
func (in *Inputs) Ref(p Package) string {
	if q, ok := in.Find(p.Name); ok && q.String() == p.String() {
		return p.Name
	}
	return p.Name + "=" + p.Version
}

// A finder holds packages by name and by name=version. A key that several
// packages answer to holds nil.
type finder map[string]*Package

func (in *Inputs) finder() finder {
	f := finder{}
	put := func(key string, p *Package) {
		if _, twice := f[key]; twice {
			p = nil
		}
		f[key] = p
	}
	for i := range in.Packages {
		p := &in.Packages[i]
		put(p.Name, p)
		put(p.Name+"="+p.Version, p)
	}
	return f
}

// all reports a reference that no package answers to, or that stands twice.
func (f finder) all(what string, refs []string) error {
	seen := map[*Package]bool{}
	for _, ref := range refs {
		p, known := f[ref]
		switch {
		case !known:
			return fmt.Errorf("%s: package %s is not pinned", what, ref)
		case p == nil:
			return fmt.Errorf("%s: %s is pinned more than once; name the version", what, ref)
		case seen[p]:
			return fmt.Errorf("%s: %s stands twice", what, ref)
		}
		seen[p] = true
	}
	return nil
}

// A StaleError says that a lock does not answer the definition.
type StaleError struct {
	Machine string // of the lock, when it is another machine's
	Reason  string
}

func (e *StaleError) Error() string { return "the lock is stale: " + e.Reason }

// Check returns a *StaleError when the lock is another machine's, or when the
// definition has asked for something else since it was made. request is
// config.RequestDigest's.
func Check(l *Lock, machine, request string) error {
	if l.Machine != machine {
		return &StaleError{l.Machine, fmt.Sprintf("it is of machine %s, not %s", l.Machine, machine)}
	}
	if l.Request != request {
		return &StaleError{"", "sources or packages of the definition have changed since it was made"}
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}

// compare orders packages by name, then architecture, then version as text.
func compare(a, b Package) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	if c := strings.Compare(a.Arch, b.Arch); c != 0 {
		return c
	}
	return strings.Compare(a.Version, b.Version)
}
