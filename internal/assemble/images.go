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
	l, err := b.openLocal(decl, arch)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Find(ctx, decl.Image, arch)
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
	l, err := b.openLocal(decl, arch)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	img, err := l.Find(ctx, decl.Image, arch)
	if err != nil {
		return nil, err
	}
	if now := pinned(img, name, arch, pin.Name); !same(now, pin) {
		return nil, fmt.Errorf("image %s is not the one that the lock pins any more; run instar lock --update to take the new one", pin.Name)
	}
	return b.readImage(ctx, img, l, "image "+pin.Name)
}

// same reports whether two pins name the same content.
func same(a, b lock.Image) bool {
	return a.Manifest == b.Manifest && a.Config == b.Config && slices.Equal(a.Layers, b.Layers)
}

func (b *Builder) readImage(ctx context.Context, img *oci.Image, p oci.Place, owner string) (*tree.Tree, error) {
	cache := &layerCache{filepath.Join(b.Cache, "layers"), b.Store.Has}
	return img.Read(ctx, p, oci.ReadOptions{
		Objects: b.Store, Owner: owner, Parallel: b.parallel(), Load: cache.load, Save: cache.save,
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
