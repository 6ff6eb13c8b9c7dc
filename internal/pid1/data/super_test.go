package data

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// made is a file system of mkfs.ext4.
func made(t *testing.T, size string, options ...string) *os.File {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip(err)
	}
	name := filepath.Join(t.TempDir(), "fs")
	if out, err := exec.Command(mkfs, append(append([]string{"-q", "-F"}, options...), name, size)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestMend(t *testing.T) {
	le := binary.LittleEndian
	set := func(at int, v uint32) func(sb []byte) { return func(sb []byte) { le.PutUint32(sb[at:], v) } }
	for _, row := range []struct {
		name   string
		size   string
		change func(sb []byte)
		mended bool
		err    string
	}{
		{"whole", "160M", func([]byte) {}, false, ""},
		{"torn, with other times", "160M", set(0x30, 77), true, ""},
		{"torn, with a journal to be replayed", "160M", func(sb []byte) { sb[superIncompat] |= incompatDirty }, true, ""},
		{"torn in its second half", "160M", set(0x178, 99), true, ""},
		{"torn, of one group", "24M", set(0x30, 77), true, ""},
		{"another UUID", "160M", set(0x68, 1), false, "damaged, not torn"},
		{"another size of blocks", "160M", set(superBlockSize, 1), false, "damaged, not torn"},
		{"absurd blocks", "160M", set(superBlockSize, 77), false, "damaged, not torn"},
		{"no blocks in a group", "160M", set(superPerGroup, 0), false, "damaged, not torn"},
		{"another feature", "160M", func(sb []byte) { sb[superIncompat+1] ^= 1 }, false, "damaged, not torn"},
		{"nothing", "160M", set(superMagic, 0), false, "no superblock"},
	} {
		f := made(t, row.size)
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		sb := make([]byte, superSize)
		if _, err := f.ReadAt(sb, superAt); err != nil {
			t.Fatal(err)
		}
		row.change(sb)
		if _, err := f.WriteAt(sb, superAt); err != nil {
			t.Fatal(err)
		}
		mended, err := Mend(f, info.Size())
		if mended != row.mended || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %v, %v; want %v, %q", row.name, mended, err, row.mended, row.err)
		}
		after := make([]byte, superSize)
		if _, err := f.ReadAt(after, superAt); err != nil {
			t.Fatal(err)
		}
		if !row.mended {
			if !bytes.Equal(after, sb) {
				t.Errorf("%s: it was written", row.name)
			}
			continue
		}
		if !bytes.Equal(after[:superSum], sb[:superSum]) {
			t.Errorf("%s: more than the checksum was changed", row.name)
		}
		if again, err := Mend(f, info.Size()); again || err != nil {
			t.Errorf("%s: again %v, %v", row.name, again, err)
		}
		if out, err := exec.Command("dumpe2fs", "-h", f.Name()).CombinedOutput(); err != nil || bytes.Contains(out, []byte("checksum")) && bytes.Contains(out, []byte("does not match")) {
			t.Errorf("%s: dumpe2fs: %v: %s", row.name, err, out)
		}
	}
}

func FuzzMend(f *testing.F) {
	f.Add(make([]byte, 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &inMemory{b}
		if mended, err := Mend(m, int64(len(b))); mended && err == nil {
			if again, err := Mend(m, int64(len(b))); again || err != nil {
				t.Errorf("mended, and then %v, %v", again, err)
			}
		}
	})
}

type inMemory struct{ b []byte }

func (m *inMemory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, off)
}
func (m *inMemory) WriteAt(p []byte, off int64) (int, error) { return copy(m.b[off:], p), nil }
func (m *inMemory) Sync() error                              { return nil }
