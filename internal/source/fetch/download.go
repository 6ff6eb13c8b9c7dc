package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// firstWait is the pause after the first failed attempt; it doubles.
const (
	firstWait = 250 * time.Millisecond
	maxWait   = 20 * time.Second
)

// obtain downloads r to path. It holds the lock of the partial file, so that
// other processes wait and then find the file complete.
//
// flock(partial), write…, fsync, rename(partial, path). The directory is not
// synced: losing the name costs a download, no more.
func (c *Client) obtain(ctx context.Context, r Request, path string, m *meter) error {
	if c.Offline {
		return &Missing{What: r.name(), URL: r.URL, Dir: c.Dir}
	}
	f, err := openLocked(ctx, filepath.Join(c.Dir, "partial", r.SHA256))
	if err != nil {
		return fmt.Errorf("downloading %s: %w", r.name(), err)
	}
	defer f.Close()
	if ok, err := have(path, r.Size); ok || err != nil {
		if ok { // another process was faster
			err = os.Remove(f.Name())
		}
		return err
	}
	p := &partial{client: c, req: r, f: f, meter: m}
	if err := p.resume(); err != nil {
		return fmt.Errorf("downloading %s: %w", r.name(), err)
	}
	if err := c.retry(ctx, r.name(), p.attempt); err != nil {
		return err
	}
	return keep(f, path)
}

// keep gives a complete file its final name.
func keep(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Chmod(f.Name(), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// openLocked opens and locks a partial file, waiting while another process
// holds it. That one may rename it away, hence the look at the name afterwards.
func openLocked(ctx context.Context, name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		err = lockFile(ctx, f)
		if err == nil {
			var same bool
			if same, err = sameFile(f, name); same {
				return f, nil
			}
		}
		if cerr := f.Close(); err != nil || cerr != nil {
			return nil, errors.Join(err, cerr)
		}
	}
}

func lockFile(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func sameFile(f *os.File, name string) (bool, error) {
	a, err := f.Stat()
	if err != nil {
		return false, err
	}
	b, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(a, b), err
}

// retry runs an attempt until it succeeds, fails for good or has failed
// Attempts times.
func (c *Client) retry(ctx context.Context, what string, attempt func(context.Context) error) error {
	n, wait := c.Attempts, firstWait
	if n <= 0 {
		n = 6
	}
	pause := c.Wait
	if pause == nil {
		pause = sleep
	}
	for i := 1; ; i++ {
		err := attempt(ctx)
		var t *temporary
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("downloading %s: %w", what, ctx.Err())
		case !errors.As(err, &t):
			return err
		case i == n:
			return fmt.Errorf("downloading %s: gave up after %d attempts: %w", what, n, t.err)
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("downloading %s: %w", what, err)
		}
		wait = min(2*wait, maxWait)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// partial is a download that may have begun before.
type partial struct {
	client  *Client
	req     Request
	f       *os.File
	sum     hash.Hash
	n       int64 // bytes in f and in sum
	resumed bool  // some of them are from an earlier answer
	meter   *meter
}

// resume hashes what an earlier call left behind.
func (p *partial) resume() error {
	p.sum = sha256.New()
	n, err := io.Copy(p.sum, p.f)
	if err != nil {
		return err
	}
	if p.req.Size != 0 && n > p.req.Size {
		return p.restart()
	}
	p.n, p.resumed = n, n > 0
	p.meter.add(p.req.name(), n)
	return nil
}

// restart forgets what has arrived.
func (p *partial) restart() error {
	p.meter.add(p.req.name(), -p.n)
	p.sum.Reset()
	p.n, p.resumed = 0, false
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.f.Truncate(0)
}

// attempt asks for what is missing, appends it and verifies the whole. There
// is no If-Range: the address stands for one content, whose hash is known, and
// a file put together from two versions is thrown away once and asked for anew.
func (p *partial) attempt(ctx context.Context) error {
	if p.req.Size == 0 || p.n < p.req.Size {
		if err := p.receive(ctx); err != nil {
			return err
		}
	}
	got := hex.EncodeToString(p.sum.Sum(nil))
	if got == p.req.SHA256 {
		return nil
	}
	again := p.resumed
	if err := p.restart(); err != nil {
		return err
	}
	err := &Mismatch{What: p.req.name(), URL: p.req.URL, Field: "SHA-256", Want: p.req.SHA256, Got: got}
	if again {
		return &temporary{err}
	}
	return err
}

func (p *partial) receive(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := newRequest(ctx, p.req.URL)
	if err != nil {
		return err
	}
	if p.n > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(p.n, 10)+"-")
	}
	resp, err := p.client.http().Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && p.n > 0 && rangeStart(resp) == p.n:
		p.resumed = true
	case resp.StatusCode == http.StatusOK:
		if err := p.restart(); err != nil {
			return err
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable || resp.StatusCode == http.StatusPartialContent:
		if err := p.restart(); err != nil {
			return err
		}
		return &temporary{fmt.Errorf("%s: the server cannot continue a download", p.req.URL)}
	default:
		return statusError(p.req, resp)
	}
	if err := p.checkLength(resp); err != nil {
		return err
	}
	return p.body(&watched{r: resp.Body, after: p.client.stall(), cancel: cancel})
}

func newRequest(ctx context.Context, url string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	// Without this the transport would unpack .gz files on its own.
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "instar")
	return req, nil
}

// rangeStart reads "Content-Range: bytes START-END/TOTAL" (RFC 9110, 14.4).
func rangeStart(resp *http.Response) int64 {
	s, _ := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
	s, _, _ = strings.Cut(s, "-")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func statusError(r Request, resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone:
		return &NotFound{What: r.name(), URL: r.URL}
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code == http.StatusTooEarly:
		return &temporary{fmt.Errorf("%s: the server answers %s", r.URL, resp.Status)}
	}
	return fmt.Errorf("downloading %s: %s: the server answers %s", r.name(), r.URL, resp.Status)
}

// checkLength refuses an answer that announces another size before its body is
// read.
func (p *partial) checkLength(resp *http.Response) error {
	if p.req.Size == 0 || resp.ContentLength < 0 || p.n+resp.ContentLength == p.req.Size {
		return nil
	}
	return p.wrongSize(strconv.FormatInt(p.n+resp.ContentLength, 10))
}

// wrongSize blames an earlier answer when there is one: then a new download
// from the start decides.
func (p *partial) wrongSize(got string) error {
	err := &Mismatch{What: p.req.name(), URL: p.req.URL, Field: "size",
		Want: strconv.FormatInt(p.req.Size, 10) + " bytes", Got: got + " bytes"}
	again := p.resumed
	if rerr := p.restart(); rerr != nil {
		return rerr
	}
	if again {
		return &temporary{err}
	}
	return err
}

// body appends the body. What arrived before an error is kept.
func (p *partial) body(r io.Reader) error {
	limit := int64(maxSize)
	if p.req.Size != 0 {
		limit = p.req.Size
	}
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		if p.n+int64(n) > limit {
			return p.wrongSize("more than " + strconv.FormatInt(limit, 10))
		}
		if _, werr := p.f.Write(buf[:n]); werr != nil {
			return werr
		}
		p.sum.Write(buf[:n])
		p.n += int64(n)
		p.meter.add(p.req.name(), int64(n))
		switch {
		case err == io.EOF && p.req.Size != 0 && p.n < p.req.Size:
			return &temporary{fmt.Errorf("%s: the answer ends after %d of %d bytes", p.req.URL, p.n, p.req.Size)}
		case err == io.EOF:
			return nil
		case err != nil:
			return &temporary{fmt.Errorf("%s: the answer ends after %d bytes: %w", p.req.URL, p.n, err)}
		}
	}
}

// watched cancels a request when no byte arrives for a time.
type watched struct {
	r      io.Reader
	after  time.Duration
	cancel context.CancelCauseFunc
}

func (w *watched) Read(b []byte) (int, error) {
	t := time.AfterFunc(w.after, func() { w.cancel(fmt.Errorf("nothing arrived for %v", w.after)) })
	defer t.Stop()
	return w.r.Read(b)
}
