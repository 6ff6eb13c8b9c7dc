package assemble

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/effects"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/files"
	"github.com/instar-os/instar/internal/tree"
)

// Trees builds the named trees of the definition for one architecture. Package
// trees come from the cache when the lock and the tree's declaration are those
// of an earlier build; local trees are read anew each time.
func (b *Builder) Trees(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string, names []string) (map[string]*tree.Tree, error) {
	b.epoch, b.closures = lk.Epoch, closuresOf(lk, arch)
	b.prunings = map[string]*pruning{}
	if err := b.reach(def); err != nil {
		return nil, err
	}
	out := map[string]*tree.Tree{}
	var missing []string
	for _, name := range names {
		t, err := b.cachedTree(def, lk, arch, name)
		if err != nil {
			return nil, err
		}
		if t == nil {
			missing = append(missing, name)
			continue
		}
		out[name] = t
	}
	unpacked, err := b.unpackFor(ctx, def, lk.Arches[arch], arch, lk, missing)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, name := range missing {
		b.report(Event{Stage: "trees", Item: name, Done: int64(i), Total: int64(len(missing))})
		t, err := b.oneTree(ctx, def, lk, arch, name, unpacked)
		if err != nil {
			errs = append(errs, fmt.Errorf("tree %s: %w", name, err))
			continue
		}
		out[name] = t
	}
	return out, errors.Join(errs...)
}

func (b *Builder) oneTree(ctx context.Context, def *config.Definition, lk *lock.Lock, arch, name string, unpacked map[string]*dpkg.Package) (*tree.Tree, error) {
	decl := def.Trees[name]
	p := &pruning{gone: prune.Gone{}}
	t, err := b.sourceTree(ctx, def, lk, arch, name, unpacked, p)
	if err != nil {
		return nil, err
	}
	if err := p.leaveOut(t, def, decl, arch, prune.Everything); err != nil {
		return nil, err
	}
	b.prunings[name] = p
	if isCached(decl) {
		return t, b.cacheTree(def, lk, arch, name, t, p)
	}
	return t, nil
}

// isPackages reports whether a tree comes from a package source.
func isPackages(t config.Tree) bool {
	return !slices.Contains([]string{"dir", "tarball", "file", "oci", "nix"}, t.From)
}

// isCached reports whether the lock pins all that a tree is made of.
func isCached(t config.Tree) bool { return isPackages(t) || t.From == "oci" }

func (b *Builder) sourceTree(ctx context.Context, def *config.Definition, lk *lock.Lock, arch, name string, unpacked map[string]*dpkg.Package, p *pruning) (*tree.Tree, error) {
	decl := def.Trees[name]
	if decl.From == "nix" {
		return b.nixTree(ctx, decl, lk, arch, name)
	}
	if decl.From == "oci" {
		return b.imageTree(ctx, decl, lk, arch, name)
	}
	if !isPackages(decl) {
		return b.localTree(ctx, decl, lk, arch, name)
	}
	var pkgs []*dpkg.Package
	for _, p := range lk.Arches[arch].Tree(name) {
		pkgs = append(pkgs, unpacked[p.SHA256])
	}
	t, err := dpkg.Merge(pkgs)
	if err != nil {
		return nil, err
	}
	if err := p.leaveOut(t, def, decl, arch, prune.ClassesAlone); err != nil {
		return nil, err
	}
	if decl.Effects == "declared" {
		if _, err := effects.Apply(ctx, b.Store, t, pkgs, &lk.Users, effects.Options{Epoch: lk.Epoch}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// localTree reads a dir, tarball or file tree, from the definition's directory
// or from the pinned download.
func (b *Builder) localTree(ctx context.Context, decl config.Tree, lk *lock.Lock, arch, name string) (*tree.Tree, error) {
	opts := files.Options{To: decl.To, Strip: decl.Strip, Mode: uint32(decl.Mode), Owner: decl.Owner, Epoch: lk.Epoch, Label: "tree " + name}
	path := decl.Path.For(arch)
	if path == "" {
		got, err := b.download(ctx, lk, arch, name)
		if err != nil {
			return nil, err
		}
		path = got
	} else {
		path = filepath.Join(b.Dir, filepath.FromSlash(path))
	}
	switch decl.From {
	case "dir":
		return files.Dir(ctx, b.Store, path, opts)
	case "tarball":
		return files.Tarball(ctx, b.Store, path, opts)
	}
	return files.File(ctx, b.Store, path, opts)
}

func (b *Builder) download(ctx context.Context, lk *lock.Lock, arch, name string) (string, error) {
	for _, f := range lk.Files {
		if f.Tree == name && (f.Arch == "" || f.Arch == arch) {
			return b.Fetch.Get(ctx, fetch.Request{URL: f.URL, SHA256: f.SHA256, Size: f.Size, What: "tree " + name})
		}
	}
	return "", fmt.Errorf("the lock has no file for tree %s on %s", name, arch)
}

// unpackFor fetches and unpacks every package that the named trees need, each
// once. The result is by SHA-256 of the package.
func (b *Builder) unpackFor(ctx context.Context, def *config.Definition, in *lock.Inputs, arch string, lk *lock.Lock, names []string) (map[string]*dpkg.Package, error) {
	var all []lock.Package
	for _, name := range names {
		if isPackages(def.Trees[name]) {
			all = append(all, in.Tree(name)...)
		}
	}
	return b.unpack(ctx, def, all)
}

// unpack fetches and unpacks packages, each once.
func (b *Builder) unpack(ctx context.Context, def *config.Definition, all []lock.Package) (map[string]*dpkg.Package, error) {
	seen := map[string]bool{}
	var want []lock.Package
	for _, p := range all {
		if !seen[p.SHA256] {
			seen[p.SHA256] = true
			want = append(want, p)
		}
	}
	paths, err := b.fetchPackages(ctx, def, want)
	if err != nil {
		return nil, err
	}
	archives := b.archives(want, paths)
	cache := &dpkg.Cache{Dir: filepath.Join(b.Cache, "unpacked"), Has: b.Store.Has}
	pkgs, err := dpkg.UnpackAll(ctx, b.Store, cache, archives, b.parallel())
	if err != nil {
		return nil, err
	}
	out := make(map[string]*dpkg.Package, len(pkgs))
	for i, p := range pkgs {
		out[want[i].SHA256] = p
	}
	return out, nil
}

// archives pairs packages with their files and reports each that is unpacked.
func (b *Builder) archives(pkgs []lock.Package, paths []string) []dpkg.Archive {
	var done atomic.Int64
	out := make([]dpkg.Archive, len(pkgs))
	for i, p := range pkgs {
		out[i] = dpkg.Archive{Package: p, Path: paths[i], Done: func() {
			b.report(Event{Stage: "unpack", Item: p.Name, Done: done.Add(1), Total: int64(len(pkgs))})
		}}
	}
	return out
}

func (b *Builder) parallel() int {
	if b.Parallel > 0 {
		return b.Parallel
	}
	return runtime.GOMAXPROCS(0)
}

func (b *Builder) fetchPackages(ctx context.Context, def *config.Definition, want []lock.Package) ([]string, error) {
	reqs, err := b.requests(def, want)
	if err != nil {
		return nil, err
	}
	return b.Fetch.GetAll(ctx, reqs)
}

// requests says where each package comes from and what it must be.
func (b *Builder) requests(def *config.Definition, want []lock.Package) ([]fetch.Request, error) {
	reqs := make([]fetch.Request, len(want))
	for i, p := range want {
		src, ok := def.Sources[p.Source]
		if !ok {
			return nil, fmt.Errorf("package %s: the lock takes it from source %q, which the definition does not have; run instar lock", p.Name, p.Source)
		}
		base, err := deb.Address(src.Archive, b.Host)
		if err != nil {
			return nil, err
		}
		reqs[i] = fetch.Request{URL: base + "/" + p.Path, SHA256: p.SHA256, Size: p.Size, What: p.Name + " " + p.Version}
	}
	return reqs, nil
}

// treeKey names the cache entry of a package tree: everything that decides its
// content. treeFormat counts changes of the rules that make trees.
const treeFormat = 4

func treeKey(def *config.Definition, lk *lock.Lock, arch, name string) (string, error) {
	key, err := json.Marshal(struct {
		Format   int
		Arch     string
		Epoch    int64
		Decl     config.Tree
		Packages []lock.Package
		Users    lock.Users
		Image    *lock.Image `json:",omitempty"`
		Prune    []string    `json:",omitempty"`
		Keep     []string    `json:",omitempty"`
	}{treeFormat, arch, lk.Epoch, def.Trees[name], lk.Arches[arch].Tree(name), lk.Users, imageOf(lk, name, arch), def.Prune, def.Keep})
	if err != nil {
		return "", fmt.Errorf("cache key of tree %s: %w", name, err)
	}
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:]), nil
}

func (b *Builder) treePath(key string) string { return filepath.Join(b.Cache, "trees", key) }

// cachedTree returns nil when the tree is not cached, is damaged, or names
// objects that are no longer in the store.
func (b *Builder) cachedTree(def *config.Definition, lk *lock.Lock, arch, name string) (*tree.Tree, error) {
	decl := def.Trees[name]
	if !isCached(decl) {
		return nil, nil
	}
	key, err := treeKey(def, lk, arch, name)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(b.treePath(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cached tree %s: %w", name, err)
	}
	drop, keep := treeRules(def, decl)
	t, p, ok := decodeTree(text, append(drop, keep...))
	if !ok {
		return nil, nil
	}
	for _, e := range t.All() {
		if e.Kind == tree.File && e.Size > 0 && !b.Store.Has(e.Digest) {
			return nil, nil
		}
	}
	b.prunings[name] = p
	return t, nil
}

func (b *Builder) cacheTree(def *config.Definition, lk *lock.Lock, arch, name string, t *tree.Tree, p *pruning) error {
	key, err := treeKey(def, lk, arch, name)
	if err != nil {
		return err
	}
	text, err := encodeTree(t, p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(b.Cache, "trees"), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(b.treePath(key), 0o644, text)
}

// A cached tree is a SHA-256 of what follows, the tree's listing, a NUL byte,
// the owner of each entry in the listing's order, a line each, a NUL byte, and
// what was left out of it as JSON.
const ownersMark = "\x00"

func encodeTree(t *tree.Tree, p *pruning) ([]byte, error) {
	text, err := t.MarshalText()
	if err != nil {
		return nil, err
	}
	text = append(text, ownersMark...)
	for _, e := range t.All() {
		text = append(text, e.Owner...)
		text = append(text, '\n')
	}
	gone, err := p.encode()
	if err != nil {
		return nil, err
	}
	text = append(append(text, ownersMark...), gone...)
	sum := sha256.Sum256(text)
	return append(sum[:], text...), nil
}

// decodeTree reads a cached tree; known are the rules that may have left
// something out of it.
func decodeTree(b []byte, known []prune.Rule) (*tree.Tree, *pruning, bool) {
	if len(b) < sha256.Size || sha256.Sum256(b[sha256.Size:]) != [sha256.Size]byte(b[:sha256.Size]) {
		return nil, nil, false
	}
	parts := bytes.SplitN(b[sha256.Size:], []byte(ownersMark), 3)
	if len(parts) != 3 {
		return nil, nil, false
	}
	t, err := tree.Parse(parts[0])
	if err != nil {
		return nil, nil, false
	}
	p, err := decodePruning(parts[2], known)
	if err != nil {
		return nil, nil, false
	}
	lines := strings.Split(string(parts[1]), "\n")
	if len(lines) != t.Len()+1 {
		return nil, nil, false
	}
	for i, at := range t.Paths() {
		e, _ := t.Get(at)
		e.Owner = lines[i]
		if err := t.Put(at, e); err != nil {
			return nil, nil, false
		}
	}
	return t, p, true
}
