package boot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"
)

// TestPortWaits reads a file to which something is appended later: as from a
// virtio serial port, the end of file is not the end.
func TestPortWaits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "port")
	w, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p := &port{ctx, r}
	time.AfterFunc(20*time.Millisecond, func() { w.WriteString("hello") })
	b := make([]byte, 10)
	if n, err := p.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	if n, err := p.Read(b); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestServePortFindsNone(t *testing.T) {
	m := &machine{}
	sysfs := fstest.MapFS{"class/virtio-ports/vport0p1/name": {Data: []byte("org.qemu.guest_agent.0\n")}}
	if err := m.servePort(sysfs, "/nowhere"); err != nil || len(m.undo) != 0 {
		t.Errorf("a port of another name: %v, %d to undo", err, len(m.undo))
	}
	sysfs["class/virtio-ports/vport0p2/name"] = &fstest.MapFile{Data: []byte(portName + "\n")}
	if err := m.servePort(sysfs, "/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a port without a device: %v", err)
	}
}
