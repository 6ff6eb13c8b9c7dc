package update_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/chunk/publish"
	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// published writes systems to a directory and returns the path of the last
// one's index.
func published(t *testing.T, w *updatetest.World, dir string, systems ...digest.Digest) string {
	t.Helper()
	var last string
	for _, sys := range systems {
		r, err := publish.Write(t.Context(), w.Store, sys, dir, publish.Options{Keys: []trust.Private{w.Key}, Pack: 400 << 10})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d chunks, %d new with %d bytes, the index has %d", sys.Short(), r.Chunks, r.New, r.Stored, r.Size)
		last = r.Index
	}
	return last
}

// packs reads an index of a directory, its ranges cut after limit bytes; n counts
// what was read of packs.
func packs(t *testing.T, index string, limit int64, n *int64) update.Packs {
	t.Helper()
	x, err := remote.FileIndex(index)
	if err != nil || x == nil {
		t.Fatal(x, err)
	}
	left := limit
	return update.Packs{Index: x.Front(), Ranges: func(list []chunk.Range) (io.Reader, error) {
		r, err := x.Ranges(triples(list))
		return &cutter{r, &left, n}, err
	}}
}

func triples(list []chunk.Range) (all [][3]int64) {
	for _, r := range list {
		all = append(all, [3]int64{int64(r.Pack), r.Offset, r.Length})
	}
	return all
}

type cutter struct {
	r       io.Reader
	left, n *int64
}

func (c *cutter) Read(b []byte) (int, error) {
	if *c.left <= 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(b[:min(int64(len(b)), *c.left)])
	*c.left -= int64(n)
	*c.n += int64(n)
	return n, err
}

const unlimited = 1 << 40

func TestPull(t *testing.T) {
	w := updatetest.New(t)
	dir := t.TempDir()
	index := published(t, w, dir, w.Old, w.New)
	var all, some int64
	empty := w.Device(w.System(9, func(m *system.Manifest) { // a device with nothing in common
		m.Epoch, m.Configurations[0].Containers = 1, nil
		m.Kernel.Image, m.Kernel.Initrd = m.Kernel.Stub, m.Kernel.Stub
	}))
	r, err := update.Pull(t.Context(), packs(t, index, unlimited, &all), empty)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, w, empty, r)
	env := w.Device(w.Old)
	if r, err = update.Pull(t.Context(), packs(t, index, unlimited, &some), env); err != nil {
		t.Fatal(err)
	}
	whole(t, w, env, r)
	if some*4 > all {
		t.Errorf("%d bytes were fetched of %d", some, all)
	}
	t.Logf("%d bytes of packs for all, %d for what is missing", all, some)
	var again int64
	if _, err = update.Pull(t.Context(), packs(t, index, unlimited, &again), env); err != nil || again > some/2 { // the boot parts were given up
		t.Errorf("again: %d bytes, %v", again, err)
	}
}

// Cut after any number of bytes, what came is not fetched again.
func TestPullCut(t *testing.T) {
	w := updatetest.New(t)
	index := published(t, w, t.TempDir(), w.New)
	env := w.Device(w.System(9, func(m *system.Manifest) {
		m.Epoch, m.Configurations[0].Containers = 1, nil
		m.Kernel.Image, m.Kernel.Initrd = m.Kernel.Stub, m.Kernel.Stub
	}))
	var total int64
	attempts := 0
	for {
		attempts++
		before := total
		r, err := update.Pull(t.Context(), packs(t, index, 200<<10, &total), env)
		if err == nil {
			whole(t, w, env, r)
			break
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || total == before || attempts > 100 {
			t.Fatalf("attempt %d read %d bytes: %v", attempts, total-before, err)
		}
	}
	var once int64
	if _, err := update.Pull(t.Context(), packs(t, index, unlimited, &once), w.Device(w.Old)); err != nil {
		t.Fatal(err)
	}
	var all int64
	x, err := remote.FileIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range x.Packs {
		all += p.Size
	}
	if total > all+int64(attempts)*2*chunk.MaxSize {
		t.Errorf("%d bytes in %d attempts for packs of %d", total, attempts, all)
	}
	t.Logf("%d bytes in %d attempts for packs of %d", total, attempts, all)
}

func TestPullRefused(t *testing.T) {
	w := updatetest.New(t)
	later := w.System(3, nil)
	other := w.System(4, func(m *system.Manifest) { m.Machine = "other" })
	stranger, err := trust.NewKey(strings.NewReader(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, want string
		sys, runs  digest.Digest
		change     func(*update.Env)
		spoil      func(dir string)
	}{
		{"another machine", "it is for other on amd64", other, w.Old, nil, nil},
		{"an older system", "its inputs are from", w.New, later, nil, nil},
		{"the same system", "runs already", w.Old, w.Old, nil, nil},
		{"another key", "no trusted key has signed it", w.New, w.Old, func(e *update.Env) { e.Keys = trust.Keys{stranger.Public()} }, nil},
		{"no space", "are free", w.New, w.Old, func(e *update.Env) { e.Free = func() (int64, error) { return 1000, nil } }, nil},
		{"preflight", "no driver", w.New, w.Old, func(e *update.Env) {
			e.Preflight = func(*system.Manifest, digest.Digest) []update.Problem {
				return []update.Problem{{Code: update.NoDriver, Text: "no driver"}}
			}
		}, nil},
		{"packs that are not there", "no such file", w.New, w.Old, nil, func(dir string) { os.RemoveAll(dir + "/packs") }},
		{"damaged packs", "chunk", w.New, w.Old, nil, func(dir string) {
			list, _ := filepath.Glob(dir + "/packs/*")
			for _, name := range list {
				b, _ := os.ReadFile(name)
				os.WriteFile(name, bytes.Repeat([]byte{1}, len(b)), 0o644)
			}
		}},
		{"cut packs", "send the update again to go on", w.New, w.Old, nil, func(dir string) {
			list, _ := filepath.Glob(dir + "/packs/*")
			for _, name := range list {
				os.Truncate(name, 10)
			}
		}},
	} {
		dir := t.TempDir()
		index := published(t, w, dir, row.sys)
		if row.spoil != nil {
			row.spoil(dir)
		}
		env := w.Device(row.runs)
		if row.change != nil {
			row.change(env)
		}
		before := listing(t, env.Store)
		var n int64
		_, err := update.Pull(t.Context(), packs(t, index, unlimited, &n), env)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if after := listing(t, env.Store); after != before {
			t.Errorf("%s: the store was changed from\n%s to\n%s", row.name, before, after)
		}
	}
}

// A device may have changed under what it has found; a pack may lie.
func TestPullDamagedLater(t *testing.T) {
	w := updatetest.New(t)
	dir := t.TempDir()
	index := published(t, w, dir, w.New)
	env := w.Device(w.Old)
	var n int64
	src := packs(t, index, unlimited, &n)
	ranges, asked := src.Ranges, 0
	src.Ranges = func(list []chunk.Range) (io.Reader, error) {
		r, err := ranges(list)
		if asked++; asked > 1 { // the manifest has come
			r = io.MultiReader(io.LimitReader(r, 3000), bytes.NewReader(make([]byte, 1<<20)))
		}
		return r, err
	}
	if _, err := update.Pull(t.Context(), src, env); err == nil || !strings.Contains(err.Error(), "chunk") {
		t.Errorf("a lying server: %v", err)
	}
	report, err := env.Store.Verify(t.Context(), nil)
	if err != nil || len(report.Damaged) > 0 {
		t.Errorf("the store: %+v, %v", report, err)
	}
	r, err := update.Pull(t.Context(), packs(t, index, unlimited, &n), env)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, w, env, r)
}

func TestCheckPacks(t *testing.T) {
	w := updatetest.New(t)
	index := published(t, w, t.TempDir(), w.New)
	env := w.Device(w.Old)
	before := listing(t, env.Store)
	var n int64
	c, err := update.CheckPacks(t.Context(), packs(t, index, unlimited, &n), env)
	if err != nil || len(c.Problems) > 0 || c.Have == 0 || c.Body <= c.Have || c.Need == 0 {
		t.Errorf("%+v, %v", c, err)
	}
	later := w.Device(w.System(3, nil))
	if c, err := update.CheckPacks(t.Context(), packs(t, index, unlimited, &n), later); err != nil || len(c.Problems) != 1 || c.Problems[0].Code != update.Older {
		t.Errorf("an older one: %+v, %v", c, err)
	}
	if after := listing(t, env.Store); after != before {
		t.Error("a check has changed the store")
	}
}

// Over HTTP, a server that breaks off is asked for the rest, and one that knows
// no ranges will do.
func TestPullOverHTTP(t *testing.T) {
	w := updatetest.New(t)
	dir := t.TempDir()
	published(t, w, dir, w.New)
	for name, serve := range map[string]http.Handler{
		"plain": http.FileServer(http.Dir(dir)),
		"breaking": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			http.FileServer(http.Dir(dir)).ServeHTTP(&breaking{ResponseWriter: rw, left: 100 << 10}, r)
		}),
		"without ranges": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			http.FileServer(http.Dir(dir)).ServeHTTP(rw, r)
		}),
	} {
		h := httptest.NewServer(serve)
		c := &remote.Client{HTTP: h.Client(), Tries: 5, Pause: time.Millisecond}
		x, err := c.Index(context.Background(), h.URL+"/test-amd64.index")
		if err != nil || x == nil {
			t.Fatal(name, x, err)
		}
		env := w.Device(w.Old)
		r, err := update.Pull(t.Context(), update.Packs{Index: x.Front(), Ranges: func(list []chunk.Range) (io.Reader, error) {
			return x.Ranges(triples(list))
		}}, env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			whole(t, w, env, r)
		}
		h.Close()
	}
}

// breaking ends a connection after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(p)
}
