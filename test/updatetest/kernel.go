package updatetest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/instar-os/instar/internal/bzimage"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/zstd"
)

// Kernel makes a bzImage that boots nothing: setup header, payload, tail.
func Kernel(t testing.TB, content []byte) (image, shell []byte) {
	t.Helper()
	var packed bytes.Buffer
	if err := zstd.Compress(&packed, content); err != nil {
		t.Fatal(err)
	}
	head := bytes.Repeat([]byte{0x90}, 0x600)
	head[bzimage.SetupSectors] = 1
	copy(head[bzimage.Magic:], "HdrS")
	le := binary.LittleEndian
	le.PutUint32(head[bzimage.PayloadOffset:], uint32(len(head)-1024))
	le.PutUint32(head[bzimage.PayloadLength:], uint32(packed.Len()+4))
	end := int64(len(head)+packed.Len()+4)/bzimage.Align*bzimage.Align + bzimage.Align
	shell = bzimage.Shell(head, bytes.Repeat([]byte("it unpacks "), 300), end+bzimage.Room())
	var b bytes.Buffer
	if _, err := bzimage.Join(&b, shell, content); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), shell
}

// SetKernel gives a system a kernel that is packed of parts.
func (w *World) SetKernel(m *system.Manifest, content []byte) {
	w.t.Helper()
	image, shell := Kernel(w.t, content)
	w.SetImage(m, image, shell, content)
}

// SetImage gives a system a kernel that package kernel has made.
func (w *World) SetImage(m *system.Manifest, image, shell, content []byte) {
	w.t.Helper()
	m.Kernel.Image = w.put(image)
	m.Kernel.Payload = &system.Payload{Shell: w.put(shell), Content: w.put(content)}
}
