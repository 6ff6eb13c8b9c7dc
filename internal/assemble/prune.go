package assemble

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/needs"
	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// A pruning is what was left out of one tree or container.
type pruning struct {
	gone   prune.Gone
	unused []prune.Rule // rules of the whole machine that mean nothing in it
}

// rules pairs what a definition says with where it says it.
func rules(texts, at []string) []prune.Rule {
	out := make([]prune.Rule, len(texts))
	for i, text := range texts {
		out[i].Text = text
		if i < len(at) {
			out[i].At = at[i]
		}
	}
	return out
}

// treeRules returns what a tree leaves out and keeps: its own rules and, where
// others have chosen what is in it, those of the whole machine.
func treeRules(def *config.Definition, decl config.Tree) (drop, keep []prune.Rule) {
	drop, keep = rules(decl.Prune, decl.PruneAt), rules(decl.Keep, decl.KeepAt)
	if isCached(decl) {
		drop = append(drop, rules(def.Prune, def.PruneAt)...)
		keep = append(keep, rules(def.Keep, def.KeepAt)...)
	}
	return drop, keep
}

// leaveOut applies the rules of a tree. A rule of the tree's own that means
// nothing is an error, for what it was written for has changed.
func (p *pruning) leaveOut(t *tree.Tree, def *config.Definition, decl config.Tree, arch string, stage prune.Stage) error {
	drop, keep := treeRules(def, decl)
	gone, unused, err := prune.Apply(t, drop, keep, stage)
	if err != nil {
		return err
	}
	p.gone.Add(gone)
	if stage == prune.ClassesAlone {
		return nil
	}
	machine := append(rules(def.Prune, def.PruneAt), rules(def.Keep, def.KeepAt)...)
	var own []prune.Rule
	p.unused = nil
	for _, r := range unused {
		if slices.Contains(machine, r) {
			p.unused = append(p.unused, r)
		} else {
			own = append(own, r)
		}
	}
	return meaningless(own, arch)
}

// triplets are the directories of an architecture's libraries.
var triplets = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

// meaningless reports rules that mean nothing, but for those that name the
// directories of another architecture.
func meaningless(unused []prune.Rule, arch string) error {
	var errs []error
	for _, r := range unused {
		if foreign(r.Text, arch) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %s matches nothing; remove it, or write a pattern that does (** stands for any directories)", r.At, r.Text))
	}
	return errors.Join(errs...)
}

func foreign(text, arch string) bool {
	for other, triplet := range triplets {
		if other != arch && strings.Contains(text, triplet) {
			return true
		}
	}
	return false
}

// machineRules reports rules of the whole machine that mean nothing in any of
// its trees.
func (b *Builder) machineRules(def *config.Definition, arch string) error {
	var unused []prune.Rule
	for _, r := range append(rules(def.Prune, def.PruneAt), rules(def.Keep, def.KeepAt)...) {
		nowhere := true
		for _, p := range b.prunings {
			nowhere = nowhere && slices.Contains(p.unused, r)
		}
		if nowhere && len(b.prunings) > 0 {
			unused = append(unused, r)
		}
	}
	return meaningless(unused, arch)
}

// goneFrom returns what was left out of the trees of a container.
func (b *Builder) goneFrom(names []string) prune.Gone {
	all := prune.Gone{}
	for _, name := range names {
		if p := b.prunings[name]; p != nil {
			all.Add(p.gone)
		}
	}
	return all
}

// pruneContainer leaves out of a container's root what its own rules mean, and
// proves that what is left of it can be loaded.
func (b *Builder) pruneContainer(root *tree.Tree, name string, c config.Container, arch string) error {
	gone := b.goneFrom(c.Trees)
	for p := range gone {
		if _, there := root.Get(p); there { // another tree has brought it
			delete(gone, p)
		}
	}
	if len(c.Prune) > 0 {
		mine, unused, err := prune.Apply(root, rules(c.Prune, c.PruneAt), rules(c.Keep, c.KeepAt), prune.Everything)
		if err != nil {
			return err
		}
		if err := meaningless(unused, arch); err != nil {
			return err
		}
		gone.Add(mine)
	}
	if recordedFile(c, arch) != "" && !b.Unrecorded {
		mine, err := b.keepRecorded(root, name, c, arch)
		if err != nil {
			return err
		}
		gone.Add(mine)
	}
	return b.prove(root, name, c.Env, gone)
}

// prove remembers what is gone from a container or host and shows that nothing
// of it is missed.
func (b *Builder) prove(root *tree.Tree, name string, env map[string]string, gone prune.Gone) error {
	if b.removed == nil {
		b.removed = map[string]prune.Gone{}
	}
	b.removed[name] = gone
	if len(gone) == 0 {
		return nil
	}
	notes, err := prune.Prove(root, gone, b.files(), searchPaths(env))
	for _, n := range notes {
		b.notes = append(b.notes, fmt.Sprintf("container %s: %s", name, n))
	}
	return err
}

// searchPaths are a container's PATH and LD_LIBRARY_PATH.
func searchPaths(env map[string]string) prune.Environment {
	path := env["PATH"]
	if path == "" {
		path = defaultPath
	}
	out := prune.Environment{Path: strings.Split(path, ":")}
	if libs := env["LD_LIBRARY_PATH"]; libs != "" {
		out.LibraryPath = strings.Split(libs, ":")
	}
	return out
}

// files reads objects for package prune, and what they need once each.
func (b *Builder) files() prune.Files {
	if b.facts == nil {
		b.facts = &facts{store: b.Store, known: map[digest.Digest]fact{}}
	}
	return b.facts
}

type facts struct {
	store *store.Store

	mu    sync.Mutex
	known map[digest.Digest]fact
}

type fact struct {
	file needs.File
	err  error
}

func (f *facts) Bytes(d digest.Digest, limit int64) ([]byte, error) { return f.store.Bytes(d, limit) }

func (f *facts) Needs(d digest.Digest) (needs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := f.known[d]
	if !ok {
		k.file, k.err = f.read(d)
		f.known[d] = k
	}
	return k.file, k.err
}

// read reads the headers of an object, which costs less than verifying all of
// it: what they say only decides whether the build goes on.
func (f *facts) read(d digest.Digest) (needs.File, error) {
	o, err := f.store.Open(d)
	if err != nil {
		return needs.File{}, err
	}
	defer o.Close()
	st, err := o.Stat()
	if err != nil {
		return needs.File{}, err
	}
	return needs.Read(o, st.Size())
}

// goneLine is one entry of a cached tree's pruning.
type goneLine struct {
	Path, Rule, Owner string
	Kind              tree.Kind
	Mode              uint16
	Size              int64         `json:",omitempty"`
	Digest            digest.Digest `json:",omitzero"`
	Target            string        `json:",omitempty"`
}

type prunedLines struct {
	Gone   []goneLine
	Unused []string
}

func (p *pruning) encode() ([]byte, error) {
	var out prunedLines
	for _, at := range p.gone.Paths() {
		r := p.gone[at]
		e := r.Entry
		out.Gone = append(out.Gone, goneLine{at, r.Rule.Text, e.Owner, e.Kind, e.Mode, e.Size, e.Digest, e.Target})
	}
	for _, r := range p.unused {
		out.Unused = append(out.Unused, r.Text)
	}
	return json.Marshal(out)
}

// decodePruning reads what encode wrote; where rules stand, the definition says.
func decodePruning(text []byte, known []prune.Rule) (*pruning, error) {
	var in prunedLines
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	at := map[string]prune.Rule{}
	for _, r := range known {
		at[r.Text] = r
	}
	p := &pruning{gone: prune.Gone{}}
	for _, l := range in.Gone {
		p.gone[l.Path] = prune.Removed{Rule: at[l.Rule], Entry: tree.Entry{
			Kind: l.Kind, Mode: l.Mode, Size: l.Size, Digest: l.Digest, Target: l.Target, Owner: l.Owner,
		}}
	}
	for _, text := range in.Unused {
		p.unused = append(p.unused, at[text])
	}
	return p, nil
}
