package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func fatFile(p string, n int) FATFile {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return FATFile{p, int64(n), bytes.NewReader(b)}
}

func content(f FATFile) []byte {
	b, err := io.ReadAll(io.NewSectionReader(f.Data, 0, f.Size))
	if err != nil {
		panic(err)
	}
	return b
}

func sampleFAT(size int64) *FAT {
	return &FAT{Size: size, Label: "INSTAR-A", ID: 0x1234abcd, Time: 1755000000, Files: []FATFile{
		fatFile("EFI/BOOT/BOOTX64.EFI", 123456),
		fatFile("EFI/Linux/instar-0123456789ab.efi", 1<<20),
		fatFile("loader/loader.conf", 37),
		fatFile("empty", 0),
		fatFile("a very long name with spaces, ümlauts and a lot more of it than one entry holds.text", 4096),
		fatFile("instar-0123456789ab.efi", 512),
		fatFile("instar-0123456789ac.efi", 513),
	}}
}

// many makes a directory of more than one cluster.
func many(v *FAT) *FAT {
	for i := range 300 {
		v.Files = append(v.Files, fatFile(fmt.Sprintf("many/file number %d.txt", i), i))
	}
	return v
}

func TestFATRoundTrip(t *testing.T) {
	for _, size := range []int64{8 << 20, 31 << 20, 33 << 20, 64 << 20, 256<<20 + 512} {
		v := many(sampleFAT(size))
		// What was on the disk before must not show.
		d := &memDisk{b: bytes.Repeat([]byte{0xff}, int(size))}
		if err := v.Write(d); err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		back, err := ReadFAT(d, size)
		if err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		if back.Label != v.Label || back.ID != v.ID || len(back.Files) != len(v.Files) {
			t.Errorf("%d: got %s, %x, %d files", size, back.Label, back.ID, len(back.Files))
		}
		got := map[string][]byte{}
		for _, f := range back.Files {
			got[f.Path] = content(f)
		}
		for _, f := range v.Files {
			if b, ok := got[f.Path]; !ok || !bytes.Equal(b, content(f)) {
				t.Errorf("%d: %s is missing or differs", size, f.Path)
			}
		}
		other := &memDisk{b: bytes.Repeat([]byte{0xff}, int(size))}
		if err := v.Write(other); err != nil || !bytes.Equal(d.b, other.b) {
			t.Errorf("%d: written twice, different: %v", size, err)
		}
	}
}

// What follows a file in its last cluster is zero, and the hint at the first
// free cluster is right.
func TestFATSlackAndHint(t *testing.T) {
	const size = 33 << 20
	full := bytes.Repeat([]byte{0xff}, 256<<10+10)
	v := &FAT{Size: size, Label: "X", Files: []FATFile{{"A", int64(len(full)), bytes.NewReader(full)}}}
	d := &memDisk{b: make([]byte, size)}
	if err := v.Write(d); err != nil {
		t.Fatal(err)
	}
	g, err := layout(size)
	if err != nil {
		t.Fatal(err)
	}
	data := d.b[g.dataStart()*SectorSize:]
	if n := bytes.Count(data, []byte{0xff}); n != len(full) {
		t.Errorf("%d bytes of data, want %d", n, len(full))
	}
	hint := binary.LittleEndian.Uint32(d.b[SectorSize+492:])
	table := d.b[g.reserved*SectorSize:]
	for c := uint32(0); c <= hint; c++ {
		if free := binary.LittleEndian.Uint32(table[4*c:]) == 0; free != (c == hint) {
			t.Errorf("cluster %d: free %v, the hint says %d", c, free, hint)
		}
	}
}

func TestFATGeometry(t *testing.T) {
	rows := []struct {
		size, cluster int64
		bits          int
	}{
		{4 << 20, 512, 16}, {31 << 20, 512, 16}, {33 << 20, 512, 32}, {64 << 20, 512, 32}, {128 << 20, 1024, 32},
		{256 << 20, 2048, 32}, {512 << 20, 4096, 32}, {4 << 30, 4096, 32},
	}
	for _, r := range rows {
		g, err := layout(r.size)
		if err != nil || g.bits != r.bits || g.clusterSize() != r.cluster || g.dataStart()%8 != 0 {
			t.Errorf("%d: FAT%d with %d byte clusters, data at sector %d, %v; want %+v", r.size, g.bits, g.clusterSize(), g.dataStart(), err, r)
		}
	}
	if _, err := layout(1 << 20); err == nil {
		t.Error("made a FAT16 of 1 MiB")
	}
}

func TestFATRefused(t *testing.T) {
	rows := map[string]struct {
		want  string
		files []FATFile
		label string
	}{
		"too large":  {"the largest is big with 41943040 bytes", []FATFile{{"big", 40 << 20, bytes.NewReader(nil)}, fatFile("s", 9)}, ""},
		"one name":   {`"A" and "a" are one name`, []FATFile{fatFile("a", 1), fatFile("A", 1)}, ""},
		"dir & file": {"are one name", []FATFile{fatFile("a", 1), fatFile("a/b", 1)}, ""},
		"absolute":   {"not a clean", []FATFile{fatFile("/a", 1)}, ""},
		"parent":     {"not a clean", []FATFile{fatFile("../a", 1)}, ""},
		"colon":      {"cannot be on FAT", []FATFile{fatFile("a:b", 1)}, ""},
		"long":       {"longer than", []FATFile{fatFile(strings.Repeat("x", 256), 1)}, ""},
		"4 GiB":      {"up to 4 GiB", []FATFile{{"a", 1 << 32, nil}}, ""},
		"short data": {"file a: reading", []FATFile{{"a", 10, bytes.NewReader([]byte("x"))}}, ""},
		"label":      {"volume label", nil, "lower"},
	}
	for name, r := range rows {
		v := &FAT{Size: 33 << 20, Label: "X", Files: r.files}
		if r.label != "" {
			v.Label = r.label
		}
		if err := v.Write(&memDisk{b: make([]byte, v.Size)}); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, want %q", name, err, r.want)
		}
	}
}

func TestShortNames(t *testing.T) {
	taken := map[[11]byte]bool{pack("INSTAR~1", "EFI"): true}
	for name, want := range map[string]string{
		"loader": "LOADER     ", "loader.conf": "LOADER~1CON", "instar-0123456789ab.efi": "INSTAR~2EFI",
		".hidden": "HIDDEN~1   ", "ü.b.c": "_B~1    C  ", "a b": "AB~1       ",
	} {
		if s := makeShort(name, taken); string(s[:]) != want {
			t.Errorf("short name of %q is %q, want %q", name, s, want)
		}
	}
}

func TestFATAgainstTools(t *testing.T) {
	for _, size := range []int64{16 << 20, 33 << 20, 256 << 20} {
		v := many(sampleFAT(size))
		name := writeFile(t, size, func(w io.WriterAt) error { return v.Write(Sparse{w}) })
		out := tool(t, "dosfstools", "fsck.fat", "-n", "-v", name)
		// 307 files and 5 directories; of FAT32 the root counts as well.
		if strings.Contains(strings.ToLower(out), "dirty") || !strings.Contains(out, ": 313 files, ") && !strings.Contains(out, ": 312 files, ") {
			t.Errorf("fsck.fat: %s", out)
		}
		out = tool(t, "mtools", "mdir", "-i", name, "-a", "::/EFI/Linux")
		stamp := time.Unix(v.Time, 0).UTC()
		for _, want := range []string{"instar-0123456789ab.efi", stamp.Format("2006-01-02"), "1234-ABCD", "INSTAR-A"} {
			if !strings.Contains(out, want) {
				t.Errorf("mdir does not show %q: %s", want, out)
			}
		}
		to := t.TempDir()
		tool(t, "mtools", "mcopy", "-i", name, "-s", "::/EFI", "::/loader", "::/many", to)
		for _, f := range v.Files {
			if !strings.Contains(f.Path, "/") {
				continue
			}
			if b, err := os.ReadFile(filepath.Join(to, f.Path)); err != nil || !bytes.Equal(b, content(f)) {
				t.Errorf("mcopy of %s: %d bytes, %v", f.Path, len(b), err)
			}
		}
	}
}

// We read what mkfs.fat and mcopy write.
func TestReadForeignFAT(t *testing.T) {
	for _, size := range []int64{16 << 20, 64 << 20} {
		name := writeFile(t, size, func(io.WriterAt) error { return nil })
		tool(t, "dosfstools", "mkfs.fat", "-n", "FOREIGN", "-i", "00c0ffee", name)
		src := filepath.Join(t.TempDir(), "A long file name.conf")
		if err := os.WriteFile(src, []byte("hello"), 0o644); err != nil {
			t.Fatal(err)
		}
		tool(t, "mtools", "mmd", "-i", name, "::/Some Dir")
		tool(t, "mtools", "mcopy", "-i", name, src, "::/Some Dir/")
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		v, err := ReadFAT(f, size)
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Files) != 1 || v.Files[0].Path != "Some Dir/A long file name.conf" || string(content(v.Files[0])) != "hello" ||
			v.Label != "FOREIGN" || v.ID != 0xc0ffee {
			t.Errorf("read %+v", v)
		}
	}
}

func FuzzReadFAT(f *testing.F) {
	const size = 4 << 20
	v := &FAT{Size: size, Label: "X", Files: []FATFile{fatFile("EFI/a long name.efi", 5000), fatFile("B", 3)}}
	d := &memDisk{b: make([]byte, size)}
	if err := v.Write(d); err != nil {
		f.Fatal(err)
	}
	f.Add(d.b[:128<<10])
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := &memDisk{b: make([]byte, size)}
		copy(disk.b, b)
		v, err := ReadFAT(disk, size)
		if err != nil {
			return
		}
		for _, file := range v.Files {
			if n, err := io.Copy(io.Discard, io.NewSectionReader(file.Data, 0, file.Size)); err != nil || n != file.Size {
				t.Errorf("%s: read %d of %d bytes: %v", file.Path, n, file.Size, err)
			}
		}
	})
}
