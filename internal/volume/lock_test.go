package volume

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
)

// TestTwoProcesses has two stores over one directory, as two processes have: a
// volume that a container of one uses cannot be changed through the other.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	unit, service := &Store{Dir: dir, Now: time.Now}, &Store{Dir: dir, Now: time.Now}
	n := Name{"day", "broker", "/var/lib/broker"}
	d := system.Data{Path: n.Path, Version: 1, Mode: 0o755}
	used := func() bool {
		t.Helper()
		list, err := service.Volumes(context.Background())
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[0].InUse
	}
	for range 2 { // the first time makes it
		h, err := unit.Open(n.Configuration, n.Container, d)
		if err != nil {
			t.Fatal(err)
		}
		if !used() {
			t.Error("it is not in use")
		}
		if err := service.Import(n, 0, bytes.NewReader(nil)); !errors.Is(err, ErrInUse) {
			t.Errorf("importing while it is used: %v", err)
		}
		h.Close()
		h.Close()
		if used() {
			t.Error("it is still in use")
		}
	}
	if err := service.Import(n, 0, bytes.NewReader(make([]byte, 1024))); err != nil {
		t.Errorf("importing: %v", err)
	}
}
