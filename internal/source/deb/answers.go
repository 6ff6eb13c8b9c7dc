package deb

import (
	"slices"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// answers lists all packages that would meet a group, the preferred first. The
// list is kept, since a need is looked at again and again until it is met.
func (w *World) answers(g control.Group) []*Package {
	if out, ok := w.known[&g[0]]; ok {
		return out
	}
	var out []*Package
	for _, r := range g {
		if r.Arch != "" && r.Arch != "any" && r.Arch != "native" && r.Arch != w.arch {
			continue
		}
		for _, p := range w.packages[r.Name] {
			if r.Accepts(p.Version) {
				out = append(out, p)
			}
		}
		for _, p := range w.provided[r.Name] {
			if p.Name != r.Name && providesFor(p, r) {
				out = append(out, p)
			}
		}
	}
	out = unique(out)
	w.known[&g[0]] = out
	return out
}

// unique drops what was listed before, and the same file in another suite.
func unique(ps []*Package) []*Package {
	seen := make(map[string]bool, len(ps))
	return slices.DeleteFunc(ps, func(p *Package) bool {
		key := p.Name + "=" + p.Version
		was := seen[key]
		seen[key] = true
		return was
	})
}

// providesFor reports whether p's Provides meet a relation. One with a version
// is met only by a versioned Provides (Policy 7.5).
func providesFor(p *Package, r control.Relation) bool {
	groups, err := control.ParseRelations(p.provides)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(groups, func(g control.Group) bool { return provideMeets(g[0], r) })
}

func provideMeets(provided, r control.Relation) bool {
	return provided.Name == r.Name && (r.Op == "" || provided.Op == "=" && r.Accepts(provided.Version))
}
