package system

// DiskLimit bounds what a container reads and writes on each of some disks,
// cgroup io.max; 0 is no limit.
type DiskLimit struct {
	Disk     *DeviceMatch `json:"disk,omitempty"`     // none: the disk of the data partition
	Read     int64        `json:"read,omitempty"`     // bytes a second
	Write    int64        `json:"write,omitempty"`    // bytes a second
	ReadOps  int64        `json:"readOps,omitempty"`  // a second
	WriteOps int64        `json:"writeOps,omitempty"` // a second
}
