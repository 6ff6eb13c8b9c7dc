// Package updatetest makes small worlds for tests of updates: a build host's
// store with systems that follow each other, and devices that have one of them.
package updatetest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
)

// World is a build host.
type World struct {
	Store *store.Store
	Key   trust.Private
	Old   digest.Digest // a system
	New   digest.Digest // what follows it

	t testing.TB
}

// New makes a build host with two systems. Of the first, the second has most
// files, one changed a little, one new, and one gone; another initrd and the
// same kernel.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{Store: open(t), t: t}
	var err error
	if w.Key, err = trust.NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32))); err != nil {
		t.Fatal(err)
	}
	w.Old = w.System(1, nil)
	w.New = w.System(2, nil)
	return w
}

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Random returns bytes that do not compress, always the same for a seed.
func Random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// System puts version n of the system, changed as wanted.
func (w *World) System(n int, change func(*system.Manifest)) digest.Digest {
	w.t.Helper()
	files := map[string]string{"usr/bin/same": string(Random(200<<10, 1)), "etc/empty": "", "etc/small": "small and old\n",
		"etc/version": fmt.Sprintf("version %d\n", n), fmt.Sprintf("usr/lib/only-%d", n): string(Random(160<<10, uint64(n)))}
	for i := range 40 {
		files[fmt.Sprintf("usr/share/f%02d", i)] = string(Random(100+i*50, uint64(100+i)))
	}
	changed := Random(150<<10, 2)
	copy(changed[50<<10:], fmt.Sprintf("this is version %d", n))
	files["usr/bin/changed"] = string(changed)
	large := Random(600<<10, 3)
	copy(large[n<<10:], "elsewhere in each version")
	files["usr/lib/large"] = string(large)
	image, err := w.Store.PutImage(w.t.Context(), storetest.PutTree(w.t, w.Store, files))
	if err != nil {
		w.t.Fatal(err)
	}
	m := storetest.Manifest(w.t, w.Store, image)
	m.Machine, m.Epoch = "test", int64(1000*n)
	m.Kernel.Image = w.put(Random(300<<10, 4))
	initrd := Random(400<<10, 5)
	copy(initrd[100<<10:], fmt.Sprintf("init of version %d", n))
	m.Kernel.Initrd = w.put(initrd)
	m.Kernel.Init = w.put([]byte(fmt.Sprintf("init of version %d", n)))
	if change != nil {
		change(m)
	}
	d, err := w.Store.PutSystem(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *World) put(b []byte) system.Object {
	d, err := w.Store.PutBytes(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return system.Object{Digest: d, Size: int64(len(b))}
}

// Update makes the update to a system from bases, in small pieces.
func (w *World) Update(to digest.Digest, bases ...digest.Digest) []byte {
	w.t.Helper()
	var b bytes.Buffer
	_, err := pack.Write(w.t.Context(), w.Store, to, pack.Options{Bases: bases, Keys: []trust.Private{w.Key}, Piece: 14, Solid: 256 << 10, Scratch: w.t.TempDir()}, &b)
	if err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

// Device returns what a device is that runs a system: its store has not what
// only boot slots hold.
func (w *World) Device(runs digest.Digest) *update.Env {
	w.t.Helper()
	env := &update.Env{Store: open(w.t), Keys: trust.Keys{w.Key.Public()}, Running: runs}
	w.Fill(env.Store, runs)
	m, err := w.Store.System(runs)
	if err != nil {
		w.t.Fatal(err)
	}
	env.Part = func(o system.Object) update.Content {
		for _, p := range append(Parts(m), m.Kernel.Parts()...) {
			if p.Digest == o.Digest {
				return bytes.NewReader(w.Bytes(o.Digest))
			}
		}
		return nil
	}
	return env
}

// Parts are the objects of a system that boot slots hold.
func Parts(m *system.Manifest) []system.Object {
	return []system.Object{m.Kernel.Image, m.Kernel.Initrd, m.Kernel.Loader}
}

// Bytes returns the content of an object of the build host.
func (w *World) Bytes(d digest.Digest) []byte {
	w.t.Helper()
	b, err := w.Store.Bytes(d, 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// Fill puts a system into a store as a device has it.
func (w *World) Fill(s *store.Store, sys digest.Digest) {
	w.t.Helper()
	c, err := w.Store.Closure(sys)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := w.Store.System(sys)
	if err != nil {
		w.t.Fatal(err)
	}
	boot := map[digest.Digest]bool{m.Kernel.Init.Digest: true}
	for _, o := range append(Parts(m), m.Kernel.Parts()...) {
		boot[o.Digest] = true
	}
	kept := c.Objects[:0]
	for _, o := range c.Objects {
		if !boot[o.Digest] {
			kept = append(kept, o)
		}
	}
	c.Objects = kept
	if _, err := s.CopyFrom(w.t.Context(), w.Store, c); err != nil {
		w.t.Fatal(err)
	}
}

// Source gives an update's bytes up to limit, from any offset of the body.
func Source(b []byte, limit int) update.Source {
	return Counted(b, limit, new(int64))
}

// Counted is Source, and counts the bytes that were read.
func Counted(b []byte, limit int, n *int64) update.Source {
	front := bytes.NewReader(b[:limit])
	return update.Source{Front: counter{front, n}, Body: func(offset int64) (io.Reader, error) {
		_, err := front.Seek(offset, io.SeekCurrent)
		return counter{front, n}, err
	}}
}

type counter struct {
	r io.Reader
	n *int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}
