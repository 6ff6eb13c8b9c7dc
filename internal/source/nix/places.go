package nix

import (
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/nix/s3"
	"github.com/instar-os/instar/internal/xz"
)

// Options of Open.
type Options struct {
	Dir   string         // relative paths begin here
	Fetch *fetch.Client  // downloads; its settings are used for S3 as well
	S3    s3.Credentials // of the person who builds; zero: none, requests are not signed
}

// Open returns the place that a word of a definition names: http://, https://,
// s3:// or file: for a binary cache, store: for a directory with a store below.
func Open(word string, o Options) (Place, error) {
	switch scheme, rest, _ := strings.Cut(word, ":"); scheme {
	case "http", "https":
		return &webCache{base: strings.TrimSuffix(word, "/"), name: word, fetch: o.Fetch}, nil
	case "s3":
		b, err := s3.Parse(word)
		if err != nil {
			return nil, err
		}
		signed := &http.Client{Transport: &s3.Transport{Bucket: b, Credentials: o.S3, Base: transport(o.Fetch)}}
		f := o.Fetch
		return &webCache{base: b.URL(), name: word, fetch: &fetch.Client{Dir: f.Dir, Vendor: f.Vendor, HTTP: signed, Offline: f.Offline,
			Parallel: f.Parallel, Attempts: f.Attempts, Stall: f.Stall, Wait: f.Wait, Progress: f.Progress}}, nil
	case "file":
		return &dirCache{dir: local(o.Dir, rest)}, nil
	case "store":
		return newStoreDir(local(o.Dir, rest), word), nil
	}
	return nil, fmt.Errorf("%q is neither a binary cache (http://, https://, s3://, file:) nor a store (store:)", word)
}

func transport(f *fetch.Client) http.RoundTripper {
	if f.HTTP != nil && f.HTTP.Transport != nil {
		return f.HTTP.Transport
	}
	return http.DefaultTransport
}

// local turns "///srv/x", "/srv/x" or "x" into a path.
func local(dir, p string) string {
	if strings.HasPrefix(p, "//") {
		p = "/" + strings.TrimLeft(p, "/")
	}
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(dir, filepath.FromSlash(p))
}

// webCache is a binary cache that is asked over HTTP.
type webCache struct {
	base  string // without a slash at its end
	name  string
	fetch *fetch.Client
}

func (c *webCache) String() string { return c.name }
func (c *webCache) Trusted() bool  { return false }

func (c *webCache) Info(ctx context.Context, n narinfo.Name) (*narinfo.Info, error) {
	text, err := c.fetch.GetFresh(ctx, c.base+"/"+n.Hash()+".narinfo", narinfo.MaxSize)
	var gone *fetch.NotFound
	if errors.As(err, &gone) {
		return nil, ErrNotHere
	}
	if err != nil {
		return nil, err
	}
	return narinfo.Parse(text)
}

// Open downloads the archive's file as a whole, so that a cut download goes on
// where it ended. Its own hash finds it again; what it holds is verified by
// NarHash alone.
func (c *webCache) Open(ctx context.Context, in *narinfo.Info) (io.ReadCloser, error) {
	at, err := url.Parse(in.URL)
	if err != nil || at.IsAbs() || at.Host != "" {
		return nil, fmt.Errorf("%q is no place within the cache", in.URL)
	}
	from := c.base + "/" + strings.TrimPrefix(in.URL, "/")
	var name string
	if in.FileHash != nil {
		name, err = c.fetch.Get(ctx, fetch.Request{URL: from, SHA256: in.FileHash.Hex(), Size: in.FileSize, What: in.Name.Rest()})
	} else {
		var got fetch.Pinned
		got, err = c.fetch.Pin(ctx, from, in.Name.Rest())
		name = got.Path
	}
	if err != nil {
		return nil, err
	}
	return openFile(name, in.Compression)
}

// dirCache is a binary cache in a directory.
type dirCache struct{ dir string }

func (c *dirCache) String() string { return "file:" + c.dir }
func (c *dirCache) Trusted() bool  { return false }

func (c *dirCache) Info(_ context.Context, n narinfo.Name) (*narinfo.Info, error) {
	f, err := os.Open(filepath.Join(c.dir, n.Hash()+".narinfo"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(c.dir); err != nil {
			return nil, err
		}
		return nil, ErrNotHere
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, narinfo.MaxSize+1))
	if err != nil {
		return nil, err
	}
	return narinfo.Parse(text)
}

func (c *dirCache) Open(_ context.Context, in *narinfo.Info) (io.ReadCloser, error) {
	at := path.Clean(in.URL)
	if !filepath.IsLocal(at) {
		return nil, fmt.Errorf("%q is no place within the cache", in.URL)
	}
	return openFile(filepath.Join(c.dir, at), in.Compression)
}

// archives are plain archives named by their hash in directories laid out as
// the download cache: what instar vendor has collected.
type archives struct{ dirs []string }

// Vendored returns the place of the archives that are at hand already, in the
// download cache and in the vendor directory. Its answers are about nothing
// but names: what is pinned decides.
func Vendored(f *fetch.Client, pinned []narinfo.Info) Place {
	a := &vendored{archives{dirs: []string{f.Dir}}, map[narinfo.Name]*narinfo.Info{}}
	if f.Vendor != "" {
		a.dirs = append(a.dirs, f.Vendor)
	}
	for i := range pinned {
		a.pinned[pinned[i].Name] = &pinned[i]
	}
	return a
}

type vendored struct {
	archives
	pinned map[narinfo.Name]*narinfo.Info
}

func (a *vendored) String() string { return "the vendor directory" }
func (a *vendored) Trusted() bool  { return true }

func (a *vendored) Info(_ context.Context, n narinfo.Name) (*narinfo.Info, error) {
	if in := a.pinned[n]; in != nil && a.find(in) != "" {
		return in, nil
	}
	return nil, ErrNotHere
}

func (a *archives) find(in *narinfo.Info) string {
	sum := in.NarHash.Hex()
	for _, d := range a.dirs {
		p := filepath.Join(d, "files", sum[:2], sum)
		if st, err := os.Stat(p); err == nil && st.Size() == in.NarSize {
			return p
		}
	}
	return ""
}

func (a *vendored) Open(_ context.Context, in *narinfo.Info) (io.ReadCloser, error) {
	return os.Open(a.find(in))
}

// openFile reads a file that is compressed as a .narinfo says.
func openFile(name, compression string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r, err := decompress(f, compression)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// plain closes what is below a decoder, after the decoder.
type plain struct {
	io.Reader
	close func()
	below io.Closer
}

func (p *plain) Close() error {
	p.close()
	return p.below.Close()
}

// decompress reads f, which it closes, as plain bytes.
func decompress(f *os.File, compression string) (io.ReadCloser, error) {
	p := &plain{below: f, close: func() {}}
	switch compression {
	case "none", "":
		return f, nil
	case "xz":
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		z, err := xz.NewReaderAt(f, info.Size(), 2)
		if err != nil {
			return nil, err
		}
		p.Reader, p.close = z, func() { z.Close() }
	case "zstd":
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		p.Reader, p.close = z, z.Close
	case "gzip":
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		p.Reader = z
	case "bzip2":
		p.Reader = bzip2.NewReader(f)
	default:
		return nil, fmt.Errorf("compression %.40q is not known: xz, zstd, gzip, bzip2 and none are", compression)
	}
	return p, nil
}
