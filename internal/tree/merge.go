package tree

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
)

// Conflict says that two owners bring different things to one path.
type Conflict struct {
	Path          string
	First, Second Entry
}

// Error names the path and both owners.
func (c *Conflict) Error() string {
	return fmt.Sprintf("/%s: %s brings a %s, %s brings a %s", c.Path,
		c.First.Owner, describe(c.First), c.Second.Owner, describe(c.Second))
}

func describe(e Entry) string {
	switch e.Kind {
	case File:
		return fmt.Sprintf("file (mode %04o, %d:%d, %d bytes, %s)", e.Mode, e.UID, e.GID, e.Size, e.Digest.Short())
	case Symlink:
		return fmt.Sprintf("symlink to %q", e.Target)
	case Hardlink:
		return fmt.Sprintf("hard link to %q", e.Target)
	}
	return fmt.Sprintf("%v (mode %04o, %d:%d)", e.Kind, e.Mode, e.UID, e.GID)
}

// Rule decides what stands at a path that both trees bring: the first entry,
// the second, or neither (an error, usually a *Conflict).
type Rule func(p string, first, second Entry) (Entry, error)

// SameOrConflict accepts entries that are equal but for their times, and keeps
// the first.
func SameOrConflict(p string, first, second Entry) (Entry, error) {
	if first.sameContent(second) {
		return first, nil
	}
	return Entry{}, &Conflict{p, first, second}
}

// LastWins lets the second tree replace what the first has, as layers do; a
// directory never replaces a file or the reverse without being a conflict.
func LastWins(p string, first, second Entry) (Entry, error) {
	if (first.Kind == Dir) != (second.Kind == Dir) {
		return Entry{}, &Conflict{p, first, second}
	}
	return second, nil
}

// Merge adds the entries of src to t. A path of src whose parent is a symlink
// to a directory in t lands behind the link (so "lib/x" joins "usr/lib/x" in a
// usr-merged tree), and a directory of src that meets such a symlink is dropped.
// Where both have an entry, rule decides; directories that both bring keep t's
// attributes under SameOrConflict when they differ in nothing but time.
//
// All conflicts are reported together (errors.Join); t is then unspecified.
func (t *Tree) Merge(src *Tree, rule Rule) error {
	paths := src.Paths()
	landed := t.land(src, paths)
	at := func(p string) string {
		if p == Root {
			return Root
		}
		return path.Join(landed[Parent(p)], path.Base(p))
	}
	var errs []error
	var links []string
	for _, p := range paths {
		e, to := src.entries[p], at(p)
		if e.Kind == Dir && landed[p] != to {
			continue
		}
		if e.Kind == Hardlink {
			e.Target = at(e.Target)
			links = append(links, to)
		}
		if err := t.mergeOne(to, e, rule); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, t.relink(links))
	}
	return errors.Join(errs...)
}

// land says where each directory of src comes to lie in t: behind the symlink
// to a directory that t has in its place, or at its own path.
func (t *Tree) land(src *Tree, paths []string) map[string]string {
	landed := map[string]string{Root: Root}
	for _, p := range paths {
		if p == Root || src.entries[p].Kind != Dir {
			continue
		}
		to := path.Join(landed[Parent(p)], path.Base(p))
		if behind, ok := t.behindLink(to); ok {
			to = behind
		}
		landed[p] = to
	}
	return landed
}

// relink makes the merged hard links name a file again where the rule has put
// another link, or something else, at the path that they share.
func (t *Tree) relink(links []string) error {
	for _, p := range links {
		e := t.entries[p]
		if e.Kind != Hardlink {
			continue
		}
		target, ok := t.Inode(e.Target)
		if !ok || target.Kind != File || t.entries[e.Target].Kind == Hardlink && t.entries[e.Target].Target == p {
			return fmt.Errorf("/%s: hard link to /%s, which is not a file after the merge", p, e.Target)
		}
		if via := t.entries[e.Target]; via.Kind == Hardlink {
			e.Target = via.Target
			t.entries[p] = e
		}
	}
	return nil
}

// behindLink resolves p when it is a symlink to a directory of t.
func (t *Tree) behindLink(p string) (string, bool) {
	e, ok := t.entries[p]
	if !ok || e.Kind != Symlink {
		return "", false
	}
	at, ok := t.Resolve(p)
	return at, ok && t.entries[at].Kind == Dir
}

func (t *Tree) mergeOne(p string, e Entry, rule Rule) error {
	old, ok := t.entries[p]
	if !ok {
		if up := t.entries[Parent(p)]; p != Root && up.Kind != Dir {
			return &Conflict{Parent(p), up, Entry{Kind: Dir, Mode: 0o755, Owner: e.Owner}}
		}
		t.entries[p] = e
		return nil
	}
	if p == Root && old.Owner == "" {
		t.entries[p] = e
		return nil
	}
	keep, err := rule(p, old, e)
	if err != nil {
		return err
	}
	if old.Kind == File && !keep.Equal(old) || old.Kind == Dir && keep.Kind != Dir {
		t.Remove(p) // hands the old inode to its other names
	}
	t.entries[p] = keep
	return nil
}

// Prune removes every path that a pattern matches, with all below it, and
// returns the removed paths in order. Patterns are as path.Match on the whole
// path, where "**" stands for any number of components. Keep patterns win: an
// entry they match stays, with its parents.
func (t *Tree) Prune(drop, keep []string) ([]string, error) {
	dropped, err := parsePatterns(drop)
	if err != nil {
		return nil, err
	}
	kept, err := parsePatterns(keep)
	if err != nil {
		return nil, err
	}
	doomed := map[string]bool{}
	for p := range t.entries {
		if p != Root && !matchAny(kept, p) && matchAny(dropped, p) {
			doomed[p] = true
		}
	}
	return slices.SortedFunc(maps.Keys(t.Drop(doomed)), ComparePaths), nil
}

func parsePatterns(texts []string) ([]Pattern, error) {
	out := make([]Pattern, len(texts))
	for i, text := range texts {
		var err error
		if out[i], err = ParsePattern(text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// matchAny reports whether a pattern matches p or one of its parents.
func matchAny(patterns []Pattern, p string) bool {
	return slices.ContainsFunc(patterns, func(g Pattern) bool { return g.Match(p) })
}

func matchParts(want, parts []string) bool {
	for i, w := range want {
		if w == "**" {
			for skip := 0; skip <= len(parts)-i; skip++ {
				if matchParts(want[i+1:], parts[i+skip:]) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) {
			return false
		}
		if ok, _ := path.Match(w, parts[i]); !ok {
			return false
		}
	}
	return len(want) == len(parts)
}
