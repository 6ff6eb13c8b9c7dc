package linux

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

func TestCmdline(t *testing.T) {
	c := ParseCmdline("ro instar.system=aa quiet  dyndbg=\"file a.c +p\" \"x y=z\" instar.system=bb e= -- init\n")
	want := Cmdline{{"ro", ""}, {"instar.system", "aa"}, {"quiet", ""}, {"dyndbg", "file a.c +p"}, {"x y", "z"}, {"instar.system", "bb"}, {"e", ""}, {"init", ""}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %q\nwant %q", c, want)
	}
	if v, ok := c.Lookup("instar.system"); v != "bb" || !ok {
		t.Errorf("Lookup of a key given twice: %q, %v", v, ok)
	}
	if _, ok := c.Lookup("nothing"); ok {
		t.Error("Lookup found what is not there")
	}
}

func FuzzCmdline(f *testing.F) {
	f.Add(`a=b "c d"="e f" -- =x "`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, a := range ParseCmdline(s) {
			if a.Key == "--" {
				t.Errorf("key %q", a.Key)
			}
		}
	})
}

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }

func link(s string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(s), Mode: fs.ModeSymlink | 0o777}
}

func TestPartitions(t *testing.T) {
	sysfs := fstest.MapFS{
		"block/sdb/sdb1/partition":           file("1"),
		"block/sdb/sdb1/start":               file("64"),
		"block/sdb/sdb1/size":                file("8"),
		"block/sdb/sdb1/uevent":              file("DEVNAME=sdb1\nPARTN=1"),
		"block/nvme0n1/nvme0n1p10/partition": file("10"),
		"block/nvme0n1/nvme0n1p10/start":     file("4096"),
		"block/nvme0n1/nvme0n1p10/size":      file("2048"),
		"block/nvme0n1/nvme0n1p10/uevent":    file("PARTN=10\nPARTNAME=instar-data"),
		"block/nvme0n1/nvme0n1p3/partition":  file("3"),
		"block/nvme0n1/nvme0n1p3/start":      file("2048"),
		"block/nvme0n1/nvme0n1p3/size":       file("2048"),
		"block/nvme0n1/nvme0n1p3/uevent":     file("PARTN=3\nPARTNAME=instar-store"),
		"block/nvme0n1/queue/rotational":     file("0"),
		"block/nvme0n1/size":                 file("100000"),
	}
	got, err := Partitions(sysfs)
	want := []Partition{
		{"nvme0n1p3", "nvme0n1", "instar-store", 3, 1 << 20, 1 << 20},
		{"nvme0n1p10", "nvme0n1", "instar-data", 10, 2 << 20, 1 << 20},
		{"sdb1", "sdb", "", 1, 32 << 10, 4 << 10},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	for _, p := range got {
		if name := PartitionName(p.Disk, p.Number); name != p.Name {
			t.Errorf("PartitionName(%s, %d) = %s", p.Disk, p.Number, name)
		}
	}
	if none, err := Partitions(fstest.MapFS{}); none != nil || err != nil {
		t.Errorf("without disks: %v, %v", none, err)
	}
}

func TestNetDevices(t *testing.T) {
	dev := "devices/pci0000:00/0000:00:02.0/virtio1"
	sysfs := fstest.MapFS{
		"class/net/eth0":                 link("../../" + dev + "/net/eth0"),
		dev + "/net/eth0/ifindex":        file("2"),
		dev + "/net/eth0/address":        file("52:54:00:12:34:56"),
		dev + "/net/eth0/carrier":        file("1"),
		dev + "/driver":                  link("../../../../bus/virtio/drivers/virtio_net"),
		"class/net/lo":                   link("../../devices/virtual/net/lo"),
		"devices/virtual/net/lo/ifindex": file("1"),
		"class/net/bonding_masters":      file(""),
	}
	got, err := NetDevices(sysfs)
	want := []NetDevice{
		{"eth0", 2, "52:54:00:12:34:56", "virtio_net", dev, true},
		{Name: "lo", Index: 1},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// inNamespace runs a function in a network namespace of its own, which ends
// with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNetlink(t *testing.T) {
	inNamespace(t, func() {
		n, err := OpenNetlink()
		if err != nil {
			t.Error(err)
			return
		}
		defer n.Close()
		four, six := netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")
		for _, step := range []struct {
			name string
			err  error
		}{
			{"up", n.SetUp(1)},
			{"mtu", n.SetMTU(1, 1400)},
			{"address", n.AddAddress(1, four, 0)},
			{"address again", n.AddAddress(1, four, 60)},
			{"address 6", n.AddAddress(1, six, 0)},
			{"route", n.SetRoute(1, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.2"), false)},
			{"route again", n.SetRoute(1, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.3"), false)},
			{"direct route", n.SetRoute(1, netip.MustParsePrefix("198.51.100.0/24"), netip.Addr{}, false)},
			{"remove", n.RemoveAddress(1, six)},
			{"remove again", n.RemoveAddress(1, six)},
		} {
			if step.err != nil {
				t.Errorf("%s: %v", step.name, step.err)
			}
		}
		routes, err := os.ReadFile("/proc/thread-self/net/route")
		if err != nil {
			t.Error(err)
		}
		// lo, destination and gateway in the byte order of the machine.
		if want := "lo\t00000000\t030200C0\t"; runtime.GOARCH == "amd64" && !strings.Contains(string(routes), want) {
			t.Errorf("routes:\n%swant a line with %q", routes, want)
		}
		if err := n.SetUp(99); !errors.Is(err, unix.ENODEV) {
			t.Errorf("an interface that does not exist: %v", err)
		}
		if err := n.Rename(1, "a-name-that-is-long"); err == nil {
			t.Error("a name of 19 bytes was taken")
		}
		if err := n.SetDown(1); err != nil {
			t.Error(err)
		}
		if err := n.Rename(1, "loop"); err != nil {
			t.Error(err)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) { verdict(b, 1) })
}

func TestWaitDevice(t *testing.T) {
	calls := 0
	ok, err := WaitDevice(time.Minute, func() (bool, error) { calls++; return true, nil })
	if !ok || err != nil || calls != 1 {
		t.Errorf("found at once: %v, %v after %d calls", ok, err, calls)
	}
	began := time.Now()
	ok, err = WaitDevice(50*time.Millisecond, func() (bool, error) { return false, nil })
	if took := time.Since(began); ok || err != nil || took < 50*time.Millisecond || took > 5*time.Second {
		t.Errorf("never found: %v, %v after %s", ok, err, took)
	}
	want := errors.New("no")
	if _, err = WaitDevice(time.Minute, func() (bool, error) { return false, want }); err != want {
		t.Errorf("got %v, want %v", err, want)
	}
}
