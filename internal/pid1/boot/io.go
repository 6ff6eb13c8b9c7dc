package boot

import (
	"os"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/pid1/devices"
)

// disks says where limits of disks hold. Data that is kept in memory lasts
// nowhere; then the disk of the store counts. How a disk is shared among all of
// a machine is decided only where all of it is ours.
func (m *machine) disks() container.Disks {
	d := &devices.Disks{Sysfs: os.DirFS("/sys"), Data: []string{m.runtime.Store}}
	if m.runtime.Data != nil {
		d.Data = []string{m.runtime.Data.Dir, m.runtime.Store}
	}
	if !m.contained {
		d.Costs = cgroupRoot + "/io.cost.qos"
	}
	return d
}
