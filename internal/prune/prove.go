package prune

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/needs"
	"github.com/instar-os/instar/internal/tree"
)

// A want is something that a file cannot be used without.
type want struct {
	what string // in words: "library", "loader", "interpreter", "program"
	name string
	find func(*searcher) (string, bool)
}

// wants lists what the file at a path needs.
func wants(p string, e tree.Entry, f needs.File) []want {
	var out []want
	switch {
	case f.ELF != nil:
		if f.ELF.Interp != "" {
			out = append(out, want{"loader", f.ELF.Interp, func(s *searcher) (string, bool) { return s.program(f.ELF.Interp) }})
		}
		for _, name := range f.ELF.Needed {
			out = append(out, want{"library", name, func(s *searcher) (string, bool) { return s.library(p, f.ELF, name) }})
		}
	case f.Script != nil && e.Mode&0o111 != 0:
		out = append(out, want{"interpreter", f.Script.Interp, func(s *searcher) (string, bool) { return s.program(f.Script.Interp) }})
		if name := f.Script.Program; name != "" {
			out = append(out, want{"program", name, func(s *searcher) (string, bool) { return s.program(name) }})
		}
	}
	return out
}

// maxShown is how many of the lacks of a tree an error lists.
const maxShown = 8

// Prove shows that for every ELF file of t its loader and its libraries, and
// for every script its interpreter, are in t. Something that is missing because
// it was left out is an error. What no tree has brought is a note: packages do
// have programs that need what another package would bring.
func Prove(t *tree.Tree, gone Gone, files Files, env Environment) (notes []string, err error) {
	before := t.Clone()
	for _, p := range gone.Paths() {
		if _, there := before.Get(p); !there {
			if err := before.Put(p, gone[p].Entry); err != nil {
				continue // another tree has a file where the directory was
			}
		}
	}
	pr := &prover{now: newSearcher(t, files, env), before: newSearcher(before, files, env), gone: gone, names: map[string]string{}, lost: map[string]string{}}
	for p, e := range before.All() {
		if e.Kind != tree.Dir {
			pr.names[path.Base(p)] = p
		}
	}
	for p, e := range t.All() {
		if e.Kind != tree.File || e.Size == 0 {
			continue
		}
		f, err := files.Needs(e.Digest)
		if err != nil {
			continue // no file that the loader would take
		}
		pr.file(p, e, f)
	}
	return pr.result()
}

type prover struct {
	now, before *searcher
	gone        Gone
	names       map[string]string // base name -> a path, with what has gone
	lost        map[string]string // missing thing -> why, once
	errs        []error
	absent      []string
}

func (pr *prover) file(p string, e tree.Entry, f needs.File) {
	for _, w := range wants(p, e, f) {
		if _, ok := w.find(pr.now); ok {
			continue
		}
		at, was := w.find(pr.before)
		if !was {
			// A library may also come from where the one who loads it looks.
			at = pr.names[path.Base(w.name)]
			if _, left := pr.gone[at]; !left {
				if at == "" {
					pr.absent = append(pr.absent, fmt.Sprintf("/%s needs the %s %s", p, w.what, w.name))
				}
				continue
			}
		}
		piece, removed, ok := pr.piece(at)
		if !ok {
			continue
		}
		text := fmt.Sprintf("/%s (of %s) needs the %s %s, but /%s was left out by %s; keep it with keep: [/%s], or leave out /%s as well",
			p, e.Owner, w.what, w.name, piece, removed.Rule, piece, p)
		if _, said := pr.lost[piece]; !said {
			pr.lost[piece] = text
			pr.errs = append(pr.errs, errors.New(text))
		}
	}
}

// piece returns what has gone on the way to a path.
func (pr *prover) piece(at string) (string, Removed, bool) {
	for _, p := range pr.before.t.Way(at) {
		if r, ok := pr.gone[p]; ok {
			return p, r, true
		}
	}
	return "", Removed{}, false
}

func (pr *prover) result() (notes []string, err error) {
	if n := len(pr.errs); n > maxShown {
		pr.errs = append(pr.errs[:maxShown], fmt.Errorf("and %d more", n-maxShown))
	}
	if n := len(pr.absent); n > 0 {
		slices.Sort(pr.absent)
		text := pr.absent[0] + ", which no tree brings"
		if n > 1 {
			text += fmt.Sprintf("; so do %d more, as %s", n-1, strings.TrimPrefix(pr.absent[n-1], "/"))
		}
		notes = append(notes, text)
	}
	return notes, errors.Join(pr.errs...)
}
