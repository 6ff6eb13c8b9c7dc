package uki

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	for _, bad := range [][]string{{""}, {"a\nb"}, {`a="b"`}, {"a b"}, {"a b=c"}, {"ü"}, {strings.Repeat("x", maxCommandLine)}} {
		if line, err := commandLine(bad); err == nil {
			t.Errorf("%.20q became %.20q", bad, line)
		}
	}
	if line, err := commandLine([]string{"quiet", "a=b c", "d=e"}); err != nil || line != `quiet a="b c" d=e` {
		t.Errorf("got %q, %v", line, err)
	}
}

// What a device reads of a slot may be anything.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		if i.Kernel.Size() > int64(len(b)) || i.Initrd.Size() > maxRatio*int64(len(b)) {
			t.Errorf("parts of %d and %d bytes out of %d", i.Kernel.Size(), i.Initrd.Size(), len(b))
		}
		_, _ = i.Initrd.ReadAt(make([]byte, 1), 0)
	})
}

// TestInitrd: what is packed comes back, and what is damaged is an error.
func TestInitrd(t *testing.T) {
	plain := []byte(strings.Repeat("070701 an initrd of words ", 5000))
	c, err := pack(bytes.NewReader(plain))
	if err != nil || c.Size()*10 > int64(len(plain)) {
		t.Fatalf("%d bytes became %d: %v", len(plain), c.Size(), err)
	}
	packed, _ := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	read := func(b []byte) ([]byte, error) {
		u, err := unpack(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(io.NewSectionReader(u, 0, u.Size()))
	}
	for _, b := range [][]byte{packed, plain} {
		if got, err := read(b); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes came back: %v", len(got), err)
		}
	}
	for name, damage := range map[string]func(b []byte) []byte{
		"another byte":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"another sum":    func(b []byte) []byte { b[len(b)-5] ^= 1; return b },
		"a longer size":  func(b []byte) []byte { b[len(b)-4]++; return b },
		"a shorter size": func(b []byte) []byte { b[len(b)-4]--; return b },
		"a size bomb":    func(b []byte) []byte { b[len(b)-1] = 0x7f; return b },
		"cut":            func(b []byte) []byte { return append(b[:len(b)/2:len(b)/2], b[len(b)-4:]...) },
	} {
		if got, err := read(damage(bytes.Clone(packed))); err == nil {
			t.Errorf("%s: %d bytes came back", name, len(got))
		}
	}
}
