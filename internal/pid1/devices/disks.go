package devices

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/system"
)

// Disks finds the machine's disks for limits of containers. Its fields are read
// only; it implements container.Disks.
type Disks struct {
	Sysfs fs.FS
	Data  []string // directories on the data partition's disk, the first that tells counts
	Costs string   // io.cost.qos of the root of cgroups; "" when the machine is not ours
}

// Find implements container.Disks.
func (d *Disks) Find(m *system.DeviceMatch) ([]container.Disk, error) {
	if m == nil {
		disk, err := d.data()
		return []container.Disk{disk}, err
	}
	nodes, err := scan(d.Sysfs)
	if err != nil {
		return nil, err
	}
	var out []container.Disk
	for _, n := range nodes {
		if !n.Block || !matches(d.Sysfs, n, *m) {
			continue
		}
		disk, err := whole(d.Sysfs, n.Path)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, disk) {
			out = append(out, disk)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no disk is %s", describe(*m))
	}
	return out, nil
}

// whole returns the disk that a block device is, or that a partition is on:
// limits hold for disks alone.
func whole(sysfs fs.FS, at string) (container.Disk, error) {
	if attribute(sysfs, at, "partition") != "" {
		at = path.Dir(at)
	}
	major, minor, ok := number(attribute(sysfs, at, "dev"))
	if !ok {
		return container.Disk{}, fmt.Errorf("%s has no number", at)
	}
	return container.Disk{Major: major, Minor: minor}, nil
}

// data returns the disk below the data partition.
func (d *Disks) data() (container.Disk, error) {
	for _, dir := range d.Data {
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil {
			continue
		}
		at := fmt.Sprintf("dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
		target, err := fs.ReadLink(d.Sysfs, at)
		if err != nil {
			continue // memory, or a file system with a number of its own
		}
		return whole(d.Sysfs, path.Join(path.Dir(at), target))
	}
	return container.Disk{}, errors.New("its data is on no disk that could be told")
}

// Weigh implements container.Disks: the kernel weighs requests at a disk when
// its model of the disk's costs is on: Documentation/admin-guide/cgroup-v2.rst.
func (d *Disks) Weigh() error {
	if d.Costs == "" {
		return errors.New("weights would change the disks of a machine that is not ours")
	}
	disk, err := d.data()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Clean(d.Costs), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s enable=1 ctrl=auto", disk)
	return errors.Join(err, f.Close())
}
