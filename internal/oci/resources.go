package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Resources are limits of the container's cgroups.
type Resources struct {
	Devices   []DeviceRule      `json:"devices,omitempty"`
	Memory    *Memory           `json:"memory,omitempty"`
	CPU       *CPU              `json:"cpu,omitempty"`
	Pids      *Pids             `json:"pids,omitempty"`
	BlockIO   *BlockIO          `json:"blockIO,omitempty"`
	Hugepages []Hugepage        `json:"hugepageLimits,omitempty"`
	Network   *Network          `json:"network,omitempty"`
	Unified   map[string]string `json:"unified,omitempty"`
}

// DeviceRule allows or forbids devices; a missing number is any.
type DeviceRule struct {
	Allow  bool   `json:"allow"`
	Type   string `json:"type,omitempty"`
	Major  *int64 `json:"major,omitempty"`
	Minor  *int64 `json:"minor,omitempty"`
	Access string `json:"access,omitempty"`
}

// Memory limits are in bytes; -1 is no limit.
type Memory struct {
	Limit            *int64  `json:"limit,omitempty"`
	Reservation      *int64  `json:"reservation,omitempty"`
	Swap             *int64  `json:"swap,omitempty"` // memory and swap
	Kernel           *int64  `json:"kernel,omitempty"`
	KernelTCP        *int64  `json:"kernelTCP,omitempty"`
	Swappiness       *uint64 `json:"swappiness,omitempty"`
	DisableOOMKiller *bool   `json:"disableOOMKiller,omitempty"`
	UseHierarchy     *bool   `json:"useHierarchy,omitempty"`
}

// CPU limits; times are in microseconds.
type CPU struct {
	Shares          *uint64 `json:"shares,omitempty"`
	Quota           *int64  `json:"quota,omitempty"`
	Burst           *uint64 `json:"burst,omitempty"`
	Period          *uint64 `json:"period,omitempty"`
	RealtimeRuntime *int64  `json:"realtimeRuntime,omitempty"`
	RealtimePeriod  *uint64 `json:"realtimePeriod,omitempty"`
	Cpus            string  `json:"cpus,omitempty"`
	Mems            string  `json:"mems,omitempty"`
	Idle            *int64  `json:"idle,omitempty"`
}

// Pids limits the number of processes; not more than 0 is no limit.
type Pids struct {
	Limit int64 `json:"limit"`
}

// BlockIO limits block devices.
type BlockIO struct {
	Weight       *uint16        `json:"weight,omitempty"`
	LeafWeight   *uint16        `json:"leafWeight,omitempty"`
	WeightDevice []WeightDevice `json:"weightDevice,omitempty"`
	ReadBps      []Throttle     `json:"throttleReadBpsDevice,omitempty"`
	WriteBps     []Throttle     `json:"throttleWriteBpsDevice,omitempty"`
	ReadIOPS     []Throttle     `json:"throttleReadIOPSDevice,omitempty"`
	WriteIOPS    []Throttle     `json:"throttleWriteIOPSDevice,omitempty"`
}

// WeightDevice is a device's weight.
type WeightDevice struct {
	Major      int64   `json:"major"`
	Minor      int64   `json:"minor"`
	Weight     *uint16 `json:"weight,omitempty"`
	LeafWeight *uint16 `json:"leafWeight,omitempty"`
}

// Throttle is a device's rate, a second.
type Throttle struct {
	Major int64  `json:"major"`
	Minor int64  `json:"minor"`
	Rate  uint64 `json:"rate"`
}

// Hugepage limits huge pages of a size, as 2MB, in bytes.
type Hugepage struct {
	PageSize string `json:"pageSize"`
	Limit    uint64 `json:"limit"`
}

// Network classifies packets, with version 1.
type Network struct {
	ClassID    *uint32 `json:"classID,omitempty"`
	Priorities []struct {
		Name     string `json:"name"`
		Priority uint32 `json:"priority"`
	} `json:"priorities,omitempty"`
}

// A setting is a value for a file of a controller.
type setting struct{ controller, file, value string }

// settings collects what to write, in order.
type settings []setting

func (s *settings) add(controller, file string, value any) {
	*s = append(*s, setting{controller, file, fmt.Sprint(value)})
}

// number adds a value that may be missing.
func number[T any](s *settings, controller, file string, v *T) {
	if v != nil {
		s.add(controller, file, *v)
	}
}

// v1 are the settings for version 1: Documentation/admin-guide/cgroup-v1.
func (r *Resources) v1() []setting {
	var s settings
	if m := r.Memory; m != nil {
		number(&s, "memory", "memory.limit_in_bytes", m.Limit)
		number(&s, "memory", "memory.soft_limit_in_bytes", m.Reservation)
		number(&s, "memory", "memory.memsw.limit_in_bytes", m.Swap)
		number(&s, "memory", "memory.kmem.limit_in_bytes", m.Kernel)
		number(&s, "memory", "memory.kmem.tcp.limit_in_bytes", m.KernelTCP)
		number(&s, "memory", "memory.swappiness", m.Swappiness)
		if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
			s.add("memory", "memory.oom_control", 1)
		}
	}
	if c := r.CPU; c != nil {
		number(&s, "cpu", "cpu.shares", c.Shares)
		number(&s, "cpu", "cpu.cfs_period_us", c.Period)
		number(&s, "cpu", "cpu.cfs_quota_us", c.Quota)
		number(&s, "cpu", "cpu.cfs_burst_us", c.Burst)
		number(&s, "cpu", "cpu.rt_period_us", c.RealtimePeriod)
		number(&s, "cpu", "cpu.rt_runtime_us", c.RealtimeRuntime)
		number(&s, "cpu", "cpu.idle", c.Idle)
		s.cpuset(c)
	}
	s.pids(r.Pids)
	if b := r.BlockIO; b != nil {
		b.v1(&s)
	}
	for _, h := range r.Hugepages {
		s.add("hugetlb", "hugetlb."+h.PageSize+".limit_in_bytes", h.Limit)
	}
	if n := r.Network; n != nil {
		number(&s, "net_cls", "net_cls.classid", n.ClassID)
		for _, p := range n.Priorities {
			s.add("net_prio", "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority))
		}
	}
	return s
}

func (s *settings) cpuset(c *CPU) {
	if c.Cpus != "" {
		s.add("cpuset", "cpuset.cpus", c.Cpus)
	}
	if c.Mems != "" {
		s.add("cpuset", "cpuset.mems", c.Mems)
	}
}

func (s *settings) pids(p *Pids) {
	switch {
	case p == nil:
	case p.Limit > 0:
		s.add("pids", "pids.max", p.Limit)
	default:
		s.add("pids", "pids.max", "max")
	}
}

func (b *BlockIO) v1(s *settings) {
	number(s, "blkio", "blkio.weight", b.Weight)
	number(s, "blkio", "blkio.leaf_weight", b.LeafWeight)
	for _, d := range b.WeightDevice {
		for file, w := range map[string]*uint16{"blkio.weight_device": d.Weight, "blkio.leaf_weight_device": d.LeafWeight} {
			if w != nil {
				s.add("blkio", file, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *w))
			}
		}
	}
	for _, t := range []struct {
		file string
		list []Throttle
	}{{"read_bps", b.ReadBps}, {"write_bps", b.WriteBps}, {"read_iops", b.ReadIOPS}, {"write_iops", b.WriteIOPS}} {
		for _, d := range t.list {
			s.add("blkio", "blkio.throttle."+t.file+"_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate))
		}
	}
}

// v2 are the settings for version 2: Documentation/admin-guide/cgroup-v2.rst.
// Values of version 1 are converted as crun and runc do.
func (r *Resources) v2() []setting {
	var s settings
	if m := r.Memory; m != nil {
		m.v2(&s)
	}
	if c := r.CPU; c != nil {
		c.v2(&s)
	}
	s.pids(r.Pids)
	if b := r.BlockIO; b != nil {
		b.v2(&s)
	}
	for _, h := range r.Hugepages {
		s.add("hugetlb", "hugetlb."+h.PageSize+".max", h.Limit)
	}
	for _, file := range slices.Sorted(maps.Keys(r.Unified)) {
		controller, _, _ := cut(file)
		s.add(controller, file, r.Unified[file])
	}
	return s
}

func cut(file string) (controller, rest string, ok bool) {
	for i := range file {
		if file[i] == '.' {
			return file[:i], file[i+1:], true
		}
	}
	return file, "", false
}

// most writes a limit, of which -1 is none.
func most(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func (m *Memory) v2(s *settings) {
	if m.Limit != nil && *m.Limit != 0 {
		s.add("memory", "memory.max", most(*m.Limit))
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		s.add("memory", "memory.low", most(*m.Reservation))
	}
	if m.Swap != nil && *m.Swap != 0 { // there it is memory and swap, here swap alone
		swap := *m.Swap
		if swap > 0 && m.Limit != nil && *m.Limit > 0 {
			swap -= *m.Limit
		}
		s.add("memory", "memory.swap.max", most(swap))
	}
}

// defaultPeriod is cpu.max's period in microseconds.
const defaultPeriod = 100_000

func (c *CPU) v2(s *settings) {
	if c.Shares != nil && *c.Shares != 0 { // 2..262144 to 1..10000
		shares := min(max(*c.Shares, 2), 262144)
		s.add("cpu", "cpu.weight", 1+(shares-2)*9999/262142)
	}
	if c.Quota != nil || c.Period != nil {
		quota, period := "max", uint64(defaultPeriod)
		if c.Quota != nil && *c.Quota > 0 {
			quota = strconv.FormatInt(*c.Quota, 10)
		}
		if c.Period != nil && *c.Period > 0 {
			period = *c.Period
		}
		s.add("cpu", "cpu.max", fmt.Sprintf("%s %d", quota, period))
	}
	number(s, "cpu", "cpu.max.burst", c.Burst)
	number(s, "cpu", "cpu.idle", c.Idle)
	s.cpuset(c)
}

// ioWeight turns 10..1000 of version 1 into 1..10000.
func ioWeight(w uint16) uint64 { return 1 + (uint64(max(w, 10))-10)*9999/990 }

func (b *BlockIO) v2(s *settings) {
	if b.Weight != nil && *b.Weight != 0 {
		s.add("io", "io.weight", ioWeight(*b.Weight))
	}
	for _, d := range b.WeightDevice {
		if d.Weight != nil && *d.Weight != 0 {
			s.add("io", "io.weight", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, ioWeight(*d.Weight)))
		}
	}
	for _, t := range []struct {
		key  string
		list []Throttle
	}{{"rbps", b.ReadBps}, {"wbps", b.WriteBps}, {"riops", b.ReadIOPS}, {"wiops", b.WriteIOPS}} {
		for _, d := range t.list {
			s.add("io", "io.max", fmt.Sprintf("%d:%d %s=%d", d.Major, d.Minor, t.key, d.Rate))
		}
	}
}

// set writes limits to the cgroups. A limit that the machine has no controller
// for is an error: what was asked for would not hold.
func (g *cgroups) set(r *Resources) error {
	if r == nil {
		return nil
	}
	if g == nil {
		return errors.New("limits are declared and the machine has no cgroups")
	}
	if g.unified() {
		return g.apply(r.v2(), func(string) string { return g.v2() })
	}
	return g.apply(r.v1(), g.v1)
}

func (g *cgroups) apply(list []setting, dir func(controller string) string) error {
	for _, s := range list {
		d := dir(s.controller)
		if d == "" {
			return fmt.Errorf("setting %s to %s: the machine has no cgroup controller %s", s.file, s.value, s.controller)
		}
		err := writeLimit(filepath.Join(d, s.file), s.value)
		if errors.Is(err, fs.ErrNotExist) && gone(s.file) {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("setting %s to %s: this kernel has no such limit", s.file, s.value)
		}
		if err != nil {
			return fmt.Errorf("setting %s to %s: %w", s.file, s.value, err)
		}
	}
	return nil
}

// gone says of files that Linux does not have any more, or has only with some
// schedulers, and that are written where they are.
func gone(file string) bool {
	switch file {
	case "memory.kmem.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes", "blkio.leaf_weight", "blkio.leaf_weight_device":
		return true
	}
	return false
}

func writeLimit(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
