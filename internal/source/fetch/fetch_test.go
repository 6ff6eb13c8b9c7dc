package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server answers requests one after the other with the handlers given, the
// last one for all that follow.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	handlers []http.HandlerFunc
}

func serve(t *testing.T, handlers ...http.HandlerFunc) *server {
	s := &server{handlers: handlers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		h := s.handlers[min(len(s.requests), len(s.handlers)-1)]
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *server) header(i int, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[i].Header.Get(name)
}

var content = func() []byte {
	b := make([]byte, 700<<10)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(b)
	return b
}()

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func request(url string) Request {
	return Request{URL: url, SHA256: sum(content), Size: int64(len(content)), What: "thing 1.0"}
}

func client(t *testing.T) *Client {
	return &Client{Dir: t.TempDir(), Attempts: 4, Wait: func(context.Context, time.Duration) error { return nil }}
}

// Handlers.
func whole(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(content))
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func body(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b)
	}
}

// cut announces everything and breaks off after n bytes of what was asked for.
func cut(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(content[from : from+n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// ignoreRange sends everything whatever was asked for.
func ignoreRange(w http.ResponseWriter, r *http.Request) {
	r.Header.Del("Range")
	whole(w, r)
}

func otherRest(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(make([]byte, len(content))))
}

func wrongRange(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Range", "bytes 5-9/10")
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(content[5:10])
}

// chunked sends without announcing a length.
func chunked(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(b)
	}
}

func TestGet(t *testing.T) {
	changed := slices.Clone(content)
	changed[100]++
	rows := []struct {
		name     string
		handlers []http.HandlerFunc
		want     string // of the error; "" is success
		requests int
	}{
		{"at once", []http.HandlerFunc{whole}, "", 1},
		{"chunked", []http.HandlerFunc{chunked(content)}, "", 1},
		{"cut twice, resumed", []http.HandlerFunc{cut(300 << 10), cut(100 << 10), whole}, "", 3},
		{"server errors", []http.HandlerFunc{status(500), status(503), status(429), whole}, "", 4},
		{"too many server errors", []http.HandlerFunc{status(502)}, "downloading thing 1.0: gave up after 4 attempts: URL: the server answers 502 Bad Gateway", 4},
		{"always cut", []http.HandlerFunc{cut(10)}, "gave up after 4 attempts: URL: the answer ends after 40 bytes: unexpected EOF", 4},
		{"range not understood", []http.HandlerFunc{cut(1000), ignoreRange}, "", 2},
		{"range refused", []http.HandlerFunc{cut(1000), status(416), whole}, "", 3},
		{"another range", []http.HandlerFunc{cut(1000), wrongRange, whole}, "", 3},
		{"range of another file", []http.HandlerFunc{cut(1000), otherRest, whole}, "", 3},
		{"gone", []http.HandlerFunc{status(404)}, "the archive no longer has thing 1.0: URL is not there", 1},
		{"forbidden", []http.HandlerFunc{status(403)}, "downloading thing 1.0: URL: the server answers 403 Forbidden", 1},
		{"wrong hash", []http.HandlerFunc{body(changed)}, "thing 1.0 from URL is not what was asked for: SHA-256 is " + sum(changed) + " instead of " + sum(content), 1},
		{"announced too large", []http.HandlerFunc{body(append(slices.Clone(content), 1))}, "size is 716801 bytes instead of 716800 bytes", 1},
		{"announced too small", []http.HandlerFunc{body(content[1:])}, "size is 716799 bytes instead of 716800 bytes", 1},
		{"too large", []http.HandlerFunc{chunked(append(slices.Clone(content), 1))}, "size is more than 716800 bytes instead of 716800 bytes", 1},
		{"too small", []http.HandlerFunc{chunked(content[:len(content)-1]), whole}, "", 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s, c := serve(t, row.handlers...), client(t)
			path, err := c.Get(context.Background(), request(s.URL))
			if row.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if want := filepath.Join(c.Dir, "files", sum(content)[:2], sum(content)); path != want {
					t.Errorf("at %s", path)
				}
			} else if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), s.URL, "URL"), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
			if s.count() != row.requests {
				t.Errorf("%d requests, want %d", s.count(), row.requests)
			}
			if left, err := filepath.Glob(c.Dir + "/partial/*"); err != nil || row.want == "" && len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
			if row.want != "" && c.Has(sum(content)) {
				t.Error("the cache has what was refused")
			}
		})
	}
}

// A second call, in another process as it were, goes on where the first ended.
func TestResume(t *testing.T) {
	s, c := serve(t, cut(300<<10), whole), client(t)
	c.Attempts = 1
	if _, err := c.Get(context.Background(), request(s.URL)); err == nil {
		t.Fatal("no error")
	}
	var last Progress
	c = &Client{Dir: c.Dir, Progress: func(p Progress) { last = p }}
	if _, err := c.Get(context.Background(), request(s.URL)); err != nil {
		t.Fatal(err)
	}
	if got, want := s.header(1, "Range"), "bytes=307200-"; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	if want := (Progress{"thing 1.0", int64(len(content)), int64(len(content))}); last != want {
		t.Errorf("%+v", last)
	}
}

func TestStall(t *testing.T) {
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	s, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(content[:1000])
		w.(http.Flusher).Flush()
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}, whole), client(t)
	c.Stall = 50 * time.Millisecond
	if _, err := c.Get(context.Background(), request(s.URL)); err != nil {
		t.Fatal(err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, c := serve(t, status(500)), client(t)
	c.Wait = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
	if _, err := c.Get(ctx, request(s.URL)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOffline(t *testing.T) {
	s, c := serve(t, whole), client(t)
	off := &Client{Dir: c.Dir, Offline: true}
	var missing *Missing
	_, err := off.Get(context.Background(), request(s.URL))
	if !errors.As(err, &missing) || missing.What != "thing 1.0" || missing.URL != s.URL {
		t.Errorf("%v", err)
	}
	if _, err := c.Get(context.Background(), request(s.URL)); err != nil {
		t.Fatal(err)
	}
	if _, err := off.Get(context.Background(), request("http://nowhere.invalid/")); err != nil {
		t.Error(err)
	}
	if s.count() != 1 {
		t.Errorf("%d requests", s.count())
	}
}

func TestBadRequest(t *testing.T) {
	c := client(t)
	for _, r := range []Request{{URL: "http://x.invalid/", SHA256: "../../etc/passwd"}, {URL: "::", SHA256: sum(content)}} {
		if _, err := c.Get(context.Background(), r); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
	if c.Has("x") {
		t.Error("has what has no name")
	}
}

// A file that is there with another size is reported, not replaced in silence.
func TestDamagedCache(t *testing.T) {
	s, c := serve(t, whole), client(t)
	path, err := c.Get(context.Background(), request(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(context.Background(), request(s.URL)); err == nil || !strings.Contains(err.Error(), "has 10 bytes where 716800 are expected") {
		t.Error(err)
	}
}

// Goroutines of one client and clients of one directory, which stand for
// processes, share one download.
func TestShared(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		whole(w, r)
	})
	dir := t.TempDir()
	clients := []*Client{{Dir: dir}, {Dir: dir}, {Dir: dir}}
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			if _, err := clients[i%3].Get(context.Background(), request(s.URL)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.count() != 1 {
		t.Errorf("%d requests", s.count())
	}
	if left, err := filepath.Glob(dir + "/partial/*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// One caller that gives up does not fail the others.
func TestSharedCancel(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(started)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}, whole)
	c := client(t)
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan error)
	go func() {
		_, err := c.Get(ctx, request(s.URL))
		first <- err
	}()
	<-started
	second := make(chan error)
	go func() {
		_, err := c.Get(context.Background(), request(s.URL))
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	close(release)
}

func TestGetAll(t *testing.T) {
	var now, most atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		if strings.HasPrefix(r.URL.Path, "/gone") {
			w.WriteHeader(404)
			return
		}
		_, _ = w.Write([]byte(r.URL.Path))
	})
	var last Progress
	c := client(t)
	c.Parallel, c.Progress = 3, func(p Progress) { last = p }
	var rs []Request
	for i := range 20 {
		p := fmt.Sprintf("/%d", i%15) // some twice
		rs = append(rs, Request{URL: s.URL + p, SHA256: sum([]byte(p)), Size: int64(len(p)), What: p})
	}
	paths, err := c.GetAll(context.Background(), rs)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range paths {
		if got, err := os.ReadFile(p); err != nil || string(got) != rs[i].What {
			t.Errorf("%d: %q, %v", i, got, err)
		}
	}
	if most.Load() > 3 || s.count() != 15 {
		t.Errorf("%d at a time, %d requests", most.Load(), s.count())
	}
	if want := int64(10*2 + 5*3); last.Done != want || last.Total != want {
		t.Errorf("%+v, want %d", last, want)
	}

	// All that is gone is named, in one order.
	for _, p := range []string{"/gone-b", "/gone-a"} {
		rs = append(rs, Request{URL: s.URL + p, SHA256: sum([]byte(p)), Size: 7, What: p})
	}
	_, err = c.GetAll(context.Background(), rs)
	if err == nil || strings.Count(err.Error(), "no longer has") != 2 || strings.Index(err.Error(), "/gone-a") > strings.Index(err.Error(), "/gone-b") {
		t.Error(err)
	}
	var gone *NotFound
	if !errors.As(err, &gone) {
		t.Errorf("%T", err)
	}
}

func TestGetFresh(t *testing.T) {
	text := "first"
	tag := `"1"`
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, "x.bin", time.Time{}, strings.NewReader(text))
	})
	c := client(t)
	ask := func(c *Client, want string) {
		t.Helper()
		got, err := c.GetFresh(context.Background(), s.URL+"/InRelease", 100)
		if err != nil || string(got) != want {
			t.Errorf("got %q, %v", got, err)
		}
	}
	ask(c, "first")
	ask(c, "first")
	if got := s.header(1, "If-None-Match"); got != tag {
		t.Errorf("asked with %q", got)
	}
	text, tag = "second", `"2"`
	ask(&Client{Dir: c.Dir, Offline: true}, "first")
	ask(c, "second")
	ask(&Client{Dir: c.Dir, Offline: true}, "second")

	var missing *Missing
	if _, err := (&Client{Dir: t.TempDir(), Offline: true}).GetFresh(context.Background(), s.URL, 100); !errors.As(err, &missing) {
		t.Error(err)
	}
	text, tag = strings.Repeat("x", 101), `"3"`
	if _, err := c.GetFresh(context.Background(), s.URL+"/InRelease", 100); err == nil || !strings.Contains(err.Error(), "size is more instead of at most 100 bytes") {
		t.Error(err)
	}
	ask(&Client{Dir: c.Dir, Offline: true}, "second")
}

// Without an ETag the date decides; a lost content or a damaged record makes
// it ask for everything.
func TestGetFreshModified(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.bin", at, strings.NewReader("text"))
	})
	c := client(t)
	for i, spoil := range []func(string){
		nil, nil,
		func(dir string) { must(t, os.RemoveAll(dir+"/files")) },
		func(dir string) {
			names, err := filepath.Glob(dir + "/urls/*")
			must(t, err)
			must(t, os.WriteFile(names[0], []byte("{"), 0o600))
		},
	} {
		if spoil != nil {
			spoil(c.Dir)
		}
		if got, err := c.GetFresh(context.Background(), s.URL, 100); err != nil || string(got) != "text" {
			t.Errorf("%q, %v", got, err)
		}
		if conditional := s.header(i, "If-Modified-Since") != ""; conditional != (i == 1) {
			t.Errorf("request %d: %v", i, conditional)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPin(t *testing.T) {
	s, c := serve(t, cut(10), whole), client(t)
	p, err := c.Pin(context.Background(), s.URL, "thing")
	if err != nil || p.SHA256 != sum(content) || p.Size != int64(len(content)) {
		t.Fatalf("%+v, %v", p, err)
	}
	if path, err := c.Get(context.Background(), request("http://nowhere.invalid/")); err != nil || path != p.Path {
		t.Errorf("%s, %v", path, err)
	}
	if left, err := filepath.Glob(c.Dir + "/partial/*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
