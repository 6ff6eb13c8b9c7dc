package disk

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

// patterned makes a sparse raw file of 1.2 GB, so that there are several L2 tables.
func patterned(t *testing.T) (string, int64) {
	const size = 1200<<20 + 512
	return writeFile(t, size, func(w io.WriterAt) error {
		for _, at := range []int64{0, 65530, 5 << 20, 600 << 20, size - 512} {
			if _, err := w.WriteAt(bytes.Repeat([]byte("instar!!"), 64), at); err != nil {
				return err
			}
		}
		return nil
	}), size
}

func TestQcow2(t *testing.T) {
	raw, size := patterned(t)
	r, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	name := writeFile(t, 0, func(w io.WriterAt) error { return WriteQcow2(w, r, size) })
	info, err := os.Stat(name)
	if err != nil || info.Size() > 20<<16 {
		t.Fatalf("%d bytes for 6 clusters: %v", info.Size(), err)
	}
	if out := tool(t, "qemu-utils", "qemu-img", "check", name); !strings.Contains(out, "No errors were found") {
		t.Errorf("qemu-img check: %s", out)
	}
	if out := tool(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, name); !strings.Contains(out, "identical") {
		t.Errorf("qemu-img compare: %s", out)
	}
	// The holes of the source do not show in the image.
	small := bytes.Repeat([]byte{1}, 1<<20)
	clear(small[100<<10 : 900<<10])
	one, two := &grow{}, &grow{}
	hollow := writeFile(t, 1<<20, func(w io.WriterAt) error { return Copy(w, 0, bytes.NewReader(small), 1<<20) })
	h, err := os.Open(hollow)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := WriteQcow2(one, bytes.NewReader(small), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := WriteQcow2(two, h, 1<<20); err != nil || !bytes.Equal(one.b, two.b) {
		t.Errorf("a sparse source gives another image: %v", err)
	}
}

// grow is a file in memory.
type grow struct{ b []byte }

func (g *grow) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p) - len(g.b); need > 0 {
		g.b = append(g.b, make([]byte, need)...)
	}
	return copy(g.b[off:], p), nil
}

func TestQcow2Refused(t *testing.T) {
	for _, size := range []int64{0, 511, -512} {
		if err := WriteQcow2(&grow{}, bytes.NewReader(nil), size); err == nil {
			t.Errorf("made an image of a disk of %d bytes", size)
		}
	}
	if err := WriteQcow2(&grow{}, bytes.NewReader(nil), 512); err == nil {
		t.Error("a source that ends early was accepted")
	}
}
