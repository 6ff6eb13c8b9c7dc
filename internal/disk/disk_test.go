package disk

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/backend/file"
)

// memDisk is a disk in memory that counts what is written where.
type memDisk struct {
	b      []byte
	writes []int64
}

func (m *memDisk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return 0, io.ErrShortWrite
	}
	m.writes = append(m.writes, off)
	return copy(m.b[off:], p), nil
}

func (m *memDisk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, off)
}

// tool skips the test when a Debian package is missing, and runs the tool.
func tool(t *testing.T, pkg, name string, args ...string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		if p = "/sbin/" + name; !exists(p) {
			t.Skipf("%s (package %s) is not installed", name, pkg)
		}
	}
	cmd := exec.Command(p, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "MTOOLS_SKIP_CHECK=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

var seed = []byte("seed")

func table(t *testing.T, size int64) *GPT {
	t.Helper()
	g := &GPT{Disk: SeedGUID(seed, "disk"), Size: size}
	for _, p := range []struct {
		name string
		typ  GUID
		size int64
	}{{"slot-a", TypeESP, 33 << 20}, {"slot-b", TypeESP, 33 << 20}, {"store", TypeLinux, 0}} {
		if _, err := g.Add(Partition{Type: p.typ, GUID: SeedGUID(seed, p.name), Name: p.name}, p.size); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestGUID(t *testing.T) {
	const s = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	if TypeESP.String() != s || TypeESP[0] != 0x28 || TypeESP[15] != 0x3b {
		t.Errorf("ESP type is %v, bytes %x", TypeESP, TypeESP[:])
	}
	for _, bad := range []string{"", s[1:], strings.ReplaceAll(s, "-", "x"), s + "0"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("ParseGUID(%q) succeeded", bad)
		}
	}
	g := SeedGUID(seed, "x")
	if v := g.String(); v[14] != '8' || !strings.ContainsRune("89ab", rune(v[19])) || g == SeedGUID(seed, "y") {
		t.Errorf("SeedGUID = %s", v)
	}
}

func TestGPTRoundTrip(t *testing.T) {
	d := &memDisk{b: make([]byte, 100<<20)}
	g := table(t, 100<<20)
	if err := g.Write(d); err != nil {
		t.Fatal(err)
	}
	if last := d.writes[len(d.writes)-1]; last != SectorSize || d.writes[1] < 99<<20 {
		t.Errorf("written at %v; want the backup before LBA 1, which is last", d.writes)
	}
	back, err := ReadGPT(d, int64(len(d.b)))
	if err != nil || back.Recovered || !slices.Equal(back.Partitions, g.Partitions) || back.Disk != g.Disk {
		t.Fatalf("ReadGPT = %+v, %v", back, err)
	}
	clear(d.b[512:1024])
	back, err = ReadGPT(d, int64(len(d.b)))
	if err != nil || !back.Recovered || !slices.Equal(back.Partitions, g.Partitions) {
		t.Fatalf("from the backup: %+v, %v", back, err)
	}
	clear(d.b[len(d.b)-512:])
	if _, err = ReadGPT(d, int64(len(d.b))); err == nil {
		t.Error("read a table where none is left")
	}
}

// Every cut before, within and after a write leaves the old or the new table,
// for a reader of the primary as for one of the backup; again and again, so
// that both places of the entries are written over.
func TestGPTCut(t *testing.T) {
	const size = 100 << 20
	b := make([]byte, size)
	if err := table(t, size).Write(&memDisk{b: b}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		old, err := ReadGPT(&memDisk{b: b}, size)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("other", round)
		for cut := 0; ; cut++ {
			d := &cutDisk{memDisk{b: bytes.Clone(b)}, cut / 2, cut%2 == 1}
			changed, err := ReadGPT(d, size)
			if err != nil {
				t.Fatal(err)
			}
			changed.Partitions[0].Name = name
			done := changed.Write(d) == nil
			g, err := ReadGPT(d, size)
			if err != nil {
				t.Fatalf("round %d, cut %d: %v", round, cut, err)
			}
			if !slices.Equal(g.Partitions, old.Partitions) && !slices.Equal(g.Partitions, changed.Partitions) {
				t.Fatalf("round %d, cut %d: neither old nor new", round, cut)
			}
			if done {
				b = d.b
				break
			}
			again := &cutDisk{memDisk{b: d.b}, 100, false}
			g.Partitions[0].Name = name
			if err := g.Write(again); err != nil {
				t.Fatal(err)
			}
			if g, err := ReadGPT(again, size); err != nil || g.Recovered || !slices.Equal(g.Partitions, changed.Partitions) {
				t.Fatalf("round %d, cut %d, then again: %+v, %v", round, cut, g, err)
			}
		}
	}
}

// cutDisk loses power after so many writes; torn lets half of the next one
// through, and of a single sector garbage.
type cutDisk struct {
	memDisk
	left int
	torn bool
}

func (c *cutDisk) WriteAt(p []byte, off int64) (int, error) {
	if c.left == 0 {
		if c.torn {
			copy(c.b[off:], p[:len(p)/2])
			c.b[off+60] ^= 0x55
		}
		return 0, io.ErrClosedPipe
	}
	c.left--
	return c.memDisk.WriteAt(p, off)
}

func TestGPTGrowAndAdd(t *testing.T) {
	d := &memDisk{b: make([]byte, 200<<20)}
	if err := table(t, 100<<20).Write(d); err != nil {
		t.Fatal(err)
	}
	g, err := ReadGPT(d, 200<<20)
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Add(Partition{Type: TypeLinux, GUID: SeedGUID(seed, "data"), Name: "data"}, 0)
	if err != nil || p.Size() < 99<<20 || p.Offset()%Align != 0 || p.Last > g.LastUsable() {
		t.Fatalf("Add = %+v, %v", p, err)
	}
	if err := g.Write(d); err != nil {
		t.Fatal(err)
	}
	back, err := ReadGPT(d, 200<<20)
	if err != nil || len(back.Partitions) != 4 {
		t.Fatalf("ReadGPT = %+v, %v", back, err)
	}
	if _, err := g.Add(Partition{Type: TypeLinux, GUID: seedOf("x"), Name: "x"}, 1<<20); err == nil {
		t.Error("added a partition to a full disk")
	}
	if g.Grow(300<<20) != nil || g.Grow(200<<20) == nil {
		t.Error("Grow accepts the wrong sizes")
	}
}

func seedOf(s string) GUID { return SeedGUID(seed, s) }

func TestGPTRefused(t *testing.T) {
	rows := map[string]func(*GPT){
		"overlap":   func(g *GPT) { g.Partitions[1].First-- },
		"backwards": func(g *GPT) { g.Partitions[0].Last = 1 },
		"beyond":    func(g *GPT) { g.Partitions[2].Last = g.LastUsable() + 1 },
		"name":      func(g *GPT) { g.Partitions[0].Name = strings.Repeat("x", 37) },
		"no GUID":   func(g *GPT) { g.Partitions[0].GUID = GUID{} },
		"size":      func(g *GPT) { g.Size++ },
	}
	for name, change := range rows {
		g := table(t, 100<<20)
		change(g)
		if err := g.Write(&memDisk{b: make([]byte, 100<<20)}); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func writeFile(t *testing.T, size int64, write func(io.WriterAt) error) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := write(f); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestGPTAgainstSfdisk(t *testing.T) {
	g := table(t, 100<<20)
	name := writeFile(t, g.Size, g.Write)
	if out := tool(t, "fdisk", "sfdisk", "--verify", name); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify: %s", out)
	}
	out := tool(t, "fdisk", "sfdisk", "-d", name)
	for _, p := range g.Partitions {
		want := fmt.Sprintf("start=%12d, size=%12d, type=%s, uuid=%s, name=%q", p.First, p.Last-p.First+1,
			strings.ToUpper(p.Type.String()), strings.ToUpper(p.GUID.String()), p.Name)
		if !strings.Contains(out, want) {
			t.Errorf("sfdisk -d has not %q: %s", want, out)
		}
	}
	if !strings.Contains(out, "label-id: "+strings.ToUpper(g.Disk.String())) {
		t.Errorf("sfdisk -d shows another disk GUID: %s", out)
	}
}

func TestSparseCopy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	want := make([]byte, 3<<20)
	for range 20 {
		at := r.IntN(len(want) - 9000)
		for i := range r.IntN(9000) {
			want[at+i] = byte(r.Uint32())
		}
	}
	src := writeFile(t, int64(len(want)), func(w io.WriterAt) error { return Copy(w, 0, bytes.NewReader(want), int64(len(want))) })
	f, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, _ := f.Stat(); Allocated(info) > int64(len(want))/2 {
		t.Errorf("%d of %d bytes are allocated", Allocated(info), len(want))
	}
	d := &memDisk{b: make([]byte, len(want)+777)}
	if err := Copy(d, 777, f, int64(len(want))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.b[777:], want) {
		t.Error("the copy differs")
	}
}

// go-diskfs reads table and file system of one disk.
func TestAgainstDiskfs(t *testing.T) {
	g := table(t, 100<<20)
	name := writeFile(t, g.Size, func(w io.WriterAt) error {
		v := sampleFAT(33 << 20)
		if err := v.Write(io.NewOffsetWriter(w, g.Partitions[0].Offset())); err != nil {
			return err
		}
		return g.Write(w)
	})
	b, err := file.OpenFromPath(name, true)
	if err != nil {
		t.Fatal(err)
	}
	d, err := diskfs.OpenBackend(b, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fs, err := d.GetFilesystem(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sampleFAT(0).Files {
		if f.Size == 0 {
			continue // go-diskfs 1.9 cannot read an empty file
		}
		h, err := fs.OpenFile(f.Path, os.O_RDONLY)
		if err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		got, err := io.ReadAll(h)
		want := content(f)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", f.Path, len(got), err, len(want))
		}
	}
}

func FuzzReadGPT(f *testing.F) {
	g := &GPT{Disk: seedOf("d"), Size: 2 << 20}
	d := &memDisk{b: make([]byte, 2<<20)}
	if err := g.Write(d); err != nil {
		f.Fatal(err)
	}
	f.Add(d.b[:34*512])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &memDisk{b: make([]byte, 2<<20)}
		copy(d.b, b)
		if g, err := ReadGPT(d, int64(len(d.b))); err == nil {
			if err := g.Write(&memDisk{b: d.b}); err != nil {
				t.Errorf("read, but not written: %v", err)
			}
		}
	})
}
