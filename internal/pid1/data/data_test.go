package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/disk"
)

// memory is a disk that loses power after so many writes; every write is cut
// in its middle once.
type memory struct {
	b    []byte
	left int // writes; -1: no cut
	torn bool
}

var errCut = errors.New("power cut")

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, off)
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	switch {
	case m.left == 0 && m.torn && len(p) > disk.SectorSize:
		// Sectors are written whole.
		copy(m.b[off:], p[:len(p)/2/disk.SectorSize*disk.SectorSize])
		return 0, errCut
	case m.left == 0:
		return 0, errCut
	}
	m.left--
	return copy(m.b[off:], p), nil
}

func (m *memory) Sync() error { return nil }

func (m *memory) Zero(off, size int64) error {
	_, err := m.WriteAt(make([]byte, size), off)
	return err
}

const mib = 1 << 20

// fresh is a disk as an image leaves it, and grown: garbage behind the store.
func fresh(t *testing.T, made, size int64) *memory {
	t.Helper()
	m := &memory{b: bytes.Repeat([]byte{0xa5}, int(size)), left: -1}
	g := &disk.GPT{Disk: disk.SeedGUID(nil, "disk"), Size: made}
	for _, name := range []string{"instar-slot-a", "instar-store"} {
		if _, err := g.Add(disk.Partition{Type: disk.TypeLinux, GUID: disk.SeedGUID(nil, name), Name: name}, 2*mib); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Write(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// template has data, a hole and an odd end.
func template(size int) (Template, []byte) {
	b := make([]byte, size)
	copy(b, "ext4")
	copy(b[len(b)-5:], "end.")
	return Template{Size: int64(size), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}, b
}

// names lists the table as the kernel reads it: the primary only.
func names(m *memory) (string, bool) {
	g, err := disk.ReadGPT(m, int64(len(m.b)))
	if err != nil {
		return err.Error(), false
	}
	var all []string
	for _, p := range g.Partitions {
		all = append(all, p.Name)
	}
	return strings.Join(all, " "), !g.Recovered
}

func TestEnsure(t *testing.T) {
	m := fresh(t, 6*mib, 16*mib)
	tp, want := template(3*mib + 512)
	p, err := Ensure(m, 16*mib, tp)
	if err != nil {
		t.Fatal(err)
	}
	if p != (Place{Number: 3, Start: 5 * mib, Size: 10 * mib, Made: true}) {
		t.Errorf("made at %+v", p)
	}
	if !bytes.Equal(m.b[p.Start:p.Start+int64(len(want))], want) {
		t.Error("the template is not on the disk, or garbage shines through its holes")
	}
	again, err := Ensure(m, 16*mib, tp)
	if err != nil || again != (Place{Number: 3, Start: 5 * mib, Size: 10 * mib}) {
		t.Errorf("again: %+v, %v", again, err)
	}
	m.b = append(m.b, make([]byte, 8*mib)...)
	grown, err := Ensure(m, 24*mib, tp)
	if err != nil || grown != (Place{Number: 3, Start: 5 * mib, Size: 18 * mib, Grown: true}) {
		t.Errorf("grown: %+v, %v", grown, err)
	}
	if got, ok := names(m); got != "instar-slot-a instar-store instar-data" || !ok {
		t.Errorf("partitions %q, primary good: %v", got, ok)
	}
}

func TestEnsureRefuses(t *testing.T) {
	tp, _ := template(4 * mib)
	for _, row := range []struct {
		size int64
		want string
	}{
		{6 * mib, "no space left"},
		{8 * mib, "2097152 bytes are free on the disk, its file system needs 4194304"},
	} {
		m := fresh(t, row.size, row.size)
		before := slices.Clone(m.b)
		if _, err := Ensure(m, row.size, tp); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%d bytes: %v", row.size, err)
		}
		if !bytes.Equal(before, m.b) {
			t.Errorf("%d bytes: the disk was written to", row.size)
		}
	}
	m := fresh(t, 6*mib, 16*mib)
	for name, bad := range map[string]Template{
		"short":   {Size: 4 * mib, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }},
		"long":    {Size: 1, Open: tp.Open},
		"damaged": {Size: 4, Open: func() (io.ReadCloser, error) { return io.NopCloser(failing{}), nil }},
	} {
		if _, err := Ensure(m, 16*mib, bad); err == nil {
			t.Errorf("%s template: no error", name)
		}
		if got, _ := names(m); got != "instar-slot-a instar-store" {
			t.Errorf("%s template: partitions %q", name, got)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errCut }

// TestCuts cuts the power before and within each write of making and of
// growing the partition.
func TestCuts(t *testing.T) {
	tp, want := template(mib)
	for _, kind := range []string{"make", "grow"} {
		for _, torn := range []bool{false, true} {
			for n := 0; ; n++ {
				m := fresh(t, 6*mib, 16*mib)
				size := int64(16 * mib)
				if kind == "grow" {
					if _, err := Ensure(m, size, tp); err != nil {
						t.Fatal(err)
					}
					m.b, size = append(m.b, bytes.Repeat([]byte{0x5a}, 4*mib)...), 20*mib
				}
				m.left, m.torn = n, torn
				_, err := Ensure(m, size, tp)
				m.left = -1
				at := fmt.Sprintf("%s, write %d, torn %v", kind, n, torn)
				if err == nil {
					if n < 4 {
						t.Fatalf("%s: only %d writes", at, n)
					}
					break
				}
				if !errors.Is(err, errCut) {
					t.Fatalf("%s: %v", at, err)
				}
				table, primary := names(m)
				if !strings.HasPrefix(table, "instar-slot-a instar-store") {
					t.Fatalf("%s: the table is lost: %s", at, table)
				}
				if repaired := Repair(m, size); repaired == primary {
					t.Fatalf("%s: primary good %v, repaired %v", at, primary, repaired)
				}
				// A partition that the table names is whole.
				if p, ok := find(m); ok && !bytes.Equal(m.b[p.Offset():p.Offset()+mib], want) {
					t.Fatalf("%s: the partition is there without its file system", at)
				}
				p, err := Ensure(m, size, tp)
				if err != nil || p.Size != size-6*mib || !bytes.Equal(m.b[p.Start:p.Start+mib], want) {
					t.Fatalf("%s, then again: %+v, %v", at, p, err)
				}
			}
		}
	}
}

func find(m *memory) (disk.Partition, bool) {
	g, err := disk.ReadGPT(m, int64(len(m.b)))
	if err != nil {
		return disk.Partition{}, false
	}
	return g.Find(Name)
}
