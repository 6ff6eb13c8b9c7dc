package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sector is the unit of sysfs's start and size, whatever the disk's own.
const sector = 512

// Partition is one partition as sysfs tells. Sizes and offsets are bytes.
type Partition struct {
	Name   string // vda3, nvme0n1p3
	Disk   string // vda, nvme0n1
	Label  string // the GPT name, PARTNAME; "" when the kernel was told of the partition by AddPartition
	Number int
	Start  int64
	Size   int64
}

// Partitions returns all partitions in order of disk and number.
func Partitions(sysfs fs.FS) ([]Partition, error) {
	disks, err := fs.ReadDir(sysfs, "block")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no block device at all yet
	}
	if err != nil {
		return nil, fmt.Errorf("listing disks: %w", err)
	}
	var all []Partition
	for _, d := range disks {
		entries, err := fs.ReadDir(sysfs, "block/"+d.Name())
		if err != nil {
			continue // the disk has just gone
		}
		for _, e := range entries {
			if p, ok := partition(sysfs, d.Name(), e.Name()); ok {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b Partition) int {
		if a.Disk != b.Disk {
			return strings.Compare(a.Disk, b.Disk)
		}
		return a.Number - b.Number
	})
	return all, nil
}

func partition(sysfs fs.FS, disk, name string) (Partition, bool) {
	dir := "block/" + disk + "/" + name
	number, err := readInt(sysfs, dir+"/partition")
	if err != nil {
		return Partition{}, false
	}
	start, err1 := readInt(sysfs, dir+"/start")
	size, err2 := readInt(sysfs, dir+"/size")
	if err1 != nil || err2 != nil {
		return Partition{}, false
	}
	p := Partition{Name: name, Disk: disk, Number: int(number), Start: start * sector, Size: size * sector}
	uevent, err := fs.ReadFile(sysfs, dir+"/uevent")
	if err != nil {
		return Partition{}, false
	}
	for line := range strings.SplitSeq(string(uevent), "\n") {
		if label, ok := strings.CutPrefix(line, "PARTNAME="); ok {
			p.Label = label
		}
	}
	return p, true
}

func readInt(sysfs fs.FS, name string) (int64, error) {
	b, err := fs.ReadFile(sysfs, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// PartitionName returns the kernel's name of a disk's partition.
func PartitionName(disk string, number int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return disk + "p" + strconv.Itoa(number)
	}
	return disk + strconv.Itoa(number)
}

// DeviceSize returns the size of an open block device in bytes.
func DeviceSize(disk *os.File) (int64, error) {
	var size uint64
	if err := ioctl(disk, unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
		return 0, fmt.Errorf("asking %s for its size: %w", disk.Name(), err)
	}
	return int64(size), nil
}

// SectorSize returns the logical sector size of an open block device.
func SectorSize(disk *os.File) (int, error) {
	n, err := unix.IoctlGetInt(int(disk.Fd()), unix.BLKSSZGET)
	if err != nil {
		return 0, fmt.Errorf("asking %s for its sector size: %w", disk.Name(), err)
	}
	return n, nil
}

// ZeroOut makes a range of an open block device read as zeros, by the
// device's own means where it has them. It lasts after a Sync.
func ZeroOut(disk *os.File, start, size int64) error {
	r := [2]uint64{uint64(start), uint64(size)}
	if err := ioctl(disk, unix.BLKZEROOUT, unsafe.Pointer(&r)); err != nil {
		return fmt.Errorf("zeroing %d bytes of %s at %d: %w", size, disk.Name(), start, err)
	}
	return nil
}

// AddPartition tells the kernel of a partition, in bytes; nothing is written
// to the disk.
func AddPartition(disk *os.File, number int, start, size int64) error {
	if err := blkpg(disk, unix.BLKPG_ADD_PARTITION, number, start, size); err != nil {
		return fmt.Errorf("telling the kernel of partition %d of %s: %w", number, disk.Name(), err)
	}
	return nil
}

// ResizePartition tells the kernel that a partition, which may be in use, has
// another size in bytes.
func ResizePartition(disk *os.File, number int, start, size int64) error {
	if err := blkpg(disk, unix.BLKPG_RESIZE_PARTITION, number, start, size); err != nil {
		return fmt.Errorf("telling the kernel of the new size of partition %d of %s: %w", number, disk.Name(), err)
	}
	return nil
}

// blkpg is struct blkpg_ioctl_arg around struct blkpg_partition of
// include/uapi/linux/blkpg.h.
func blkpg(disk *os.File, op int32, number int, start, size int64) error {
	p := unix.BlkpgPartition{Start: start, Length: size, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	return ioctl(disk, unix.BLKPG, unsafe.Pointer(&arg))
}

// ext4Resize is EXT4_IOC_RESIZE_FS of fs/ext4/ext4.h: _IOW('f', 16, __u64).
const ext4Resize = 0x40086610

// ResizeExt4 grows a mounted ext4 to so many blocks of its own size. It may
// be cut and repeated; it does nothing when the size is already that.
func ResizeExt4(mount string, blocks uint64) error {
	dir, err := os.Open(mount)
	if err != nil {
		return fmt.Errorf("growing the file system at %s: %w", mount, err)
	}
	defer dir.Close()
	if err := ioctl(dir, ext4Resize, unsafe.Pointer(&blocks)); err != nil {
		return fmt.Errorf("growing the file system at %s to %d blocks: %w", mount, blocks, err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return errno
	}
}
