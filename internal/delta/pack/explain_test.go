package pack_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/test/updatetest"
)

// What files cost is what the update has, and the dear ones are those that are
// new.
func TestFiles(t *testing.T) {
	w := updatetest.New(t)
	text := strings.Repeat("a line of a file that compresses well\n", 2000)
	image := func(files map[string]string) func(m *system.Manifest) {
		return func(m *system.Manifest) { m.Configurations[0].Containers[0].Image = put(t, w, files) }
	}
	kept := string(updatetest.Random(100<<10, 7))
	old := w.System(10, image(map[string]string{"usr/bin/changed": kept}))
	next := w.System(11, image(map[string]string{"usr/bin/changed": kept[:50<<10] + "x" + kept[50<<10:],
		"usr/share/new": string(updatetest.Random(1200<<10, 8)), "usr/share/new2": string(updatetest.Random(300<<10, 9)), "usr/share/text": text}))
	for name, bases := range map[string][]digest.Digest{"from the old": {old}, "complete": nil} {
		var b bytes.Buffer
		if _, err := pack.Write(t.Context(), w.Store, next, pack.Options{Bases: bases, Keys: []trust.Private{w.Key}, Scratch: t.TempDir()}, &b); err != nil {
			t.Fatal(err)
		}
		u, err := delta.Inspect(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		body := bytes.NewReader(b.Bytes()[u.Front:])
		all, err := pack.Files(w.Store, u, body)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		cost := map[string]pack.File{}
		for _, f := range all {
			sum += f.Stored
			cost[f.Path] = f
		}
		if sum != u.BodySize {
			t.Errorf("%s: %d bytes of %d", name, sum, u.BodySize)
		}
		near := func(path string, least, most int64) {
			if n := cost[path].Stored; n < least || n > most {
				t.Errorf("%s: %s costs %d bytes, want %d to %d", name, path, n, least, most)
			}
		}
		near("/usr/share/new", 1200<<10-40<<10, 1200<<10+40<<10)
		near("/usr/share/new2", 300<<10-40<<10, 300<<10+40<<10)
		near("/usr/share/text", 0, 40<<10)
		if bases != nil {
			near("/usr/bin/changed", 1, 200)
			if f := cost["/usr/bin/changed"]; f.Base != f.Path || f.Method != delta.Difference {
				t.Errorf("%+v", f)
			}
			empty, err := store.Open(t.TempDir(), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer empty.Close()
			if _, err := pack.Files(empty, u, body); err == nil || !strings.Contains(err.Error(), "none of its bases") {
				t.Errorf("without a base: %v", err)
			}
		}
		damaged := bytes.Clone(b.Bytes()[u.Front:])
		damaged[len(damaged)/2] ^= 1
		if _, err := pack.Files(w.Store, u, bytes.NewReader(damaged)); err == nil {
			t.Errorf("%s: damage is not seen", name)
		}
	}
}
