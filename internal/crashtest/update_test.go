package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/chunk/publish"
	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
)

func updateScenarios() []*crashtest.Scenario {
	return []*crashtest.Scenario{
		receive("update: receive a delta", 2, delta, 0), receive("update: receive all", 2, complete, 0), receive("update: receive a kernel alone", kernelOnly, delta, 0),
		receive("update: go on receiving", largeOne, delta, 70<<10), receive("update: pull chunks", 2, chunks, 0), receive("update: go on pulling", largeOne, chunks, 70<<10),
		collectSlots()}
}

// fileSlot is a boot slot that is a file with the name of its system.
type fileSlot struct {
	path string
	fs   durable.FS
}

func (f fileSlot) List() ([]update.Slot, error) {
	all := []update.Slot{{InForce: true}, {}}
	if b, err := os.ReadFile(f.path); err == nil {
		d, err := digest.Parse(string(b))
		if err != nil {
			return nil, err
		}
		all[1].Systems = []digest.Digest{d}
	}
	return all, nil
}

func (f fileSlot) Clear(int) error { return f.fs.Remove(f.path) }

// collectSlots collects a system that only a slot holds: the slot goes before
// anything of the system.
func collectSlots() *crashtest.Scenario {
	var v1, v2 digest.Digest
	both := func(s *store.Store) (err error) {
		if v1, err = putVersion(s, 1); err == nil {
			v2, err = putVersion(s, 2)
		}
		return err
	}
	if err := elsewhere(both); err != nil {
		panic(err)
	}
	slot := func(dir string) string { return dir + "/slot" }
	return &crashtest.Scenario{
		Name: "update: collect slots and store",
		Setup: func(e *crashtest.Env) error {
			return within(e.Dir+"/store", durable.FS{}, func(s *store.Store) error {
				for _, n := range []int{1, 2} {
					if _, err := putVersion(s, n); err != nil {
						return err
					}
				}
				return durable.WriteFile(slot(e.Dir), 0o644, []byte(v2.String()))
			})
		},
		Run: func(e *crashtest.Env) error {
			return within(e.Dir+"/store", e.FS, func(s *store.Store) error {
				g, err := update.PlanGC(&update.Env{Store: s, Running: v1, FS: e.FS}, record.Record{Current: v1}, fileSlot{slot(e.Dir), e.FS})
				if err != nil {
					return err
				}
				if err := g.Execute(ctx); err != nil {
					return err
				}
				e.Ack("new")
				return nil
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = whole(st.Dir+"/store", func(s *store.Store) error {
				list, err := fileSlot{slot(st.Dir), durable.FS{}}.List()
				if err != nil {
					return err
				}
				if _, err := s.System(v1); err != nil {
					return err
				}
				_, err = s.System(v2)
				switch held := len(list[1].Systems) > 0; {
				case held && err != nil:
					return fmt.Errorf("a slot holds a system whose content goes: %w", err)
				case held:
					got = "old"
				case err == nil:
					got = "between"
				default:
					got = "new"
				}
				return nil
			})
			if err != nil || got == "new" {
				return got, err
			}
			return acknowledged(st, got)
		},
	}
}

// bootParts are the objects of a system that boot slots hold.
func bootParts(m *system.Manifest) map[digest.Digest]bool {
	k := m.Kernel
	return map[digest.Digest]bool{k.Image.Digest: true, k.Initrd.Digest: true, k.Loader.Digest: true, k.Init.Digest: true}
}

// The ways in which an update comes.
const (
	complete = iota
	delta
	chunks
)

// pulled makes a way to pull a system that was published once.
func pulled(s *store.Store, sys digest.Digest, key trust.Private) (func() update.Packs, error) {
	dir, err := os.MkdirTemp("", "crash-packs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r, err := publish.Write(ctx, s, sys, dir, publish.Options{Keys: []trust.Private{key}})
	if err != nil {
		return nil, err
	}
	index, err := os.ReadFile(r.Index)
	if err != nil {
		return nil, err
	}
	x, err := chunk.Inspect(bytes.NewReader(index))
	if err != nil {
		return nil, err
	}
	var packs [][]byte
	for _, p := range x.Packs {
		b, err := os.ReadFile(dir + "/" + p.File())
		if err != nil {
			return nil, err
		}
		packs = append(packs, b)
	}
	return func() update.Packs {
		return update.Packs{Index: bytes.NewReader(index), Ranges: func(list []chunk.Range) (io.Reader, error) {
			var all []io.Reader
			for _, r := range list {
				all = append(all, bytes.NewReader(packs[r.Pack][r.Offset:r.Offset+r.Length]))
			}
			return io.MultiReader(all...), nil
		}}
	}, nil
}

// sent is an update on its way to a device with the first version.
type sent struct {
	v1, v2 digest.Digest
	key    trust.Private
	stream []byte
	packs  func() update.Packs      // nil: it is a stream
	parts  map[digest.Digest][]byte // what boot slots have
}

func send(to, way int) (*sent, error) {
	u := &sent{parts: map[digest.Digest][]byte{}}
	var err error
	if u.key, err = trust.NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32))); err != nil {
		return nil, err
	}
	return u, elsewhere(func(s *store.Store) (err error) {
		if u.v1, err = putVersion(s, 1); err != nil {
			return err
		}
		if u.v2, err = putVersion(s, to); err != nil {
			return err
		}
		m, err := s.System(u.v1)
		if err != nil {
			return err
		}
		for d := range bootParts(m) {
			if u.parts[d], err = s.Bytes(d, 1<<20); err != nil {
				return err
			}
		}
		o := pack.Options{Keys: []trust.Private{u.key}, Piece: 12, Solid: 38 << 10, Scratch: s.Dir()}
		switch way {
		case delta:
			o.Bases = []digest.Digest{u.v1}
		case chunks:
			u.packs, err = pulled(s, u.v2, u.key)
			return err
		}
		var b bytes.Buffer
		_, err = pack.Write(ctx, s, u.v2, o, &b)
		u.stream = b.Bytes()
		return err
	})
}

// take is what the device makes of the first bytes of it: of the stream, or of
// what packs have.
func (u *sent) take(s *store.Store, k durable.FS, limit int64) (*update.Received, error) {
	env := &update.Env{Store: s, Keys: trust.Keys{u.key.Public()}, Running: u.v1, FS: k,
		Part: func(o system.Object) update.Content {
			if b, ok := u.parts[o.Digest]; ok {
				return bytes.NewReader(b)
			}
			return nil
		}}
	if u.packs == nil {
		return update.Receive(ctx, update.Stream(io.LimitReader(bytes.NewReader(u.stream), limit)), env)
	}
	packs := u.packs()
	ranges := packs.Ranges
	packs.Ranges = func(list []chunk.Range) (io.Reader, error) {
		r, err := ranges(list)
		return upTo{r, &limit}, err
	}
	return update.Pull(ctx, packs, env)
}

// upTo reads until nothing is left, of several readers.
type upTo struct {
	r    io.Reader
	left *int64
}

func (u upTo) Read(b []byte) (int, error) {
	if *u.left <= 0 {
		return 0, io.EOF
	}
	n, err := u.r.Read(b[:min(int64(len(b)), *u.left)])
	*u.left -= int64(n)
	return n, err
}

// everything is no limit.
const everything = 1 << 40

// receive is an update as a device applies it: the stream, the root that says
// that its slot is staged, and the end of what it kept. With cut bytes of it, an
// attempt before has ended there.
func receive(name string, to, way int, cut int64) *crashtest.Scenario {
	u, err := send(to, way)
	if err != nil {
		panic(err)
	}
	setup := setupVersion(1, "r")
	return &crashtest.Scenario{
		Name: name,
		Setup: func(e *crashtest.Env) error {
			if err := setup(e); err != nil || cut == 0 {
				return err
			}
			return within(e.Dir, durable.FS{}, func(s *store.Store) error {
				_, err := u.take(s, durable.FS{}, cut)
				if !errors.Is(err, update.ErrCut) {
					return fmt.Errorf("the attempt before: %v", err)
				}
				return nil
			})
		},
		Run: func(e *crashtest.Env) error {
			return within(e.Dir, e.FS, func(s *store.Store) error {
				r, err := u.take(s, e.FS, everything)
				if err != nil {
					return err
				}
				e.Ack("received")
				if err := u.stage(r); err != nil {
					return err
				}
				if err := s.SetRoot("r", r.System); err != nil {
					return err
				}
				e.Ack("new")
				return r.Finish()
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = within(st.Dir, durable.FS{}, func(s *store.Store) error {
				got, err = received(s, st, u.v1, u.v2)
				return err
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}

// stage reads what a slot is made of.
func (u *sent) stage(r *update.Received) error {
	for d := range bootParts(r.Manifest) {
		if _, ok := u.parts[d]; ok || d == r.Manifest.Kernel.Init.Digest {
			continue
		}
		part, err := r.Part(system.Object{Digest: d})
		if err != nil {
			return err
		}
		if c, ok := part.(io.Closer); ok {
			if err := c.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// received checks a device's store: nothing is damaged, and each system that is
// listed has all but its boot parts.
func received(s *store.Store, st *crashtest.State, v1, v2 digest.Digest) (string, error) {
	report, err := s.Verify(ctx, nil)
	if err != nil {
		return "", err
	}
	if len(report.Damaged) > 0 {
		return "", fmt.Errorf("damaged %v", report.Damaged)
	}
	for _, d := range []digest.Digest{v1, v2} {
		m, err := s.System(d)
		switch {
		case errors.Is(err, store.ErrMissing) && d == v2 && !st.Has("received"):
			continue
		case err != nil:
			return "", err
		}
		c, err := s.Closure(d)
		if err != nil {
			return "", err
		}
		boot := bootParts(m)
		for _, o := range c.Objects {
			if _, err := s.Bytes(o.Digest, 1<<20); err != nil && (!boot[o.Digest] || d == v1) {
				return "", fmt.Errorf("system %s: %w", d.Short(), err)
			}
		}
	}
	// What Finish removes may come back: the next update cleans it.
	return rootIs(s, "r", map[digest.Digest]string{v1: "old", v2: "new"})
}
