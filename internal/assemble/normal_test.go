package assemble

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/instar-os/instar/internal/kernel"
)

// TestImageCache: what was kept comes back, and damage is nothing.
func TestImageCache(t *testing.T) {
	b := &Builder{Cache: t.TempDir()}
	c, err := b.imageCache([]byte("a kernel"))
	if err != nil {
		t.Fatal(err)
	}
	if c.load() != nil {
		t.Error("something was there")
	}
	n := &kernel.Normal{Image: []byte("image"), Shell: []byte("shell"), Content: []byte("content")}
	if err := c.save(n); err != nil {
		t.Fatal(err)
	}
	if got := c.load(); got == nil || !bytes.Equal(got.Image, n.Image) || !bytes.Equal(got.Shell, n.Shell) || !bytes.Equal(got.Content, n.Content) {
		t.Errorf("%+v came back", got)
	}
	if other, err := b.imageCache([]byte("another")); err != nil || other.load() != nil {
		t.Errorf("another kernel is there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(string(c), "shell"), []byte("shelf"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c.load() != nil {
		t.Error("damage came back")
	}
}
