package assemble

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/tree"
)

// imageName is how people call the image of a tree.
func imageName(decl config.Tree, arch string) string {
	path := decl.Path.For(arch)
	switch {
	case path == "":
		return decl.Image
	case decl.Image == "":
		return path
	}
	return path + ":" + decl.Image
}

// imageOf returns the pinned image of a tree, nil when it has none.
func imageOf(lk *lock.Lock, tree, arch string) *lock.Image {
	if i, ok := lk.Image(tree, arch); ok {
		return &i
	}
	return nil
}

// lockImages finds the images of all oci trees and pins them.
func (b *Builder) lockImages(ctx context.Context, def *config.Definition) ([]lock.Image, error) {
	var out []lock.Image
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(def.Trees)) {
		decl := def.Trees[name]
		if decl.From != "oci" {
			continue
		}
		for _, arch := range slices.Sorted(slices.Values(def.Arch)) {
			b.report(Event{Stage: "images", Item: imageName(decl, arch)})
			img, err := b.lockImage(ctx, decl, arch)
			if err != nil {
				errs = append(errs, fmt.Errorf("tree %s: %w", name, err))
				continue
			}
			out = append(out, pinned(img, name, arch, imageName(decl, arch)))
		}
	}
	return out, errors.Join(errs...)
}

func (b *Builder) lockImage(ctx context.Context, decl config.Tree, arch string) (*oci.Image, error) {
	if decl.Path.For(arch) == "" {
		r, err := b.remote(decl.Image)
		if err != nil {
			return nil, err
		}
		top, err := r.Resolve(ctx)
		if err != nil {
			return nil, err
		}
		img, err := oci.Choose(ctx, r, top, arch)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", decl.Image, err)
		}
		return img, nil
	}
	l, err := b.openLocal(decl, arch)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Find(ctx, decl.Image, arch)
}

func (b *Builder) remote(name string) (*oci.Remote, error) {
	ref, err := oci.ParseReference(name)
	return &oci.Remote{Ref: ref, Fetch: b.Fetch}, err
}

// reach tells the transport how the definition reaches registries.
func (b *Builder) reach(def *config.Definition) error {
	if b.Registries == nil {
		return nil
	}
	known := map[string]oci.Registry{}
	for host, r := range def.Registries {
		k := oci.Registry{Mirrors: r.Mirrors, Plain: r.Plain}
		if r.CA != "" {
			pem, err := b.KeyFile(r.CA)
			if err != nil {
				return fmt.Errorf("registries.%s.ca: %w", host, err)
			}
			k.CA = pem
		}
		known[host] = k
	}
	b.Registries.Use(known)
	return nil
}

func (b *Builder) openLocal(decl config.Tree, arch string) (*oci.Local, error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, err
	}
	return oci.OpenLocal(filepath.Join(b.Dir, filepath.FromSlash(decl.Path.For(arch))), b.Cache)
}

func pinned(img *oci.Image, tree, arch, name string) lock.Image {
	blob := func(d oci.Descriptor) lock.Blob { return lock.Blob{SHA256: d.SHA256(), Size: d.Size} }
	out := lock.Image{
		Tree: tree, Arch: arch, Name: name, Index: oci.Descriptor{Digest: img.Index}.SHA256(),
		Manifest: blob(img.Manifest), Config: blob(img.Config), Layers: []lock.Blob{},
	}
	for _, l := range img.Layers {
		out.Layers = append(out.Layers, blob(l))
	}
	return out
}

// imageTree reads the image that the lock pins for a tree.
func (b *Builder) imageTree(ctx context.Context, decl config.Tree, lk *lock.Lock, arch, name string) (*tree.Tree, error) {
	pin, ok := lk.Image(name, arch)
	if !ok {
		return nil, fmt.Errorf("the lock has no image for it on %s; run instar lock --update", arch)
	}
	place, img, err := b.openImage(ctx, decl, pin, arch)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	if r, ok := place.(remotePlace); ok {
		if err := b.fetchLayers(ctx, r.Remote, img); err != nil {
			return nil, err
		}
	}
	return b.readImage(ctx, img, place, "image "+pin.Name)
}

// fetchLayers downloads the layers that were not read before, several at a time.
func (b *Builder) fetchLayers(ctx context.Context, r *oci.Remote, img *oci.Image) error {
	c, err := img.ReadConfig(ctx, r)
	if err != nil {
		return err
	}
	var want []fetch.Request
	for i, l := range img.Layers {
		if i < len(c.RootFS.DiffIDs) && !oci.HasTable(l) && b.layers().load(l, c.RootFS.DiffIDs[i]) == nil {
			want = append(want, r.Ref.Request(l))
		}
	}
	_, err = b.Fetch.GetAll(ctx, want)
	return err
}

func (b *Builder) layers() *layerCache {
	return &layerCache{filepath.Join(b.Cache, "layers"), b.Store.Has}
}

// openImage opens what the lock pins. Close it.
func (b *Builder) openImage(ctx context.Context, decl config.Tree, pin lock.Image, arch string) (place, *oci.Image, error) {
	if decl.Path.For(arch) == "" {
		r, err := b.remote(pin.Name)
		img := ofPin(pin)
		if err == nil {
			err = img.Annotate(ctx, r)
		}
		return remotePlace{r}, img, err
	}
	l, err := b.openLocal(decl, arch)
	if err != nil {
		return nil, nil, err
	}
	img, err := l.Find(ctx, decl.Image, arch)
	if err == nil && !same(pinned(img, pin.Tree, arch, pin.Name), pin) {
		err = fmt.Errorf("image %s is not the one that the lock pins any more; run instar lock --update to take the new one", pin.Name)
	}
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, img, nil
}

// place is an oci.Place to be closed.
type place interface {
	oci.Place
	Close() error
}

type remotePlace struct{ *oci.Remote }

func (remotePlace) Close() error { return nil }

// ofPin is the image that a lock pins.
func ofPin(pin lock.Image) *oci.Image {
	of := func(b lock.Blob) oci.Descriptor { return oci.Descriptor{Digest: "sha256:" + b.SHA256, Size: b.Size} }
	img := &oci.Image{Manifest: oci.ManifestOf(pin.Manifest.SHA256, pin.Manifest.Size), Config: of(pin.Config)}
	for _, l := range pin.Layers {
		img.Layers = append(img.Layers, of(l))
	}
	return img
}

// imageRequests are the downloads of a pinned image; none when it is local.
func imageRequests(def *config.Definition, pin lock.Image) ([]fetch.Request, error) {
	decl, ok := def.Trees[pin.Tree]
	if !ok || decl.From != "oci" || decl.Path.For(pin.Arch) != "" {
		return nil, nil
	}
	ref, err := oci.ParseReference(pin.Name)
	if err != nil {
		return nil, err
	}
	img := ofPin(pin)
	out := []fetch.Request{ref.Request(img.Manifest), ref.Request(img.Config)}
	for _, l := range img.Layers {
		out = append(out, ref.Request(l))
	}
	return out, nil
}

// same reports whether two pins name the same content.
func same(a, b lock.Image) bool {
	return a.Manifest == b.Manifest && a.Config == b.Config && slices.Equal(a.Layers, b.Layers)
}

func (b *Builder) readImage(ctx context.Context, img *oci.Image, p oci.Place, owner string) (*tree.Tree, error) {
	cache := b.layers()
	return img.Read(ctx, p, oci.ReadOptions{
		Objects: b.Store, Owner: owner, Parallel: b.parallel(), Load: cache.load, Save: cache.save,
		Lookup: (&contents{store: b.Store}).lookup,
	})
}

// layerCache remembers the layers that were read, so that images that share
// layers, and an image's next version, read each once. A file that is damaged,
// of another format, or whose contents have left the store counts as absent.
type layerCache struct {
	dir string
	has func(d digest.Digest) bool
}

// layerFormat counts changes of what a cached layer holds.
const layerFormat = "1"

func (c *layerCache) path(d oci.Descriptor, diffID string) string {
	sum := sha256.Sum256([]byte(layerFormat + d.Digest + diffID))
	return filepath.Join(c.dir, fmt.Sprintf("%x", sum))
}

func (c *layerCache) load(d oci.Descriptor, diffID string) *oci.Layer {
	b, err := os.ReadFile(c.path(d, diffID))
	if err != nil || len(b) < sha256.Size || sha256.Sum256(b[sha256.Size:]) != [sha256.Size]byte(b[:sha256.Size]) {
		return nil
	}
	var l oci.Layer
	if gob.NewDecoder(bytes.NewReader(b[sha256.Size:])).Decode(&l) != nil {
		return nil
	}
	if !l.Digests(func(d digest.Digest, _ int64) bool { return c.has(d) }) {
		return nil
	}
	return &l
}

// save writes a temporary file and renames it. It is not synced: a file that a
// crash cut off fails its checksum and is written again.
func (c *layerCache) save(d oci.Descriptor, diffID string, l *oci.Layer) error {
	var b bytes.Buffer
	b.Write(make([]byte, sha256.Size))
	if err := gob.NewEncoder(&b).Encode(l); err != nil {
		return err
	}
	sum := sha256.Sum256(b.Bytes()[sha256.Size:])
	copy(b.Bytes(), sum[:])
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path(d, diffID))
}
