package update_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// whole checks that a device has a system as the build host has it.
func whole(t *testing.T, w *updatetest.World, env *update.Env, r *update.Received) {
	t.Helper()
	report, err := env.Store.Verify(t.Context(), nil)
	if err != nil || len(report.Damaged) > 0 || len(report.Strange) > 0 {
		t.Fatalf("the store: %+v, %v", report, err)
	}
	c, err := w.Store.Closure(r.System)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range updatetest.Parts(r.Manifest) {
		p, err := r.Part(o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(p, 0, p.Size()))
		if err != nil || !bytes.Equal(b, w.Bytes(o.Digest)) {
			t.Errorf("part %s: %d bytes, %v", o.Digest.Short(), len(b), err)
		}
	}
	boot := map[digest.Digest]bool{r.Manifest.Kernel.Init.Digest: true}
	for _, o := range append(updatetest.Parts(r.Manifest), r.Manifest.Kernel.Parts()...) {
		boot[o.Digest] = true
	}
	for _, o := range c.Objects {
		if !boot[o.Digest] && !env.Store.Has(o.Digest) {
			t.Errorf("object %s is not there", o.Digest)
		}
	}
	if got, err := env.Store.Closure(r.System); err != nil || len(got.Images) != len(c.Images) {
		t.Errorf("images: %d, %v", len(got.Images), err)
	}
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(env.Store.Incoming()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReceive(t *testing.T) {
	w := updatetest.New(t)
	for name, b := range map[string][]byte{"full": w.Update(w.New), "from the old": w.Update(w.New, w.Old)} {
		env := w.Device(w.Old)
		r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s: %d bytes", name, len(b))
		whole(t, w, env, r)
		// Again: everything is there.
		var n int64
		if _, err := update.Receive(t.Context(), updatetest.Counted(b, len(b), &n), env); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
	if full, small := len(w.Update(w.New)), len(w.Update(w.New, w.Old)); small*8 > full {
		t.Errorf("the update has %d bytes, all has %d", small, full)
	}
}

// Cut at every piece and in the middle of many, an update goes on where it was.
func TestCutAndResumed(t *testing.T) {
	w := updatetest.New(t)
	for name, b := range map[string][]byte{"full": w.Update(w.New), "from the old": w.Update(w.New, w.Old)} {
		u, err := delta.Inspect(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		env := w.Device(w.Old)
		var total int64
		step := 5*int(u.PieceSize) + 77
		if u.Pieces() < 40 {
			step = 7001
		}
		attempts := 0
		for limit := 1; limit < len(b); limit += step {
			attempts++
			before := total
			_, err := update.Receive(t.Context(), updatetest.Counted(b, limit, &total), env)
			if err == nil || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, update.ErrCut) {
				t.Fatalf("%s, cut at %d: %v", name, limit, err)
			}
			if again := total - before - u.Front; again > 2*u.PieceSize+int64(step) {
				t.Fatalf("%s, cut at %d: %d bytes of the body were read", name, limit, again)
			}
			if list, err := env.Store.Systems(); err != nil || len(list) != 1 {
				t.Fatalf("%s, cut at %d: systems %v, %v", name, limit, list, err)
			}
		}
		r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes in %d attempts", name, len(b), attempts+1)
		whole(t, w, env, r)
	}
}

// A spool that lost some of what was on it is read as far as it is good.
func TestSpoolDamaged(t *testing.T) {
	w := updatetest.New(t)
	b := w.Update(w.New)
	env := w.Device(w.Old)
	if _, err := update.Receive(t.Context(), updatetest.Source(b, len(b)/2), env); !errors.Is(err, update.ErrCut) {
		t.Fatal(err)
	}
	dirs, err := os.ReadDir(env.Store.Incoming())
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	spool := env.Store.Incoming() + "/" + dirs[0].Name() + "/body"
	info, err := os.Stat(spool)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(spool, info.Size()-20000); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(spool, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 50000), info.Size()-300000); err != nil {
		t.Fatal(err)
	}
	r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, w, env, r)
}

func TestRefused(t *testing.T) {
	w := updatetest.New(t)
	later := w.System(3, nil)
	other := w.System(4, func(m *system.Manifest) { m.Machine = "other" })
	good := w.Update(w.New, w.Old)
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	u, err := delta.Inspect(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := trust.NewKey(strings.NewReader(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, want string
		b          []byte
		runs       digest.Digest
		change     func(*update.Env)
	}{
		{"another machine", "it is for other on amd64, this is test", w.Update(other), w.Old, nil},
		{"another base", "it begins at system " + w.Old.Short(), good, w.New, nil},
		{"another base, by a device of a third", "and this machine has system " + later.Short(), good, later, nil},
		{"an older system", "its inputs are from 1970-01-01 00:33, those of what runs from 1970-01-01 00:50", w.Update(w.New), later, nil},
		{"the same system", "runs already", w.Update(w.Old), w.Old, nil},
		{"no keys", "no key is trusted here", good, w.Old, func(e *update.Env) { e.Keys = nil }},
		{"another key", "no trusted key has signed it", good, w.Old, func(e *update.Env) { e.Keys = trust.Keys{stranger.Public()} }},
		{"a changed head", "the signature of key", flip(50), w.Old, nil},
		{"a changed hash", "the signature of key", flip(int(u.Front) - 72 - 5), w.Old, nil},
		{"a changed body", "piece 1 of", flip(int(u.Front) + 5), w.Old, nil},
		{"cut in the head", "cut off", good[:60], w.Old, nil},
		{"something else", "this is no update", []byte(strings.Repeat("x", 1000)), w.Old, nil},
		{"no space", "are free", good, w.Old, func(e *update.Env) { e.Free = func() (int64, error) { return 1000, nil } }},
		{"no kernel", "is neither in it nor in a slot", good, w.Old, func(e *update.Env) { e.Part = func(system.Object) update.Content { return nil } }},
		{"preflight", "no driver", good, w.Old, func(e *update.Env) {
			e.Preflight = func(*system.Manifest, digest.Digest) []update.Problem {
				return []update.Problem{{Code: update.NoDriver, Text: "no driver", Grave: false}}
			}
		}},
	} {
		env := w.Device(row.runs)
		if row.change != nil {
			row.change(env)
		}
		before := listing(t, env.Store)
		_, err := update.Receive(t.Context(), updatetest.Source(row.b, len(row.b)), env)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if after := listing(t, env.Store); after != before {
			t.Errorf("%s: the store was changed from\n%s to\n%s", row.name, before, after)
		}
	}
	// What can be overruled, is.
	env := w.Device(later)
	env.Force = true
	b := w.Update(w.New)
	if _, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env); err != nil {
		t.Errorf("an older system, forced: %v", err)
	}
}

// listing lists all files of a store but for locks and staging areas.
func listing(t *testing.T, s *store.Store) string {
	t.Helper()
	var b strings.Builder
	root := os.DirFS(s.Dir())
	for _, top := range []string{"objects", "images", "systems", "roots", "incoming"} {
		f, err := root.Open(top)
		if err != nil {
			continue
		}
		f.Close()
		if err := walk(s.Dir()+"/"+top, &b); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func walk(dir string, b *strings.Builder) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		b.WriteString(dir + "/" + e.Name() + "\n")
		if e.IsDir() {
			err = errors.Join(err, walk(dir+"/"+e.Name(), b))
		}
	}
	return err
}

// A device that had two systems before takes updates from either.
func TestSeveralBases(t *testing.T) {
	w := updatetest.New(t)
	third := w.System(3, nil)
	b := w.Update(third, w.Old, w.New)
	for _, runs := range []digest.Digest{w.Old, w.New} {
		env := w.Device(runs)
		r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env)
		if err != nil {
			t.Fatal(err)
		}
		whole(t, w, env, r)
	}
}
