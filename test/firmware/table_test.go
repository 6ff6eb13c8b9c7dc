package firmware

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/slot"
)

// A write is one that a disk was given.
type write struct {
	at   int64
	data []byte
}

// taped is a file that keeps what was written to it.
type taped struct {
	*os.File
	tape *[]write
}

func (f taped) WriteAt(p []byte, off int64) (int, error) {
	*f.tape = append(*f.tape, write{off, bytes.Clone(p)})
	return f.File.WriteAt(p, off)
}

func (f taped) ReadBack(p []byte, off int64) (int, error) { return f.ReadAt(p, off) }

// TestTableCut boots what a cut within the choice of another slot leaves: every
// state of the backup header and of LBA 1. Slot b starts the same system in
// another configuration, so that a machine tells where it comes from.
func TestTableCut(t *testing.T) {
	if !all {
		t.Skip("make vm-all boots it (INSTAR_VM_ALL=1)")
	}
	f := newFamily(t, "{}")
	tape := chooseOther(t, f)
	backup, primary := len(tape)-2, len(tape)-1
	for _, row := range []struct {
		name   string
		writes int  // that are on the disk
		torn   bool // the next one is half there
		want   string
	}{
		{"entries alone", backup, false, "main"},
		{"backup torn", backup, true, "main"},
		{"backup written", primary, false, "main"},
		{"LBA 1 torn", primary, true, "rescue"},
		{"all written", len(tape), false, "rescue"},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := filepath.Join(f.dir, "cut.raw")
			replay(t, f.disk(), name, tape, row.writes, row.torn)
			p := boot(t, name)
			defer p.vm.Close()
			if got := p.configuration(); got != row.want {
				t.Errorf("the machine runs %s, want %s", got, row.want)
			}
		})
	}
}

// chooseOther fills slot b of the disk and returns the writes that choose it,
// which the disk has not seen.
func chooseOther(t *testing.T, f *family) []write {
	t.Helper()
	file, err := os.OpenFile(f.disk(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	var tape []write
	m := slot.Table{Disk: slot.Disk{Device: taped{file, &tape}, Size: size}}
	files, err := m.Files(0)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := digest.Parse(f.old)
	if err != nil {
		t.Fatal(err)
	}
	image, ok := slot.Find(files, sys)
	loader, ok2 := slot.Loader(files)
	if !ok || !ok2 {
		t.Fatalf("slot a holds %+v", files)
	}
	c := slot.Contents{Arch: "amd64", Loader: content(loader), New: slot.Image{System: sys, UKI: content(image)}, Configuration: "rescue"}
	if files, err = c.Files(); err != nil {
		t.Fatal(err)
	}
	if err := m.Stage(1, files); err != nil {
		t.Fatal(err)
	}
	before := make([]byte, 1<<20)
	after := make([]byte, 1<<20)
	for at, b := range map[int64][]byte{0: before, size - 1<<20: after} {
		if _, err := file.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	tape = nil
	if err := m.Commit(1); err != nil {
		t.Fatal(err)
	}
	for at, b := range map[int64][]byte{0: before, size - 1<<20: after} {
		if _, err := file.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	last := tape[len(tape)-1]
	if len(tape) < 4 || last.at != disk.SectorSize || tape[len(tape)-2].at != size-disk.SectorSize {
		t.Fatalf("the table is not written as its states suppose: %d writes, the last at %d", len(tape), last.at)
	}
	return tape
}

func content(f disk.FATFile) pe.Content { return io.NewSectionReader(f.Data, 0, f.Size) }

// replay copies a disk and does the first writes of a tape to it. Of a torn one
// the second half is missing, and reads as zeros.
func replay(t *testing.T, from, to string, tape []write, n int, torn bool) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	tape = tape[:min(n+1, len(tape))]
	for i, w := range tape {
		b := w.data
		if i == n {
			if !torn {
				break
			}
			b = append(bytes.Clone(b[:len(b)/16]), make([]byte, len(b)-len(b)/16)...)
		}
		if _, err := dst.WriteAt(b, w.at); err != nil {
			t.Fatal(err)
		}
	}
}

// configuration is what a machine runs once it answers.
func (p *patient) configuration() string {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		st, err := status(p.vm)
		if err == nil && st.Healthy {
			return st.Configuration
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the machine does not answer: %v\n%s", err, p.vm.Console().Tail(40))
		}
		time.Sleep(300 * time.Millisecond)
	}
}
