// Package fetch downloads files over HTTP into one cache directory. What is
// asked for by SHA-256 is handed out only after it was verified:
//
//	files/ab/abcdef…   complete, verified files by their SHA-256
//	partial/abcdef…    downloads that are under way or were cut, locked while they are written
//	urls/0123…         the last answer of an address whose content is not known before, by SHA-256 of the address
//
// Several processes may use one directory. Everything in it may be deleted
// while none runs; nothing but time is lost.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxSize bounds files whose size is not known before, in bytes.
const maxSize = 16 << 30

// Client downloads into Dir. All other fields may be zero. It must not be
// copied after its first use.
type Client struct {
	Dir      string
	Vendor   string        // a directory laid out as Dir that is looked into before the network, never written; "": none
	HTTP     *http.Client  // nil: a client of its own with as many connections as downloads
	Offline  bool          // use what is in Dir, never the network
	Parallel int           // downloads at a time in GetAll; 0: 4
	Attempts int           // tries of one download; 0: 6
	Stall    time.Duration // time without a byte after which an attempt has failed; 0: 30 s
	// Wait sleeps between attempts; nil: a timer.
	Wait func(ctx context.Context, d time.Duration) error
	// Progress is told about bytes as they arrive, one call at a time.
	Progress func(Progress)

	once     sync.Once
	own      *http.Client
	mu       sync.Mutex
	flights  map[string]*flight
	reporter sync.Mutex
}

// Progress is how far a call of Get, GetAll or GetFresh is.
type Progress struct {
	What  string // what bytes arrived for last
	Done  int64  // bytes
	Total int64  // bytes to be downloaded; 0 when unknown
}

// Request names a file by its content.
type Request struct {
	URL    string
	SHA256 string // 64 lower-case hexadecimal digits
	Size   int64  // bytes; 0 when unknown
	What   string // for people: "mosquitto 2.0.21-1"
}

// flight is a download that several goroutines wait for.
type flight struct {
	done chan struct{}
	err  error
}

// Get returns the path of a complete file with the content that r names,
// downloading it when it is not in the cache. Goroutines and processes that ask
// for the same content share one download. A call that fails keeps what
// arrived, and the next one goes on from there. Errors: *Missing, *NotFound,
// *Mismatch, or what the network said.
func (c *Client) Get(ctx context.Context, r Request) (string, error) {
	m := &meter{client: c, total: r.Size}
	return c.get(ctx, r, m)
}

func (c *Client) get(ctx context.Context, r Request, m *meter) (string, error) {
	if !isSHA256(r.SHA256) {
		return "", fmt.Errorf("downloading %s: %q is no SHA-256", r.name(), r.SHA256)
	}
	path := c.path(r.SHA256)
	for {
		if ok, err := have(path, r.Size); ok || err != nil {
			return path, err
		}
		f, mine := c.join(r.SHA256)
		if mine {
			err := c.vendored(r, path)
			if errors.Is(err, fs.ErrNotExist) {
				err = c.obtain(ctx, r, path, m)
			}
			c.leave(r.SHA256, f, err)
			return path, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-f.done:
		}
		// The other caller giving up is no reason for this one to.
		if f.err != nil && !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return "", f.err
		}
	}
}

// Has reports whether the content is in the cache.
func (c *Client) Has(sha256 string) bool {
	if !isSHA256(sha256) {
		return false
	}
	ok, err := have(c.path(sha256), 0)
	return ok && err == nil
}

func (c *Client) path(sum string) string {
	return filepath.Join(c.Dir, "files", sum[:2], sum)
}

// have reports whether a file is there. Another size than the one asked for
// means that one of the two is wrong: the name is the hash of the content.
func have(path string, size int64) (bool, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case size != 0 && info.Size() != size:
		return false, fmt.Errorf("%s has %d bytes where %d are expected: either the request is wrong or the file is damaged", path, info.Size(), size)
	}
	return true, nil
}

func (c *Client) join(key string) (f *flight, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		return f, false
	}
	if c.flights == nil {
		c.flights = map[string]*flight{}
	}
	f = &flight{done: make(chan struct{})}
	c.flights[key] = f
	return f, true
}

func (c *Client) leave(key string, f *flight, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.err = err
	delete(c.flights, key)
	close(f.done)
}

// GetAll is Get for many files at once; the paths stand in the order of the
// requests. Files that the server does not have are all named in the error;
// any other failure ends the call.
func (c *Client) GetAll(ctx context.Context, rs []Request) ([]string, error) {
	paths := make([]string, len(rs))
	m := &meter{client: c, total: c.toDownload(rs)}
	var mu sync.Mutex
	var gone []error
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.parallel())
	for i, r := range rs {
		g.Go(func() error {
			path, err := c.get(gctx, r, m)
			paths[i] = path
			var nf *NotFound
			var miss *Missing
			if errors.As(err, &nf) || errors.As(err, &miss) {
				mu.Lock()
				defer mu.Unlock()
				gone = append(gone, err)
				return nil
			}
			return err
		})
	}
	if err := errors.Join(g.Wait(), joinSorted(gone)); err != nil {
		return nil, err
	}
	return paths, nil
}

// toDownload sums the sizes of what is not in the cache.
func (c *Client) toDownload(rs []Request) int64 {
	var total int64
	seen := map[string]bool{}
	for _, r := range rs {
		if !seen[r.SHA256] && !c.Has(r.SHA256) {
			total += r.Size
		}
		seen[r.SHA256] = true
	}
	return total
}

func (c *Client) parallel() int {
	if c.Parallel > 0 {
		return c.Parallel
	}
	return 4
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	c.once.Do(func() {
		t := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if d, ok := http.DefaultTransport.(*http.Transport); ok {
			t = d.Clone()
		}
		t.MaxIdleConnsPerHost = c.parallel()
		t.ResponseHeaderTimeout = c.stall()
		c.own = &http.Client{Transport: t}
	})
	return c.own
}

func (c *Client) stall() time.Duration {
	if c.Stall > 0 {
		return c.Stall
	}
	return 30 * time.Second
}

// meter counts the bytes of one call.
type meter struct {
	client      *Client
	done, total int64 // under client.reporter
}

func (m *meter) add(what string, n int64) {
	m.client.reporter.Lock()
	defer m.client.reporter.Unlock()
	m.done += n
	if m.client.Progress != nil {
		m.client.Progress(Progress{What: what, Done: m.done, Total: m.total})
	}
}

func isSHA256(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
