// Package remote reads updates from where they lie: a web server, a file, or a
// stream. A web server is asked for the part that is wanted, again when the
// connection breaks; any that serves files will do.
//
// Source: RFC 9110, section 14, "Range Requests".
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/delta"
)

// Update is an update to be sent on. Whoever receives it verifies it.
type Update struct {
	*delta.Update
	front []byte
	body  func(offset int64) (io.Reader, error)
	close func() error
}

// Front returns what stands before the body.
func (u *Update) Front() io.Reader { return bytes.NewReader(u.front) }

// Body returns the body from an offset on. It may be called once.
func (u *Update) Body(offset int64) (io.Reader, error) {
	if offset < 0 || offset > u.BodySize {
		return nil, fmt.Errorf("the update is wanted from %d on, it has %d bytes", offset, u.BodySize)
	}
	return u.body(offset)
}

// Close gives up file or connection.
func (u *Update) Close() error { return u.close() }

// IsURL reports whether a name is that of an update on a web server.
func IsURL(name string) bool {
	return strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")
}

// front reads what stands before the body.
func (u *Update) read(r io.Reader) (err error) {
	var kept bytes.Buffer
	u.Update, err = delta.Inspect(io.TeeReader(r, &kept))
	u.front = kept.Bytes()
	return err
}

// Stream reads an update from a stream, which cannot be read twice. The caller
// closes the stream.
func Stream(r io.Reader) (*Update, error) {
	u := &Update{close: func() error { return nil }}
	u.body = func(offset int64) (io.Reader, error) {
		_, err := io.CopyN(io.Discard, r, offset)
		return r, err
	}
	return u, u.read(r)
}

// File opens an update in a file, which must end where it does.
func File(path string) (*Update, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	u := &Update{close: f.Close}
	u.body = func(offset int64) (io.Reader, error) {
		return io.NewSectionReader(f, u.Update.Front+offset, u.BodySize-offset), nil
	}
	if err = u.read(f); err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() != u.Update.Front+u.BodySize {
			err = fmt.Errorf("it has %d bytes, the update in it has %d: it is cut off, or something follows", info.Size(), u.Update.Front+u.BodySize)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return u, nil
}

// Client downloads. The zero value of its numbers stands for the defaults.
type Client struct {
	HTTP  *http.Client
	Tries int           // in a row without a byte; 0: 8
	Pause time.Duration // before the second try, doubled for each further one; 0: one second
}

// maxPause is the longest pause between two tries.
const maxPause = time.Minute

// Open reads an update on a web server up to its body.
func (c *Client) Open(ctx context.Context, url string) (*Update, error) {
	d := &download{c: c, ctx: ctx, url: url}
	u := &Update{close: d.close}
	if err := u.read(d); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", url, err), d.close())
	}
	d.end = u.Update.Front + u.BodySize
	u.body = func(offset int64) (io.Reader, error) {
		if at := u.Update.Front + offset; at != d.at {
			if err := d.close(); err != nil {
				return nil, err
			}
			d.at = at
		}
		return d, nil
	}
	return u, nil
}

// download reads a resource from at on, over as many connections as it takes.
type download struct {
	c    *Client
	ctx  context.Context
	url  string
	at   int64
	end  int64  // of the update; 0: not known yet
	tag  string // of the resource: another one is another update
	body io.ReadCloser
	idle int // tries without a byte

	to    int64 // where the last byte is wanted; 0: to the end
	fresh bool  // nothing was read: whatever is there is the resource
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.end > 0 && d.at >= d.end {
			return 0, io.EOF
		}
		err := d.connect()
		if err == nil {
			var n int
			if n, err = d.body.Read(p); n > 0 {
				d.at, d.idle = d.at+int64(n), 0
				return n, nil
			}
			if errors.Is(err, io.EOF) && d.end == 0 {
				return 0, err
			}
			if err == nil {
				continue
			}
		}
		d.close()
		var final *refusal
		if errors.As(err, &final) || d.ctx.Err() != nil {
			return 0, err
		}
		if err := d.wait(err); err != nil {
			return 0, err
		}
	}
}

func (d *download) close() error {
	if d.body == nil {
		return nil
	}
	err := d.body.Close()
	d.body = nil
	return err
}

// wait pauses before another try.
func (d *download) wait(last error) error {
	tries, pause := d.c.Tries, d.c.Pause
	if tries == 0 {
		tries = 8
	}
	if pause == 0 {
		pause = time.Second
	}
	if d.idle++; d.idle >= tries {
		return fmt.Errorf("given up after %d tries: %w", tries, last)
	}
	select {
	case <-time.After(min(pause<<(d.idle-1), maxPause)):
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
}

// refusal is an answer that another try does not change.
type refusal struct{ text string }

// Error says what the server answered.
func (r *refusal) Error() string { return r.text }

// connect asks for what is missing.
func (d *download) connect() error {
	if d.body != nil {
		return nil
	}
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return &refusal{err.Error()}
	}
	if d.at > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(d.at, 10)+"-")
	}
	if d.to > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", d.at, d.to-1))
	}
	resp, err := d.c.HTTP.Do(req)
	if err != nil {
		return err
	}
	if err := d.accept(resp); err != nil {
		resp.Body.Close()
		return err
	}
	d.body = resp.Body
	return nil
}

// accept checks an answer, and skips what a server without ranges sends first.
func (d *download) accept(resp *http.Response) error {
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("the server answers %s", resp.Status)
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent:
		return &refusal{"the server answers " + resp.Status}
	}
	tag := resp.Header.Get("ETag") + resp.Header.Get("Last-Modified")
	if d.at > 0 && d.tag != tag && !d.fresh {
		return &refusal{"the file on the server has become another one meanwhile"}
	}
	d.tag, d.fresh = tag, false
	if d.at > 0 && resp.StatusCode == http.StatusOK {
		_, err := io.CopyN(io.Discard, resp.Body, d.at)
		return err
	}
	if want := "bytes " + strconv.FormatInt(d.at, 10) + "-"; d.at > 0 && !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
		return &refusal{"the server answers with another range: " + resp.Header.Get("Content-Range")}
	}
	return nil
}
