package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/instar-os/instar/internal/durable"
)

// Pinned is content that was found at an address.
type Pinned struct {
	Path   string // in the cache
	SHA256 string
	Size   int64 // bytes
}

// answer is what a server said last about an address.
type answer struct {
	URL      string `json:"url"`
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

// GetFresh returns what the address holds now, at most limit bytes. Nothing
// about it is verified. The last copy is kept: the server is asked whether
// there is a newer one, and offline the copy is the answer.
func (c *Client) GetFresh(ctx context.Context, url string, limit int64) ([]byte, error) {
	p, err := c.fresh(ctx, url, url, limit)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(p.Path)
}

// Pin downloads what the address holds now and says which content that is.
// Offline it is the content that was there last.
func (c *Client) Pin(ctx context.Context, url, what string) (Pinned, error) {
	return c.fresh(ctx, url, what, maxSize)
}

func (c *Client) fresh(ctx context.Context, url, what string, limit int64) (Pinned, error) {
	name := sha256.Sum256([]byte(url))
	record := filepath.Join(c.Dir, "urls", hex.EncodeToString(name[:]))
	last, err := c.lastAnswer(record, url)
	if err != nil {
		return Pinned{}, err
	}
	if c.Offline {
		if last == nil {
			return Pinned{}, &Missing{What: what, URL: url, Dir: c.Dir}
		}
		return c.pinned(last), nil
	}
	var now *answer
	m := &meter{client: c}
	err = c.retry(ctx, what, func(ctx context.Context) (err error) {
		now, err = c.ask(ctx, Request{URL: url, What: what, Size: limit}, last, m)
		return err
	})
	if err != nil {
		return Pinned{}, err
	}
	if last == nil || *now != *last {
		if err := writeAnswer(record, now); err != nil {
			return Pinned{}, err
		}
	}
	return c.pinned(now), nil
}

func (c *Client) pinned(a *answer) Pinned {
	return Pinned{Path: c.path(a.SHA256), SHA256: a.SHA256, Size: a.Size}
}

// lastAnswer reads a record. One that is damaged or whose content is gone
// counts as none.
func (c *Client) lastAnswer(record, url string) (*answer, error) {
	text, err := os.ReadFile(record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var a answer
	if json.Unmarshal(text, &a) != nil || a.URL != url || !isSHA256(a.SHA256) || !c.Has(a.SHA256) {
		return nil, nil
	}
	return &a, nil
}

func writeAnswer(record string, a *answer) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(record), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(record, 0o644, text)
}

// ask makes one conditional request. r.Size is the limit.
func (c *Client) ask(ctx context.Context, r Request, last *answer, m *meter) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := newRequest(ctx, r.URL)
	if err != nil {
		return nil, err
	}
	if last != nil && last.ETag != "" {
		req.Header.Set("If-None-Match", last.ETag)
	} else if last != nil && last.Modified != "" {
		req.Header.Set("If-Modified-Since", last.Modified)
	}
	req.Header.Set("Cache-Control", "max-age=0")
	resp, err := c.http().Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && last != nil:
		return last, nil
	case resp.StatusCode != http.StatusOK:
		return nil, statusError(r, resp)
	}
	now, err := c.store(&watched{r: resp.Body, after: c.stall(), cancel: cancel}, r, m)
	if err != nil {
		return nil, err
	}
	now.ETag, now.Modified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	return now, nil
}

// store writes a body whose hash is not known into files.
func (c *Client) store(body io.Reader, r Request, m *meter) (*answer, error) {
	dir := filepath.Join(c.Dir, "partial")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "fresh-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum, counter{m, r.name()}), io.LimitReader(body, r.Size+1))
	switch {
	case err != nil:
		err = &temporary{fmt.Errorf("%s: the answer ends after %d bytes: %w", r.URL, n, err)}
	case n > r.Size:
		limit := strconv.FormatInt(r.Size, 10)
		err = &Mismatch{What: r.name(), URL: r.URL, Field: "size", Want: "at most " + limit + " bytes", Got: "more"}
	}
	a := &answer{URL: r.URL, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: n}
	if err == nil {
		err = keep(f, c.path(a.SHA256))
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return a, nil
}

type counter struct {
	m    *meter
	what string
}

func (c counter) Write(b []byte) (int, error) {
	c.m.add(c.what, int64(len(b)))
	return len(b), nil
}
