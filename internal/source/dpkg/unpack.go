package dpkg

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/xz"
)

// Limits of one package. The largest packages of trixie hold 2 GB and 90,000
// names; their control archives stay below 8 MB.
const (
	maxControl = 64 << 20 // bytes of control.tar, decompressed
	maxScript  = 4 << 20  // bytes of one kept control member
	maxZstd    = 128 << 20
)

// contentLimits bound data.tar.
var contentLimits = untar.Limits{Entries: 500_000, Bytes: 16 << 30, File: 8 << 30}

// Unpack reads a .deb of the given size in bytes, checks it against the SHA-256
// and the name of pkg, and puts its contents into objects. Blocks of its data
// are decoded up to parallel at a time. Errors name package and reason.
func Unpack(ctx context.Context, objects Objects, deb io.ReaderAt, size int64, pkg lock.Package, parallel int) (*Package, error) {
	p, err := unpack(ctx, objects, deb, size, pkg, parallel)
	if err != nil {
		return nil, fmt.Errorf("package %s %s %s: %w", pkg.Name, pkg.Version, pkg.Arch, err)
	}
	return p, nil
}

func unpack(ctx context.Context, objects Objects, deb io.ReaderAt, size int64, pkg lock.Package, parallel int) (*Package, error) {
	if err := verify(deb, size, pkg); err != nil {
		return nil, err
	}
	control, data, err := members(deb, size)
	if err != nil {
		return nil, err
	}
	p, err := readControl(ctx, deb, control)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", control.name, err)
	}
	if c := p.Control; c.Name != pkg.Name || c.Version != pkg.Version || c.Arch != pkg.Arch {
		return nil, fmt.Errorf("the archive says it is %s", c)
	}
	r, err := decompress(ctx, deb, data, parallel)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", data.name, err)
	}
	defer r.Close()
	p.Tree, err = untar.Read(r, objects, untar.Options{Owner: p.String(), Limits: contentLimits})
	if err == nil {
		err = drain(r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", data.name, err)
	}
	return p, nil
}

// verify compares size and SHA-256 with what the lock says.
func verify(deb io.ReaderAt, size int64, pkg lock.Package) error {
	if size != pkg.Size {
		return fmt.Errorf("the archive has %d bytes, the lock says %d", size, pkg.Size)
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{io.NewSectionReader(deb, 0, size)}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != pkg.SHA256 {
		return fmt.Errorf("the archive's SHA-256 is %s, the lock says %s", sum, pkg.SHA256)
	}
	return nil
}

// members finds control and data of a binary package, format 2.x, in the order
// that deb(5) prescribes. Members whose names start with "_" may stand between.
func members(deb io.ReaderAt, size int64) (control, data member, err error) {
	all, err := readAr(deb, size)
	if err != nil {
		return control, data, err
	}
	if len(all) == 0 || all[0].name != "debian-binary" || all[0].size > 64 {
		return control, data, errors.New("the archive does not start with debian-binary")
	}
	version := make([]byte, all[0].size)
	if _, err := deb.ReadAt(version, all[0].offset); err != nil {
		return control, data, err
	}
	if !bytes.HasPrefix(version, []byte("2.")) {
		return control, data, fmt.Errorf("package format %q is not 2.x", bytes.TrimSpace(version))
	}
	for _, m := range all[1:] {
		switch {
		case strings.HasPrefix(m.name, "_"):
		case strings.HasPrefix(m.name, "control.tar") && control.name == "":
			control = m
		case strings.HasPrefix(m.name, "data.tar") && control.name != "" && data.name == "":
			data = m
		default:
			return control, data, fmt.Errorf("unexpected member %s", m.name)
		}
	}
	if data.name == "" {
		return control, data, errors.New("no control.tar followed by data.tar")
	}
	return control, data, nil
}

// decompress returns the tar archive within a member, by the name's suffix.
func decompress(ctx context.Context, deb io.ReaderAt, m member, parallel int) (io.ReadCloser, error) {
	raw := io.NewSectionReader(deb, m.offset, m.size)
	var r io.ReadCloser
	var err error
	switch suffix := m.name[strings.Index(m.name, ".tar")+len(".tar"):]; suffix {
	case "":
		r = io.NopCloser(raw)
	case ".xz":
		r, err = xz.NewReaderAt(raw, m.size, parallel)
	case ".gz":
		r, err = gzip.NewReader(raw)
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstd)); err == nil {
			r = z.IOReadCloser()
		}
	case ".bz2":
		r = io.NopCloser(bzip2.NewReader(raw))
	default:
		err = fmt.Errorf("compression %q is not supported", suffix)
	}
	if err != nil {
		return nil, err
	}
	return &checked{ctx, r}, nil
}

// checked stops reading when its context ends.
type checked struct {
	ctx context.Context
	io.ReadCloser
}

func (c *checked) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.ReadCloser.Read(p)
}

// maxTrail is how many bytes may follow the end of a tar archive: its padding.
const maxTrail = 1 << 20

// drain reads to the end, so that the last integrity check is made.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxTrail+1))
	if err == nil && n > maxTrail {
		err = fmt.Errorf("more than %d bytes after the end of the archive", maxTrail)
	}
	return err
}

// ReadControl returns the control file of a .deb of the given size in bytes, as it
// stands in it. The content is not verified; what fetched it did that.
func ReadControl(ctx context.Context, deb io.ReaderAt, size int64) ([]byte, error) {
	m, _, err := members(deb, size)
	if err != nil {
		return nil, err
	}
	files, err := controlFiles(ctx, deb, m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	b, ok := files["control"]
	if !ok {
		return nil, errNoControl
	}
	return b, nil
}

var errNoControl = errors.New("no member control")

// readControl reads the control archive's fields and kept members.
func readControl(ctx context.Context, deb io.ReaderAt, m member) (*Package, error) {
	files, err := controlFiles(ctx, deb, m)
	if err != nil {
		return nil, err
	}
	return newPackage(files)
}

func controlFiles(ctx context.Context, deb io.ReaderAt, m member) (map[string][]byte, error) {
	r, err := decompress(ctx, deb, m, 1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	limited := &io.LimitedReader{R: r, N: maxControl}
	files := map[string][]byte{}
	for tr := tar.NewReader(limited); ; {
		h, err := tr.Next()
		if err == io.EOF && limited.N > 0 {
			break
		}
		if limited.N <= 0 {
			return nil, fmt.Errorf("it holds more than %d bytes", maxControl)
		}
		if err != nil {
			return nil, fmt.Errorf("tar: %w", short(err))
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || name != "control" && !scriptNames[name] {
			continue
		}
		if _, dup := files[name]; dup || h.Size > maxScript {
			return nil, fmt.Errorf("member %s is too large or comes twice", name)
		}
		if files[name], err = io.ReadAll(tr); err != nil {
			return nil, fmt.Errorf("tar: %s: %w", name, short(err))
		}
	}
	return files, drain(r)
}

func newPackage(files map[string][]byte) (*Package, error) {
	control, ok := files["control"]
	if !ok {
		return nil, errNoControl
	}
	c, err := ParseControl(control)
	if err != nil {
		return nil, err
	}
	p := &Package{Control: c, Scripts: map[string]string{}}
	for name, b := range files {
		if scriptNames[name] {
			p.Scripts[name] = string(b)
		}
	}
	return p, nil
}

// Archive is a package's file on disk.
type Archive struct {
	Path    string
	Package lock.Package
	Done    func() // called when it is unpacked, by any goroutine; may be nil
}

// UnpackAll unpacks archives, up to parallel of them at a time, and returns the
// packages in the order of the archives. What cache holds is not unpacked again;
// what is unpacked is put there. A nil cache holds nothing.
//
// The largest archives start first, so that no core idles at the end. The first
// error in the order of the archives is returned once all have ended.
func UnpackAll(ctx context.Context, objects Objects, cache *Cache, archives []Archive, parallel int) ([]*Package, error) {
	out := make([]*Package, len(archives))
	errs := make([]error, len(archives))
	parallel = max(parallel, 1)
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, i := range bySize(archives) {
		g.Go(func() error {
			if errs[i] = ctx.Err(); errs[i] == nil {
				out[i], errs[i] = one(ctx, objects, cache, archives[i], parallel)
			}
			if done := archives[i].Done; done != nil {
				done()
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func one(ctx context.Context, objects Objects, cache *Cache, a Archive, parallel int) (*Package, error) {
	if p, ok := cache.load(a.Package); ok {
		return p, nil
	}
	f, err := os.Open(a.Path)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", a.Package.Name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", a.Package.Name, err)
	}
	p, err := Unpack(ctx, objects, f, info.Size(), a.Package, parallel)
	if err != nil {
		return nil, err
	}
	if err := cache.save(a.Package, p); err != nil {
		return nil, fmt.Errorf("package %s: cannot remember what it holds: %w", a.Package.Name, err)
	}
	return p, nil
}
