package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/source/oci/layer"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// A Place holds the contents of images. What it opens is not verified. Errors
// wrap fs.ErrNotExist for what is not there.
type Place interface {
	Open(ctx context.Context, d Descriptor) (io.ReadCloser, error)
}

// Layer is what one layer of an image does to those below.
type Layer = layer.Layer

// Image is one image for one platform, pinned by digests.
type Image struct {
	Index    string       // digest of the index that it was chosen from; "" for none
	Manifest Descriptor   // without a digest for what docker save wrote without manifests
	Config   Descriptor   // its digest is what docker calls the image's ID
	Layers   []Descriptor // the lowest first
}

// Choose finds the image for an architecture below a manifest or index.
func Choose(ctx context.Context, p Place, top Descriptor, arch string) (*Image, error) {
	img := &Image{}
	for range maxNested {
		doc, err := readDocument(ctx, p, top)
		if err != nil {
			return nil, err
		}
		if !doc.isIndex() {
			img.Manifest, img.Config, img.Layers = top, *doc.Config, doc.Layers
			return img, img.fits(ctx, p, arch)
		}
		if img.Index == "" {
			img.Index = top.Digest
		}
		if top, err = pick(doc.Manifests, arch); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d indexes within each other", maxNested)
}

// pick chooses the manifest for linux on an architecture. Manifests that are no
// images, as attestations, have an unknown platform.
func pick(all []Descriptor, arch string) (Descriptor, error) {
	var fit, unsaid []Descriptor
	var have []string
	for _, d := range all {
		if d.Platform == nil || d.Platform.OS == "" && d.Platform.Architecture == "" {
			unsaid = append(unsaid, d)
			continue
		}
		if d.Platform.OS != "unknown" {
			have = append(have, d.Platform.String())
		}
		if d.Platform.OS == "linux" && d.Platform.Architecture == arch && runs(arch, d.Platform.Variant) {
			fit = append(fit, d)
		}
	}
	switch {
	case len(fit) > 0:
		return fit[0], nil
	case len(unsaid) == 1: // its configuration will tell
		return unsaid[0], nil
	}
	slices.Sort(have)
	return Descriptor{}, fmt.Errorf("there is no image for linux/%s; there are %s", arch, strings.Join(slices.Compact(have), ", "))
}

// runs reports whether every machine of the architecture runs a variant.
func runs(arch, variant string) bool {
	return variant == "" || arch == "arm64" && variant == "v8" || arch == "amd64" && variant == "v1"
}

// fits compares the image's own word with the architecture.
func (img *Image) fits(ctx context.Context, p Place, arch string) error {
	c, err := img.ReadConfig(ctx, p)
	if err != nil {
		return err
	}
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != arch {
		return fmt.Errorf("there is no image for linux/%s; there is %s", arch, c.Platform)
	}
	if len(c.RootFS.DiffIDs) != len(img.Layers) {
		return fmt.Errorf("the configuration has %d layers, the manifest %d", len(c.RootFS.DiffIDs), len(img.Layers))
	}
	return nil
}

// ReadConfig returns the image's configuration, verified.
func (img *Image) ReadConfig(ctx context.Context, p Place) (*Config, error) {
	b, err := readBlob(ctx, p, img.Config, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	return ParseConfig(b)
}

// ReadOptions tell Read how to read.
type ReadOptions struct {
	Objects  untar.Objects
	Owner    string // label of every entry
	Devices  bool   // keep device nodes
	Parallel int    // layers at a time; 0: one
	Limits   untar.Limits
	// Load returns a layer that was read before, nil when there is none. Save
	// keeps one. Either may be nil; several goroutines call them.
	Load func(d Descriptor, diffID string) *layer.Layer
	Save func(d Descriptor, diffID string, l *layer.Layer) error
	// Lookup finds contents that the store has, by SHA-256, for layers with a
	// table of contents; nil finds none.
	Lookup layer.Lookup
	// Skipped is told what a table saved. It may be nil; several goroutines call it.
	Skipped func(s layer.Skipped)
}

// Read reads the layers of the image, several at a time, and lays them over
// each other. Every layer is held against its digest and its content against
// what the configuration says of it.
func (img *Image) Read(ctx context.Context, p Place, o ReadOptions) (*tree.Tree, error) {
	c, err := img.ReadConfig(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(c.RootFS.DiffIDs) != len(img.Layers) {
		return nil, fmt.Errorf("the configuration has %d layers, the manifest %d", len(c.RootFS.DiffIDs), len(img.Layers))
	}
	layers := make([]*layer.Layer, len(img.Layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, o.Parallel))
	for _, i := range largestFirst(img.Layers) {
		g.Go(func() error {
			l, err := readLayer(gctx, p, img.Layers[i], c.RootFS.DiffIDs[i], o)
			layers[i] = l
			if err != nil {
				return fmt.Errorf("layer %d, %s: %w", i+1, img.Layers[i].Digest, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	stack := layer.NewStack(o.Limits)
	for i, l := range layers {
		if err := stack.Apply(l.Owned(o.Owner)); err != nil {
			return nil, fmt.Errorf("layer %d, %s: %w", i+1, img.Layers[i].Digest, err)
		}
	}
	return stack.Tree()
}

// largestFirst returns the indices of layers, so that the longest work begins first.
func largestFirst(all []Descriptor) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(min(1, max(-1, all[b].Size-all[a].Size))) })
	return order
}

func readLayer(ctx context.Context, p Place, d Descriptor, diffID string, o ReadOptions) (*layer.Layer, error) {
	if o.Load != nil {
		if l := o.Load(d, diffID); l != nil {
			return l, nil
		}
	}
	read := unpack
	if _, ok := p.(Ranger); ok && layer.HasTable(d.Annotations) {
		read = byTable
	}
	l, err := read(ctx, p, d, diffID, o)
	if err == nil && o.Save != nil {
		err = o.Save(d, diffID, l)
	}
	return l, err
}

// unpack reads a whole layer.
func unpack(ctx context.Context, p Place, d Descriptor, diffID string, o ReadOptions) (*layer.Layer, error) {
	rc, err := p.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	blob := verify(rc, d)
	var sum hash.Hash
	if diffID != d.Digest { // else it is plain, and verified as a blob
		sum = sha256.New()
	}
	plain, err := layer.Decompress(blob, writer(sum))
	if err != nil {
		return nil, err
	}
	l, err := layer.Read(ctx, plain, o.Objects, layer.Options{Devices: o.Devices, Limits: o.Limits})
	if err == nil {
		_, err = io.Copy(io.Discard, plain) // what is behind the last entry counts for the digests
	}
	if err = errors.Join(err, plain.Close()); err != nil {
		// What a damaged blob looks like to those who read it is not the news.
		if damage := blob.whole(); damage != nil && ctx.Err() == nil {
			err = damage
		}
		return nil, err
	}
	if sum != nil {
		if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != diffID {
			return nil, fmt.Errorf("its plain content is %s, the image's configuration says %s", got, diffID)
		}
	}
	return l, blob.whole()
}

// writer is h without the interface that a nil hash would be in.
func writer(h hash.Hash) io.Writer {
	if h == nil {
		return nil
	}
	return h
}

func readDocument(ctx context.Context, p Place, d Descriptor) (*document, error) {
	b, err := readBlob(ctx, p, d, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return parseDocument(b)
}

// readBlob returns content of at most limit bytes, verified.
func readBlob(ctx context.Context, p Place, d Descriptor, limit int64) ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	if d.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", d.Digest, d.Size, limit)
	}
	rc, err := p.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	v := verify(rc, d)
	b, err := io.ReadAll(v)
	if err == nil {
		err = v.whole()
	}
	return b, err
}

// verified reads a blob and refuses to end it with another digest or size.
type verified struct {
	r    io.Reader
	d    Descriptor
	sum  hash.Hash
	n    int64
	done bool
}

func verify(r io.Reader, d Descriptor) *verified {
	return &verified{r: r, d: d, sum: sha256.New()}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if v.n += int64(n); v.n > v.d.Size {
		return 0, fmt.Errorf("%s has more than the %d bytes it should have", v.d.Digest, v.d.Size)
	}
	if err == io.EOF {
		if cerr := v.compare(); cerr != nil {
			return n, cerr
		}
		v.done = true
	}
	return n, err
}

func (v *verified) compare() error {
	if v.n != v.d.Size {
		return fmt.Errorf("%s has %d bytes, not the %d it should have", v.d.Digest, v.n, v.d.Size)
	}
	if got := "sha256:" + hex.EncodeToString(v.sum.Sum(nil)); got != v.d.Digest {
		return fmt.Errorf("%s is damaged: its content is %s", v.d.Digest, got)
	}
	return nil
}

// whole reads what is left and reports whether all of it was as it should be.
func (v *verified) whole() error {
	if v.done {
		return nil
	}
	_, err := io.Copy(io.Discard, v)
	return err
}
