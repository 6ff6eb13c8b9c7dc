package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
)

func updateScenarios() []*crashtest.Scenario {
	return []*crashtest.Scenario{receive("update: receive a delta", 2, true), receive("update: receive all", 2, false), receive("update: receive a kernel alone", kernelOnly, true)}
}

// bootParts are the objects of a system that boot slots hold.
func bootParts(m *system.Manifest) map[digest.Digest]bool {
	k := m.Kernel
	return map[digest.Digest]bool{k.Image.Digest: true, k.Initrd.Digest: true, k.Loader.Digest: true, k.Init.Digest: true}
}

// receive is an update as a device applies it: the stream, the root that says
// that its slot is staged, and the end of what it kept.
func receive(name string, to int, small bool) *crashtest.Scenario {
	key, err := trust.NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		panic(err)
	}
	var v1, v2 digest.Digest
	var stream bytes.Buffer
	parts := map[digest.Digest][]byte{}
	err = elsewhere(func(s *store.Store) (err error) {
		if v1, err = putVersion(s, 1); err != nil {
			return err
		}
		if v2, err = putVersion(s, to); err != nil {
			return err
		}
		m, err := s.System(v1)
		if err != nil {
			return err
		}
		for d := range bootParts(m) {
			if parts[d], err = s.Bytes(d, 1<<20); err != nil {
				return err
			}
		}
		o := pack.Options{Keys: []trust.Private{key}, Piece: 12, Scratch: s.Dir()}
		if small {
			o.Bases = []digest.Digest{v1}
		}
		_, err = pack.Write(ctx, s, v2, o, &stream)
		return err
	})
	if err != nil {
		panic(err)
	}
	return &crashtest.Scenario{
		Name:  name,
		Setup: setupVersion(1, "r"),
		Run: func(e *crashtest.Env) error {
			return within(e.Dir, e.FS, func(s *store.Store) error {
				env := &update.Env{Store: s, Keys: trust.Keys{key.Public()}, Running: v1, FS: e.FS,
					Part: func(o system.Object) update.Content {
						if b, ok := parts[o.Digest]; ok {
							return bytes.NewReader(b)
						}
						return nil
					}}
				r, err := update.Receive(ctx, update.Stream(bytes.NewReader(stream.Bytes())), env)
				if err != nil {
					return err
				}
				e.Ack("received")
				for d := range bootParts(r.Manifest) { // the slot is staged
					if _, ok := parts[d]; ok || d == r.Manifest.Kernel.Init.Digest {
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
				if err := s.SetRoot("r", r.System); err != nil {
					return err
				}
				e.Ack("new")
				return r.Finish()
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = within(st.Dir, durable.FS{}, func(s *store.Store) error {
				got, err = received(s, st, v1, v2)
				return err
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
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
