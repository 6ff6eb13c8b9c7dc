// Package prune leaves files out of trees: by classes and patterns that a
// definition names, or because a recording has not seen them used. It remembers
// what went and by which rule, and proves that what is left can still be
// loaded.
package prune

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
)

// A Rule is one line of prune or keep: CLASS, /PATTERN, PACKAGE:CLASS or
// PACKAGE:/PATTERN.
type Rule struct {
	Text string
	At   string // where it stands, "file:line"; "" when nobody knows
}

// String is the rule with its place.
func (r Rule) String() string {
	if r.At == "" {
		return r.Text
	}
	return r.Text + " (" + r.At + ")"
}

// Gone are paths that were left out.
type Gone map[string]Removed

// Removed is an entry that was left out.
type Removed struct {
	Entry tree.Entry
	Rule  Rule
}

// Add adds what another step has left out.
func (g Gone) Add(more Gone) { maps.Copy(g, more) }

// Bytes is the size of the files among it, each content once.
func (g Gone) Bytes() int64 {
	var n int64
	seen := map[digest.Digest]bool{}
	for _, r := range g {
		if !seen[r.Entry.Digest] {
			n += r.Entry.Size
		}
		seen[r.Entry.Digest] = true
	}
	return n
}

// Paths returns the paths in the order of trees.
func (g Gone) Paths() []string { return slices.SortedFunc(maps.Keys(g), tree.ComparePaths) }

// A class is a set of patterns with a name.
type class struct{ drop, keep []string }

// classes are what a definition may name. Licences stay with what they
// license, C.UTF-8 is no translation, and UTC is needed where no other zone is.
var classes = map[string]class{
	"docs": {drop: []string{"usr/share/doc", "usr/share/doc-base", "usr/share/gtk-doc", "usr/share/help"},
		keep: []string{"usr/share/doc/*/copyright"}},
	"man": {drop: []string{"usr/share/man", "usr/local/man", "usr/local/share/man"}},
	"locales": {drop: []string{"usr/share/locale/*", "usr/share/i18n", "usr/lib/locale/*", "usr/share/qemu/po"},
		keep: []string{"usr/share/locale/locale.alias", "usr/lib/locale/C.utf8"}},
	"info":    {drop: []string{"usr/share/info", "usr/share/base-files/info.dir"}},
	"lintian": {drop: []string{"usr/share/lintian", "usr/share/linda", "usr/share/bug", "usr/share/reportbug"}},
	"debug":   {drop: []string{"usr/lib/debug", "usr/lib/**/*.debug", "usr/share/gdb"}},
	"hwdb":    {drop: []string{"usr/lib/udev/hwdb.d", "usr/lib/udev/hwdb.bin", "etc/udev/hwdb.d", "usr/share/hwdata", "usr/share/misc/*.ids"}},
	"gconv":   {drop: []string{"usr/lib/*/gconv", "usr/lib/gconv"}},
	"zoneinfo": {drop: []string{"usr/share/zoneinfo/*"},
		keep: []string{"usr/share/zoneinfo/UTC", "usr/share/zoneinfo/Etc/UTC", "usr/share/zoneinfo/Etc/GMT"}},
	"terminfo": {drop: []string{"usr/share/terminfo/*", "usr/lib/terminfo/*"},
		keep: []string{"usr/*/terminfo/*/dumb", "usr/*/terminfo/*/linux", "usr/*/terminfo/*/vt[12]*", "usr/*/terminfo/*/ansi",
			"usr/*/terminfo/*/xterm", "usr/*/terminfo/*/xterm-256color", "usr/*/terminfo/*/screen", "usr/*/terminfo/*/screen-256color", "usr/*/terminfo/*/tmux*"}},
	"completions": {drop: []string{"usr/share/bash-completion", "usr/share/zsh", "usr/share/fish", "etc/bash_completion.d"}},
	"headers": {drop: []string{"usr/include", "usr/lib/**/*.a", "usr/lib/*/pkgconfig", "usr/lib/pkgconfig", "usr/share/pkgconfig",
		"usr/lib/*/cmake", "usr/lib/cmake", "usr/share/cmake", "usr/share/aclocal"}},
	"services": {drop: []string{"etc/init.d", "etc/rc?.d", "etc/cron.*", "etc/logrotate.d", "etc/systemd", "usr/lib/systemd", "usr/lib/sysusers.d",
		"usr/lib/tmpfiles.d", "usr/lib/init", "etc/ufw", "etc/apparmor.d"}},
}

// Classes returns the names of all classes, sorted.
func Classes() []string { return slices.Sorted(maps.Keys(classes)) }

// licences are what only a pattern that says so leaves out.
const (
	licenceDir = "usr/share/doc"
	licences   = licenceDir + "/*/copyright"
)

// Stage says which rules are applied.
type Stage int

// Classes are applied before the effects of packages, so that no alternative
// names a manual page that is not there; everything afterwards, for patterns
// mean what the effects have made as well.
const (
	ClassesAlone Stage = iota
	Everything
)

// compiled is a rule ready to match.
type compiled struct {
	rule     Rule
	own      bool // a pattern of the definition, no class
	owner    string
	patterns []tree.Pattern
	spares   []tree.Pattern
	used     bool
}

func compile(r Rule) (*compiled, error) {
	c := &compiled{rule: r}
	what := r.Text
	if name, rest, limited := strings.Cut(what, ":"); limited && !strings.HasPrefix(what, "/") {
		c.owner, what = name, rest
	}
	named, isClass := classes[what]
	if c.own = !isClass; c.own {
		p := strings.Trim(what, "/")
		named.drop = []string{p}
		if !strings.HasPrefix(p, licenceDir) {
			named.keep = []string{licences}
		}
		if !strings.HasPrefix(what, "/") {
			return nil, fmt.Errorf("%s: there is no class %q", cmp.Or(r.At, r.Text), what)
		}
	}
	var err error
	if c.patterns, err = patterns(named.drop); err == nil {
		c.spares, err = patterns(named.keep)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmp.Or(r.At, r.Text), err)
	}
	return c, nil
}

func patterns(texts []string) ([]tree.Pattern, error) {
	var out []tree.Pattern
	for _, text := range texts {
		g, err := tree.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

func compileAll(rules []Rule, stage Stage) ([]*compiled, error) {
	var out []*compiled
	for _, r := range rules {
		c, err := compile(r)
		if err != nil {
			return nil, err
		}
		if stage == Everything || !c.own {
			out = append(out, c)
		}
	}
	return out, nil
}

// match reports whether a rule means an entry.
func (c *compiled) match(p string, e tree.Entry) bool {
	if c.owner != "" && c.owner != packageOf(e) {
		return false
	}
	return matches(c.patterns, p) && !matches(c.spares, p)
}

func matches(list []tree.Pattern, p string) bool {
	return slices.ContainsFunc(list, func(g tree.Pattern) bool { return g.Match(p) })
}

// packageOf is the name in an entry's owner, "NAME VERSION ARCH" of a package.
func packageOf(e tree.Entry) string {
	name, _, _ := strings.Cut(e.Owner, " ")
	return name
}

// removed is the entry at p as it will be remembered: a hard link is the file
// that it is a name of.
func removed(t *tree.Tree, p string, r Rule) Removed {
	e, _ := t.Get(p)
	if e.Kind == tree.Hardlink {
		owner := e.Owner
		e, _ = t.Inode(p)
		e.Owner = owner
	}
	return Removed{e, r}
}

// Apply leaves out of t what a rule of drop means and none of keep. It returns
// what has gone, and the patterns of the definition that mean nothing in t.
func Apply(t *tree.Tree, drop, keep []Rule, stage Stage) (gone Gone, unused []Rule, err error) {
	drops, err := compileAll(drop, stage)
	if err != nil {
		return nil, nil, err
	}
	keeps, err := compileAll(keep, Everything)
	if err != nil {
		return nil, nil, err
	}
	doomed, by := map[string]bool{}, map[string]Removed{}
	for p, e := range t.All() {
		if p == tree.Root {
			continue
		}
		kept := false
		for _, k := range keeps {
			if k.match(p, e) {
				k.used, kept = true, true
			}
		}
		for _, d := range drops {
			if !d.match(p, e) {
				continue
			}
			d.used = true
			if _, ok := by[p]; !ok && !kept {
				doomed[p], by[p] = true, removed(t, p, d.rule)
			}
		}
	}
	gone = Gone{}
	for p := range t.Drop(doomed) {
		gone[p] = by[p]
	}
	for _, c := range slices.Concat(drops, keeps) {
		if c.own && !c.used {
			unused = append(unused, c.rule)
		}
	}
	return gone, unused, nil
}
