package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/data"
	"github.com/instar-os/instar/internal/reason"
)

// storeName is the store partition's name in the table.
const storeName = "instar-store"

// findStore waits for a partition of the store's name that holds the system,
// mounts it read-only and reads the manifest. When there is none, tables that
// were damaged by a cut are repaired and it looks once more.
func (d *device) findStore() error {
	tried := map[string]error{}
	look := func() (bool, error) {
		parts, err := linux.Partitions(d.sysfs.FS())
		if err == nil {
			err = d.remember(parts)
		}
		if err != nil {
			return false, err
		}
		for _, p := range parts {
			if _, ok := tried[p.Name]; ok || p.Label != storeName {
				continue
			}
			if tried[p.Name] = d.tryStore(p); tried[p.Name] == nil {
				return true, nil
			}
			d.log.Printf("partition %s: %v", p.Name, tried[p.Name])
		}
		return false, nil
	}
	found, err := look()
	if !found && err == nil && d.repairTables() {
		d.log.Printf("repaired a damaged partition table")
	}
	if !found && err == nil {
		found, err = linux.WaitDevice(diskPatience, look)
	}
	switch {
	case err != nil || found:
		return err
	case len(tried) == 0:
		return &errStore{reason.StoreMissing, fmt.Errorf("no partition %s has appeared within %s", storeName, diskPatience)}
	}
	var errs []error
	for name, err := range tried {
		errs = append(errs, fmt.Errorf("partition %s: %w", name, err))
	}
	return &errStore{reason.StoreDamaged, errors.Join(errs...)}
}

// tryStore mounts a partition and reads the system's manifest from it.
func (d *device) tryStore(p linux.Partition) error {
	m := linux.Mount{Source: "/dev/" + p.Name, Target: storeDir, Type: "ext4", Flags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV}
	if err := d.mountExt4(m); err != nil {
		return err
	}
	mark := len(d.undo)
	d.later("unmount the store", func() error { return linux.Unmount(storeDir, unix.MNT_DETACH) })
	if err := d.readManifest(storeDir); err != nil {
		d.takeDown(mark)
		return err
	}
	d.disk = p.Disk
	return nil
}

// mountExt4 mounts a partition; one whose superblock a loss of power has torn is
// mended first.
func (d *device) mountExt4(m linux.Mount) error {
	err := m.Do()
	if !errors.Is(err, unix.EBADMSG) { // a wrong checksum
		return err
	}
	f, failed := os.OpenFile(m.Source, os.O_RDWR, 0)
	if failed != nil {
		return errors.Join(err, failed)
	}
	defer f.Close()
	size, failed := linux.DeviceSize(f)
	mended := false
	if failed == nil {
		mended, failed = data.Mend(f, size)
	}
	if !mended {
		return errors.Join(err, failed)
	}
	d.warn("the superblock of %s was torn, and is mended", m.Source)
	return m.Do()
}

// repairTables restores the partition tables of disks without partitions.
func (d *device) repairTables() bool {
	parts, err := linux.Partitions(d.sysfs.FS())
	if err != nil {
		return false
	}
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return false
	}
	repaired := false
	for _, e := range entries {
		name := e.Name()
		known := false
		for _, p := range parts {
			known = known || p.Disk == name
		}
		if known || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") {
			continue
		}
		f, err := os.OpenFile("/dev/"+name, os.O_RDWR, 0)
		if err != nil {
			continue // no medium, or read-only
		}
		size, err := linux.DeviceSize(f)
		if err == nil && data.Repair(whole{f}, size) {
			repaired = unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0) == nil || repaired
		}
		f.Close()
	}
	return repaired
}

// whole is an open disk as a data.Device.
type whole struct{ *os.File }

// Zero implements data.Device.
func (w whole) Zero(offset, size int64) error { return linux.ZeroOut(w.File, offset, size) }

// mountData makes or extends the data partition, mounts it, and grows its file
// system to the partition's size. Each part finds out by itself what is left
// to do, so that all may be cut and repeated.
func (d *device) mountData() error {
	place, err := d.ensureData()
	if err != nil {
		return err
	}
	name := linux.PartitionName(d.disk, place.Number)
	switch {
	case place.Made:
		d.log.Printf("made data partition %s of %d MiB", name, place.Size>>20)
	case place.Grown:
		d.log.Printf("extended data partition %s to %d MiB", name, place.Size>>20)
	}
	if err := d.mountQuota("/dev/" + name); err != nil {
		return err
	}
	d.later("unmount the data partition", func() error { return unmountData(dataDir) })
	var st unix.Statfs_t
	if err := unix.Statfs(dataDir, &st); err != nil {
		return fmt.Errorf("asking for the file system's size: %w", err)
	}
	if err := linux.ResizeExt4(dataDir, uint64(place.Size/st.Bsize)); err != nil {
		return err
	}
	return d.keep(dataDir)
}

// ensureData sees to the table and to the kernel's idea of it.
func (d *device) ensureData() (data.Place, error) {
	f, err := os.OpenFile("/dev/"+d.disk, os.O_RDWR, 0)
	if err != nil {
		return data.Place{}, err
	}
	defer f.Close()
	size, err := linux.DeviceSize(f)
	if err != nil {
		return data.Place{}, err
	}
	if n, err := linux.SectorSize(f); err != nil || n != disk.SectorSize {
		return data.Place{}, errors.Join(err, fmt.Errorf("disk %s has sectors of %d bytes; %d are supported", d.disk, n, disk.SectorSize))
	}
	object := d.manifest.Boot.DataFS
	place, err := data.Ensure(whole{f}, size, data.Template{
		Size: object.Size,
		Open: func() (io.ReadCloser, error) { return d.store.Verified(object.Digest) },
	})
	if err != nil {
		return place, err
	}
	parts, err := linux.Partitions(d.sysfs.FS())
	if err != nil {
		return place, err
	}
	for _, p := range parts {
		if p.Disk == d.disk && p.Number == place.Number {
			if p.Size == place.Size {
				return place, nil
			}
			return place, linux.ResizePartition(f, place.Number, place.Start, place.Size)
		}
	}
	return place, linux.AddPartition(f, place.Number, place.Start, place.Size)
}

// unmountData makes sure that everything is on the disk even when something
// still has the file system open.
func unmountData(dir string) error {
	if err := linux.Unmount(dir, 0); err == nil {
		return nil
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		unix.Sync()
		return errors.Join(fmt.Errorf("making %s read-only: %w", dir, err), linux.Unmount(dir, unix.MNT_DETACH))
	}
	return linux.Unmount(dir, unix.MNT_DETACH)
}
