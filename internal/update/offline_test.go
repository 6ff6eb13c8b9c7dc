package update_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/cpio"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// withInit makes a system whose initrd holds its init, as real ones do.
func withInit(t *testing.T, w *updatetest.World, n int) digest.Digest {
	t.Helper()
	put := func(b []byte) system.Object {
		d, err := w.Store.PutBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return system.Object{Digest: d, Size: int64(len(b))}
	}
	init := updatetest.Random(50<<10, uint64(900+n))
	var initrd bytes.Buffer
	file := func(path string, b []byte) cpio.File {
		return cpio.File{Path: path, Mode: 0o100755, Size: int64(len(b)), Data: bytes.NewReader(b)}
	}
	err := cpio.Write(&initrd, []cpio.File{
		{Path: "modules", Mode: cpio.TypeDir | 0o755}, file("modules/x.ko", updatetest.Random(50<<10, 1)), file("init", init)})
	if err != nil {
		t.Fatal(err)
	}
	return w.System(n, func(m *system.Manifest) {
		m.Kernel.Init, m.Kernel.Initrd = put(init), put(initrd.Bytes())
		m.Update = &system.Update{Keys: []string{w.Key.Public().String()}}
	})
}

// A store that nothing runs from has all of a system after an update, also what
// else only boot slots hold.
func TestOffline(t *testing.T) {
	w := updatetest.New(t)
	first, second := withInit(t, w, 5), withInit(t, w, 6)
	s, err := store.Open(filepath.Join(t.TempDir(), "offline"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := update.Offline(s, nil); err == nil || !strings.Contains(err.Error(), "trusts a key") {
		t.Errorf("an empty store: %v", err)
	}
	c, err := w.Store.Closure(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CopyFrom(t.Context(), w.Store, c); err != nil {
		t.Fatal(err)
	}
	b := w.Update(second, first)
	for range 2 { // the second time everything is there
		env, err := update.Offline(s, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	report, err := s.Verify(t.Context(), nil)
	if err != nil || !report.OK() {
		t.Errorf("the store: %+v, %v", report, err)
	}
	for _, d := range []digest.Digest{first, second} {
		c, err := w.Store.Closure(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range c.Objects {
			if !s.Has(o.Digest) {
				t.Errorf("system %s lacks object %s", d.Short(), o.Digest)
			}
		}
	}
	older := w.Update(first)
	env, err := update.Offline(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	env.Running = second
	if _, err := update.Receive(t.Context(), updatetest.Source(older, len(older)), env); err == nil || !strings.Contains(err.Error(), "its inputs are from") {
		t.Errorf("an older system: %v", err)
	}
}
