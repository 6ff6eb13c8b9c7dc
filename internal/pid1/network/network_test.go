package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/system"
)

func TestMatches(t *testing.T) {
	d := linux.NetDevice{Name: "eth0", MAC: "52:54:00:12:34:56", Driver: "virtio_net", Path: "devices/pci0000:00/0000:00:02.0/virtio1"}
	for _, row := range []struct {
		m    system.Match
		want bool
	}{
		{system.Match{}, false},
		{system.Match{Driver: "virtio_net"}, true},
		{system.Match{Driver: "virtio"}, false},
		{system.Match{MAC: "52:54:00:12:34:56"}, true},
		{system.Match{MAC: "52:54:00:12:34:57"}, false},
		{system.Match{Path: "0000:00:02.0"}, true},
		{system.Match{Path: "0000:00:02.0/virtio1"}, true},
		{system.Match{Path: "02.0"}, false},
		{system.Match{Name: "eth*"}, true},
		{system.Match{Name: "en*"}, false},
		{system.Match{Name: "[", Driver: "virtio_net"}, false},
		{system.Match{Driver: "virtio_net", Name: "eth1"}, false},
	} {
		if got := Matches(row.m, d); got != row.want {
			t.Errorf("%+v: %v", row.m, got)
		}
	}
}

// TestStatic sets up two ends of a cable, one of which has the other's name.
func TestStatic(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip (iproute2) is not installed")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	ip := func(args string) string {
		t.Helper()
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
		return string(out)
	}
	// A sysfs of this namespace.
	sys := t.TempDir()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("sysfs", sys, "sysfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(sys, unix.MNT_DETACH)
	ip("link add lan address 52:54:00:00:00:01 type veth peer name other address 52:54:00:00:00:02")

	n := &Network{Sysfs: os.DirFS(sys), Resolv: filepath.Join(t.TempDir(), "resolv.conf"), Log: t.Logf}
	ctx, cancel := context.WithCancel(context.Background())
	err := n.Start(ctx, []system.Interface{
		{Name: "lan", Match: system.Match{MAC: "52:54:00:00:00:02"}, Addresses: []string{"192.0.2.10/24", "2001:db8::1/64"},
			Gateway: "192.0.2.1", DNS: []string{"192.0.2.53", "192.0.2.54"}, MTU: 1400},
		{Name: "wan", Match: system.Match{MAC: "52:54:00:00:00:01"}, Addresses: []string{"198.51.100.1/32"}, DNS: []string{"192.0.2.53"}},
		{Name: "gone", Match: system.Match{Driver: "none"}, Optional: true},
		{Name: "bad", Match: system.Match{Name: "lo"}, Addresses: []string{"x"}, Optional: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if !n.Healthy() {
		t.Error("not healthy")
	}
	var got []string
	for _, s := range n.Status() {
		got = append(got, fmt.Sprintf("%s %s %v", s.Name, s.State, s.Addresses))
	}
	want := "lan up [192.0.2.10/24 2001:db8::1/64]; wan up [198.51.100.1/32]; gone missing []; bad down []"
	if strings.Join(got, "; ") != want {
		t.Errorf("status %s\nwant %s", strings.Join(got, "; "), want)
	}
	if b, err := os.ReadFile(n.Resolv); string(b) != "nameserver 192.0.2.53\nnameserver 192.0.2.54\n" {
		t.Errorf("resolv.conf %q, %v", b, err)
	}
	link := ip("-o addr show dev lan")
	for _, part := range []string{"inet 192.0.2.10/24 brd 192.0.2.255", "inet6 2001:db8::1/64"} {
		if !strings.Contains(link, part) {
			t.Errorf("ip shows\n%swithout %q", link, part)
		}
	}
	if link := ip("-o link show dev lan"); !strings.Contains(link, "mtu 1400") || !strings.Contains(link, "52:54:00:00:00:02") {
		t.Errorf("ip shows %s", link)
	}
	if route := ip("route show default"); !strings.Contains(route, "default via 192.0.2.1 dev lan") {
		t.Errorf("default route %q", route)
	}
	ip("link set wan down")
	if s := n.Status(); s[0].State != "down" || s[0].Detail != "no carrier" || n.Healthy() {
		t.Errorf("with the cable's other end down: %+v, healthy %v", s[0], n.Healthy())
	}
	ip("link del wan")
	if s := n.Status(); s[0].State != "missing" || s[0].Detail != "the device has gone" {
		t.Errorf("without the device: %+v", s[0])
	}
}
