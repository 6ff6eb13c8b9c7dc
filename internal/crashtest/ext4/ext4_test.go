package ext4

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// made makes a file system in a file.
func made(t testing.TB, dir string, size int64, options ...string) string {
	t.Helper()
	p := filepath.Join(dir, "image")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mke2fs", append(append([]string{"-q", "-t", "ext4", "-F"}, options...), p)...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	return p
}

func mount(t testing.TB, image, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if out, err := exec.Command("mount", "-o", "loop", "-t", "ext4", image, dir).CombinedOutput(); err != nil {
		t.Skipf("no loop mounts here: %v: %s", err, out)
	}
}

// shape lists what is below a directory, by name: kind, size and content.
func shape(fsys fs.FS) (string, error) {
	var b strings.Builder
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		if p == "lost+found" {
			return fs.SkipDir
		}
		fmt.Fprintf(&b, "%s %s", p, d.Type())
		if d.Type().IsRegular() {
			content, err := fs.ReadFile(fsys, p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %x", len(content), crc32c(0, content))
		}
		b.WriteByte('\n')
		return nil
	})
	return b.String(), err
}

// ours does the same with our reader.
func ours(f *FS, dir string, b *strings.Builder) error {
	list, err := f.ReadDir(dir)
	if err != nil {
		return err
	}
	names := map[string]Entry{}
	var order []string
	for _, e := range list {
		names[e.Name] = e
		order = append(order, e.Name)
	}
	for _, name := range slices.Sorted(slices.Values(order)) {
		p := name
		if dir != "." {
			p = dir + "/" + name
		}
		if p == "lost+found" {
			continue
		}
		e := names[name]
		fmt.Fprintf(b, "%s %s", p, e.Mode.Type())
		if e.Mode.IsRegular() {
			content, err := f.ReadFile(p, 1<<30)
			if err != nil {
				return err
			}
			fmt.Fprintf(b, " %d %x", len(content), crc32c(0, content))
		}
		b.WriteByte('\n')
		if e.Mode.IsDir() {
			if err := ours(f, p, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestAsTheKernelReads changes a file system that is mounted, copies the disk
// in the midst of it, and compares what we read with what the kernel does.
func TestAsTheKernelReads(t *testing.T) {
	for name, options := range map[string][]string{
		"plain":   {"-O", "^resize_inode,metadata_csum,64bit"},
		"meta_bg": {"-O", "^resize_inode,meta_bg,metadata_csum,64bit", "-b", "4096", "-g", "8192"},
		"old":     {"-O", "^metadata_csum,^64bit", "-b", "1024"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			image, live, after := made(t, dir, 256<<20, options...), filepath.Join(dir, "live"), filepath.Join(dir, "after")
			for _, d := range []string{live, after} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			mount(t, image, live)
			defer unix.Unmount(live, unix.MNT_DETACH)
			replayed := 0
			r := rand.New(rand.NewPCG(5, 6))
			for round := range 4 {
				churn(t, live, r)
				copied := filepath.Join(dir, fmt.Sprint("copy", round))
				if out, err := exec.Command("cp", "--sparse=always", image, copied).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				file, err := os.Open(copied)
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				f, err := Open(file)
				if err != nil {
					t.Fatal(err)
				}
				var got strings.Builder
				if err := ours(f, ".", &got); err != nil {
					t.Fatal(err)
				}
				mount(t, copied, after)
				want, err := shape(os.DirFS(after))
				if err := unix.Unmount(after, 0); err != nil {
					t.Fatal(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got.String() != want {
					t.Fatalf("round %d, %d transactions: we read\n%s\nthe kernel\n%s", round, f.Replayed, got.String(), want)
				}
				if strings.Count(want, "\n") < 100 {
					t.Fatalf("too little in it: %s", want)
				}
				replayed += f.Replayed
			}
			if replayed == 0 {
				t.Error("no journal held anything")
			}
		})
	}
}

// churn makes, replaces, renames and removes files.
func churn(t *testing.T, dir string, r *rand.Rand) {
	t.Helper()
	for i := range 400 {
		d := filepath.Join(dir, fmt.Sprintf("d%d", r.IntN(5)))
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(d, fmt.Sprintf("a-file-with-a-longer-name-%d", r.IntN(200)))
		switch r.IntN(8) {
		case 0:
			os.Remove(p)
			continue
		case 1:
			os.Rename(p, p+"-renamed")
			continue
		case 2:
			os.Symlink("somewhere", p+"-link")
			continue
		}
		content := bytes.Repeat([]byte{byte(i), 0xc0, 0x3b, 0x39, 0x98}, r.IntN(20000))
		if err := os.WriteFile(p, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			f, err := os.Open(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		t.Fatal(err)
	}
	for range 3 { // in the journal, not yet in place
		p := filepath.Join(dir, fmt.Sprintf("late%d", r.IntN(10)))
		if err := os.WriteFile(p, []byte("late"), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func FuzzOpen(f *testing.F) {
	image := made(f, f.TempDir(), 1<<20, "-b", "1024", "-O", "^resize_inode")
	b, err := os.ReadFile(image)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0x60), uint32(4), uint32(0x28), uint32(1))
	f.Fuzz(func(t *testing.T, at1, v1, at2, v2 uint32) {
		c := bytes.Clone(b)
		le.PutUint32(c[int(at1)%(len(c)-4):], v1)
		le.PutUint32(c[int(at2)%(len(c)-4):], v2)
		fsys, err := Open(bytes.NewReader(c))
		if err != nil {
			return
		}
		list, err := fsys.ReadDir(".")
		if err != nil {
			return
		}
		for _, e := range list {
			if x, err := fsys.Open(e.Name); err == nil {
				io.CopyN(io.Discard, io.NewSectionReader(x, 0, x.Size), 1<<20)
			}
			fsys.Link(e.Name)
		}
	})
}
