package ociimage

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/tree"
)

// Content opens what a file of a tree holds.
type Content func(p string, e tree.Entry) (io.ReadCloser, error)

// blob is a file in a layout.
type blob struct {
	sha256 string
	size   int64
	diffID string // of a layer: SHA-256 of its plain form
}

// layerTypes are the media types by compression.
var layerTypes = map[string]string{
	"gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
	"zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
	"none": "application/vnd.oci.image.layer.v1.tar",
}

// writeLayer writes a layer into the blobs of a layout.
func writeLayer(ctx context.Context, dir string, t *tree.Tree, l Layer, open Content, compression string) (blob, error) {
	var out blob
	err := createBlob(dir, &out, func(w io.Writer) error {
		z, err := compressor(w, compression)
		if err != nil {
			return err
		}
		plain := sha256.New()
		if err := writeTar(ctx, io.MultiWriter(z, plain), t, l.paths, open); err != nil {
			return errors.Join(err, z.Close())
		}
		out.diffID = hex.EncodeToString(plain.Sum(nil))
		return z.Close()
	})
	return out, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// compressor compresses in one stream of one goroutine: what comes out does not
// depend on the machine.
func compressor(w io.Writer, how string) (io.WriteCloser, error) {
	switch how {
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	case "none":
		return nopCloser{w}, nil
	}
	return nil, fmt.Errorf("compression %q: want gzip, zstd or none", how)
}

// createBlob writes a file and gives it the name that its content has.
func createBlob(dir string, out *blob, write func(io.Writer) error) error {
	blobs := filepath.Join(dir, "blobs/sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	f, err := durable.Create(blobs, 0o644)
	if err != nil {
		return err
	}
	defer f.Abort()
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(f, sum)}
	buf := bufio.NewWriterSize(counted, 256<<10)
	if err := write(buf); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	out.size, out.sha256 = counted.n, hex.EncodeToString(sum.Sum(nil))
	return f.Commit(filepath.Join(blobs, out.sha256))
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// writeTar writes the paths with their parents. Links stand after all files,
// so that what they name is there.
func writeTar(ctx context.Context, w io.Writer, t *tree.Tree, paths []string, open Content) error {
	tw := tar.NewWriter(w)
	all := map[string]bool{}
	for _, p := range paths {
		for ; p != "" && !all[p]; p = tree.Parent(p) {
			all[p] = true
		}
	}
	delete(all, tree.Root)
	if slices.Contains(paths, tree.Root) {
		all[tree.Root] = true
	}
	var links []string
	for _, p := range sortedPaths(all) {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, ok := t.Get(p)
		if !ok {
			return fmt.Errorf("/%s is not in the tree", p)
		}
		if e.Kind == tree.Hardlink {
			links = append(links, p)
			continue
		}
		if err := writeEntry(tw, p, e, open); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
	}
	for _, p := range links {
		e, _ := t.Inode(p)
		link, _ := t.Get(p)
		h := header(p, e)
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, link.Target, 0
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
	}
	return tw.Close()
}

func sortedPaths(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for p := range set {
		out = append(out, p)
	}
	slices.SortFunc(out, tree.ComparePaths)
	return out
}

func writeEntry(tw *tar.Writer, p string, e tree.Entry, open Content) error {
	h := header(p, e)
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if e.Kind != tree.File || e.Size == 0 {
		return nil
	}
	r, err := open(p, e)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(tw, r)
	return err
}

var types = map[tree.Kind]byte{
	tree.File: tar.TypeReg, tree.Dir: tar.TypeDir, tree.Symlink: tar.TypeSymlink,
	tree.CharDevice: tar.TypeChar, tree.BlockDevice: tar.TypeBlock, tree.Fifo: tar.TypeFifo,
}

// header has nothing in it but what the tree says. Sockets, which archives do
// not hold, get no type and are refused.
func header(p string, e tree.Entry) *tar.Header {
	h := &tar.Header{
		Typeflag: types[e.Kind], Name: p, Mode: int64(e.Mode), Uid: int(e.UID), Gid: int(e.GID), Size: e.Size,
		ModTime: time.Unix(e.MTime, 0), Linkname: e.Target, Devmajor: int64(e.Major), Devminor: int64(e.Minor), Format: tar.FormatPAX,
	}
	if e.Kind == tree.Dir {
		h.Name += "/"
	}
	for k, v := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	return h
}
