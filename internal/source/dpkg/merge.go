package dpkg

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/source/deb/control"
	"github.com/instar-os/instar/internal/tree"
)

// Merge joins packages into one tree, as dpkg leaves it after unpacking them
// all, whatever their order:
//
//   - /bin, /sbin, /lib and, on amd64, /lib64 are links into /usr, and /var/run
//     and /var/lock lead to /run, whether or not base-files is among the packages;
//   - a file of two packages goes to the one that Replaces the other, and is an
//     error naming both when neither does and they differ;
//   - a directory of several packages takes the attributes that differ from
//     0755 root:root, as base-files has them first of all, and the latest time.
//
// All conflicts are reported together. Maintainer scripts have had no effect yet.
func Merge(pkgs []*Package) (*tree.Tree, error) {
	sorted := slices.Clone(pkgs)
	slices.SortFunc(sorted, func(a, b *Package) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.String(), b.String()))
	})
	t, err := layout(sorted)
	if err != nil {
		return nil, err
	}
	m := merger{byOwner: map[string]*Package{}}
	var errs []error
	for i, p := range sorted {
		if i > 0 && sorted[i-1].String() == p.String() {
			continue
		}
		m.byOwner[p.String()] = p
		if err := t.Merge(p.Tree, m.rule); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("cannot merge packages:\n%w", err)
	}
	return t, nil
}

// rank puts base-files first: what it says of a directory holds.
func rank(p *Package) int {
	if p.Control.Name == baseFiles {
		return 0
	}
	return 1
}

const baseFiles = "base-files"

// layoutOwner labels what no package brings.
const layoutOwner = "the declared layout"

// layout returns the tree that packages land in: usr-merged, with /run. Paths
// stand parents first.
func layout(pkgs []*Package) (*tree.Tree, error) {
	t := tree.New()
	dirs := []string{"usr", "usr/bin", "usr/sbin", "usr/lib", "run", "run/lock", "var"}
	links := [][2]string{{"bin", "usr/bin"}, {"sbin", "usr/sbin"}, {"lib", "usr/lib"},
		{"var/run", "/run"}, {"var/lock", "/run/lock"}}
	if slices.ContainsFunc(pkgs, func(p *Package) bool { return p.Control.Arch == "amd64" }) {
		dirs = append(dirs, "usr/lib64")
		links = append(links, [2]string{"lib64", "usr/lib64"})
	}
	for _, d := range dirs {
		mode := uint16(0o755)
		if d == "run/lock" {
			mode = 0o1777
		}
		if err := t.Put(d, tree.Entry{Kind: tree.Dir, Mode: mode, Owner: layoutOwner}); err != nil {
			return nil, err
		}
	}
	for _, l := range links {
		if err := t.Put(l[0], tree.Entry{Kind: tree.Symlink, Mode: 0o777, Target: l[1], Owner: layoutOwner}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

type merger struct {
	byOwner map[string]*Package
}

// rule decides between two packages that bring the same path.
func (m *merger) rule(p string, first, second tree.Entry) (tree.Entry, error) {
	if first.Kind == tree.Dir && second.Kind == tree.Dir {
		return m.dirs(p, first, second)
	}
	a, b := m.byOwner[first.Owner], m.byOwner[second.Owner]
	if a == nil || b == nil {
		return m.withLayout(p, first, second)
	}
	overFirst, overSecond := b.replaces(a), a.replaces(b)
	switch {
	case first.Kind == tree.Dir || second.Kind == tree.Dir:
		return tree.Entry{}, &tree.Conflict{Path: p, First: first, Second: second}
	case overFirst && !overSecond:
		return second, nil
	case overSecond && !overFirst:
		return first, nil
	}
	if e, err := tree.SameOrConflict(p, first, second); err == nil {
		e.MTime = max(first.MTime, second.MTime)
		return e, nil
	}
	return tree.Entry{}, &tree.Conflict{Path: p, First: first, Second: second}
}

// withLayout lets a package confirm the layout's links, in either spelling.
func (m *merger) withLayout(p string, first, second tree.Entry) (tree.Entry, error) {
	if first.Owner == layoutOwner && first.Kind == tree.Symlink && second.Kind == tree.Symlink {
		if c, err := tree.Clean(second.Target); err == nil && "/"+c == "/"+trimSlash(first.Target) {
			return second, nil
		}
	}
	return tree.SameOrConflict(p, first, second)
}

func trimSlash(s string) string {
	for len(s) > 0 && s[0] == '/' {
		s = s[1:]
	}
	return s
}

// dirs joins the attributes of a directory that several packages bring.
func (m *merger) dirs(p string, first, second tree.Entry) (tree.Entry, error) {
	a, b := plain(first), plain(second)
	keep := first
	switch owner := m.byOwner[first.Owner]; {
	case first.Owner == layoutOwner || first.Owner == "":
		keep = second
	case owner != nil && owner.Control.Name == baseFiles, b:
	case a:
		keep = second
	default:
		e, err := tree.SameOrConflict(p, first, second)
		if err != nil {
			return e, err
		}
	}
	keep.MTime = max(first.MTime, second.MTime)
	return keep, nil
}

func plain(e tree.Entry) bool {
	return e.Mode == 0o755 && e.UID == 0 && e.GID == 0 && len(e.Xattrs) == 0
}

// replaces reports whether p may overwrite files of o.
func (p *Package) replaces(o *Package) bool {
	for _, r := range p.Control.Replaces {
		if r.Name == o.Control.Name && r.holds(o.Control.Version) {
			return true
		}
	}
	return false
}

// holds reports whether version satisfies the relation.
func (r Relation) holds(version string) bool {
	c := control.Compare(version, r.Version)
	switch r.Op {
	case "":
		return true
	case "<<":
		return c < 0
	case "<=", "<":
		return c <= 0
	case "=":
		return c == 0
	case ">=", ">":
		return c >= 0
	case ">>":
		return c > 0
	}
	return false
}
