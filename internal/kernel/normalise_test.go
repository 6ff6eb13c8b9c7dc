package kernel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/bzimage"
	"github.com/instar-os/instar/internal/pe"
)

// packaged is the kernel of $INSTAR_TEST_KERNEL, Debian's for amd64.
func packaged(t testing.TB) []byte {
	t.Helper()
	names, _ := filepath.Glob(os.Getenv("INSTAR_TEST_KERNEL") + "/boot/vmlinuz-*")
	if len(names) == 0 || os.Getenv("INSTAR_TEST_KERNEL") == "" {
		t.Skip("no kernel in INSTAR_TEST_KERNEL; scripts/test-inputs gives it")
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNormalise: another zstd unpacks what is in the new image, which is a PE
// image, and which its parts make again. That it boots, the tests of machines
// show.
func TestNormalise(t *testing.T) {
	if raceEnabled {
		t.Skip("scripts/test runs this without the race detector")
	}
	b := packaged(t)
	n, err := Normalise(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes as packaged, %d now: %d of shell and %d of kernel", len(b), len(n.Image), len(n.Shell), len(n.Content))
	if len(n.Image) > len(b)*108/100 {
		t.Errorf("%d bytes became %d", len(b), len(n.Image))
	}
	m, err := pe.Parse(n.Image)
	if err != nil || m.Signed {
		t.Errorf("firmware would not take it: %+v, %v", m, err)
	}
	p, err := bzimage.Split(bytes.NewReader(n.Image), int64(len(n.Image)))
	if err != nil || p == nil || !bytes.Equal(p.Shell, n.Shell) {
		t.Fatalf("split: %v", err)
	}
	r, err := zstd.NewReader(p.Frame(), zstd.WithDecoderMaxWindow(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var content bytes.Buffer
	if _, err := content.ReadFrom(r); err != nil || !bytes.Equal(content.Bytes(), n.Content) {
		t.Errorf("%d bytes of kernel, %v", content.Len(), err)
	}
	if was, err := Release(b); err != nil {
		t.Error(err)
	} else if is, err := Release(n.Image); err != nil || is != was {
		t.Errorf("release %s became %s, %v", was, is, err)
	}
}

// TestReferences: those that reading the startup code by hand finds, and what is
// not understood is refused.
func TestReferences(t *testing.T) {
	b := packaged(t)
	k, err := parseImage(b)
	if err != nil {
		t.Fatal(err)
	}
	k.by = 4096
	all, err := k.references()
	if err != nil {
		t.Fatal(err)
	}
	down := 0
	for _, e := range all {
		if e.down {
			down++
		}
	}
	if len(all)-down != 29 || down != 6 { // of 6.12, as objdump shows them
		t.Errorf("%d references of the head, %d of the tail", len(all)-down, down)
	}
	at, end := k.at, int64(len(k.b))
	place := le.AppendUint32(nil, uint32(k.tail-k.base)+0x20000)
	for name, change := range map[string]func(b []byte){
		"other startup code":           func(b []byte) { b[k.base+0x23c]++ },
		"a number of the head":         func(b []byte) { copy(b[at-40:], append([]byte{0x69, 0xc0}, place...)) },
		"a reference to the payload":   func(b []byte) { b[k.tail+100] = 0xb8; le.PutUint32(b[k.tail+101:], uint32(k.at-k.tail-101)) },
		"two lengths":                  func(b []byte) { le.PutUint32(b[end-64:], uint32(k.tail-k.at)) },
		"an address from where it is":  func(b []byte) { copy(b[k.tail+96:], append([]byte{0, 0, 0x8d, 0x85}, place...)) },
		"a payload that ends too late": func(b []byte) { le.PutUint32(b[bzimage.PayloadLength:], 1<<30) },
	} {
		c := bytes.Clone(b)
		change(c)
		if k, err := parseImage(c); err == nil {
			if _, err = k.move(k.tail-k.at, int64(le.Uint32(k.b[k.tail-4:]))); err == nil {
				t.Errorf("%s is understood", name)
			}
		}
	}
}

func TestOpaque(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("MZ"), make([]byte, 1<<20)} {
		if _, err := Normalise(b); !errors.Is(err, ErrOpaque) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

// A package may hold anything for a kernel.
func FuzzNormalise(f *testing.F) {
	f.Add([]byte("MZ"))
	head := make([]byte, 0x800)
	copy(head, "MZ")
	head[0x3c], head[bzimage.SetupSectors], head[bzimage.ProtectedSize] = 0x40, 1, 0x40
	copy(head[0x40:], "PE\x00\x00\x64\x86")
	copy(head[bzimage.Magic:], "HdrS")
	le.PutUint32(head[bzimage.PayloadOffset:], 0x240)
	le.PutUint32(head[bzimage.PayloadLength:], 0x40)
	f.Add(head)
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseImage(b); err == nil {
			_, _ = k.move(k.tail-k.at+5000, 70000)
		}
		if _, err := Normalise(b); err != nil && !errors.Is(err, ErrOpaque) {
			t.Error(err)
		}
	})
}
