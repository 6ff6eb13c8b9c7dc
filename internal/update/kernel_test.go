package update_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// kernels are two systems whose kernels differ a little, and are packed of parts.
func kernels(w *updatetest.World) (old, next digest.Digest) {
	put := func(n int, what string) digest.Digest {
		return w.System(n, func(m *system.Manifest) {
			text := bytes.Clone(updatetest.Random(700<<10, 77))
			copy(text[300<<10:], what)
			w.SetKernel(m, text)
		})
	}
	return put(3, "a kernel with a mistake"), put(4, "a kernel without that mistake")
}

// TestKernel: of a kernel travels what has changed, and the image that boots is
// packed where it is needed.
func TestKernel(t *testing.T) {
	if raceEnabled {
		t.Skip("scripts/test runs this without the race detector")
	}
	w := updatetest.New(t)
	old, next := kernels(w)
	for name, b := range map[string][]byte{"full": w.Update(next), "from the old": w.Update(next, old)} {
		env := w.Device(old)
		r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		whole(t, w, env, r)
	}
	if full, small := len(w.Update(next)), len(w.Update(next, old)); small*8 > full {
		t.Errorf("the update has %d bytes, all has %d", small, full)
	}
	index := published(t, w, t.TempDir(), old, next)
	env := w.Device(old)
	var n int64
	r, err := update.Pull(t.Context(), packs(t, index, unlimited, &n), env)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, w, env, r)
}

// TestKernelStays: a slot that has the image has what it is packed of.
func TestKernelStays(t *testing.T) {
	w := updatetest.New(t)
	old, _ := kernels(w)
	m, err := w.Store.System(old)
	if err != nil {
		t.Fatal(err)
	}
	next := w.System(5, func(n *system.Manifest) { n.Kernel.Image, n.Kernel.Payload = m.Kernel.Image, m.Kernel.Payload })
	b := w.Update(next, old)
	env := w.Device(old)
	asked := env.Part
	env.Part = func(o system.Object) update.Content {
		if o == m.Kernel.Payload.Content {
			t.Error("the kernel was unpacked")
		}
		return asked(o)
	}
	r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), env)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, w, env, r)
}

// TestKernelOther: a kernel that is packed to something else than the system
// names is none that boots.
func TestKernelOther(t *testing.T) {
	w := updatetest.New(t)
	old, next := kernels(w)
	b := w.Update(next, old)
	r, err := update.Receive(t.Context(), updatetest.Source(b, len(b)), w.Device(old))
	if err != nil {
		t.Fatal(err)
	}
	r.Manifest.Kernel.Image.Digest[0]++
	if _, err := r.Part(r.Manifest.Kernel.Image); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("packed: %v", err)
	}
}
