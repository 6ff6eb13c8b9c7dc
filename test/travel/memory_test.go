package travel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/chunk/publish"
	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/test/updatetest"
)

// resident is the most that a device's process that takes updates may have in
// memory, and heap what its collector aims at, as pid1/boot sets it.
const (
	resident = 64 << 20
	heap     = "48MiB"
)

// child names what the test's own program does when it is started again.
const child = "INSTAR_TEST_TAKES"

// TestMemory has a process of its own take a large update, as a stream and in
// chunks, and looks at the most that was ever resident of it.
func TestMemory(t *testing.T) {
	if what := os.Getenv(child); what != "" {
		takes(t, what)
		return
	}
	w := updatetest.New(t)
	program := program(t)
	change := func(n int) func(m *system.Manifest) {
		return func(m *system.Manifest) {
			files := map[string]string{"usr/bin/program": string(elsewhere(program, n))}
			for i := range 1500 { // and as many objects, which the head lists
				files[fmt.Sprintf("usr/share/%d/%d", i%100, i)] = fmt.Sprintf("content %d of %d, which is more than sixty-four bytes long and so an object\n", i, n)
			}
			files[map[int]string{5: "usr/lib/large", 6: "usr/lib/of-another-name"}[n]] = string(updatetest.Random(16<<20, uint64(n)))
			image, err := w.Store.PutImage(t.Context(), storetest.PutTree(t, w.Store, files))
			if err != nil {
				t.Fatal(err)
			}
			m.Configurations[0].Containers[0].Image = image
		}
	}
	old, next := w.System(5, change(5)), w.System(6, change(6))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "update"), w.Update(next, old), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := publish.Write(t.Context(), w.Store, next, dir, publish.Options{Keys: []trust.Private{w.Key}}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"update", "test-amd64.index"} {
		env := w.Device(old)
		parts := t.TempDir()
		m, err := w.Store.System(old)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range updatetest.Parts(m) {
			if err := os.WriteFile(filepath.Join(parts, o.Digest.String()), w.Bytes(o.Digest), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := env.Store.Close(); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestMemory$", "-test.v", filepath.Join(dir, what), env.Store.Dir(), old.String(), w.Key.Public().String(), parts)
		cmd.Env = append(os.Environ(), child+"="+what, "GOMEMLIMIT="+heap)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		most := peak(t, out)
		t.Logf("%s: %d KiB at most", what, most>>10)
		if most > resident {
			t.Errorf("%s: %d KiB were resident, more than %d", what, most>>10, resident>>10)
		}
		s, err := store.Open(env.Store.Dir(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.System(next); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		s.Close()
	}
}

// peak reads what the process says of itself, in bytes.
func peak(t *testing.T, out []byte) int64 {
	t.Helper()
	m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("it does not say what it took: %s", out)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// takes is the process of a device.
func takes(t *testing.T, what string) {
	args := os.Args[len(os.Args)-5:]
	s, err := store.Open(args[1], store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	runs, err := digest.Parse(args[2])
	if err != nil {
		t.Fatal(err)
	}
	keys, err := trust.ParseKeys(args[3:4])
	if err != nil {
		t.Fatal(err)
	}
	env := &update.Env{Store: s, Keys: keys, Running: runs, Part: func(o system.Object) update.Content {
		f, err := os.Open(filepath.Join(args[4], o.Digest.String()))
		if err != nil {
			return nil
		}
		info, err := f.Stat()
		if err != nil {
			return nil
		}
		return io.NewSectionReader(f, 0, info.Size())
	}}
	u, err := (&remote.Client{}).Parcel(t.Context(), args[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if what == "update" {
		_, err = update.Receive(t.Context(), update.Source{Front: u.Front, Body: u.Outgoing.Body}, env)
	} else {
		_, err = update.Pull(t.Context(), update.Packs{Index: u.Front, Ranges: func(list []chunk.Range) (io.Reader, error) {
			var all [][3]int64
			for _, r := range list {
				all = append(all, [3]int64{int64(r.Pack), r.Offset, r.Length})
			}
			return u.Ranges(all)
		}}, env)
	}
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s", regexp.MustCompile(`VmHWM:.*\n`).Find(status))
}

// program is a large executable: this test.
func program(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// elsewhere changes an executable such that its code stays what it is and is at
// other places: what a difference of executables is made for.
func elsewhere(b []byte, n int) []byte {
	b = bytes.Clone(b)
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return b
	}
	if s := f.Section(".text"); s != nil {
		for at := int(s.Offset) + n; at+8 < int(s.Offset+s.Size); at += 4001 {
			b[at] ^= byte(n)
		}
	}
	return b
}
