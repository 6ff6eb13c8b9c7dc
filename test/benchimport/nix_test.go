// Package benchimport measures how fast foreign images and closures come into
// the store, beside the programs that are made for them, in the same run.
package benchimport

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/source/nix"
	"github.com/instar-os/instar/internal/source/nix/nar"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/nix/nixtest"
	"github.com/instar-os/instar/internal/store"
)

// closureSize is how much the closure holds, in bytes. INSTAR_BENCH_IMPORT may
// give another number of MiB to look at something.
func closureSize() int64 {
	if n, err := strconv.ParseInt(os.Getenv("INSTAR_BENCH_IMPORT"), 10, 64); err == nil && n > 1 {
		return n << 20
	}
	return 1 << 30
}

// TestNix imports a closure of 1 GiB from a file cache, and has nix copy it from
// the same cache into a store of its own. The files are this host's, so that
// they are as large and as compressible as files are.
func TestNix(t *testing.T) {
	if os.Getenv("INSTAR_BENCH_IMPORT") == "" {
		t.Skip("make bench-import runs this")
	}
	run := nixtest.Nix(t)
	secret := nixtest.Secret(t, "bench-1")
	root := t.TempDir()
	infos := synthesize(t, root)
	top := infos[len(infos)-1].Name
	for _, c := range []struct {
		name   string
		pack   []string
		factor float64 // that must be reached
	}{{"zstd", []string{"zstd", "-q", "-3", "-c"}, 2}, {"xz", []string{"xz", "-0", "-c"}, 0}} {
		dir, size := pack(t, root, c.name, c.pack, secret, infos)
		var theirs, ours []cost
		for range 2 {
			theirs = append(theirs, timed(t, func(to string) {
				run("nix", "copy", "--from", "file://"+dir, "--to", to, "--option", "trusted-public-keys", secret.Key().String(), top.Path())
			}))
			ours = append(ours, timed(t, func(to string) { imports(t, dir, to, secret, top) }))
		}
		n, o := slices.MinFunc(theirs, sooner), slices.MinFunc(ours, sooner)
		factor := n.time.Seconds() / o.time.Seconds()
		fmt.Printf("nix closure, %d paths, %d MiB, %d MiB as %s: nix copy %.2f s (%.2f s of processors), instar %.2f s (%.2f s), %.1f times as fast\n",
			len(infos), closureSize()>>20, size>>20, c.name, n.time.Seconds(), n.work.Seconds(), o.time.Seconds(), o.work.Seconds(), factor)
		if factor < c.factor {
			t.Errorf("%s: %.2f times as fast as nix copy, want %.1f", c.name, factor, c.factor)
		}
		os.RemoveAll(dir)
	}
}

// cost is what a run took: time, and time of processors.
type cost struct{ time, work time.Duration }

func sooner(a, b cost) int { return cmp.Compare(a.time, b.time) }

// work is the time of processors that this process and those it waited for took.
func work() time.Duration {
	sum := int64(0)
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}

// timed runs f with a new directory, beginning with nothing to be written.
func timed(t *testing.T, f func(to string)) cost {
	t.Helper()
	to := filepath.Join(t.TempDir(), "s")
	exec.Command("sync").Run()
	begin, before := time.Now(), work()
	f(to)
	took := cost{time.Since(begin), work() - before}
	// Not removed now: file systems take inodes that have just become free only
	// after a look at each (ext4), which the next to be measured would pay for.
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+w", to).Run() })
	return took
}

// imports does what lock and build do: find the closure, verify signatures,
// read all paths, and make the store last.
func imports(t *testing.T, dir, to string, secret *narinfo.Secret, top narinfo.Name) {
	st, err := store.Open(to, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	place, err := nix.Open("file:"+dir, nix.Options{})
	if err != nil {
		t.Fatal(err)
	}
	places := []nix.Place{place}
	infos, err := nix.Resolve(t.Context(), places, top, nix.Trust{Keys: []narinfo.Key{secret.Key()}})
	if err != nil {
		t.Fatal(err)
	}
	job := nix.Job{Places: places, Objects: st, Parallel: runtime.GOMAXPROCS(0)}
	if _, err := job.Paths(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
	if err := st.Commit(); err != nil {
		t.Fatal(err)
	}
}

// synthesize fills store paths with files of this host, one path a directory of
// them, each referring to the one before. The last refers to all.
func synthesize(t *testing.T, root string) []narinfo.Info {
	t.Helper()
	var names []narinfo.Name
	left := closureSize()
	for i := 0; left > 0; i++ {
		n, err := narinfo.Fixed(sha256.Sum256([]byte{byte(i >> 8), byte(i)}), fmt.Sprintf("part-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		left -= fill(t, filepath.Join(root, "nix/store", string(n)), min(left, 8<<20), names)
		names = append(names, n)
	}
	infos := make([]narinfo.Info, len(names))
	for i, n := range names {
		in := narinfo.Info{Name: n}
		sum, size := sha256.New(), int64(0)
		if err := nar.WriteFS(io.MultiWriter(sum, count{&size}), os.DirFS(filepath.Join(root, "nix/store")), string(n)); err != nil {
			t.Fatal(err)
		}
		in.NarHash, in.NarSize = narinfo.Hash(sum.Sum(nil)), size
		if i > 0 {
			in.References = append(in.References, names[i-1])
		}
		infos[i] = in
	}
	return infos
}

type count struct{ n *int64 }

func (c count) Write(p []byte) (int, error) { *c.n += int64(len(p)); return len(p), nil }

var files []string // of the host, in an order of their own

// fill copies files of the host until there are size bytes.
func fill(t *testing.T, dir string, size int64, before []narinfo.Name) (n int64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if len(before) > 0 {
		if err := os.Symlink(before[len(before)-1].Path(), filepath.Join(dir, "0")); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; n < size; i++ {
		if len(files) == 0 {
			files = hostFiles(t)
		}
		name := files[0]
		files = files[1:]
		b, err := os.ReadFile(name)
		if err != nil || len(b) == 0 {
			continue
		}
		b = append(b, fmt.Sprintf("\n%s %d\n", dir[len(dir)-8:], i)...) // no two are equal
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d-%s", i+1, filepath.Base(name))), b, 0o644); err != nil {
			t.Fatal(err)
		}
		n += int64(len(b))
	}
	return n
}

// hostFiles lists programs, libraries and documentation of at most 8 MiB.
func hostFiles(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"/usr/bin", "/usr/lib", "/usr/share"} {
		filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			if info, err := d.Info(); err == nil && info.Size() <= 8<<20 && strings.IndexByte(d.Name(), 0) < 0 {
				all = append(all, p)
			}
			return nil
		})
	}
	slices.SortFunc(all, func(a, b string) int {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return strings.Compare(string(x[:]), string(y[:]))
	})
	return all
}

// pack makes the cache with a program, several paths at a time.
func pack(t *testing.T, root, name string, program []string, secret *narinfo.Secret, infos []narinfo.Info) (dir string, size int64) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	sizes := make([]int64, len(infos))
	for i, in := range infos {
		g.Go(func() error {
			in.URL, in.Compression = in.Name.Hash()+".nar."+name, name
			f, err := os.Create(filepath.Join(dir, in.URL))
			if err != nil {
				return err
			}
			defer f.Close()
			cmd := exec.Command(program[0], program[1:]...)
			cmd.Stdout = f
			w, err := cmd.StdinPipe()
			if err != nil {
				return err
			}
			if err := cmd.Start(); err != nil {
				return err
			}
			if err := nar.WriteFS(w, os.DirFS(filepath.Join(root, "nix/store")), string(in.Name)); err != nil {
				return err
			}
			w.Close()
			if err := cmd.Wait(); err != nil {
				return err
			}
			b, err := os.ReadFile(f.Name())
			if err != nil {
				return err
			}
			sum := narinfo.Hash(sha256.Sum256(b))
			in.FileHash, in.FileSize, sizes[i] = &sum, int64(len(b)), int64(len(b))
			in.Sign(*secret)
			return os.WriteFile(filepath.Join(dir, in.Name.Hash()+".narinfo"), in.Format(), 0o644)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, n := range sizes {
		size += n
	}
	return dir, size
}
