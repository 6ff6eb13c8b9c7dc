package remote_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// server serves a file as web servers do, in the ways that a row of the test says.
type server struct {
	data     []byte
	ranges   bool
	breakAt  int // bytes of each answer before the connection breaks; 0: never
	busy     int // answers of 503 before the first good one
	change   bool
	requests int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests++
	if s.requests <= s.busy {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("ETag", `"one"`)
	if s.change && s.requests > 1 {
		w.Header().Set("ETag", `"two"`)
	}
	if !s.ranges {
		r.Header.Del("Range")
	}
	if s.breakAt > 0 {
		w = &breaking{w, s.breakAt}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
}

// breaking breaks the connection after so many bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	if b.left -= n; b.left == 0 && err == nil {
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestDownload(t *testing.T) {
	w := updatetest.New(t)
	data := w.Update(w.New, w.Old)
	for name, row := range map[string]struct {
		server server
		want   string // of the error
	}{
		"good":           {server{ranges: true}, ""},
		"breaking":       {server{ranges: true, breakAt: 30000}, ""},
		"without ranges": {server{breakAt: 170000}, ""},
		"busy":           {server{ranges: true, busy: 3}, ""},
		"busy for ever":  {server{busy: 1 << 30}, "given up after 5 tries: the server answers 503"},
		"changing":       {server{ranges: true, breakAt: 30000, change: true}, "has become another one"},
		"something else": {server{data: []byte("<html>not found</html>" + strings.Repeat(" ", 100))}, "no update"},
	} {
		s := row.server
		if s.data == nil {
			s.data = data
		}
		h := httptest.NewServer(&s)
		c := &remote.Client{HTTP: h.Client(), Tries: 5, Pause: time.Millisecond}
		env := w.Device(w.Old)
		u, err := c.Open(t.Context(), h.URL)
		if err == nil {
			_, err = update.Receive(t.Context(), update.Source{Front: u.Front(), Body: u.Body}, env)
			u.Close()
		}
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
		h.Close()
	}
}

// After a cut, what is there is not asked for again.
func TestDownloadGoesOn(t *testing.T) {
	w := updatetest.New(t)
	data := w.Update(w.New, w.Old)
	env := w.Device(w.Old)
	if _, err := update.Receive(t.Context(), updatetest.Source(data, len(data)-2000), env); !errors.Is(err, update.ErrCut) {
		t.Fatal(err)
	}
	asked := ""
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Range")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer h.Close()
	u, err := (&remote.Client{HTTP: h.Client()}).Open(t.Context(), h.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := update.Receive(t.Context(), update.Source{Front: u.Front(), Body: u.Body}, env); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(asked, "bytes=") || asked < "bytes=1" {
		t.Errorf("asked for the range %q", asked)
	}
}

func TestFile(t *testing.T) {
	w := updatetest.New(t)
	data := w.Update(w.New, w.Old)
	path := filepath.Join(t.TempDir(), "u")
	for name, row := range map[string]struct {
		data []byte
		want string
	}{"good": {data, ""}, "cut": {data[:len(data)-1], "it is cut off"}, "longer": {append(bytes.Clone(data), 0), "something follows"}} {
		if err := os.WriteFile(path, row.data, 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := remote.File(path)
		if row.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			b, err := u.Body(10)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(b)
			if err != nil || int64(len(rest)) != u.BodySize-10 {
				t.Errorf("body from 10 on: %d bytes of %d, %v", len(rest), u.BodySize, err)
			}
			u.Close()
		} else if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}
