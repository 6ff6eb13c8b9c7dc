package devices

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/system"
)

// Node is a device that has a node, as sysfs tells.
type Node struct {
	Block        bool
	Major, Minor uint32
	Path         string // below /sys, as "devices/virtual/mem/null"
	Name         string // the kernel's, as "null"
	Subsystem    string
}

// Kind says what it is, in a word.
func (n Node) Kind() string {
	switch {
	case n.Block:
		return "block"
	case n.Subsystem == "tty" || n.Subsystem == "gpio" || n.Subsystem == "usb":
		return n.Subsystem
	}
	return "char"
}

// scan returns every device with a node, in order of paths. Devices that go
// away while it looks are left out.
func scan(sysfs fs.FS) ([]Node, error) {
	var out []Node
	for _, kind := range []string{"char", "block"} {
		dir := "dev/" + kind
		entries, err := fs.ReadDir(sysfs, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing devices: %w", err)
		}
		for _, e := range entries {
			major, minor, ok := number(e.Name())
			target, err := fs.ReadLink(sysfs, dir+"/"+e.Name())
			if !ok || err != nil {
				continue
			}
			at := path.Join(dir, target)
			out = append(out, Node{Block: kind == "block", Major: major, Minor: minor, Path: at,
				Name: path.Base(at), Subsystem: linked(sysfs, at, "subsystem")})
		}
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// number reads "188:0".
func number(s string) (major, minor uint32, ok bool) {
	a, b, ok := strings.Cut(s, ":")
	x, err1 := strconv.ParseUint(a, 10, 32)
	y, err2 := strconv.ParseUint(b, 10, 32)
	return uint32(x), uint32(y), ok && err1 == nil && err2 == nil
}

// linked returns the last part of a link's target, "" without it.
func linked(sysfs fs.FS, dir, name string) string {
	target, err := fs.ReadLink(sysfs, path.Join(dir, name))
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// maxAttribute is a page, which no attribute exceeds, in bytes.
const maxAttribute = 4096

// attribute returns a file of sysfs without the space around, "" without it.
func attribute(sysfs fs.FS, dir, name string) string {
	f, err := sysfs.Open(path.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, maxAttribute)
	n, _ := f.Read(b) // one that cannot be read has no value
	return strings.TrimSpace(string(b[:n]))
}

// up calls f with the directory of a device and of those it hangs on, until f
// says that it has found what it looked for.
func up(at string, f func(dir string) bool) {
	for dir := at; dir != "devices" && strings.Contains(dir, "/"); dir = path.Dir(dir) {
		if f(dir) {
			return
		}
	}
}

// matches reports whether a device is what a definition means.
func matches(sysfs fs.FS, n Node, m system.DeviceMatch) bool {
	if m.Subsystem != "" && m.Subsystem != n.Subsystem {
		return false
	}
	if ok, err := path.Match(m.Name, n.Name); m.Name != "" && (err != nil || !ok) {
		return false
	}
	if m.Path != "" && !hangsOn(n.Path, m.Path) {
		return false
	}
	for name, want := range m.Attributes {
		if attribute(sysfs, n.Path, name) != want {
			return false
		}
	}
	return (m.Driver == "" || m.Driver == driver(sysfs, n.Path)) &&
		(m.Serial == "" || m.Serial == serial(sysfs, n.Path)) && identified(sysfs, n.Path, m)
}

// hangsOn reports whether a device, or one that it hangs on, has a path with
// that end.
func hangsOn(at, end string) bool {
	found := false
	up(at, func(dir string) bool {
		found = dir == end || strings.HasSuffix(dir, "/"+strings.Trim(end, "/"))
		return found
	})
	return found
}

func driver(sysfs fs.FS, at string) (name string) {
	up(at, func(dir string) bool {
		name = linked(sysfs, dir, "driver")
		return name != ""
	})
	return name
}

func serial(sysfs fs.FS, at string) (s string) {
	up(at, func(dir string) bool {
		s = attribute(sysfs, dir, "serial")
		return s != ""
	})
	return s
}

// identified compares vendor and product with those of the nearest device that
// has them: USB devices, those of PCI and virtio, and SCSI disks.
func identified(sysfs fs.FS, at string, m system.DeviceMatch) bool {
	if m.Vendor == "" && m.Product == "" {
		return true
	}
	ok := false
	up(at, func(dir string) bool {
		for _, names := range [][2]string{{"idVendor", "idProduct"}, {"vendor", "device"}, {"vendor", "model"}} {
			vendor, product := attribute(sysfs, dir, names[0]), attribute(sysfs, dir, names[1])
			if vendor == "" || product == "" {
				continue
			}
			ok = (m.Vendor == "" || plain(m.Vendor) == plain(vendor)) && (m.Product == "" || plain(m.Product) == plain(product))
			return true
		}
		return false
	})
	return ok
}

// plain writes an identifier in one way, whatever bus it is from.
func plain(id string) string { return strings.TrimPrefix(strings.ToLower(id), "0x") }
