package receive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/internal/wire"
)

// StoreName is the name of the store's partition.
const StoreName = "instar-store"

// Offline takes an update on a disk, or an image of one, that no machine runs
// from: its next boot tries the system. It needs root, for it mounts the
// store. take receives into the Env that it is given. As on a running machine
// it may be cut anywhere and repeated.
func Offline(path string, force bool, take func(*update.Env) (*update.Received, error)) (staged wire.UpdateStaged, err error) {
	d, err := openDisk(path, true)
	if err != nil {
		return staged, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := alone(d.disk.File); err != nil {
		return staged, fmt.Errorf("disk %s: %w", path, err)
	}
	dir, unmount, err := d.mount()
	if err != nil {
		return staged, fmt.Errorf("disk %s: mounting its store: %w", path, err)
	}
	defer func() { err = errors.Join(err, unmount()) }()
	runs, err := d.last()
	if err == nil {
		err = d.begin(Options{Store: dir, System: runs})
	}
	if err != nil {
		return staged, fmt.Errorf("disk %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, d.closeStore()) }() // before the unmount
	return d.applyOffline(Options{Store: dir, System: runs, Force: force}, take)
}

func (d *device) applyOffline(o Options, take func(*update.Env) (*update.Received, error)) (wire.UpdateStaged, error) {
	env, err := d.env(o)
	if err != nil {
		return wire.UpdateStaged{}, err
	}
	env.Preflight = d.remembered // what hardware there will be, nobody knows
	r, err := take(env)
	if err != nil {
		return wire.UpdateStaged{}, err
	}
	n, err := d.stage(r)
	if err != nil {
		return wire.UpdateStaged{}, err
	}
	return wire.UpdateStaged{System: r.System.String(), Slot: n}, r.Finish()
}

// alone refuses a disk that a machine may run from: QEMU holds open file
// description locks, and the kernel keeps block devices that are mounted.
func alone(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeDevice != 0 {
		x, err := os.OpenFile(f.Name(), os.O_RDONLY|unix.O_EXCL, 0)
		if err != nil {
			return fmt.Errorf("it is in use: %w", err)
		}
		return x.Close()
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		return fmt.Errorf("it is in use: %w", err)
	}
	return nil
}

// last returns the last good system: what the record says, else what the slot
// in force holds.
func (d *device) last() (digest.Digest, error) {
	if sys := d.book.Record().Current; !sys.IsZero() {
		return sys, nil
	}
	now, err := d.method.Current()
	if err != nil {
		return digest.Digest{}, err
	}
	files, err := d.at.Files(now)
	if err != nil {
		return digest.Digest{}, err
	}
	if list := slot.Systems(files); len(list) == 1 {
		return list[0], nil
	}
	return digest.Digest{}, errors.New("its slot does not tell which system the machine runs")
}

// mount mounts the store's partition.
func (d *device) mount() (dir string, unmount func() error, err error) {
	g, err := disk.ReadGPT(d.disk, d.at.Size)
	if err != nil {
		return "", nil, err
	}
	p, ok := g.Find(StoreName)
	if !ok {
		return "", nil, fmt.Errorf("it has no partition %s", StoreName)
	}
	loop, err := linux.AttachLoop(d.disk.File, p.Offset(), p.Size())
	if err != nil {
		return "", nil, err
	}
	defer loop.Close()
	if dir, err = os.MkdirTemp("", "instar-store-"); err != nil {
		return "", nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err == nil {
		m := linux.Mount{Source: loop.Name(), Target: dir, Type: "ext4", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC}
		err = m.Do()
	}
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, func() error { return errors.Join(unix.Unmount(dir, 0), os.Remove(dir)) }, nil
}
