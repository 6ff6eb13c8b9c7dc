package deb

import (
	"fmt"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// unmet says why a need has no answer: the chain from the request to it, and
// what there is instead.
func (s *solver) unmet(n need, all []*Package) error {
	chain := s.chain(n.by.Name) + " needs " + n.group.String()
	if len(all) == 0 {
		return fmt.Errorf("%s, which no suite has%s", chain, s.world.instead(n.group))
	}
	var why []string
	var wanted *Package
	for _, p := range all {
		if q := s.chosen[p.Name]; q != nil && q != p && wanted == nil {
			wanted = p
		}
		if o := s.obstacle(p); o != nil && !slices.Contains(why, o.Error()) && len(why) < 3 {
			why = append(why, o.Error())
		}
	}
	err := fmt.Errorf("%s, which is impossible: %s", chain, strings.Join(why, "; "))
	if wanted != nil {
		return &blocked{err, wanted}
	}
	return err
}

// conflict says why a request cannot be added to the others.
func (s *solver) conflict(p *Package, why reason) error {
	return fmt.Errorf("%s %s, which is impossible: %w", p.Name, why.relation, s.obstacle(p))
}

// chain writes "a needs b, which needs c, which", ready for the next verb.
// Where an answer has another name than what was needed, it is named.
func (s *solver) chain(name string) string {
	steps := (&Solution{why: s.why}).Why(name)
	if len(steps) <= 1 {
		return name
	}
	out := steps[1]
	for _, step := range append(steps[2:], name) {
		subject, rest, _ := strings.Cut(step, " ")
		if relation := out[strings.LastIndex(out, "needs ")+len("needs "):]; relation == subject || strings.HasPrefix(relation, subject+" (") && !strings.Contains(relation, "|") {
			out += ", which " + rest
		} else {
			out += "; " + subject + " " + rest
		}
	}
	return strings.TrimSuffix(out, " ")
}

// instead says what suites have of the names of a group.
func (w *World) instead(g control.Group) string {
	var out []string
	for _, r := range g {
		if ps := w.packages[r.Name]; len(ps) > 0 {
			out = append(out, r.Name+" is "+offers(ps))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "; " + strings.Join(out, ", ")
}

// offers writes "1.9 in trixie, 1.8 in bookworm".
func offers(ps []*Package) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Version+" in "+p.from.name)
	}
	return strings.Join(slices.Compact(out), ", ")
}

// unknown says that no suite has a package, and which names are close.
func (w *World) unknown(name string) error {
	var suites []string
	for _, s := range w.suites {
		suites = append(suites, s.name)
	}
	err := fmt.Sprintf("no suite has a package %q for %s (looked in %s)", name, w.arch, strings.Join(suites, ", "))
	if near := w.near(name); len(near) > 0 {
		err += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s", err)
}

// near returns up to three names that differ least, in at most a third of the
// letters.
func (w *World) near(name string) []string {
	limit := min(3, 1+len(name)/4)
	byDistance := make([][]string, limit+1)
	for other := range w.packages {
		if d := len(other) - len(name); d > limit || -d > limit {
			continue
		}
		if d := distance(name, other, limit); d <= limit {
			byDistance[d] = append(byDistance[d], other)
		}
	}
	for _, names := range byDistance {
		if len(names) > 0 {
			slices.Sort(names)
			return names[:min(3, len(names))]
		}
	}
	return nil
}

// distance is Levenshtein's, or more than limit.
func distance(a, b string, limit int) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, best := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
			best = min(best, row[j+1])
		}
		if best > limit {
			return limit + 1
		}
	}
	return row[len(b)]
}
