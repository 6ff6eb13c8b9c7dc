package tree

import (
	"fmt"
	"path"
	"strings"
)

// Drop removes paths. A directory goes when all that it holds goes as well,
// otherwise it stays; a hard link whose inode goes takes the inode over. What is
// not there is passed over, as is the root. It returns what has gone.
func (t *Tree) Drop(paths map[string]bool) map[string]Entry {
	stays := map[string]bool{Root: true}
	for p := range t.entries {
		if paths[p] {
			continue
		}
		for up := p; up != "" && !stays[up]; up = Parent(up) {
			stays[up] = true
		}
	}
	gone := map[string]Entry{}
	for p := range paths {
		if e, ok := t.entries[p]; ok && !stays[p] {
			gone[p] = e
		}
	}
	for p := range gone {
		delete(t.entries, p)
	}
	t.promote(gone)
	return gone
}

// A Pattern matches paths as path.Match does, component by component, where
// "**" stands for any number of components.
type Pattern struct {
	text    string
	literal string // what every path that matches begins with
	parts   []string
}

// ParsePattern reads a pattern in the tree's form: relative, without a slash at
// its end.
func ParsePattern(text string) (Pattern, error) {
	if _, err := path.Match(strings.ReplaceAll(text, "**", "*"), ""); err != nil {
		return Pattern{}, fmt.Errorf("pattern %q: %w", text, err)
	}
	literal := text
	if i := strings.IndexAny(text, `*?[\`); i >= 0 {
		literal = text[:strings.LastIndexByte(text[:i], '/')+1]
	}
	return Pattern{text, strings.TrimSuffix(literal, "/"), strings.Split(text, "/")}, nil
}

// String returns the pattern as it was written.
func (g Pattern) String() string { return g.text }

// Match reports whether the pattern matches p or a directory that p is below.
func (g Pattern) Match(p string) bool {
	if !strings.HasPrefix(p, g.literal) {
		return false
	}
	parts := strings.Split(p, "/")
	for n := len(parts); n > 0; n-- {
		if matchParts(g.parts, parts[:n]) {
			return true
		}
	}
	return false
}
