package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/nix"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// places opens the caches and stores of a tree, in their order.
func (b *Builder) places(decl config.Tree) ([]nix.Place, error) {
	var out []nix.Place
	for _, word := range decl.Caches {
		p, err := nix.Open(word, nix.Options{Dir: b.Dir, Fetch: b.Fetch, S3: b.S3})
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// lockClosures finds what each nix tree refers to and pins it.
func (b *Builder) lockClosures(ctx context.Context, def *config.Definition) ([]lock.Closure, error) {
	var out []lock.Closure
	for _, name := range slices.Sorted(maps.Keys(def.Trees)) {
		decl := def.Trees[name]
		if decl.From != "nix" {
			continue
		}
		for _, arch := range def.Arch {
			b.report(Event{Stage: "nix", Item: name})
			c, err := b.lockClosure(ctx, decl, decl.Closure.For(arch))
			if err != nil {
				return nil, fmt.Errorf("tree %s: %w", name, err)
			}
			c.Tree, c.Arch = name, arch
			out = append(out, c)
		}
	}
	return out, nil
}

func (b *Builder) lockClosure(ctx context.Context, decl config.Tree, word string) (c lock.Closure, err error) {
	root, err := b.closureRoot(word)
	if err != nil {
		return c, err
	}
	trust := nix.Trust{Unsigned: decl.Unsigned == "accept"}
	for _, k := range decl.Keys {
		key, err := narinfo.ParseKey(k)
		if err != nil {
			return c, err
		}
		trust.Keys = append(trust.Keys, key)
	}
	places, err := b.places(decl)
	if err != nil {
		return c, err
	}
	infos, err := nix.Resolve(ctx, places, root, trust)
	if err != nil {
		return c, err
	}
	c.Root = string(root)
	for _, in := range infos {
		p := lock.StorePath{Name: string(in.Name), NarHash: in.NarHash.Hex(), NarSize: in.NarSize}
		if d, err := narinfo.ParseName(in.Deriver); err == nil {
			p.Deriver = string(d)
		}
		for _, r := range in.References {
			p.References = append(p.References, string(r))
		}
		c.Paths = append(c.Paths, p)
	}
	return c, nil
}

// closureRoot reads a store path, or the symlink to one.
func (b *Builder) closureRoot(word string) (narinfo.Name, error) {
	if strings.HasPrefix(word, "/") {
		return narinfo.ParsePath(word)
	}
	target, err := os.Readlink(filepath.Join(b.Dir, filepath.FromSlash(word)))
	if err != nil {
		return "", fmt.Errorf("closure: %s is no symlink to a store path: %w", word, err)
	}
	root, err := narinfo.ParsePath(target)
	if err != nil {
		return "", fmt.Errorf("closure: symlink %s: %w", word, err)
	}
	return root, nil
}

// storePaths turns what a lock says back into what package nix takes.
func storePaths(c lock.Closure) ([]narinfo.Info, error) {
	out := make([]narinfo.Info, len(c.Paths))
	for i, p := range c.Paths {
		in := narinfo.Info{NarSize: p.NarSize, Deriver: p.Deriver}
		var err error
		if in.Name, err = narinfo.ParseName(p.Name); err != nil {
			return nil, err
		}
		if in.NarHash, err = narinfo.ParseHash(p.NarHash); err != nil {
			return nil, err
		}
		for _, r := range p.References {
			in.References = append(in.References, narinfo.Name(r)) // the lock has found it among the paths
		}
		slices.Sort(in.References)
		out[i] = in
	}
	return out, nil
}

// closuresOf returns the closures of one architecture.
func closuresOf(lk *lock.Lock, arch string) []lock.Closure {
	var out []lock.Closure
	for _, c := range lk.Nix {
		if c.Arch == arch {
			out = append(out, c)
		}
	}
	return out
}

// nixJob prepares to read a closure's paths.
func (b *Builder) nixJob(decl config.Tree, all []narinfo.Info) (*nix.Job, error) {
	places, err := b.places(decl)
	if err != nil {
		return nil, err
	}
	return &nix.Job{
		Places: append([]nix.Place{nix.Vendored(b.Fetch, all)}, places...), Objects: b.Store,
		Cache: b.nixCache(), Parallel: b.parallel(),
	}, nil
}

func (b *Builder) nixCache() *nix.Cache {
	return &nix.Cache{Dir: filepath.Join(b.Cache, "nix"), Has: b.Store.Has}
}

// nixTree makes the tree of a closure: its paths, the registration by which Nix
// on the machine knows them, and a symlink to the root where `to` says.
func (b *Builder) nixTree(ctx context.Context, decl config.Tree, lk *lock.Lock, arch, name string) (*tree.Tree, error) {
	c, ok := lk.Closure(name, arch)
	if !ok {
		return nil, fmt.Errorf("the lock has no closure for %s; run instar lock", arch)
	}
	all, err := storePaths(c)
	if err != nil {
		return nil, err
	}
	job, err := b.nixJob(decl, all)
	if err != nil {
		return nil, err
	}
	var done atomic.Int64
	job.Done = func(n narinfo.Name, _ int64) {
		b.report(Event{Stage: "nix", Item: n.Rest(), Done: done.Add(1), Total: int64(len(all))})
	}
	t, err := job.Paths(ctx, all)
	if err != nil {
		return nil, err
	}
	if decl.To != "/" {
		e := tree.Entry{Kind: tree.Symlink, Mode: 0o777, MTime: lk.Epoch, Target: narinfo.Name(c.Root).Path(), Owner: "tree " + name}
		if err := t.Put(strings.TrimPrefix(decl.To, "/"), e); err != nil {
			return nil, err
		}
	}
	if len(decl.Prune) > 0 { // Nix would find its paths damaged
		return t, nil
	}
	return t, b.putRegistration(t, all)
}

func (b *Builder) putRegistration(t *tree.Tree, all []narinfo.Info) error {
	o, err := b.putObject(narinfo.Registration(all))
	if err != nil {
		return err
	}
	return t.Put(nix.RegistrationFile, tree.Entry{Kind: tree.File, Mode: 0o444, MTime: b.epoch, Size: o.Size, Digest: o.Digest, Owner: "nix"})
}

// register gives a root of several closures one registration of all their paths.
func (b *Builder) register(root *tree.Tree, def *config.Definition, trees []string) error {
	var all []narinfo.Info
	closures := 0
	for _, c := range b.closures {
		if !slices.Contains(trees, c.Tree) || len(def.Trees[c.Tree].Prune) > 0 {
			continue
		}
		infos, err := storePaths(c)
		if err != nil {
			return err
		}
		all = append(all, infos...)
		closures++
	}
	if closures < 2 {
		return nil
	}
	slices.SortFunc(all, func(x, y narinfo.Info) int { return strings.Compare(string(x.Name), string(y.Name)) })
	for i := 1; i < len(all); i++ {
		if all[i].Name == all[i-1].Name && all[i].NarHash != all[i-1].NarHash {
			return fmt.Errorf("two of its trees have different contents of %s", all[i].Name.Path())
		}
	}
	return b.putRegistration(root, slices.CompactFunc(all, func(x, y narinfo.Info) bool { return x.Name == y.Name }))
}

// planClosures adds the archives that are not unpacked yet. How many bytes a
// cache sends for them is not known: it is what they have plain.
func (b *Builder) planClosures(lk *lock.Lock, arch string, plan *FetchPlan) {
	for _, c := range closuresOf(lk, arch) {
		all, err := storePaths(c)
		if err != nil {
			continue // the build says so
		}
		for _, in := range all {
			r := archiveRequest(in)
			if !b.nixCache().Known(&in) && !slices.Contains(plan.Files, r) {
				plan.Files = append(plan.Files, r)
				plan.Bytes += r.Size
			}
		}
	}
}

func archiveRequest(in narinfo.Info) fetch.Request {
	return fetch.Request{URL: in.Name.Path(), SHA256: in.NarHash.Hex(), Size: in.NarSize, What: in.Name.Rest()}
}

// archive is a store path that is vendored as a plain archive.
type archive struct {
	decl config.Tree
	info narinfo.Info
}

// closures lists the archives of all closures.
func (p *VendorPlan) closures(def *config.Definition, lk *lock.Lock) []fetch.Request {
	p.archives = map[string]archive{}
	var out []fetch.Request
	for _, c := range lk.Nix {
		all, err := storePaths(c)
		if err != nil {
			continue // the build says so
		}
		for _, in := range all {
			r := archiveRequest(in)
			p.archives[r.SHA256] = archive{def.Trees[c.Tree], in}
			out = append(out, r)
		}
	}
	return out
}

// vendorArchive writes a plain archive to a file.
func (b *Builder) vendorArchive(ctx context.Context, a archive, to string) error {
	job, err := b.nixJob(a.decl, []narinfo.Info{a.info})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	dst, err := durable.Create(filepath.Dir(to), 0o644)
	if err != nil {
		return err
	}
	if err := job.Archive(ctx, dst, &a.info); err != nil {
		return errors.Join(err, dst.Abort())
	}
	return dst.Commit(to)
}

// nixPackages lists the store paths that a system is made of as packages: the
// version begins at the first dash before a digit, as Nix has it.
func nixPackages(closures []lock.Closure, arch string, used []string) []system.Package {
	holders := map[string][]string{}
	for _, c := range closures {
		if !slices.Contains(used, c.Tree) {
			continue
		}
		for _, p := range c.Paths {
			holders[p.Name] = append(holders[p.Name], c.Tree)
		}
	}
	var out []system.Package
	for _, path := range slices.Sorted(maps.Keys(holders)) {
		name, version := nixVersion(narinfo.Name(path).Rest())
		trees := holders[path]
		slices.Sort(trees)
		out = append(out, system.Package{Name: name, Version: version, Arch: arch, Source: "nix", Trees: slices.Compact(trees)})
	}
	return out
}

func nixVersion(s string) (name, version string) {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '-' && s[i+1] >= '0' && s[i+1] <= '9' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
