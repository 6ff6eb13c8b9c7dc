package prune

import (
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// Use says what of a tree is used.
type Use struct {
	Paths []string                      // that were opened, in the tree's form
	Keep  []Rule                        // patterns of what stays beside
	Spare func(string, tree.Entry) bool // what stays whatever was opened
	Rule  Rule                          // by which all else goes
}

// always are small files by which programs and the proof find things.
var always = []string{"etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ld.so.conf", "etc/ld.so.conf.d"}

// KeepUsed leaves out of t what is not used. What stays is closed: with the
// loader and libraries of each ELF file, the interpreter of each script, every
// symlink that leads to something that stays, the licence of every package of
// which a file stays, directories that were empty, and what is no regular file.
// It returns what has gone, the paths of use that are not in t, and patterns of
// Keep that mean nothing.
func KeepUsed(t *tree.Tree, use Use, files Files, env Environment) (gone Gone, missing []string, unused []Rule, err error) {
	keeps, err := compileAll(use.Keep, Everything)
	if err != nil {
		return nil, nil, nil, err
	}
	k := &keeper{t: t, find: newSearcher(t, files, env), files: files, stays: map[string]bool{tree.Root: true}}
	for _, p := range use.Paths {
		if _, ok := t.Resolve(p); !ok {
			missing = append(missing, p)
			continue
		}
		k.path(p)
	}
	for _, p := range always {
		k.path(p)
	}
	holds := map[string]bool{}
	for p := range t.All() {
		holds[tree.Parent(p)] = true
	}
	for p, e := range t.All() {
		plain := e.Kind == tree.File || e.Kind == tree.Hardlink || e.Kind == tree.Symlink || e.Kind == tree.Dir && holds[p]
		keep := !plain || use.Spare != nil && use.Spare(p, e)
		for _, c := range keeps {
			if c.match(p, e) {
				c.used, keep = true, true
			}
		}
		if keep {
			k.path(p)
		}
	}
	k.close()
	gone = Gone{}
	doomed := map[string]bool{}
	for p := range t.All() {
		if !k.stays[p] {
			doomed[p], gone[p] = true, removed(t, p, use.Rule)
		}
	}
	t.Drop(doomed)
	for _, c := range keeps {
		if !c.used {
			unused = append(unused, c.rule)
		}
	}
	return gone, missing, unused, nil
}

// A keeper marks what stays.
type keeper struct {
	t     *tree.Tree
	find  *searcher
	files Files
	stays map[string]bool
	queue []string // files that stay and have not been looked into
}

// path marks a path with the links and directories on the way to it.
func (k *keeper) path(p string) {
	for _, at := range k.t.Way(p) {
		for up := at; up != "" && !k.stays[up]; up = tree.Parent(up) {
			k.stays[up] = true
			if e, _ := k.t.Get(up); e.Kind == tree.File || e.Kind == tree.Hardlink {
				k.queue = append(k.queue, up)
			}
		}
	}
}

// close marks until nothing is added that something marked needs.
func (k *keeper) close() {
	for {
		for len(k.queue) > 0 {
			p := k.queue[0]
			k.queue = k.queue[1:]
			k.needs(p)
		}
		k.links()
		k.licences()
		if len(k.queue) == 0 {
			return
		}
	}
}

func (k *keeper) needs(p string) {
	e, _ := k.t.Inode(p)
	if e.Size == 0 {
		return
	}
	f, err := k.files.Needs(e.Digest)
	if err != nil {
		return // no file that the loader would take
	}
	for _, w := range wants(p, e, f) {
		if at, ok := w.find(k.find); ok {
			k.path(at)
		}
	}
}

// links marks symlinks that lead to what stays. They cost next to nothing, and a
// program that only reads or checks one is not seen by a recorder.
func (k *keeper) links() {
	for p, e := range k.t.All() {
		if e.Kind != tree.Symlink || k.stays[p] {
			continue
		}
		if at, ok := k.t.Resolve(p); ok && at != tree.Root && k.stays[at] {
			k.path(p)
		}
	}
}

// licences marks the licences of packages of which a file stays.
func (k *keeper) licences() {
	names := map[string]bool{}
	for p, e := range k.t.All() {
		if k.stays[p] && (e.Kind == tree.File || e.Kind == tree.Hardlink) {
			names[packageOf(e)] = true
		}
	}
	for name := range names {
		if name != "" && !strings.Contains(name, "/") {
			k.path(path.Join(licenceDir, name, "copyright"))
		}
	}
}

// Alias is the name by which a library is best remembered: the symlink beside it
// that leads to it and does not name its version in full, as libz.so.1 for
// libz.so.1.3.1. An update that changes the file's name keeps that one.
func Alias(links map[string][]string, p string) string {
	best := p
	for _, link := range links[p] {
		if tree.Parent(link) == tree.Parent(p) && strings.HasPrefix(path.Base(p), path.Base(link)+".") &&
			strings.Contains(path.Base(link), ".so.") && (best == p || len(link) > len(best)) {
			best = link
		}
	}
	return best
}

// Links lists the symlinks of a tree by what they lead to.
func Links(t *tree.Tree) map[string][]string {
	out := map[string][]string{}
	for p, e := range t.All() {
		if e.Kind != tree.Symlink {
			continue
		}
		if at, ok := t.Resolve(p); ok {
			out[at] = append(out[at], p)
		}
	}
	for _, l := range out {
		slices.Sort(l)
	}
	return out
}
