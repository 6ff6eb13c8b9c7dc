package control

import (
	"fmt"
	"slices"
	"strings"
)

// maxRelations is the largest number of relations in one field. Debian's
// largest have a few hundred.
const maxRelations = 10000

// Relation is one package, perhaps of certain versions, that a field names.
type Relation struct {
	Name     string
	Arch     string     // qualifier: "any", "native" or an architecture; "" is none
	Op       string     // "<<", "<=", "=", ">=", ">>" or ""
	Version  string     // with Op
	Arches   []string   // "amd64", "!amd64", "linux-any": where the relation counts; none: everywhere
	Profiles [][]string // build profiles, alternatives of conjunctions; none: always
}

// Group is a list of alternatives.
type Group []Relation

// String writes the relation as it would stand in a control file, without
// restrictions to architectures and profiles.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	return s
}

// String writes the alternatives with bars between them.
func (g Group) String() string {
	parts := make([]string, len(g))
	for i, r := range g {
		parts[i] = r.String()
	}
	return strings.Join(parts, " | ")
}

// Accepts reports whether a version meets the relation's condition.
func (r Relation) Accepts(version string) bool {
	if r.Op == "" {
		return true
	}
	c := Compare(version, r.Version)
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	}
	return c > 0
}

// Counts reports whether the relation counts on an architecture, named as
// Debian does, with the build profiles given.
func (r Relation) Counts(arch string, profiles ...string) bool {
	return archCounts(r.Arches, arch) && profilesCount(r.Profiles, profiles)
}

// archCounts: a list is either all positive or all negative (Policy 7.1).
func archCounts(list []string, arch string) bool {
	if len(list) == 0 {
		return true
	}
	negative := strings.HasPrefix(list[0], "!")
	for _, a := range list {
		if matchArch(strings.TrimPrefix(a, "!"), arch) {
			return !negative
		}
	}
	return negative
}

// matchArch matches "any", "OS-any", "any-CPU" and plain names (Policy 11.1.1).
func matchArch(pattern, arch string) bool {
	os, cpu, ok := strings.Cut(arch, "-")
	if !ok {
		os, cpu = "linux", arch
	}
	pos, pcpu, ok := strings.Cut(pattern, "-")
	switch {
	case pattern == "any" || pattern == arch:
		return true
	case !ok:
		return false
	}
	return (pos == "any" || pos == os) && (pcpu == "any" || pcpu == cpu)
}

func profilesCount(formula [][]string, active []string) bool {
	if len(formula) == 0 {
		return true
	}
	return slices.ContainsFunc(formula, func(all []string) bool {
		return !slices.ContainsFunc(all, func(p string) bool {
			name, negative := strings.CutPrefix(p, "!")
			return slices.Contains(active, name) == negative
		})
	})
}

// ParseRelations reads a field like Depends: groups with commas between them.
// Empty groups are passed over, as dpkg does.
func ParseRelations(s string) ([]Group, error) {
	p := relationParser{s: s}
	var out []Group
	var g Group
	for n := 0; ; n++ {
		p.space()
		if p.s == "" && len(g) == 0 {
			return out, nil
		}
		if len(g) == 0 && p.take(',') {
			continue
		}
		if n >= maxRelations {
			return nil, fmt.Errorf("more than %d relations in one field", maxRelations)
		}
		r, err := p.relation()
		if err != nil {
			return nil, err
		}
		g = append(g, r)
		switch p.space(); {
		case p.s == "":
			return append(out, g), nil
		case p.take('|'):
		case p.take(','):
			out, g = append(out, g), nil
		default:
			return nil, p.fail("a comma or a bar is missing")
		}
	}
}

// relationParser holds what was not read yet.
type relationParser struct{ s string }

func (p *relationParser) space() { p.s = strings.TrimLeft(p.s, " \t\n\r") }

func (p *relationParser) take(c byte) bool {
	if p.s == "" || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

func (p *relationParser) fail(why string) error {
	return fmt.Errorf("relation: %s before %q", why, cut([]byte(p.s)))
}

// until takes what stands before the byte c and c itself.
func (p *relationParser) until(c byte) (string, error) {
	i := strings.IndexByte(p.s, c)
	if i < 0 {
		return "", p.fail(fmt.Sprintf("%q is missing", c))
	}
	s := p.s[:i]
	p.s = p.s[i+1:]
	return strings.TrimSpace(s), nil
}

func (p *relationParser) relation() (r Relation, err error) {
	i := strings.IndexAny(p.s, " \t\n\r,|([<")
	if i < 0 {
		i = len(p.s)
	}
	r.Name, r.Arch, _ = strings.Cut(p.s[:i], ":")
	if !IsName(r.Name) {
		return r, p.fail("a package's name is missing")
	}
	p.s = p.s[i:]
	if p.space(); p.take('(') {
		if err := p.condition(&r); err != nil {
			return r, err
		}
	}
	if p.space(); p.take('[') {
		list, err := p.until(']')
		if err != nil {
			return r, err
		}
		r.Arches = strings.Fields(list)
	}
	for p.space(); p.take('<'); p.space() {
		list, err := p.until('>')
		if err != nil {
			return r, err
		}
		r.Profiles = append(r.Profiles, strings.Fields(list))
	}
	return r, nil
}

// condition reads "OP VERSION)". "<" and ">" are old words for "<=" and ">=".
func (p *relationParser) condition(r *Relation) error {
	text, err := p.until(')')
	if err != nil {
		return err
	}
	i := 0
	for i < len(text) && strings.IndexByte("<>=", text[i]) >= 0 {
		i++
	}
	switch op := text[:i]; op {
	case "<<", "<=", "=", ">=", ">>":
		r.Op = op
	case "<", ">":
		r.Op = op + "="
	case "":
		r.Op = "="
	default:
		return p.fail(fmt.Sprintf("%q compares nothing", op))
	}
	r.Version = strings.TrimSpace(text[i:])
	if r.Version == "" || strings.ContainsAny(r.Version, " \t\n") {
		return p.fail(fmt.Sprintf("%q is no version", r.Version))
	}
	return nil
}

// IsName reports whether s can be a package's name: lower-case letters, digits
// and "+-.", beginning with a letter or a digit. Policy 5.6.1 asks for two
// characters; single ones are let through.
func IsName(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		ok := 'a' <= c && c <= 'z' || isDigit(c) || i > 0 && (c == '+' || c == '-' || c == '.')
		if !ok {
			return false
		}
	}
	return true
}
