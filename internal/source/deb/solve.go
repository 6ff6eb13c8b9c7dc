package deb

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb/control"
)

// Limits of the search for one solution, in packages tried: of each attempt
// after which something can be learned, of the last one, and the attempts.
const (
	attemptSteps = 5_000
	maxSteps     = 50_000
	maxAttempts  = 50
)

// Request is what a tree needs.
type Request struct {
	Packages   []string // NAME, NAME=VERSION or NAME/SUITE
	Essential  bool     // the archive's Essential packages, too
	Recommends bool     // follow Recommends where that is possible
	Without    []string // treated as installed, though they will not be
}

// Solution is a set of packages that has all that each of them needs.
type Solution struct {
	Packages []lock.Package // sorted by name
	why      map[string]reason
}

// reason says what brought a package.
type reason struct {
	parent   string // "" for a request
	relation string
}

// Why returns the chain from the request to a package, as "mosquitto needs
// libmosquitto1 (>= 2.0)", or nil when the solution does not have it.
func (s *Solution) Why(name string) []string {
	var out []string
	for {
		r, ok := s.why[name]
		if !ok {
			return nil
		}
		if r.parent == "" {
			out = append(out, name+" "+r.relation)
			slices.Reverse(out)
			return out
		}
		out = append(out, r.parent+" "+r.relation)
		name = r.parent
	}
}

// Solve finds the packages for a request. Relations with one answer are
// followed first; of alternatives the first that is there already, then the
// first that works, is taken. A conflict makes it go back and try the next
// alternative or an older version. docs/design/solver.md says what of this
// differs from apt.
func (w *World) Solve(r Request) (*Solution, error) {
	s, err := w.attempts(r)
	if err != nil {
		return nil, err
	}
	if r.Recommends {
		s.limit = s.steps + maxSteps
		if err := s.recommends(); err != nil {
			return nil, err
		}
	}
	sol := &Solution{why: s.why}
	for _, p := range s.trail {
		sol.Packages = append(sol.Packages, p.lock())
	}
	slices.SortFunc(sol.Packages, func(a, b lock.Package) int { return strings.Compare(a.Name, b.Name) })
	return sol, nil
}

// attempts searches and, when a version chosen early stands in the way of
// another one needed later, begins anew with that one preferred. This finds in a
// few steps what going back decision by decision would not in millions: one
// package of a newer suite, with the libraries that it needs.
func (w *World) attempts(r Request) (*solver, error) {
	prefer := map[string]*Package{}
	learned := map[*Package]bool{}
	var first error
	for limit := attemptSteps; ; {
		s := w.solver(prefer, limit)
		err := s.begin(r)
		if err != nil {
			return nil, err
		}
		if err = s.search(nil); err == nil {
			return s, nil
		}
		if first == nil {
			first = err
		}
		var b *blocked
		switch {
		case limit == attemptSteps && errors.As(err, &b) && !learned[b.wanted] && len(learned) < maxAttempts:
			learned[b.wanted], prefer[b.wanted.Name] = true, b.wanted
		case s.steps > limit && limit < maxSteps:
			limit = maxSteps
			clear(prefer)
		default:
			return nil, s.gaveUp(first)
		}
	}
}

func (w *World) solver(prefer map[string]*Package, limit int) *solver {
	return &solver{
		world: w, without: map[string]bool{}, chosen: map[string]*Package{}, why: map[string]reason{}, prefer: prefer, limit: limit,
		provides: map[string][]*Package{}, refuses: map[string][]refusal{}, parsed: map[*Package]*bonds{},
	}
}

// begin reads the request: what is asked for by name is chosen before anything
// else, so that alternatives see it.
func (s *solver) begin(r Request) error {
	var errs []error
	for _, name := range r.Without {
		if s.without[name] = true; len(s.world.packages[name]) == 0 && len(s.world.provided[name]) == 0 {
			errs = append(errs, s.world.unknown(name))
		}
	}
	var want []request
	for _, name := range r.Packages {
		ps, err := s.world.selected(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		want = append(want, request{name: ps[0].Name, versions: ps, why: "is asked for"})
	}
	if r.Essential {
		for _, name := range s.world.Essential() {
			if !s.without[name] && !slices.ContainsFunc(want, func(q request) bool { return q.name == name }) {
				want = append(want, request{name: name, versions: s.world.packages[name], why: "is essential"})
			}
		}
	}
	for _, q := range want {
		if s.without[q.name] {
			errs = append(errs, fmt.Errorf("%s is asked for and to be left out", q.name))
		}
	}
	s.requests = want
	return errors.Join(errs...)
}

// request is a package that must be there, in one of some versions.
type request struct {
	name     string
	versions []*Package
	why      string
}

// selected returns the versions that NAME, NAME=VERSION or NAME/SUITE stands
// for. A name that only one package provides stands for that.
func (w *World) selected(ref string) ([]*Package, error) {
	name, version, byVersion := strings.Cut(ref, "=")
	name, suiteName, bySuite := strings.Cut(name, "/")
	all := w.packages[name]
	if len(all) == 0 {
		return w.virtual(name)
	}
	out := slices.Clone(all)
	out = slices.DeleteFunc(out, func(p *Package) bool {
		return byVersion && p.Version != version || bySuite && !p.from.is(suiteName)
	})
	if len(out) == 0 && byVersion {
		return nil, fmt.Errorf("no suite has %s in version %s; there is %s", name, version, offers(all))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("suite %s has no %s; there is %s", suiteName, name, offers(all))
	}
	return out, nil
}

func (s *suite) is(name string) bool { return name == s.name || s.release.matches(name) }

func (w *World) virtual(name string) ([]*Package, error) {
	var names []string
	for _, p := range w.provided[name] {
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	switch len(names) {
	case 0:
		return nil, w.unknown(name)
	case 1:
		return w.packages[names[0]], nil
	}
	return nil, fmt.Errorf("%s is not a package but provided by %s; one of them must be named", name, strings.Join(names, ", "))
}

// recommends follows the Recommends of all that is chosen, as far as they can
// be followed.
func (s *solver) recommends() error {
	for i := 0; i < len(s.trail); i++ {
		p := s.trail[i]
		groups, err := s.world.relations(p, "Recommends", p.recommends)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if err := s.recommend(p, g); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *solver) recommend(by *Package, g control.Group) error {
	if s.satisfied(g) {
		return nil
	}
	for _, p := range s.possible(s.world.answers(g)) {
		mark := len(s.trail)
		if err := s.choose(p, reason{parent: by.Name, relation: "recommends " + g.String()}); err != nil {
			continue
		}
		open, err := s.opens(p)
		if err != nil {
			return err
		}
		err = s.search(open)
		if err == nil {
			return nil
		}
		s.undo(mark)
		if s.steps > s.limit {
			return s.gaveUp(err)
		}
	}
	return nil
}
