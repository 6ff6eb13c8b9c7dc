package deb

import (
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// bonds are a package's relations other than what it needs.
type bonds struct {
	provides []control.Relation
	refuses  []control.Relation // Conflicts and Breaks
}

// refusal is a relation of a chosen package that others must not meet.
type refusal struct {
	by       *Package
	relation control.Relation
}

// need is a group of alternatives that a package needs.
type need struct {
	by    *Package
	group control.Group
}

// solver is one search. All its state goes back with the trail.
type solver struct {
	world    *World
	requests []request
	without  map[string]bool
	trail    []*Package // chosen, in their order
	chosen   map[string]*Package
	why      map[string]reason
	provides map[string][]*Package // chosen ones by what they provide
	refuses  map[string][]refusal  // of chosen ones by the name refused
	parsed   map[*Package]*bonds
	prefer   map[string]*Package // versions to try before others of their name
	steps    int
	limit    int // of steps
}

// blocked is the error of a need that another version of a chosen package
// would meet.
type blocked struct {
	error
	wanted *Package
}

// search extends what is chosen until no request and no need is open. The
// first error on the preferred path is the one that is returned.
func (s *solver) search(open []need) error {
	for {
		options, why, rest, err := s.next(open)
		if err != nil || options == nil {
			return err
		}
		mark := len(s.trail)
		var first error
		for i, p := range options {
			s.steps++
			err := s.choose(p, why)
			if err == nil {
				var more []need
				if more, err = s.opens(p); err == nil {
					next := append(slices.Clone(more), rest...)
					if len(options) == 1 {
						open = next
						break // nothing to come back to: no recursion
					}
					err = s.search(next)
				}
			}
			if err == nil {
				return nil
			}
			s.undo(mark)
			if first == nil {
				first = err
			}
			if s.steps > s.limit || i == len(options)-1 {
				return first
			}
		}
	}
}

// gaveUp marks the error of a search that did not try everything.
func (s *solver) gaveUp(err error) error {
	if s.steps <= s.limit {
		return err
	}
	return fmt.Errorf("%w (the search for alternatives to this was given up after %d steps; naming a package or a version explicitly helps)", err, maxSteps)
}

// next finds what to decide: requests first, then needs that only one version
// answers, then those of one name, then the first need with alternatives. It
// returns the possible answers, or none when nothing is open, and the needs
// that stay open.
func (s *solver) next(open []need) (options []*Package, why reason, rest []need, err error) {
	for _, q := range s.requests {
		if p := s.chosen[q.name]; p == nil {
			ok := s.possible(q.versions)
			if len(ok) == 0 {
				return nil, reason{}, nil, s.conflict(q.versions[0], reason{relation: q.why})
			}
			return ok, reason{relation: q.why}, open, nil
		}
	}
	rest = make([]need, 0, len(open))
	pick, level := -1, 3 // the most certain need so far; see certainty
	for i, n := range open {
		if s.satisfied(n.group) {
			continue
		}
		all := s.world.answers(n.group)
		ok := s.possible(all)
		c := certainty(ok)
		switch {
		case c == 0:
			return nil, reason{}, nil, s.unmet(n, all)
		case c == 1:
			return ok, s.because(n), append(rest, open[i+1:]...), nil
		case c < level || pick < 0:
			pick, level, options, why = len(rest), c, ok, s.because(n)
		}
		rest = append(rest, n)
	}
	if pick >= 0 {
		rest = slices.Delete(rest, pick, pick+1)
	}
	return options, why, rest, nil
}

// certainty tells no answer (0), one (1), several versions of one name (2) and
// several names (3) apart.
func certainty(answers []*Package) int {
	switch {
	case len(answers) < 2:
		return len(answers)
	case oneName(answers):
		return 2
	}
	return 3
}

func oneName(ps []*Package) bool {
	return !slices.ContainsFunc(ps, func(p *Package) bool { return p.Name != ps[0].Name })
}

func (s *solver) because(n need) reason {
	return reason{parent: n.by.Name, relation: "needs " + n.group.String()}
}

// satisfied reports whether what is chosen, or pretended, meets a group.
func (s *solver) satisfied(g control.Group) bool {
	for _, r := range g {
		if s.without[r.Name] {
			return true
		}
		if p := s.chosen[r.Name]; p != nil && r.Accepts(p.Version) {
			return true
		}
		if slices.ContainsFunc(s.provides[r.Name], func(p *Package) bool { return s.provided(p, r) }) {
			return true
		}
		for _, p := range s.world.provided[r.Name] {
			if s.without[p.Name] && providesFor(p, r) {
				return true
			}
		}
	}
	return false
}

// provided is providesFor for a chosen package, whose Provides were read.
func (s *solver) provided(p *Package, r control.Relation) bool {
	return slices.ContainsFunc(s.parsed[p].provides, func(q control.Relation) bool { return provideMeets(q, r) })
}

// possible drops what cannot be added to what is chosen, and puts preferred
// versions before others of their names.
func (s *solver) possible(ps []*Package) []*Package {
	var out []*Package
	for _, p := range ps {
		if s.obstacle(p) != nil {
			continue
		}
		at := len(out)
		if s.prefer[p.Name] == p {
			at = max(0, slices.IndexFunc(append(out, p), func(q *Package) bool { return q.Name == p.Name }))
		}
		out = slices.Insert(out, at, p)
	}
	return out
}

// bonds reads a package's Provides, Conflicts and Breaks once.
func (s *solver) bonds(p *Package) (*bonds, error) {
	if b := s.parsed[p]; b != nil {
		return b, nil
	}
	b := &bonds{}
	for _, f := range []struct {
		name, text string
		to         *[]control.Relation
	}{{"Provides", p.provides, &b.provides}, {"Conflicts", p.conflicts, &b.refuses}, {"Breaks", p.breaks, &b.refuses}} {
		groups, err := s.world.relations(p, f.name, f.text)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			*f.to = append(*f.to, g...)
		}
	}
	s.parsed[p] = b
	return b, nil
}

// obstacle says why p cannot be added, or nil.
func (s *solver) obstacle(p *Package) error {
	if q := s.chosen[p.Name]; q != nil && q != p {
		return fmt.Errorf("%s %s is chosen already", q.Name, q.Version)
	}
	if s.without[p.Name] {
		return fmt.Errorf("%s is to be left out", p.Name)
	}
	b, err := s.bonds(p)
	if err != nil {
		return err
	}
	for _, r := range b.refuses {
		if q := s.meeting(r, p.Name); q != nil {
			return fmt.Errorf("%s conflicts with %s, and %s %s is there", p.Name, r, q.Name, q.Version)
		}
	}
	self := control.Relation{Name: p.Name, Op: "=", Version: p.Version}
	for _, provided := range append([]control.Relation{self}, b.provides...) {
		for _, f := range s.refuses[provided.Name] {
			if provideMeets(provided, f.relation) {
				return fmt.Errorf("%s conflicts with %s", f.by.Name, f.relation)
			}
		}
	}
	return nil
}

// meeting returns a chosen package, other than the one named, that meets r.
func (s *solver) meeting(r control.Relation, except string) *Package {
	if q := s.chosen[r.Name]; q != nil && q.Name != except && r.Accepts(q.Version) {
		return q
	}
	for _, q := range s.provides[r.Name] {
		if q.Name != except && s.provided(q, r) {
			return q
		}
	}
	return nil
}

// choose adds p to the solution.
func (s *solver) choose(p *Package, why reason) error {
	if err := s.obstacle(p); err != nil {
		return err
	}
	b := s.parsed[p]
	s.trail = append(s.trail, p)
	s.chosen[p.Name], s.why[p.Name] = p, why
	for _, r := range b.provides {
		s.provides[r.Name] = append(s.provides[r.Name], p)
	}
	for _, r := range b.refuses {
		s.refuses[r.Name] = append(s.refuses[r.Name], refusal{p, r})
	}
	return nil
}

// undo takes back what was chosen after the trail had n packages. Lists were
// appended to in the trail's order, so their ends go.
func (s *solver) undo(n int) {
	for _, p := range slices.Backward(s.trail[n:]) {
		b := s.parsed[p]
		delete(s.chosen, p.Name)
		delete(s.why, p.Name)
		for _, r := range b.provides {
			l := s.provides[r.Name]
			s.provides[r.Name] = l[:len(l)-1]
		}
		for _, r := range b.refuses {
			l := s.refuses[r.Name]
			s.refuses[r.Name] = l[:len(l)-1]
		}
	}
	s.trail = s.trail[:n]
}

// opens returns the needs that p brings.
func (s *solver) opens(p *Package) ([]need, error) {
	groups, err := s.world.needs(p)
	out := make([]need, 0, len(groups))
	for _, g := range groups {
		out = append(out, need{p, g})
	}
	return out, err
}
