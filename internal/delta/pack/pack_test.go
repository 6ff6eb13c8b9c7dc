package pack_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/test/updatetest"
)

// put makes an image of these files.
func put(t *testing.T, w *updatetest.World, files map[string]string) system.Object {
	t.Helper()
	image, err := w.Store.PutImage(t.Context(), storetest.PutTree(t, w.Store, files))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// An executable that has moved costs little where its name and path say what it
// was made of, and where only its content does.
func TestDifferences(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program = program[:2<<20]
	moved := append(bytes.Clone(program[:1<<20]), append([]byte("a few bytes more"), program[1<<20:]...)...)
	w := updatetest.New(t)
	for name, path := range map[string]string{"path": "usr/bin/program", "version": "usr/lib/program-1.3/program", "content": "opt/entirely-else"} {
		was := "usr/bin/program"
		if name == "version" {
			was = "usr/lib/program-1.2.9/program"
		}
		old := w.System(10, func(m *system.Manifest) {
			m.Configurations[0].Containers[0].Image = put(t, w, map[string]string{was: string(program)})
		})
		next := w.System(10, func(m *system.Manifest) {
			m.Configurations[0].Containers[0].Image = put(t, w, map[string]string{path: string(moved)})
		})
		var b bytes.Buffer
		r, err := pack.Write(t.Context(), w.Store, next, pack.Options{Bases: []digest.Digest{old}, Keys: []trust.Private{w.Key}, Scratch: t.TempDir()}, &b)
		if err != nil {
			t.Fatal(err)
		}
		if r.Size > 4096 {
			t.Errorf("by %s: %d bytes: %+v", name, r.Size, r.Parts)
		}
	}
}
