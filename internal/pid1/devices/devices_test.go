package devices

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// usb is the path of a serial adapter at a port of a USB controller.
func usb(port string) string {
	return "devices/pci0000:00/0000:00:04.0/usb1/" + port + "/" + port + ":1.0/ttyUSB" + port[len(port)-1:]
}

// machine is a sysfs with adapters at ports 1-1 and 1-2, a disk and /dev/null.
func machine() fstest.MapFS {
	m := fstest.MapFS{}
	text := func(name, content string) { m[name] = &fstest.MapFile{Data: []byte(content + "\n")} }
	link := func(name, target string) {
		m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
	}
	text("devices/pci0000:00/0000:00:04.0/vendor", "0x1B36")
	text("devices/pci0000:00/0000:00:04.0/device", "0x000d")
	link("devices/pci0000:00/0000:00:04.0/driver", "../../../bus/pci/drivers/xhci_hcd")
	for i, port := range []string{"1-1", "1-2"} {
		plug(m, port, fmt.Sprintf("SN%d", i+1), uint32(i))
	}
	disk := "devices/pci0000:00/0000:00:05.0/virtio2/block/vdb"
	text(disk+"/serial", "backup")
	text("devices/pci0000:00/0000:00:05.0/virtio2/vendor", "0x1af4")
	text("devices/pci0000:00/0000:00:05.0/virtio2/device", "0x0002")
	link("devices/pci0000:00/0000:00:05.0/virtio2/driver", "../../../../bus/virtio/drivers/virtio_blk")
	link(disk+"/subsystem", "../../../../../../class/block")
	link("dev/block/254:16", "../../"+disk)
	link("devices/virtual/mem/null/subsystem", "../../../../class/mem")
	link("dev/char/1:3", "../../devices/virtual/mem/null")
	return m
}

// plug adds a serial adapter.
func plug(m fstest.MapFS, port, serial string, minor uint32) {
	at := usb(port)
	device := at[:strings.Index(at, "/"+port+":1.0")]
	for name, content := range map[string]string{"idVendor": "1546", "idProduct": "01a7", "serial": serial} {
		m[device+"/"+name] = &fstest.MapFile{Data: []byte(content + "\n")}
	}
	for name, target := range map[string]string{
		at[:strings.LastIndex(at, "/")] + "/driver":                     "../../../../../../bus/usb/drivers/cdc_acm",
		at + "/tty/" + at[strings.LastIndex(at, "/")+1:] + "/subsystem": "../../../../../../../../../class/tty",
		fmt.Sprintf("dev/char/188:%d", minor):                           "../../" + at + "/tty/" + at[strings.LastIndex(at, "/")+1:],
	} {
		m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
	}
}

func unplug(m fstest.MapFS, minor int) { delete(m, fmt.Sprintf("dev/char/188:%d", minor)) }

func TestMatches(t *testing.T) {
	m := machine()
	nodes, err := scan(m)
	if err != nil || len(nodes) != 4 {
		t.Fatalf("%+v, %v; want 4 nodes", nodes, err)
	}
	for _, row := range []struct {
		want  string
		match system.DeviceMatch
	}{
		{"ttyUSB1 ttyUSB2", system.DeviceMatch{Subsystem: "tty"}},
		{"ttyUSB1", system.DeviceMatch{Serial: "SN1"}},
		{"ttyUSB2", system.DeviceMatch{Path: "1-2:1.0"}},
		{"ttyUSB1 ttyUSB2", system.DeviceMatch{Vendor: "1546", Product: "01a7"}},
		{"vdb", system.DeviceMatch{Vendor: "1af4"}},
		{"vdb", system.DeviceMatch{Driver: "virtio_blk"}},
		{"ttyUSB1 ttyUSB2", system.DeviceMatch{Driver: "cdc_acm"}}, // not xhci_hcd, which is further away
		{"null", system.DeviceMatch{Name: "nu*"}},
		{"vdb", system.DeviceMatch{Attributes: map[string]string{"serial": "backup"}}},
		{"ttyUSB1 ttyUSB2", system.DeviceMatch{Path: "0000:00:04.0"}},
		{"", system.DeviceMatch{Driver: "xhci_hcd"}},
		{"", system.DeviceMatch{Path: "4.0"}}, // a part of a name is no path
		{"", system.DeviceMatch{Vendor: "1b36"}},
		{"", system.DeviceMatch{Subsystem: "tty", Serial: "SN3"}},
		{"ttyUSB1 ttyUSB2", system.DeviceMatch{Vendor: "0x1546"}},
		{"", system.DeviceMatch{Attributes: map[string]string{"absent": "x"}}},
	} {
		var got []string
		for _, n := range nodes {
			if matches(m, n, row.match) {
				got = append(got, n.Name)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != row.want {
			t.Errorf("%+v matches %v, want %s", row.match, got, row.want)
		}
	}
}

// sink notes what a container gets.
type sink struct{ has map[string]string }

func (s *sink) AddDevice(d system.Device, block bool, major, minor uint32) error {
	s.has[d.To] = fmt.Sprintf("%v %d:%d", block, major, minor)
	return nil
}

func (s *sink) RemoveDevice(d system.Device, _ bool, _, _ uint32) error {
	delete(s.has, d.To)
	return nil
}

func gps(serial string) system.Device {
	return system.Device{Name: "gps", To: "/dev/ttyGPS", Access: "rw", Required: true, Match: system.DeviceMatch{Subsystem: "tty", Serial: serial}}
}

func watcher(t *testing.T, m fstest.MapFS, containers ...system.Container) *Watcher {
	w := &Watcher{Sysfs: m, Log: t.Logf}
	w.Use(&system.Configuration{Name: "day", Containers: containers})
	return w
}

func TestHotPlug(t *testing.T) {
	m := machine()
	unplug(m, 0)
	ct := system.Container{Name: "sampler", Devices: []system.Device{gps("SN1")}}
	w := watcher(t, m, ct)
	what, changed := w.Lacks(&ct)
	if len(what) != 1 || !strings.Contains(what[0], "gps (subsystem tty, serial SN1)") {
		t.Fatalf("lacks %q", what)
	}
	if st := w.Status(); len(st) != 1 || st[0].State != wire.DeviceMissing {
		t.Errorf("status %+v", st)
	}
	plug(m, "1-1", "SN1", 7)
	w.refresh()
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the device")
	}
	if what, _ := w.Lacks(&ct); len(what) != 0 {
		t.Errorf("still lacks %q", what)
	}
	s := &sink{map[string]string{}}
	detach, err := w.Attach(&ct, s)
	if err != nil || s.has["/dev/ttyGPS"] != "false 188:7" {
		t.Fatalf("has %v, %v", s.has, err)
	}
	if st := w.Status()[0]; st.State != wire.DevicePresent || st.Kind != "tty" || st.Detail != "ttyUSB1 188:7" {
		t.Errorf("status %+v", st)
	}
	unplug(m, 7)
	w.refresh()
	if len(s.has) != 0 {
		t.Errorf("unplugged, and there is %v", s.has)
	}
	plug(m, "1-1", "SN1", 9)
	w.refresh()
	if s.has["/dev/ttyGPS"] != "false 188:9" {
		t.Errorf("plugged in again: %v", s.has)
	}
	detach()
	unplug(m, 9)
	w.refresh()
	if s.has["/dev/ttyGPS"] == "" {
		t.Error("a container that is gone was told")
	}
}

// TestOneOwner has two containers whose claims overlap after all: none of them
// gets the device.
func TestOneOwner(t *testing.T) {
	m := machine()
	a := system.Container{Name: "a", Devices: []system.Device{{Name: "x", To: "/dev/x", Required: true, Match: system.DeviceMatch{Serial: "SN1"}}}}
	b := system.Container{Name: "b", Devices: []system.Device{{Name: "y", To: "/dev/y", Match: system.DeviceMatch{Path: "1-1"}}}}
	w := watcher(t, m, a, b)
	for _, st := range w.Status() {
		if st.State != wire.DeviceConflict || !strings.Contains(st.Detail, "claimed by a and b") {
			t.Errorf("%+v", st)
		}
	}
	if what, _ := w.Lacks(&a); len(what) != 1 {
		t.Errorf("lacks %q", what)
	}
}

// TestTwoAlike gives a container with two equal declarations two devices.
func TestTwoAlike(t *testing.T) {
	m := machine()
	match := system.DeviceMatch{Subsystem: "tty"}
	ct := system.Container{Name: "a", Devices: []system.Device{{Name: "x", To: "/dev/x", Match: match}, {Name: "y", To: "/dev/y", Match: match}}}
	w := watcher(t, m, ct)
	s := &sink{map[string]string{}}
	if _, err := w.Attach(&ct, s); err != nil {
		t.Fatal(err)
	}
	if s.has["/dev/x"] != "false 188:0" || s.has["/dev/y"] != "false 188:1" {
		t.Errorf("has %v", s.has)
	}
	unplug(m, 0)
	w.refresh()
	if s.has["/dev/x"] != "" || s.has["/dev/y"] != "false 188:1" {
		t.Errorf("after one is unplugged: %v", s.has)
	}
}

// TestSwitch moves a device from a container of one configuration to one of
// another: not before the first is gone.
func TestSwitch(t *testing.T) {
	m := machine()
	old := system.Container{Name: "old", Devices: []system.Device{gps("SN1")}}
	next := system.Container{Name: "next", Devices: []system.Device{gps("SN1")}}
	w := watcher(t, m, old)
	s := &sink{map[string]string{}}
	detach, err := w.Attach(&old, s)
	if err != nil {
		t.Fatal(err)
	}
	w.Use(&system.Configuration{Name: "night", Containers: []system.Container{next}})
	what, changed := w.Lacks(&next)
	if len(what) != 1 || s.has["/dev/ttyGPS"] == "" {
		t.Fatalf("lacks %q, the old one has %v", what, s.has)
	}
	detach()
	<-changed
	if what, _ := w.Lacks(&next); len(what) != 0 {
		t.Errorf("lacks %q after the old one is gone", what)
	}
	// A switch that returns asks for the old one's device again.
	w.Use(&system.Configuration{Name: "night"})
	if what, _ := w.Lacks(&old); len(what) != 0 {
		t.Errorf("the old one lacks %q after it is back", what)
	}
}
