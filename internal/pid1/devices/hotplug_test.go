package devices

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
)

// TestKernelEvents has the kernel make a device and remove it: a loop device of
// its own, which nothing is attached to.
func TestKernelEvents(t *testing.T) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skip("making a device: ", err)
	}
	defer control.Close()
	const number = 1077
	remove := func() error { return unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_REMOVE, number) }
	remove() // what a test that was killed has left
	root, err := os.OpenRoot("/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ct := system.Container{Name: "a", Devices: []system.Device{{Name: "disk", To: "/dev/disk", Access: "rw", Required: true,
		Match: system.DeviceMatch{Subsystem: "block", Name: "loop1077"}}}}
	w := &Watcher{Sysfs: root.FS(), Log: t.Logf}
	w.Use(&system.Configuration{Containers: []system.Container{ct}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	what, changed := w.Lacks(&ct)
	if len(what) != 1 {
		t.Fatalf("lacks %q", what)
	}
	time.Sleep(50 * time.Millisecond) // Run listens; a device from before is found by its first look anyway
	if err := unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_ADD, number); err != nil {
		t.Skip("making a device: ", err)
	}
	defer remove()
	await(t, changed, "made")
	what, changed = w.Lacks(&ct)
	if len(what) != 0 {
		t.Fatalf("made, and it lacks %q", what)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	await(t, changed, "removed")
	if what, _ := w.Lacks(&ct); len(what) != 1 {
		t.Errorf("removed, and it lacks %q", what)
	}
}

func await(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(5 * time.Second):
		t.Fatalf("nobody was told that the device was %s", what)
	}
}
