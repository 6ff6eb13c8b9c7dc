package boot

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/volume"
	"github.com/instar-os/instar/internal/wire"
)

// keepData puts containers' data into a directory, whose file system may have
// project quotas.
func (m *machine) keepData(dir string, quota bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	m.runtime.Data = &volume.Store{Dir: dir, Quota: quota, Now: time.Now}
	m.volumes = &volume.Control{Store: m.runtime.Data}
	m.later("end transfers of data", m.volumes.Close)
	return nil
}

// Data offers containers' data to the control protocol.
func (m *machine) Data() wire.DataControl {
	if m.volumes == nil {
		return nil
	}
	return m.volumes
}

// mountQuota mounts the data partition with project quotas, which its file
// system has from the beginning. Where the kernel has none it is mounted
// without, and data is not limited.
func (d *device) mountQuota(device string) error {
	m := linux.Mount{Source: device, Target: dataDir, Type: "ext4", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "prjquota"}
	err := d.mountExt4(m)
	if d.quota = err == nil; d.quota {
		return nil
	}
	d.warn("the size of data is not limited: %v", err)
	m.Data = ""
	return m.Do()
}
