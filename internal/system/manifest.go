// Package system holds the manifest of a system: kernel, initrd and the
// configurations with their containers, everything resolved to numbers and
// digests. The fs-verity digest of the manifest's canonical encoding is the
// system's name.
package system

import (
	"github.com/instar-os/instar/internal/digest"
)

// Version is the manifest format this package reads and writes.
const Version = 1

// Manifest describes one system. The unit of update is one Manifest with all
// that it names.
type Manifest struct {
	Version        int             `json:"version"`
	Machine        string          `json:"machine"`
	Arch           string          `json:"arch"`  // GOARCH: amd64, arm64
	Epoch          int64           `json:"epoch"` // seconds since 1970; the time of everything made by the build
	Kernel         Kernel          `json:"kernel"`
	Boot           Boot            `json:"boot"`
	Update         *Update         `json:"update,omitempty"` // nil: the machine takes no updates
	Hostname       string          `json:"hostname"`
	Interfaces     []Interface     `json:"interfaces,omitempty"`
	Default        string          `json:"default"`
	Configurations []Configuration `json:"configurations"`
	Packages       []Package       `json:"packages,omitempty"`
}

// Object names a file in the store.
type Object struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// Kernel is what a boot slot is made of, beside the manifest.
type Kernel struct {
	Release string   `json:"release"`           // uname -r
	Image   Object   `json:"image"`             // as it boots
	Payload *Payload `json:"payload,omitempty"` // what the image is packed of; nil: it is as packaged
	Initrd  Object   `json:"initrd"`            // uncompressed cpio: instar-init and modules
	Stub    Object   `json:"stub"`              // systemd's UEFI stub
	Loader  Object   `json:"loader"`            // systemd-boot
	Init    Object   `json:"init"`              // instar-init, as in the initrd; `instar run` starts it
	Command []string `json:"command"`           // kernel arguments of every configuration
	Modules []string `json:"modules"`           // names in load order
}

// Payload is what the image of a kernel is packed of: on the device as well, to
// which these travel in its place.
type Payload struct {
	Shell   Object `json:"shell"`   // what unpacks it (docs/format/kernel.md)
	Content Object `json:"content"` // the kernel itself, and its relocations
}

// Parts are what travels of the kernel's image: the image itself, or what it is
// packed of.
func (k *Kernel) Parts() []Object {
	if k.Payload == nil {
		return []Object{k.Image}
	}
	return []Object{k.Payload.Shell, k.Payload.Content}
}

// Boot is how slots and disk are laid out.
type Boot struct {
	Firmware    string       `json:"firmware,omitempty"`    // uefi when absent
	Switch      string       `json:"switch,omitempty"`      // how firmware is told the slot: variables, or table when absent
	Trial       string       `json:"trial,omitempty"`       // who ends a trial with the partition table: counter, or once when absent
	Files       Object       `json:"files,omitzero"`        // image of a tree whose files are in every slot, of U-Boot and Raspberry Pi; zero: none
	Environment *Environment `json:"environment,omitempty"` // U-Boot's
	Slots       int          `json:"slots"`
	SlotSize    int64        `json:"slotSize"`           // bytes
	DataFS      Object       `json:"dataFS"`             // an empty ext4 of DataFS.Size bytes: the data partition before it grows
	Watchdog    int64        `json:"watchdog,omitempty"` // nanoseconds; 0: not armed

	WatchdogHealth int64   `json:"watchdogHealth,omitempty"` // nanoseconds that the machine may be unhealthy before the watchdog resets it; 0: for ever
	Confirm        Confirm `json:"confirm,omitzero"`
}

// Environment is where U-Boot has its two environments, one after the other.
type Environment struct {
	Device string `json:"device"` // U-Boot's name of the disk
	Offset int64  `json:"offset"` // of the first one, bytes on the disk
	Size   int64  `json:"size"`   // of each, bytes
}

// Interface is one network interface of the machine and its addresses.
type Interface struct {
	Name      string   `json:"name"`                // the name it gets
	Match     Match    `json:"match"`               // which device it is
	DHCP      bool     `json:"dhcp,omitempty"`      // IPv4 by DHCP
	Addresses []string `json:"addresses,omitempty"` // CIDR
	Gateway   string   `json:"gateway,omitempty"`
	DNS       []string `json:"dns,omitempty"`
	MTU       int      `json:"mtu,omitempty"`
	Optional  bool     `json:"optional,omitempty"` // its absence is no failure
}

// Match selects a network device by stable attributes; all that are set must hold.
type Match struct {
	Driver string `json:"driver,omitempty"`
	MAC    string `json:"mac,omitempty"`
	Path   string `json:"path,omitempty"` // suffix of the sysfs device path, as "0000:00:02.0"
	Name   string `json:"name,omitempty"` // kernel name, as a path.Match pattern
}

// Configuration is a set of containers that run together.
type Configuration struct {
	Name       string      `json:"name"`
	Fallback   bool        `json:"fallback,omitempty"`
	Command    []string    `json:"command,omitempty"` // further kernel arguments
	Containers []Container `json:"containers"`        // in start order
	Host       *Userland   `json:"host,omitempty"`    // whose init runs the machine; nil: instar-init does
	Links      []Link      `json:"links,omitempty"`
	Networks   *Networks   `json:"networks,omitempty"`
	Checks     []Check     `json:"checks,omitempty"`   // that must hold before it is confirmed
	RealTime   *RealTime   `json:"realtime,omitempty"` // nil: it has no tasks
}

// RootMode says what a container may do to its root file system.
type RootMode string

// The root modes.
const (
	ReadOnly  RootMode = "read-only"
	Ephemeral RootMode = "ephemeral" // writes go to memory and end with the container
)

// NetworkMode says which network a container sees.
type NetworkMode string

// The network modes.
const (
	NoNetwork   NetworkMode = "none" // a namespace of its own with nothing but loopback
	HostNetwork NetworkMode = "host" // the machine's interfaces

	// MemberNetwork is a namespace that lasts over restarts, with the
	// container's interfaces on networks of the configuration.
	MemberNetwork NetworkMode = "member"
)

// Container is one container, ready to start.
type Container struct {
	Name        string       `json:"name"`
	Source      string       `json:"source"` // file:line of its definition, for messages
	Image       Object       `json:"image"`  // EROFS image in the store's images directory
	Args        []string     `json:"args"`
	Prepare     [][]string   `json:"prepare,omitempty"` // run to success, in order, before Args in the same sandbox
	Env         []string     `json:"env,omitempty"`
	Dir         string       `json:"dir"`
	UID         uint32       `json:"uid"`
	GID         uint32       `json:"gid"`
	Groups      []uint32     `json:"groups,omitempty"`
	Root        RootMode     `json:"root"`
	Tmpfs       []Tmpfs      `json:"tmpfs,omitempty"`
	Data        []Data       `json:"data,omitempty"`
	Descriptors []Descriptor `json:"links,omitempty"`   // of links, its files from number 3 on
	Devices     []Device     `json:"devices,omitempty"` // of the configuration that it stands in
	Init        bool         `json:"init,omitempty"`    // a minimal first process, whose only child is Args
	Stdin       bool         `json:"stdin,omitempty"`   // standard input stays open, for who attaches
	TTY         bool         `json:"tty,omitempty"`     // a terminal for the standard streams
	Control     bool         `json:"control,omitempty"` // the supervisor's socket is at /run/instar/control.sock

	Network      NetworkMode `json:"network"`
	Interfaces   []Joined    `json:"interfaces,omitempty"` // with MemberNetwork
	Hosts        []Host      `json:"hosts,omitempty"`      // further lines of /etc/hosts
	DNS          []string    `json:"dns,omitempty"`        // name servers of /etc/resolv.conf, of its own; none: no such file with MemberNetwork
	Hostname     string      `json:"hostname"`
	Capabilities []string    `json:"capabilities,omitempty"` // kept, as CAP_NET_BIND_SERVICE; sorted
	Launch       Object      `json:"launch"`                 // its start, compiled: launch.DecodeLaunch; with the system call filter
	IDs          IDRange     `json:"ids,omitzero"`           // its own users and groups; zero: the machine's
	Limits       Limits      `json:"limits,omitzero"`

	OneShot bool     `json:"oneShot,omitempty"` // ends by itself; success is health
	Restart Restart  `json:"restart,omitzero"`
	Health  *Health  `json:"health,omitempty"`
	Stop    Stop     `json:"stop"`
	After   []string `json:"after,omitempty"` // containers that must be healthy first
	Needs   []string `json:"needs,omitempty"` // those of After that it cannot be without

	Sysctls map[string]string `json:"sysctls,omitempty"` // of its own namespaces
	// Landlock are the only files that its processes may use, whatever their modes
	// say; nil: all.
	Landlock *Landlock `json:"landlock,omitempty"`
	Logs     LogLimits `json:"logs,omitzero"`

	Tasks     []Task `json:"tasks,omitempty"`     // its threads that must be in time
	Partition string `json:"partition,omitempty"` // of the configuration, that all its threads are in
}

// Landlock are files, each with all that is below it.
type Landlock struct {
	Read  []string `json:"read,omitempty"`  // to be read, executed and listed
	Write []string `json:"write,omitempty"` // to be changed in every way as well
}

// IDRange is a range of users and groups of the machine that a container has as
// its own: its user 0 is Base outside of it. No two containers share one.
type IDRange struct {
	Base  uint32 `json:"base"`
	Count uint32 `json:"count"`
}

// Tmpfs is a memory file system within a container.
type Tmpfs struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // bytes
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`

	NoExec bool  `json:"noExec,omitempty"`
	Inodes int64 `json:"inodes,omitempty"` // 0: no limit
}

// Data is a directory on the data partition, kept per container and, unless it
// is shared, per configuration.
type Data struct {
	Path    string `json:"path"`    // within the container
	Version int    `json:"version"` // of the data's format, as declared
	Mode    uint32 `json:"mode"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Shared  bool   `json:"shared,omitempty"` // by every configuration that has the container

	Size      int64     `json:"size,omitempty"`    // bytes; 0: no limit
	OnOlder   OnOlder   `json:"onOlder,omitempty"` // when what is there is newer than Version
	Snapshots Snapshots `json:"snapshots,omitzero"`
}

// Limits are cgroup v2 values and rlimits; zero means not limited.
type Limits struct {
	Memory    int64            `json:"memory,omitempty"`   // bytes, memory.max
	Swap      int64            `json:"swap,omitempty"`     // bytes beside memory, memory.swap.max; none when memory is limited
	OOMScore  int64            `json:"oomScore,omitempty"` // oom_score_adj, -1000 to 1000
	Pids      int64            `json:"pids,omitempty"`
	CPUWeight int64            `json:"cpuWeight,omitempty"` // 1..10000
	CPUQuota  int64            `json:"cpuQuota,omitempty"`  // microseconds of CPU time per 100 ms
	Rlimits   map[string]int64 `json:"rlimits,omitempty"`   // nofile, core, …: soft and hard
	IOWeight  int64            `json:"ioWeight,omitempty"`  // 1..10000, io.weight of the disk of the data partition
	Disks     []DiskLimit      `json:"disks,omitempty"`     // io.max; of two for a disk the later one counts
	Locked    bool             `json:"locked,omitempty"`    // memory.min is Memory: none of it is reclaimed
}

// RestartPolicy says after which ends a container is started again.
type RestartPolicy string

// The restart policies.
const (
	RestartAlways    RestartPolicy = "always"
	RestartOnFailure RestartPolicy = "on-failure"
	RestartNever     RestartPolicy = "never"
)

// Restart is a restart policy with exponential back-off between Min and Max.
type Restart struct {
	Policy RestartPolicy `json:"policy"`
	Min    int64         `json:"min"` // nanoseconds
	Max    int64         `json:"max"`
}

// Health is how to find out that a container does its work. Exactly one of
// TCP, HTTP, Exec and File is set.
type Health struct {
	TCP      string   `json:"tcp,omitempty"`  // host:port
	HTTP     string   `json:"http,omitempty"` // URL; any 2xx or 3xx answer is healthy
	Exec     []string `json:"exec,omitempty"` // exit code 0 is healthy
	File     string   `json:"file,omitempty"` // exists within the container
	Interval int64    `json:"interval"`       // nanoseconds between checks
	Timeout  int64    `json:"timeout"`        // of one check
	Within   int64    `json:"within"`         // after a start, failures before this do not count
	Retries  int      `json:"retries"`        // failures in a row that make it unhealthy
}

// Stop is how a container is asked to end before it is killed.
type Stop struct {
	Signal  int        `json:"signal"`
	Timeout int64      `json:"timeout"`        // nanoseconds, until Then or the kill
	Then    []StopStep `json:"then,omitempty"` // further signals, before it is killed
}

// StopStep is a further signal to a container that has not ended.
type StopStep struct {
	Signal int   `json:"signal"`
	Wait   int64 `json:"wait"` // nanoseconds, until the next step or the kill
}

// Steps returns all signals in order, each with the time until the next.
func (s Stop) Steps() []StopStep {
	return append([]StopStep{{s.Signal, s.Timeout}}, s.Then...)
}

// Longest returns the time until a container is killed, in nanoseconds.
func (s Stop) Longest() (all int64) {
	for _, step := range s.Steps() {
		all += step.Wait
	}
	return all
}

// Package is one package of the system, for show, size and diff.
type Package struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Arch    string   `json:"arch"`
	Source  string   `json:"source"` // name in the definition's sources
	Trees   []string `json:"trees"`  // trees that hold it; "kernel" and "boot" for those
	// Origin is the source package, which advisories name, where its name is
	// another; with its version behind a blank where that is another.
	Origin string `json:"origin,omitempty"`
}

// Configuration returns the configuration of that name.
func (m *Manifest) Configuration(name string) (*Configuration, bool) {
	for i := range m.Configurations {
		if m.Configurations[i].Name == name {
			return &m.Configurations[i], true
		}
	}
	return nil, false
}

// Objects returns every object the manifest names directly, images not
// included; Images returns those. Both are without duplicates, in order.
func (m *Manifest) Objects() []Object {
	k := m.Kernel
	all := append([]Object{k.Image, k.Initrd, k.Stub, k.Loader, k.Init, m.Boot.DataFS}, k.Parts()...)
	for _, c := range m.Configurations {
		if c.Networks != nil {
			all = append(all, c.Networks.Program)
		}
		if c.RealTime != nil {
			all = append(all, c.RealTime.Proof)
		}
		for _, ct := range c.Containers {
			all = append(all, ct.Launch)
		}
	}
	return unique(all)
}

// Images returns the EROFS images of all containers.
func (m *Manifest) Images() []Object {
	var all []Object
	for _, c := range m.Configurations {
		for _, ct := range c.Containers {
			all = append(all, ct.Image)
		}
		if c.Host != nil {
			all = append(all, c.Host.Image)
		}
	}
	all = append(all, m.Boot.Files)
	return unique(all)
}

func unique(all []Object) []Object {
	seen := map[digest.Digest]bool{{}: true}
	var out []Object
	for _, o := range all {
		if !seen[o.Digest] {
			seen[o.Digest] = true
			out = append(out, o)
		}
	}
	return out
}
