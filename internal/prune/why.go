package prune

import (
	"slices"

	"github.com/instar-os/instar/internal/tree"
)

// Chain is a shortest way from one of the starts to the file at a path: each
// needs the next as its loader, a library or its interpreter. It is nil when
// there is none. Paths are in the tree's form, symlinks followed.
func Chain(t *tree.Tree, starts []string, to string, files Files, env Environment) []string {
	s := newSearcher(t, files, env)
	to, ok := t.Resolve(to)
	if !ok {
		return nil
	}
	came := map[string]string{}
	var queue []string
	reach := func(p, from string) {
		at, ok := t.Resolve(p)
		if _, seen := came[at]; ok && !seen {
			came[at] = from
			queue = append(queue, at)
		}
	}
	for _, p := range starts {
		reach(p, "")
	}
	for ; len(queue) > 0; queue = queue[1:] {
		p := queue[0]
		if p == to {
			var out []string
			for at := to; at != ""; at = came[at] {
				out = append(out, at)
			}
			slices.Reverse(out)
			return out
		}
		e, _ := t.Inode(p)
		if e.Kind != tree.File || e.Size == 0 {
			continue
		}
		f, err := files.Needs(e.Digest)
		if err != nil {
			continue
		}
		for _, w := range wants(p, e, f) {
			if at, ok := w.find(s); ok {
				reach(at, p)
			}
		}
	}
	return nil
}
