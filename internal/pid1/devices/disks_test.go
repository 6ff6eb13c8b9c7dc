package devices

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
)

func TestDisks(t *testing.T) {
	dir := t.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	m := fstest.MapFS{}
	disk := func(major, minor uint32, at string, partition bool) {
		m[at+"/dev"] = &fstest.MapFile{Data: fmt.Appendf(nil, "%d:%d\n", major, minor)}
		m[fmt.Sprintf("dev/block/%d:%d", major, minor)] = &fstest.MapFile{Data: []byte("../../" + at), Mode: fs.ModeSymlink | 0o777}
		m[at+"/subsystem"] = &fstest.MapFile{Data: []byte("../../../../class/block"), Mode: fs.ModeSymlink | 0o777}
		if partition {
			m[at+"/partition"] = &fstest.MapFile{Data: []byte("1\n")}
		}
	}
	disk(500, 0, "devices/pci/vda", false)
	disk(500, 1, "devices/pci/vda/vda1", true)
	disk(500, 2, "devices/pci/vda/vda2", true)
	disk(501, 0, "devices/usb/sda", false)
	costs := filepath.Join(t.TempDir(), "io.cost.qos")
	d := &Disks{Sysfs: m, Data: []string{"/no/such", dir}, Costs: costs}
	for _, row := range []struct {
		match *system.DeviceMatch
		want  string
	}{
		{&system.DeviceMatch{Name: "vd*"}, "[500:0]"}, // its partitions are no disks of their own
		{&system.DeviceMatch{Name: "vda2"}, "[500:0]"},
		{&system.DeviceMatch{Path: "usb/sda"}, "[501:0]"},
		{&system.DeviceMatch{Subsystem: "block"}, "[500:0 501:0]"},
		{&system.DeviceMatch{Name: "nvme*"}, "no disk is name nvme*"},
		{nil, "no disk that could be told"},
	} {
		got, err := d.Find(row.match)
		if text := fmt.Sprint(got); err == nil && text != row.want || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %s, %v; want %s", row.match, text, err, row.want)
		}
	}
	// The directory is on a partition of vda.
	delete(m, "dev/block/500:2")
	m[fmt.Sprintf("dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))] = &fstest.MapFile{Data: []byte("../../devices/pci/vda/vda2"), Mode: fs.ModeSymlink | 0o777}
	if got, err := d.Find(nil); err != nil || fmt.Sprint(got) != "[500:0]" {
		t.Errorf("the disk of the data: %v, %v", got, err)
	}
	if err := d.Weigh(); err == nil {
		t.Error("weights were switched on in a kernel that has none")
	}
	if err := os.WriteFile(costs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.Weigh(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(costs); err != nil || string(got) != "500:0 enable=1 ctrl=auto" {
		t.Errorf("%q, %v", got, err)
	}
	if err := (&Disks{Sysfs: m, Data: d.Data}).Weigh(); err == nil || !strings.Contains(err.Error(), "not ours") {
		t.Errorf("weights on another's machine: %v", err)
	}
}
