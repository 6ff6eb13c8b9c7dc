package receive

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/test/updatetest"
)

// TestUnpacked: a slot's kernel gives its parts, in files that nobody has to
// remove, and nothing else.
func TestUnpacked(t *testing.T) {
	st, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{store: st}
	defer d.closeStore()
	content := updatetest.Random(300<<10, 3)
	image, shell := updatetest.Kernel(t, content)
	object := func(b []byte) system.Object { return system.Object{Digest: digest.Of(b), Size: int64(len(b))} }
	for name, want := range map[string][]byte{"shell": shell, "kernel": content} {
		c := d.unpacked(bytes.NewReader(image), object(want))
		if c == nil {
			t.Errorf("no %s", name)
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if s, ok := c.(*scratch); ok {
			f, err := s.Dup()
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil { // the other stays open
				t.Error(err)
			}
			if _, err := s.ReadAt(make([]byte, 10), 5); err != nil {
				t.Error(err)
			}
			s.f.Close()
		}
	}
	other := object(content)
	other.Digest[3]++
	if d.unpacked(bytes.NewReader(image), other) != nil {
		t.Error("another kernel of that size will do")
	}
	damaged := bytes.Clone(image)
	damaged[0x600+200_000]++
	if d.unpacked(bytes.NewReader(damaged), object(content)) != nil {
		t.Error("a damaged kernel will do")
	}
	if d.unpacked(bytes.NewReader(image[:len(image)/2]), object(content)) != nil || d.unpacked(bytes.NewReader(content), object(content)) != nil {
		t.Error("what is no such image has parts")
	}
	if left, err := os.ReadDir(st.Incoming()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
