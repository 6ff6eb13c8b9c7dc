package assemble

import (
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
)

// disks returns the limits of disks.
func disks(io config.IO) []system.DiskLimit {
	var out []system.DiskLimit
	for _, l := range io.Limits {
		d := system.DiskLimit{Read: int64(l.Read), Write: int64(l.Write), ReadOps: int64(l.ReadOps), WriteOps: int64(l.WriteOps)}
		if !l.Disk.Empty() {
			m := deviceMatch(l.Disk)
			d.Disk = &m
		}
		out = append(out, d)
	}
	return out
}
