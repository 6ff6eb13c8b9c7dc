package bzimage_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/instar-os/instar/internal/bzimage"
	"github.com/instar-os/instar/internal/zstd"
	"github.com/instar-os/instar/test/updatetest"
)

// TestJoin: what was joined is taken apart into the same, and a shell fits no
// other kernel.
func TestJoin(t *testing.T) {
	content := bytes.Repeat([]byte("a kernel that says what it is; "), 9000)
	image, shell := updatetest.Kernel(t, content)
	p, err := bzimage.Split(bytes.NewReader(image), int64(len(image)))
	if err != nil || p == nil || !bytes.Equal(p.Shell, shell) || p.Size != int64(len(content)) {
		t.Fatalf("%+v, %v", p, err)
	}
	frame, err := io.ReadAll(p.Frame())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, p.Size)
	if err := zstd.Decompress(got, frame); err != nil || !bytes.Equal(got, content) {
		t.Errorf("another kernel came back: %v", err)
	}
	if _, err := bzimage.Join(io.Discard, shell, append(content, "and more that is new"...)); err == nil {
		t.Error("a kernel of another size fits")
	}
	for _, n := range []int{0, 7, 16, 500, len(shell) - 1} {
		if _, err := bzimage.Join(io.Discard, shell[:n], content); err == nil && n < 500 {
			t.Errorf("%d bytes of a shell will do", n)
		}
	}
	for _, b := range [][]byte{nil, image[:600], content, image[:len(image)/2]} {
		if p, err := bzimage.Split(bytes.NewReader(b), int64(len(b))); p != nil {
			t.Errorf("%d bytes are an image: %v", len(b), err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	image, _ := updatetest.Kernel(f, []byte("a small kernel"))
	f.Add(image)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := bzimage.Split(bytes.NewReader(b), int64(len(b)))
		if err != nil || p == nil {
			return
		}
		if len(p.Shell) > len(b)+16 || p.Frame().Size() > int64(len(b)) {
			t.Errorf("a shell of %d bytes, a frame of %d, out of %d", len(p.Shell), p.Frame().Size(), len(b))
		}
		if p.Size < 1<<20 {
			frame, _ := io.ReadAll(p.Frame())
			_ = zstd.Decompress(make([]byte, p.Size), frame)
		}
	})
}

func FuzzJoin(f *testing.F) {
	_, shell := updatetest.Kernel(f, []byte("a small kernel"))
	f.Add(shell, []byte("a small kernel"))
	f.Fuzz(func(t *testing.T, shell, content []byte) {
		if n, err := bzimage.Join(io.Discard, shell, content); err == nil && n > int64(len(shell)+len(content))+3*bzimage.Align+64 {
			t.Errorf("%d bytes of %d and %d", n, len(shell), len(content))
		}
	})
}
