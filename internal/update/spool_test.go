package update_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// What an attempt before has kept is found for every content that has it, also
// for those that come after the spool was emptied.
func TestPullSharedChunks(t *testing.T) {
	w := updatetest.New(t)
	shared := updatetest.Random(500<<10, 7)
	files := map[string]string{}
	for i := range 10 {
		files[fmt.Sprintf("usr/lib/%d", i)] = string(bytes.Join([][]byte{updatetest.Random(600<<10, uint64(50+i)), shared, updatetest.Random(600<<10, uint64(70+i))}, nil))
	}
	image, err := w.Store.PutImage(t.Context(), storetest.PutTree(t, w.Store, files))
	if err != nil {
		t.Fatal(err)
	}
	next := w.System(3, func(m *system.Manifest) { m.Configurations[0].Containers[0].Image = image })
	index := published(t, w, t.TempDir(), next)
	env := w.Device(w.Old)
	var first, rest int64
	if _, err := update.Pull(t.Context(), packs(t, index, 1500<<10, &first), env); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	again(t, env)
	r, err := update.Pull(t.Context(), packs(t, index, unlimited, &rest), env)
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(10*1200+500+1000) << 10; first+rest > limit { // the shared bytes once, what surrounds them, and the rest of the system
		t.Errorf("%d and %d bytes were fetched, more than %d", first, rest, limit)
	}
	whole(t, w, env, r)
}

// A large content that is cut after small ones leaves more than the spool is let
// grow to; nothing of it comes again.
func TestPullLargeCut(t *testing.T) {
	w := updatetest.New(t)
	files := map[string]string{"usr/lib/large": string(updatetest.Random(12<<20, 1))}
	for i := range 20 {
		files[fmt.Sprintf("usr/lib/%d", i)] = string(updatetest.Random(300<<10+i, uint64(50+i)))
	}
	image, err := w.Store.PutImage(t.Context(), storetest.PutTree(t, w.Store, files))
	if err != nil {
		t.Fatal(err)
	}
	next := w.System(3, func(m *system.Manifest) { m.Configurations[0].Containers[0].Image = image })
	index := published(t, w, t.TempDir(), next)
	env := w.Device(w.Old)
	var all int64
	attempts := 1
	for ; ; attempts++ {
		r, err := update.Pull(t.Context(), packs(t, index, 5<<20, &all), env)
		if err == nil {
			whole(t, w, env, r)
			break
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || attempts > 20 {
			t.Fatalf("attempt %d: %v", attempts, err)
		}
		again(t, env)
	}
	if limit := int64(19+attempts) << 20; all > limit {
		t.Errorf("%d bytes were fetched in %d attempts", all, attempts)
	}
}

// again opens a device's store as the next process does: what was not committed
// is gone.
func again(t *testing.T, env *update.Env) {
	t.Helper()
	dir := env.Store.Dir()
	if err := env.Store.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	env.Store = s
}
