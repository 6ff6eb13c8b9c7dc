package drivers

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func link(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink}
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

// box is a machine with a disk and an interface on PCI, and a watchdog whose
// driver is built in.
func box() Machine {
	const bus = "devices/pci0000:00/"
	return Machine{
		Disk: "vda",
		Sysfs: fstest.MapFS{
			"class/block/vda":                      link("../../" + bus + "0000:00:03.0/virtio1/block/vda"),
			bus + "0000:00:03.0/virtio1/driver":    link("../../../../bus/virtio/drivers/virtio_blk"),
			bus + "0000:00:03.0/driver":            link("../../../bus/pci/drivers/virtio-pci"),
			"bus/virtio/drivers/virtio_blk/module": link("../../../../module/virtio_blk"),
			"bus/pci/drivers/virtio-pci/module":    link("../../../../module/virtio_pci"),
			"class/net/lan":                        link("../../" + bus + "0000:00:02.0/net/lan"),
			bus + "0000:00:02.0/driver":            link("../../../bus/pci/drivers/e1000e"),
			"bus/pci/drivers/e1000e/module":        link("../../../../module/e1000e"),
			"class/net/lo":                         link("../../devices/virtual/net/lo"),
			"class/watchdog/watchdog0":             link("../../devices/platform/wdt/watchdog/watchdog0"),
			"devices/platform/wdt/driver":          link("../../../bus/platform/drivers/builtin"),
			"bus/platform/drivers/builtin/uevent":  file(""),
		},
		Procfs: fstest.MapFS{
			"modules": file("virtio_blk 24576 3 - Live 0x0\nvirtio_pci 1 0\ne1000e 1 0\next4 1 2\nunused 1 0\n"),
			"mounts":  file("/dev/vda4 /run/instar/store ext4 ro 0 0\nproc /proc proc rw 0 0\n"),
		},
	}
}

func TestMissing(t *testing.T) {
	all := []string{"virtio-blk", "virtio_pci", "e1000e", "ext4"}
	for _, row := range []struct {
		name    string
		without string
		want    []string
	}{
		{"everything", "", nil},
		{"the root disk's driver", "virtio-blk", []string{"it has no driver virtio_blk, which disk vda needs here"}},
		{"the bus of the disk", "virtio_pci", []string{"it has no driver virtio_pci, which disk vda needs here"}},
		{"the interface's driver", "e1000e", []string{"it has no driver e1000e, which interface lan needs here"}},
		{"the store's file system", "ext4", []string{"it has no driver ext4, which a mounted ext4 needs here"}},
	} {
		has := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == row.without })
		got, err := box().Missing(has)
		if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("without %s: %q, %v, want %q", row.name, got, err, row.want)
		}
	}
	// What is built into the kernel is no module, and may not be one of the next.
	m := box()
	m.Procfs = fstest.MapFS{"modules": file("")}
	if got, err := m.Missing(nil); err != nil || got != nil {
		t.Errorf("all is built in: %q, %v", got, err)
	}
	m.Procfs = fstest.MapFS{}
	if _, err := m.Missing(nil); err == nil || !strings.Contains(err.Error(), "listing the modules in use") {
		t.Errorf("without a list of modules: %v", err)
	}
}
