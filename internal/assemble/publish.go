package assemble

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/nix"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/tree"
)

// NixCache says what PublishNix writes.
type NixCache struct {
	Dir         string
	Secret      *narinfo.Secret // nil: nothing is signed
	Compression string          // zstd or none; "" is zstd
	Arches      []string
	Trees       []string // that are no closures, as store paths of their own
}

// Published is what a cache was given.
type Published struct {
	nix.Written
	Roots []string // store paths, sorted: those of closures, and those of other trees
}

// PublishNix writes the closures of the definition's nix trees into a binary
// cache: what the build has in its store, under the names and hashes that the
// lock pins. It may run again; what is there stays.
func (b *Builder) PublishNix(ctx context.Context, def *config.Definition, lk *lock.Lock, o NixCache) (*Published, error) {
	b.epoch = lk.Epoch
	paths := map[narinfo.Name]nix.Exported{}
	roots := map[string]bool{}
	for _, arch := range o.Arches {
		for _, c := range closuresOf(lk, arch) {
			if err := b.exportClosure(ctx, def.Trees[c.Tree], c, paths); err != nil {
				return nil, fmt.Errorf("tree %s: %w", c.Tree, err)
			}
			roots[narinfo.Name(c.Root).Path()] = true
		}
		built, err := b.Trees(ctx, def, lk, arch, o.Trees)
		if err != nil {
			return nil, err
		}
		for _, name := range o.Trees {
			x, err := b.exportTree(built[name], def.Machine+"-"+name)
			if err != nil {
				return nil, fmt.Errorf("tree %s: %w", name, err)
			}
			paths[x.Info.Name] = x
			roots[x.Info.Name.Path()] = true
		}
	}
	if err := b.Store.Commit(); err != nil {
		return nil, err
	}
	all := make([]nix.Exported, 0, len(paths))
	for _, n := range slices.Sorted(maps.Keys(paths)) {
		all = append(all, paths[n])
	}
	var done atomic.Int64
	e := nix.Export{Dir: o.Dir, Secret: o.Secret, Compression: o.Compression, Objects: b.Store, Parallel: b.parallel(), Done: func(n narinfo.Name) {
		b.report(Event{Stage: "publish", Item: n.Rest(), Done: done.Add(1), Total: int64(len(all))})
	}}
	w, err := e.Write(ctx, all)
	return &Published{w, slices.Sorted(maps.Keys(roots))}, err
}

// exportClosure reads a closure into the store and adds its paths.
func (b *Builder) exportClosure(ctx context.Context, decl config.Tree, c lock.Closure, paths map[narinfo.Name]nix.Exported) error {
	all, err := storePaths(c)
	if err != nil {
		return err
	}
	job, err := b.nixJob(decl, all)
	if err != nil {
		return err
	}
	trees, err := job.Trees(ctx, all)
	if err != nil {
		return err
	}
	for i, in := range all {
		paths[in.Name] = nix.Exported{Info: in, Tree: trees[i], At: filepath.Join("nix/store", string(in.Name))}
	}
	return nil
}

// exportTree makes a tree a store path that its content names.
func (b *Builder) exportTree(t *tree.Tree, rest string) (nix.Exported, error) {
	if strings.HasPrefix(rest, ".") {
		return nix.Exported{}, fmt.Errorf("%q is no name of a store path", rest)
	}
	in, err := nix.Describe(b.Store, t, rest)
	return nix.Exported{Info: in, Tree: t, At: tree.Root}, err
}
