package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// NetDevice is one network interface as sysfs tells.
type NetDevice struct {
	Name   string
	Index  int
	MAC    string // lower case, with colons
	Driver string // "" for what is no device, as lo
	Path   string // of the device in sysfs, "devices/pci0000:00/0000:00:02.0/virtio1"; "" likewise
	Up     bool   // it has a carrier
}

// NetDevices returns all network interfaces of sysfs's network namespace, in
// order of name.
func NetDevices(sysfs fs.FS) ([]NetDevice, error) {
	entries, err := fs.ReadDir(sysfs, "class/net")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing network interfaces: %w", err)
	}
	var all []NetDevice
	for _, e := range entries {
		dir := "class/net/" + e.Name()
		index, err := readInt(sysfs, dir+"/ifindex")
		if err != nil {
			continue // a file such as bonding_masters, or gone
		}
		d := NetDevice{Name: e.Name(), Index: int(index), MAC: readLine(sysfs, dir+"/address")}
		d.Up = readLine(sysfs, dir+"/carrier") == "1"
		d.Path = target(sysfs, "class/net", e.Name())
		if rest, ok := strings.CutSuffix(d.Path, "/net/"+d.Name); ok {
			d.Path = rest
			d.Driver = path.Base(target(sysfs, rest, "driver"))
		}
		if d.Driver == "" || d.Driver == "." {
			d.Path, d.Driver = "", ""
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b NetDevice) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// target returns where a symbolic link of a directory leads to within the file
// system, "" when it is none.
func target(sysfs fs.FS, dir, name string) string {
	link, err := fs.ReadLink(sysfs, dir+"/"+name)
	if err != nil {
		return ""
	}
	return path.Join(dir, link)
}

func readLine(sysfs fs.FS, name string) string {
	b, err := fs.ReadFile(sysfs, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
