package oci

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOption is what an option of mount(8) means to mount(2) and
// mount_setattr(2). The zero value is an option without meaning here.
type mountOption struct {
	set, clear  uint64 // MS_ flags
	propagation uint64
	attr        uint64 // MOUNT_ATTR_ for a tree of mounts, as rro
	clearAttr   uint64
	copyUp      bool
}

// mountOptions are the options of the runtime specification, "Linux mount options".
var mountOptions = map[string]mountOption{
	"async": {clear: unix.MS_SYNCHRONOUS}, "sync": {set: unix.MS_SYNCHRONOUS},
	"atime": {clear: unix.MS_NOATIME}, "noatime": {set: unix.MS_NOATIME},
	"bind": {set: unix.MS_BIND}, "rbind": {set: unix.MS_BIND | unix.MS_REC},
	"defaults": {}, "remount": {set: unix.MS_REMOUNT},
	"dev": {clear: unix.MS_NODEV}, "nodev": {set: unix.MS_NODEV},
	"diratime": {clear: unix.MS_NODIRATIME}, "nodiratime": {set: unix.MS_NODIRATIME},
	"dirsync": {set: unix.MS_DIRSYNC},
	"exec":    {clear: unix.MS_NOEXEC}, "noexec": {set: unix.MS_NOEXEC},
	"iversion": {set: unix.MS_I_VERSION}, "noiversion": {clear: unix.MS_I_VERSION},
	"lazytime": {set: unix.MS_LAZYTIME}, "nolazytime": {clear: unix.MS_LAZYTIME},
	"loud": {clear: unix.MS_SILENT}, "silent": {set: unix.MS_SILENT},
	"mand": {set: unix.MS_MANDLOCK}, "nomand": {clear: unix.MS_MANDLOCK},
	"private": {propagation: unix.MS_PRIVATE}, "rprivate": {propagation: unix.MS_PRIVATE | unix.MS_REC},
	"shared": {propagation: unix.MS_SHARED}, "rshared": {propagation: unix.MS_SHARED | unix.MS_REC},
	"slave": {propagation: unix.MS_SLAVE}, "rslave": {propagation: unix.MS_SLAVE | unix.MS_REC},
	"unbindable": {propagation: unix.MS_UNBINDABLE}, "runbindable": {propagation: unix.MS_UNBINDABLE | unix.MS_REC},
	"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
	"ro": {set: unix.MS_RDONLY}, "rw": {clear: unix.MS_RDONLY},
	"strictatime": {set: unix.MS_STRICTATIME}, "nostrictatime": {clear: unix.MS_STRICTATIME},
	"suid": {clear: unix.MS_NOSUID}, "nosuid": {set: unix.MS_NOSUID},
	"nosymfollow": {set: msNosymfollow}, "symfollow": {clear: msNosymfollow},
	"tmpcopyup": {copyUp: true},
	"rro":       {attr: unix.MOUNT_ATTR_RDONLY}, "rrw": {clearAttr: unix.MOUNT_ATTR_RDONLY},
	"rnosuid": {attr: unix.MOUNT_ATTR_NOSUID}, "rsuid": {clearAttr: unix.MOUNT_ATTR_NOSUID},
	"rnodev": {attr: unix.MOUNT_ATTR_NODEV}, "rdev": {clearAttr: unix.MOUNT_ATTR_NODEV},
	"rnoexec": {attr: unix.MOUNT_ATTR_NOEXEC}, "rexec": {clearAttr: unix.MOUNT_ATTR_NOEXEC},
	"rnodiratime": {attr: unix.MOUNT_ATTR_NODIRATIME}, "rdiratime": {clearAttr: unix.MOUNT_ATTR_NODIRATIME},
	"rrelatime":    {clearAttr: unix.MOUNT_ATTR__ATIME},
	"rnoatime":     {attr: unix.MOUNT_ATTR_NOATIME, clearAttr: unix.MOUNT_ATTR__ATIME},
	"rstrictatime": {attr: unix.MOUNT_ATTR_STRICTATIME, clearAttr: unix.MOUNT_ATTR__ATIME},
	"rnosymfollow": {attr: unix.MOUNT_ATTR_NOSYMFOLLOW}, "rsymfollow": {clearAttr: unix.MOUNT_ATTR_NOSYMFOLLOW},
}

// msNosymfollow is MS_NOSYMFOLLOW of linux/mount.h, from Linux 5.10.
const msNosymfollow = 0x100

// mountOptionNames returns the names that mountOptions knows, in order.
func mountOptionNames() []string {
	var out []string
	for n := range mountOptions {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// mounting is a Mount understood.
type mounting struct {
	at, fstype, source string
	flags              uint64   // MS_
	propagation        []uint64 // in order
	attr, clearAttr    uint64   // of the whole tree
	data               string
	copyUp             bool
}

func (m *mounting) bind() bool { return m.flags&unix.MS_BIND != 0 }

// understand reads a mount's options. Sources of binds may be relative to the
// bundle. A destination that is not absolute is taken from the root.
func understand(m Mount, bundle string) mounting {
	out := mounting{at: filepath.Clean("/" + m.Destination), fstype: m.Type, source: m.Source}
	var data []string
	for _, name := range m.Options {
		o, known := mountOptions[name]
		if !known {
			data = append(data, name)
			continue
		}
		out.flags = out.flags&^o.clear | o.set
		if o.propagation != 0 {
			out.propagation = append(out.propagation, o.propagation)
		}
		out.attr = out.attr&^o.clearAttr | o.attr
		out.clearAttr |= o.clearAttr
		out.copyUp = out.copyUp || o.copyUp
	}
	out.data = strings.Join(data, ",")
	if m.Type == "bind" || m.Type == "rbind" {
		out.flags |= unix.MS_BIND
		if m.Type == "rbind" {
			out.flags |= unix.MS_REC
		}
	}
	if out.bind() && !filepath.IsAbs(out.source) {
		out.source = filepath.Join(bundle, out.source)
	}
	if out.source == "" {
		out.source = m.Type
	}
	return out
}

// attributes turns MS_ flags into those of mount_setattr(2).
func attributes(flags uint64) uint64 {
	var out uint64
	for ms, attr := range map[uint64]uint64{
		unix.MS_RDONLY: unix.MOUNT_ATTR_RDONLY, unix.MS_NOSUID: unix.MOUNT_ATTR_NOSUID,
		unix.MS_NODEV: unix.MOUNT_ATTR_NODEV, unix.MS_NOEXEC: unix.MOUNT_ATTR_NOEXEC,
		unix.MS_NODIRATIME: unix.MOUNT_ATTR_NODIRATIME, unix.MS_NOATIME: unix.MOUNT_ATTR_NOATIME,
		unix.MS_STRICTATIME: unix.MOUNT_ATTR_STRICTATIME, msNosymfollow: unix.MOUNT_ATTR_NOSYMFOLLOW,
	} {
		if flags&ms != 0 {
			out |= attr
		}
	}
	return out
}

// cleared returns what has to be cleared before attributes are set: the mode of
// access times is a number, not a flag.
func cleared(attr uint64) uint64 {
	if attr&unix.MOUNT_ATTR__ATIME != 0 {
		return unix.MOUNT_ATTR__ATIME
	}
	return 0
}

func (m *mounting) String() string { return fmt.Sprintf("%s at %s", m.fstype, m.at) }
