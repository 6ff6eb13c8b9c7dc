package lock

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Closure is a Nix store path for one architecture, with all that it refers to.
type Closure struct {
	Tree  string      `yaml:"tree"`
	Arch  string      `yaml:"arch"`
	Root  string      `yaml:"root"`  // name of the path that the definition names
	Paths []StorePath `yaml:"paths"` // by name
}

// StorePath is one pinned Nix store path.
type StorePath struct {
	Name       string   `yaml:"name"`                 // below /nix/store: HASH-NAME
	NarHash    string   `yaml:"narHash"`              // SHA-256 of the plain archive
	NarSize    int64    `yaml:"narSize"`              // bytes of the plain archive
	References []string `yaml:"references,omitempty"` // names, sorted
	Deriver    string   `yaml:"deriver,omitempty"`    // name of the derivation; for people
}

// storeForm is the name of a store path.
var storeForm = regexp.MustCompile(`^[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]{1,211}$`)

// Closure returns the closure of a tree for an architecture.
func (l *Lock) Closure(tree, arch string) (Closure, bool) {
	for _, c := range l.Nix {
		if c.Tree == tree && c.Arch == arch {
			return c, true
		}
	}
	return Closure{}, false
}

func (l *Lock) checkClosures() error {
	seen := map[[2]string]bool{}
	for _, c := range l.Nix {
		what := "nix closure of tree " + c.Tree
		if seen[[2]string{c.Tree, c.Arch}] {
			return fmt.Errorf("%s: stands twice for %s", what, c.Arch)
		}
		seen[[2]string{c.Tree, c.Arch}] = true
		if err := first(want(nameForm, what, c.Tree), want(archForm, what+": arch", c.Arch), c.check()); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func (c *Closure) check() error {
	names := map[string]bool{}
	for _, p := range c.Paths {
		if err := first(want(storeForm, "path", p.Name), want(hashForm, p.Name+": narHash", p.NarHash)); err != nil {
			return err
		}
		if names[p.Name] {
			return fmt.Errorf("path %s stands twice", p.Name)
		}
		if p.NarSize <= 0 {
			return fmt.Errorf("path %s: narSize: %d is no size", p.Name, p.NarSize)
		}
		if p.Deriver != "" {
			if err := want(storeForm, p.Name+": deriver", p.Deriver); err != nil {
				return err
			}
		}
		names[p.Name] = true
	}
	if !names[c.Root] {
		return fmt.Errorf("root %q is none of its paths", c.Root)
	}
	for _, p := range c.Paths {
		for _, r := range p.References {
			if !names[r] {
				return fmt.Errorf("path %s refers to %q, which is none of them", p.Name, r)
			}
		}
	}
	return nil
}

// closures writes one line a path.
func (w *writer) closures(all []Closure) {
	if len(all) == 0 {
		return
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Closure) int { return strings.Compare(a.Tree+"\x00"+a.Arch, b.Tree+"\x00"+b.Arch) })
	w.line(0, "nix:")
	for _, c := range all {
		w.line(1, "- tree: %s", scalar(c.Tree))
		w.line(2, "arch: %s", scalar(c.Arch))
		w.line(2, "root: %s", scalar(c.Root))
		w.head(2, "paths", len(c.Paths), "[]")
		paths := slices.Clone(c.Paths)
		slices.SortFunc(paths, func(a, b StorePath) int { return strings.Compare(a.Name, b.Name) })
		for _, p := range paths {
			w.line(3, "- {name: %s, narHash: %s, narSize: %d%s%s}", scalar(p.Name), scalar(p.NarHash), p.NarSize, references(p.References), deriver(p.Deriver))
		}
	}
}

func references(names []string) string {
	if len(names) == 0 {
		return ""
	}
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = scalar(n)
	}
	slices.Sort(texts)
	return ", references: [" + strings.Join(texts, ", ") + "]"
}

func deriver(name string) string {
	if name == "" {
		return ""
	}
	return ", deriver: " + scalar(name)
}

// A ClosureChange is a Nix closure that is new, gone or another.
type ClosureChange struct {
	Tree, Arch     string
	Old, New       string   // roots; "" for none
	Added, Removed []string // names of paths
	Size           int64    // bytes of the archives that are new
}

func closureChanges(old, new []Closure) []ClosureChange {
	key := func(c Closure) string { return c.Tree + "\x00" + c.Arch }
	both := map[string][2]Closure{}
	for side, all := range [][]Closure{old, new} {
		for _, c := range all {
			pair := both[key(c)]
			pair[side] = c
			both[key(c)] = pair
		}
	}
	var all []ClosureChange
	for _, k := range sorted(both) {
		pair := both[k]
		c := ClosureChange{Tree: pair[0].Tree + pair[1].Tree, Arch: pair[0].Arch + pair[1].Arch, Old: pair[0].Root, New: pair[1].Root}
		if pair[0].Tree != "" && pair[1].Tree != "" {
			c.Tree, c.Arch = pair[1].Tree, pair[1].Arch
		}
		c.paths(pair[0].Paths, pair[1].Paths)
		if len(c.Added)+len(c.Removed) > 0 || c.Old != c.New {
			all = append(all, c)
		}
	}
	return all
}

// paths compares two lists; a path with other content counts as added.
func (c *ClosureChange) paths(old, new []StorePath) {
	before := map[string]string{}
	for _, p := range old {
		before[p.Name] = p.NarHash
	}
	for _, p := range new {
		if before[p.Name] != p.NarHash {
			c.Added = append(c.Added, p.Name)
			c.Size += p.NarSize
		}
		delete(before, p.Name)
	}
	c.Removed = sorted(before)
}

func (c ClosureChange) print(b *strings.Builder) {
	root := c.New
	if c.Old != c.New {
		root = moved(c.Old, c.New)
	}
	fmt.Fprintf(b, "nix closure of tree %s (%s): %s, %d paths added, %d removed%s\n", c.Tree, c.Arch, root, len(c.Added), len(c.Removed), sized(c.Size))
	for _, n := range c.Added {
		fmt.Fprintf(b, "  + %s\n", n)
	}
	for _, n := range c.Removed {
		fmt.Fprintf(b, "  - %s\n", n)
	}
}
