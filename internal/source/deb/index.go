package deb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/source/deb/control"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/xz"
)

// Limits of indices and of a package's fields.
const (
	maxIndex       = 2 << 30 // bytes, unpacked
	maxPackages    = 1_000_000
	maxPackageSize = 8 << 30 // bytes of an archive file
)

// indexFormats are the forms of an index in the order they are preferred.
// gzip's is a third larger than xz's and unpacks in a fraction of the time,
// which every lock pays again; see docs/design/solver.md.
var indexFormats = [...]string{".gz", ".zst", ".xz", ""}

// Package is one version of a package in a suite. The relations are as the
// index has them; only those that a solution meets are read.
type Package struct {
	Name, Version, Arch string
	SHA256, Path        string
	Size                int64 // bytes of the archive file
	Essential           bool

	rank       int // of Priority; the lowest is the most important
	preDepends string
	depends    string
	recommends string
	provides   string
	breaks     string
	conflicts  string
	origin     string // Source: the source package, with a version where it is another
	from       *suite
	groups     []control.Group // of preDepends and depends, read when first needed
	read       bool
}

// ranks of Priority (Policy 2.5), the most important first.
var ranks = []string{"required", "important", "standard", "optional", "extra"}

// suite is one suite of one source.
type suite struct {
	source   string // name in the definition
	name     string // as the definition has it
	priority int
	order    int // among all suites of the definition
	release  *Release
}

// index is one Packages file to be read.
type index struct {
	suite *suite
	base  string // address of the archive
	path  string // below the suite's directory, without a suffix
}

// indices lists the indices of a component and an architecture.
func (s *suite) indices(base, component, arch string) ([]index, error) {
	arches := []string{arch}
	if !s.release.AllInArch {
		arches = append(arches, "all")
	}
	var out []index
	for _, a := range arches {
		ix := index{s, base, component + "/binary-" + a + "/Packages"}
		if _, _, ok := ix.file(); !ok {
			return nil, s.lacks(component, a)
		}
		out = append(out, ix)
	}
	return out, nil
}

func (s *suite) lacks(component, arch string) error {
	if !slices.Contains(s.release.Arches, arch) {
		return fmt.Errorf("it has no architecture %s; it has %s", arch, strings.Join(s.release.Arches, ", "))
	}
	return fmt.Errorf("it has no component %s for %s; it has %s", component, arch, strings.Join(s.release.Components, ", "))
}

// file chooses the index's form.
func (ix index) file() (suffix string, f indexFile, ok bool) {
	for _, suffix := range indexFormats {
		if f, ok := ix.suite.release.files[ix.path+suffix]; ok {
			return suffix, f, true
		}
	}
	return "", indexFile{}, false
}

// open fetches the index, by its hash when the archive offers that, and returns
// it unpacked.
func (ix index) open(ctx context.Context, c *fetch.Client) (io.ReadCloser, error) {
	suffix, f, _ := ix.file()
	dir := ix.base + "/dists/" + ix.suite.name + "/"
	r := fetch.Request{URL: dir + ix.path + suffix, SHA256: f.sha256, Size: f.size, What: "the index of " + ix.name()}
	plain := r.URL
	if ix.suite.release.ByHash {
		r.URL = dir + path.Dir(ix.path) + "/by-hash/SHA256/" + f.sha256
	}
	p, err := c.Get(ctx, r)
	var gone *fetch.NotFound
	if errors.As(err, &gone) && r.URL != plain {
		r.URL = plain
		p, err = c.Get(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	return unpack(p, suffix)
}

func (ix index) name() string {
	return ix.suite.source + "/" + ix.suite.name + " " + strings.TrimSuffix(ix.path, "/Packages")
}

// unpacked is a file with what unpacks it.
type unpacked struct {
	io.Reader
	closers []func() error
}

func (u *unpacked) Close() error {
	var errs []error
	for _, c := range slices.Backward(u.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

func unpack(name, suffix string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	u := &unpacked{Reader: f, closers: []func() error{f.Close}}
	switch suffix {
	case ".gz":
		var z *gzip.Reader
		if z, err = gzip.NewReader(bufio.NewReaderSize(f, 64<<10)); err == nil {
			u.Reader = z
		}
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxIndex)); err == nil {
			u.Reader, u.closers = z, append(u.closers, func() error { z.Close(); return nil })
		}
	case ".xz":
		err = u.xz(f)
	}
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	u.Reader = &limited{r: u.Reader, left: maxIndex}
	return u, nil
}

func (u *unpacked) xz(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := xz.NewReaderAt(f, info.Size(), runtime.GOMAXPROCS(0))
	if err == nil {
		u.Reader, u.closers = z, append(u.closers, z.Close)
	}
	return err
}

// limited fails when there is more than a limit, where io.LimitReader would
// pretend an end.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("more than %d bytes", int64(maxIndex))
	}
	return n, err
}

// read parses an index.
func (ix index) read(ctx context.Context, c *fetch.Client) (out []*Package, err error) {
	r, err := ix.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if out, err = parsePackages(r, ix.suite); err != nil {
		return nil, fmt.Errorf("reading the index of %s: %w", ix.name(), err)
	}
	return out, nil
}

// parsePackages reads a Packages file.
func parsePackages(r io.Reader, from *suite) ([]*Package, error) {
	var out []*Package
	words := interner{}
	for cr := control.NewReader(r); ; {
		para, err := cr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(out) == maxPackages {
			return nil, fmt.Errorf("more than %d packages", maxPackages)
		}
		p := &Package{from: from, rank: len(ranks)}
		for _, f := range para {
			if err := p.set(f, words); err != nil {
				return nil, fmt.Errorf("package %q: %w", p.Name, err)
			}
		}
		if err := p.check(); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
}

// interner keeps one copy of words that come again and again.
type interner map[string]string

func (i interner) word(b []byte) string {
	if s, ok := i[string(b)]; ok {
		return s
	}
	s := string(b)
	i[s] = s
	return s
}

func (p *Package) set(f control.Field, words interner) (err error) {
	switch string(f.Name) {
	case "Package":
		p.Name = string(f.Value)
	case "Version":
		p.Version = string(f.Value)
	case "Architecture":
		p.Arch = words.word(f.Value)
	case "Priority":
		if i := slices.Index(ranks, string(f.Value)); i >= 0 {
			p.rank = i
		}
	case "Essential":
		p.Essential = string(f.Value) == "yes"
	case "Pre-Depends":
		p.preDepends = string(f.Value)
	case "Depends":
		p.depends = string(f.Value)
	case "Recommends":
		p.recommends = string(f.Value)
	case "Provides":
		p.provides = string(f.Value)
	case "Breaks":
		p.breaks = string(f.Value)
	case "Conflicts":
		p.conflicts = string(f.Value)
	case "Source":
		p.origin = words.word(f.Value)
	case "Filename":
		p.Path = string(f.Value)
	case "SHA256":
		p.SHA256 = string(f.Value)
	case "Size":
		p.Size, err = strconv.ParseInt(string(f.Value), 10, 64)
	}
	return err
}

// check refuses what a lock could not pin safely.
func (p *Package) check() error {
	bad := func(what, value string) error {
		return fmt.Errorf("package %q: %s %q is not acceptable", p.Name, what, value)
	}
	switch {
	case !control.IsName(p.Name):
		return bad("name", p.Name)
	case control.CheckVersion(p.Version) != nil:
		return bad("version", p.Version)
	case !control.IsName(p.Arch):
		return bad("architecture", p.Arch)
	case len(p.SHA256) != 64 || strings.Trim(p.SHA256, "0123456789abcdef") != "":
		return bad("SHA256", p.SHA256)
	case p.Size <= 0 || p.Size > maxPackageSize:
		return bad("size", strconv.FormatInt(p.Size, 10))
	case p.Path == "" || path.IsAbs(p.Path) || path.Clean(p.Path) != p.Path || strings.HasPrefix(p.Path, "../") || strings.ContainsAny(p.Path, "?#%\\\n"):
		return bad("file name", p.Path)
	}
	return nil
}
