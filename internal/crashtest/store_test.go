package crashtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

var ctx = context.Background()

func storeScenarios() []*crashtest.Scenario {
	return []*crashtest.Scenario{putObjects(), putStream(), putSystem(), replaceRoot(), collect(), copyFrom(), repair(), foreignSystem()}
}

// within opens a store, calls f and closes it.
func within(dir string, k durable.FS, f func(s *store.Store) error) error {
	s, err := store.Open(dir, store.Options{FS: k})
	if err != nil {
		return err
	}
	return errors.Join(f(s), s.Close())
}

// whole opens what a cut has left of a store and reads all of it again:
// nothing may be damaged, and no system may lack anything.
func whole(dir string, f func(s *store.Store) error) error {
	return within(dir, durable.FS{}, func(s *store.Store) error {
		r, err := s.Verify(ctx, nil)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(r.Strange, func(p string) bool { return strings.HasPrefix(filepath.Base(p), ".durable-") })
		if !r.OK() || len(left) > 0 {
			return fmt.Errorf("damaged %v, missing %v, strange %v", r.Damaged, r.Missing, left)
		}
		return f(s)
	})
}

func putObjects() *crashtest.Scenario {
	rounds := [][][]byte{
		{text("one", 100), text("two", 600), text("three", 1300)},
		{text("four", 200), text("one", 100)},
	}
	return &crashtest.Scenario{
		Name: "store: put and commit objects",
		Run: func(e *crashtest.Env) error {
			return within(e.Dir+"/store", e.FS, func(s *store.Store) error {
				for i, objects := range rounds {
					for _, b := range objects {
						if _, err := s.PutBytes(b); err != nil {
							return err
						}
					}
					if err := s.Commit(); err != nil {
						return err
					}
					e.Ack("round %d", i)
				}
				return nil
			})
		},
		Check: func(st *crashtest.State) (string, error) {
			there, all := 0, 0
			err := whole(st.Dir+"/store", func(s *store.Store) error {
				for i, objects := range rounds {
					for _, b := range objects {
						all++
						switch _, err := s.Bytes(digest.Of(b), 1<<20); {
						case err == nil:
							there++
						case !errors.Is(err, store.ErrMissing):
							return err
						case st.Has("round %d", i):
							return fmt.Errorf("an object of round %d, which was acknowledged, is lost", i)
						}
					}
				}
				return nil
			})
			return some(there, all), err
		},
	}
}

// some says what part of a change is there.
func some(there, all int) string {
	switch there {
	case 0:
		return "old"
	case all:
		return "new"
	}
	return "between"
}

// putStream puts an object that is too large to be held in memory.
func putStream() *crashtest.Scenario {
	big := text("large", 256<<10+700)
	return &crashtest.Scenario{
		Name: "store: put a large object",
		Run: func(e *crashtest.Env) error {
			return within(e.Dir, e.FS, func(s *store.Store) error {
				if _, _, err := s.Put(bytes.NewReader(big)); err != nil {
					return err
				}
				if err := s.Commit(); err != nil {
					return err
				}
				e.Ack("new")
				return nil
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = whole(st.Dir, func(s *store.Store) error {
				got = some(map[bool]int{true: 1}[s.Has(digest.Of(big))], 1)
				return nil
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}

// kernelOnly is the version that differs from the first in nothing but its
// kernel.
const kernelOnly = 3

// largeOne is a version that takes many pieces and chunks to bring.
const largeOne = 70

// putVersion makes a system whose parts are partly those of other versions.
func putVersion(s *store.Store, n int) (digest.Digest, error) {
	own := n
	if n == kernelOnly {
		own = 1
	}
	var failed error
	put := func(b []byte) system.Object {
		d, err := s.PutBytes(b)
		failed = errors.Join(failed, err)
		return system.Object{Digest: d, Size: int64(len(b))}
	}
	t := tree.New()
	files := map[string][]byte{"bin/same": text("same", 700), "bin/own": text(fmt.Sprintf("own %d", own), 700), "etc/small": []byte("x")}
	if n == largeOne {
		files["bin/large"], files["bin/larger"] = noise(n, 36<<10), noise(n+1, 40<<10)
	}
	for path, b := range files {
		o := put(b)
		failed = errors.Join(failed, t.Put(path, tree.Entry{Kind: tree.File, Mode: 0o644, Size: o.Size, Digest: o.Digest}))
	}
	if failed != nil {
		return digest.Digest{}, failed
	}
	image, err := s.PutImage(ctx, t)
	if err != nil {
		return digest.Digest{}, err
	}
	m := &system.Manifest{
		Version: system.Version, Machine: "test", Epoch: int64(1000 * n), Arch: "amd64", Default: "day",
		Kernel: system.Kernel{
			Release: "6.12.0", Image: put(text(fmt.Sprintf("kernel %d", n), 300)), Initrd: put(text("initrd", 300)), Stub: put(text("stub", 100)),
			Loader: put(text("stub", 100)), Init: put(text("initrd", 300)), Command: []string{}, Modules: []string{},
		},
		Boot: system.Boot{Slots: 2, SlotSize: 1 << 20, DataFS: put(text("stub", 100))},
		Configurations: []system.Configuration{{Name: "day", Containers: []system.Container{{
			Name: "c", Image: image, Args: []string{"/bin/true"}, Dir: "/", Root: system.ReadOnly, Network: system.NoNetwork}}}},
	}
	if failed != nil {
		return digest.Digest{}, failed
	}
	return s.PutSystem(m)
}

// elsewhere calls f with a store that stands on another medium.
func elsewhere(f func(s *store.Store) error) error {
	dir, err := crashtest.Scratch()
	if err != nil {
		return err
	}
	return errors.Join(within(dir, durable.FS{}, f), os.RemoveAll(dir))
}

// version returns the digest of a version.
func version(n int) digest.Digest {
	var d digest.Digest
	if err := elsewhere(func(s *store.Store) (err error) { d, err = putVersion(s, n); return err }); err != nil {
		panic(err)
	}
	return d
}

func setupVersion(n int, root string) func(e *crashtest.Env) error {
	return func(e *crashtest.Env) error {
		return within(e.Dir, durable.FS{}, func(s *store.Store) error {
			d, err := putVersion(s, n)
			if err != nil {
				return err
			}
			return s.SetRoot(root, d)
		})
	}
}

// rootIs returns which version a root names; its closure must be there, which
// whole has looked at.
func rootIs(s *store.Store, name string, versions map[digest.Digest]string) (string, error) {
	roots, err := s.Roots()
	if err != nil {
		return "", err
	}
	for _, r := range roots {
		if r.Name != name {
			continue
		}
		if _, err := s.System(r.System); err != nil {
			return "", fmt.Errorf("root %s: %w", name, err)
		}
		if v, ok := versions[r.System]; ok {
			return v, nil
		}
		return "", fmt.Errorf("root %s names %s", name, r.System)
	}
	return "none", nil
}

func putSystem() *crashtest.Scenario {
	v1 := version(1)
	return &crashtest.Scenario{
		Name: "store: a system into an empty store",
		Run: func(e *crashtest.Env) error {
			return within(e.Dir, e.FS, func(s *store.Store) error {
				d, err := putVersion(s, 1)
				if err != nil {
					return err
				}
				e.Ack("system")
				if err := s.SetRoot("r", d); err != nil {
					return err
				}
				e.Ack("new")
				return nil
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = whole(st.Dir, func(s *store.Store) error {
				if _, err := s.System(v1); err != nil && st.Has("system") {
					return fmt.Errorf("an acknowledged system: %w", err)
				}
				got, err = rootIs(s, "r", map[digest.Digest]string{v1: "new"})
				if got == "none" {
					got = "old"
				}
				return err
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}

func replaceRoot() *crashtest.Scenario {
	v1, v2 := version(1), version(2)
	return &crashtest.Scenario{
		Name:  "store: a newer system takes the root",
		Setup: setupVersion(1, "r"),
		Run: func(e *crashtest.Env) error {
			return within(e.Dir, e.FS, func(s *store.Store) error {
				d, err := putVersion(s, 2)
				if err != nil {
					return err
				}
				if err := s.SetRoot("r", d); err != nil {
					return err
				}
				e.Ack("new")
				return nil
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = whole(st.Dir, func(s *store.Store) error {
				got, err = rootIs(s, "r", map[digest.Digest]string{v1: "old", v2: "new"})
				return err
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}

func collect() *crashtest.Scenario {
	v1, v2 := version(1), version(2)
	return &crashtest.Scenario{
		Name: "store: collect garbage",
		Setup: func(e *crashtest.Env) error {
			return errors.Join(setupVersion(1, "old")(e), setupVersion(2, "new")(e))
		},
		Run: func(e *crashtest.Env) error {
			return within(e.Dir, e.FS, func(s *store.Store) error {
				if err := s.DeleteRoot("old"); err != nil {
					return err
				}
				e.Ack("root")
				p, err := s.PlanGC(nil)
				if err != nil {
					return err
				}
				if err := s.ExecuteGC(ctx, p); err != nil {
					return err
				}
				e.Ack("new")
				return nil
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = whole(st.Dir, func(s *store.Store) error {
				if got, err := rootIs(s, "new", map[digest.Digest]string{v2: "new"}); err != nil || got != "new" {
					return fmt.Errorf("the root that stays: %s, %v", got, err)
				}
				was, err := rootIs(s, "old", map[digest.Digest]string{v1: "old"})
				if err != nil {
					return err
				}
				if was == "old" && st.Has("root") {
					return errors.New("a root that was deleted is there again")
				}
				p, err := s.PlanGC(nil)
				if err != nil {
					return err
				}
				switch {
				case was == "old":
					got = "old"
				case p.Free.Files == 0:
					got = "new"
				default:
					got = "between"
				}
				return nil
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}

// copyFrom brings a system from another store, which stands on another medium.
func copyFrom() *crashtest.Scenario {
	v1, v2 := version(1), version(2)
	return &crashtest.Scenario{
		Name:  "store: copy a system from another store",
		Setup: setupVersion(1, "r"),
		Run: func(e *crashtest.Env) error {
			return elsewhere(func(from *store.Store) error {
				d, err := putVersion(from, 2)
				if err != nil {
					return err
				}
				c, err := from.Closure(d)
				if err != nil {
					return err
				}
				return within(e.Dir, e.FS, func(s *store.Store) error {
					if _, err := s.CopyFrom(ctx, from, c); err != nil {
						return err
					}
					e.Ack("copied")
					if err := s.SetRoot("r", d); err != nil {
						return err
					}
					e.Ack("new")
					return nil
				})
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = whole(st.Dir, func(s *store.Store) error {
				if _, err := s.System(v2); err != nil && st.Has("copied") {
					return fmt.Errorf("an acknowledged system: %w", err)
				}
				got, err = rootIs(s, "r", map[digest.Digest]string{v1: "old", v2: "new"})
				return err
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}

// repair replaces a damaged object. Until that is acknowledged it may be
// damaged still; nothing else may be.
func repair() *crashtest.Scenario {
	damaged := digest.Of(text("same", 700))
	return &crashtest.Scenario{
		Name: "store: repair a damaged object",
		Setup: func(e *crashtest.Env) error {
			if err := setupVersion(1, "r")(e); err != nil {
				return err
			}
			return within(e.Dir, durable.FS{}, func(s *store.Store) error {
				return os.WriteFile(s.ObjectPath(damaged), text("rotten", 700), 0o555)
			})
		},
		Run: func(e *crashtest.Env) error {
			return elsewhere(func(from *store.Store) error {
				if _, err := putVersion(from, 1); err != nil {
					return err
				}
				return within(e.Dir, e.FS, func(s *store.Store) error {
					r, err := s.Verify(ctx, nil)
					if err != nil {
						return err
					}
					if _, err := s.Repair(ctx, from, r); err != nil {
						return err
					}
					e.Ack("new")
					return nil
				})
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = within(st.Dir, durable.FS{}, func(s *store.Store) error {
				r, err := s.Verify(ctx, nil)
				switch {
				case err != nil:
					return err
				case r.OK():
					got = "new"
				case len(r.Damaged) == 1 && r.Damaged[0].Digest == damaged && len(r.Missing) == 0:
					b, err := os.ReadFile(s.ObjectPath(damaged))
					if err != nil || !bytes.Equal(b, text("rotten", 700)) {
						return fmt.Errorf("the damaged object became worse: %.40q, %v", b, err)
					}
					got = "old"
				default:
					return fmt.Errorf("damaged %v, missing %v", r.Damaged, r.Missing)
				}
				return nil
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}

// foreignSystem sets a root for a system whose name another process has made
// and not synced yet.
func foreignSystem() *crashtest.Scenario {
	v1 := version(1)
	return &crashtest.Scenario{
		Name: "store: a root for what another process has just put",
		Setup: func(e *crashtest.Env) error {
			return within(e.Dir, durable.FS{}, func(s *store.Store) error {
				if _, err := putVersion(s, 1); err != nil {
					return err
				}
				return os.Rename(s.SystemPath(v1), e.Dir+"/tmp/new")
			})
		},
		Run: func(e *crashtest.Env) error {
			return within(e.Dir, e.FS, func(s *store.Store) error {
				err := os.Rename(e.Dir+"/tmp/new", s.SystemPath(v1)) // the other process
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					return err
				}
				if err := s.SetRoot("r", v1); err != nil {
					return err
				}
				e.Ack("new")
				return nil
			})
		},
		Check: func(st *crashtest.State) (got string, err error) {
			err = whole(st.Dir, func(s *store.Store) error {
				got, err = rootIs(s, "r", map[digest.Digest]string{v1: "new"})
				if got == "none" {
					got = "old"
				}
				return err
			})
			if err != nil {
				return "", err
			}
			return acknowledged(st, got)
		},
	}
}
