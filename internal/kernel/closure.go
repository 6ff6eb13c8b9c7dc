package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// Closure returns the named modules with all they depend on, such that each
// stands after what it needs; between that, the order is that of names. Names
// of built-in modules are skipped. Soft dependencies that are modules of the
// set come along. All unknown names are reported together.
func (s *Set) Closure(names []string) ([]Module, error) {
	var unknown []string
	for _, n := range names {
		if !s.Has(n) {
			unknown = append(unknown, s.unknown(n).Error())
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(unknown, "; "))
	}
	c := &closure{set: s, state: map[string]int{}}
	for _, n := range names {
		if err := c.visit(normal(n), nil); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

const (
	visiting = 1
	done     = 2
)

type closure struct {
	set   *Set
	state map[string]int
	out   []Module
}

// visit appends a module after what it depends on; via is the way to it.
func (c *closure) visit(name string, via []string) error {
	if c.state[name] == done || c.set.Builtin(name) {
		return nil
	}
	via = append(slices.Clone(via), name)
	if c.state[name] == visiting {
		return fmt.Errorf("modules depend on each other in a circle: %s", strings.Join(via, " -> "))
	}
	c.state[name] = visiting
	m, err := c.set.Module(name)
	if err != nil {
		if len(via) > 1 {
			return fmt.Errorf("%s: %w", strings.Join(via, " -> "), err)
		}
		return err
	}
	if err := c.soft(m.Pre, via); err != nil {
		return err
	}
	for _, d := range m.Depends {
		if err := c.visit(d, via); err != nil {
			return err
		}
	}
	c.state[name] = done
	c.out = append(c.out, *m)
	return c.soft(m.Post, via)
}

// soft visits the soft dependencies that are modules and not already on the
// way: those may be circular.
func (c *closure) soft(names, via []string) error {
	for _, n := range names {
		if _, ok := c.set.files[n]; !ok || c.state[n] == visiting {
			continue
		}
		if err := c.visit(n, via); err != nil {
			return err
		}
	}
	return nil
}

// unknown says that there is no such module and which name may be meant.
func (s *Set) unknown(name string) error {
	best, score := "", 3
	for _, n := range s.Names() {
		if d := distance(n, normal(name), score); d < score {
			best, score = n, d
		}
	}
	if best != "" {
		return fmt.Errorf("kernel %s has no module %q; did you mean %q?", s.Release, name, best)
	}
	return fmt.Errorf("kernel %s has no module %q", s.Release, name)
}

// distance is the Levenshtein distance of a and b, or limit if it is not less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return min(limit, row[len(b)])
}
