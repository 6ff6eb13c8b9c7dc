package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/ociimage"
	"github.com/instar-os/instar/internal/source/files"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// imported is what bench-import writes.
type imported struct {
	CPUs    int                  `json:"cpus"`
	Bytes   int64                `json:"bytes"`   // of contents
	Packed  int64                `json:"packed"`  // of layers
	Entries int                  `json:"entries"` // of the image
	Layers  int                  `json:"layers"`
	Seconds map[string][]float64 `json:"seconds"` // of each round
	Ratios  map[string]float64   `json:"ratios"`  // of the medians; peer over ours
	Notes   []string             `json:"notes"`
}

func importing(ctx context.Context, b *assemble.Builder, work string) (*imported, error) {
	t, epoch, err := large(ctx, b)
	if err != nil {
		return nil, err
	}
	out := &imported{CPUs: runtime.NumCPU(), Bytes: t.Bytes(), Entries: t.Len(), Seconds: map[string][]float64{}, Ratios: map[string]float64{},
		Notes: []string{"ours ends with the image mounted-ready and durable (syncfs); the peers' files are not synced"}}
	for _, compression := range []string{"gzip", "zstd"} {
		layout := filepath.Join(work, "layout-"+compression)
		layers, err := ociimage.Plan(t, func(_ string, e tree.Entry) ociimage.Group { return ociimage.Group{Name: e.Owner} }, 16)
		if err != nil {
			return nil, err
		}
		w, err := ociimage.Write(ctx, layout, []ociimage.Image{{Arch: "amd64", Created: epoch, Tree: t, Layers: layers,
			Open: func(_ string, e tree.Entry) (io.ReadCloser, error) { return b.Store.Open(e.Digest) }}},
			ociimage.Options{Name: "x", Compression: compression})
		if err != nil {
			return nil, err
		}
		out.Layers = len(layers)
		if compression == "gzip" {
			out.Packed = w.Images[0].Bytes
		}
		if err := out.compare(ctx, work, layout, compression); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// large is the tree of the image: Debian packages, or the directory DIR of this
// host, whose first two components are the owners then.
func large(ctx context.Context, b *assemble.Builder) (*tree.Tree, int64, error) {
	dir := os.Getenv("DIR")
	if dir == "" {
		all, epoch, err := trees(ctx, b, []string{"large"})
		return all["large"], epoch, err
	}
	t, err := files.Dir(ctx, b.Store, dir, files.Options{})
	if err != nil {
		return nil, 0, err
	}
	for p, e := range t.All() {
		if parts := strings.SplitN(p, "/", 3); len(parts) == 3 {
			e.Owner = parts[0] + "/" + parts[1]
		}
		if err := t.Put(p, e); err != nil {
			return nil, 0, err
		}
	}
	return t, 0, b.Store.Commit()
}

// compare times both ways in turns. umoci of Debian reads gzip alone.
func (out *imported) compare(ctx context.Context, work, layout, compression string) error {
	note := func(what string, begin time.Time) {
		out.Seconds[what+" "+compression] = append(out.Seconds[what+" "+compression], time.Since(begin).Seconds())
	}
	for i := range rounds() {
		copied, bundle := filepath.Join(work, fmt.Sprint("copy", i)), filepath.Join(work, fmt.Sprint("bundle", i))
		if compression == "gzip" {
			begin := time.Now()
			if err := command(ctx, "skopeo", "--insecure-policy", "copy", "-q", "oci:"+layout+":x", "oci:"+copied+":x"); err != nil {
				return err
			}
			note("skopeo", begin)
			unpack := time.Now()
			if err := command(ctx, "umoci", "unpack", "--image", copied+":x", bundle); err != nil {
				return err
			}
			note("umoci", unpack)
			note("skopeo and umoci", begin)
		}
		begin := time.Now()
		if err := ours(ctx, layout, filepath.Join(work, fmt.Sprint("ours-", compression, i))); err != nil {
			return err
		}
		note("ours", begin)
		// Nothing is removed between rounds: a file system that looks at each
		// inode that has just become free (ext4) would have the next side pay for it.
	}
	if compression == "gzip" {
		out.Ratios["skopeo and umoci / ours"] = median(out.Seconds["skopeo and umoci gzip"]) / median(out.Seconds["ours gzip"])
	}
	return nil
}

// ours imports into an empty store.
func ours(ctx context.Context, layout, dir string) error {
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	l, err := oci.OpenLocal(layout, dir)
	if err != nil {
		return err
	}
	defer l.Close()
	img, err := l.Find(ctx, "x", "amd64")
	if err != nil {
		return err
	}
	t, err := img.Read(ctx, l, oci.ReadOptions{Objects: st, Parallel: runtime.NumCPU()})
	if err != nil {
		return err
	}
	if _, err := st.PutImage(ctx, t); err != nil {
		return err
	}
	return st.Commit()
}

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// rounds is how often each way is timed; ROUNDS says otherwise.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 3
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
