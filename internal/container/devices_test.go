package container

import (
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/system"
)

// TestDevices gives a container a device that containers do not have, under
// another name, while it runs, and takes it away.
func TestDevices(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	loops := system.Device{Name: "loops", To: "/dev/own/loops", Access: "rw"}
	c := w.container(t, func(c *system.Container) {
		c.UID, c.GID = 7, 8
		c.Devices = []system.Device{loops}
	})
	s := w.sandbox(t, c)
	enforced(t, s)
	fails(t, s, "no such file", "open", "/dev/own/loops")
	if err := s.AddDevice(loops, false, 10, 237); err != nil {
		t.Fatal(err)
	}
	succeed(t, s.Start, "open", "/dev/own/loops")
	if err := s.AddDevice(loops, false, 10, 237); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := s.RemoveDevice(loops, false, 10, 237); err != nil {
		t.Fatal(err)
	}
	fails(t, s, "no such file", "open", "/dev/own/loops")
	fails(t, s, "read-only file system", "write", "/dev/x", "y")
	fails(t, s, "", "write", "/dev/own/x", "y")
	readOnly := loops
	readOnly.Access = "r"
	if err := s.AddDevice(readOnly, false, 10, 237); err != nil {
		t.Fatal(err)
	}
	fails(t, s, "permission denied", "open", "/dev/own/loops")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.AddDevice(loops, false, 10, 237); err == nil {
		t.Error("a container that is gone got a device")
	}
}

// TestForeignDevices has a container that may make nodes: those of other
// devices than its own are refused all the same.
func TestForeignDevices(t *testing.T) {
	w := newWorld(t)
	w.Cgroup = cgroup2(t)
	edit := func(c *system.Container) {
		c.IDs = system.IDRange{} // the capability is worth nothing in a user namespace of its own
		c.Capabilities = []string{"CAP_MKNOD"}
	}
	s := w.sandbox(t, w.container(t, edit))
	enforced(t, s)
	succeed(t, s.Start, "mknod", "/tmp/null", "1", "3")
	fails(t, s, "operation not permitted", "mknod", "/tmp/loops", "10", "237")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	owner := w.container(t, func(c *system.Container) {
		edit(c)
		c.Devices = []system.Device{{Name: "loops", To: "/dev/loops", Access: "rwm"}}
	})
	s = w.sandbox(t, owner)
	if err := s.AddDevice(owner.Devices[0], false, 10, 237); err != nil {
		t.Fatal(err)
	}
	succeed(t, s.Start, "mknod", "/tmp/loops", "10", "237")
	if err := s.RemoveDevice(owner.Devices[0], false, 10, 237); err != nil {
		t.Fatal(err)
	}
	fails(t, s, "operation not permitted", "mknod", "/tmp/other", "10", "237")
}

// enforced skips where no BPF program limits devices.
func enforced(t *testing.T, s *Sandbox) {
	t.Helper()
	for _, warning := range s.Warnings() {
		if strings.Contains(warning, "its use of devices") {
			if strings.Contains(warning, "operation not permitted") {
				t.Skip("this machine lets nobody load programs: ", warning)
			}
			t.Fatal(warning)
		}
	}
}

// fails runs the probe, which must end with 1 and say why.
func fails(t *testing.T, s *Sandbox, why string, args ...string) {
	t.Helper()
	_, stderr, e := output(t, s.Start, args...)
	if e.Code != 1 || !strings.Contains(stderr, why) {
		t.Errorf("%v: %v, %q; want it to fail with %q", args, e, stderr, why)
	}
}
