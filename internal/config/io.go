package config

// IO is a container's share of the machine's disks.
type IO struct {
	Weight int         `yaml:"weight" doc:"Weight against other containers when a disk is busy, cgroup io.weight, for the disk of the data partition. Default: all are alike." min:"1" max:"10000"`
	Limits []DiskLimit `yaml:"limits" doc:"Largest rates, cgroup io.max. Of two that hold for a disk the later one counts."`
}

// DiskLimit bounds what a container reads from disks and writes to them.
type DiskLimit struct {
	Disk     DeviceMatch `yaml:"disk" doc:"Disks that it holds for, each by itself, by stable attributes. Default: the disk of the data partition." example:"{subsystem: block, driver: nvme}"`
	Read     Size        `yaml:"read" doc:"Bytes a second that are read. Default: no limit." min:"4KiB" example:"8MiB"`
	Write    Size        `yaml:"write" doc:"Bytes a second that are written. Default: no limit." min:"4KiB" example:"4MiB"`
	ReadOps  int         `yaml:"readOps" doc:"Reads a second. Default: no limit." min:"1"`
	WriteOps int         `yaml:"writeOps" doc:"Writes a second. Default: no limit." min:"1"`
}

// io checks a container's limits of disks.
func (c *checker) io(at string, ct Container) {
	for i, l := range ct.IO.Limits {
		p := index(at+".io.limits", i)
		if l.Read == 0 && l.Write == 0 && l.ReadOps == 0 && l.WriteOps == 0 && !c.within(p) {
			c.wrong(p, "limits nothing", "give at least one of read, write, readOps, writeOps")
		}
		if s := l.Disk.Subsystem; s != "" && s != "block" {
			c.wrong(p+".disk.subsystem", s+" devices are no disks", "disks are of subsystem block; leave it out or write block")
		}
		if c.has(p+".disk") && l.Disk.Empty() && !c.within(p+".disk") {
			c.wrong(p+".disk", "selects nothing", "give one of driver, vendor, product, serial, path, name, attributes, or leave disk out for the disk of the data partition")
		}
	}
}
