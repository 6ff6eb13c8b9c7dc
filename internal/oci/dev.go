package oci

import (
	"fmt"
	"path"

	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// defaultDevices are the nodes that every container has: the specification,
// "Default Devices"; numbers of Documentation/admin-guide/devices.txt.
var defaultDevices = []Device{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7}, {Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9}, {Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

// deviceTypes are the types of the specification as mode bits.
var deviceTypes = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

// dev makes the nodes and links of /dev, unless it is the host's.
func (b *compiler) dev() error {
	for i := range b.mounts {
		m := &b.mounts[i]
		b.state.devPts = b.state.devPts || m.at == "/dev/pts"
		if m.at == "/dev" && m.bind() {
			return nil
		}
	}
	b.mkdirs("/dev")
	declared := map[string]bool{}
	for _, d := range b.c.Linux.Devices {
		declared[path.Clean(d.Path)] = true
	}
	for _, d := range defaultDevices {
		if !declared[d.Path] {
			mode := uint32(0o666)
			d.FileMode = &mode
			if err := b.device(d); err != nil {
				return err
			}
		}
	}
	for _, d := range b.c.Linux.Devices {
		if err := b.device(d); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"},
		{"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"}} {
		b.link(l[1], l[0])
	}
	if b.state.devPts {
		b.link("pts/ptmx", "/dev/ptmx")
	}
	return nil
}

// device makes a node. In a user namespace, where nobody can, the host's node
// is bound instead.
func (b *compiler) device(d Device) error {
	bits, ok := deviceTypes[d.Type]
	if !ok {
		return fmt.Errorf("device %s: unknown type %q", d.Path, d.Type)
	}
	at := path.Clean("/" + d.Path)
	if dir := path.Dir(at); dir != "/dev" {
		b.mkdirs(dir)
	}
	if b.ownsUser() && d.Type != "p" {
		b.file(at)
		b.hostBind(at, at, 0)
		return nil
	}
	mode := bits | 0o666
	if d.FileMode != nil {
		mode = bits | *d.FileMode&0o7777
	}
	tolerate(b.Do("making "+at, launch.Mknodat, launch.Value(cwdFD), b.Text(at), launch.Value(mode),
		launch.Value(unix.Mkdev(uint32(d.Major), uint32(d.Minor)))), unix.EEXIST)
	uid, gid := value(d.UID), value(d.GID)
	if uid != 0 || gid != 0 {
		b.Do("giving "+at+" to its owner", launch.Fchownat, launch.Value(cwdFD), b.Text(at), launch.Value(uid), launch.Value(gid), launch.Value(0))
	}
	return nil
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// console makes a terminal of the container's own and its process's streams.
// The runtime takes the master from the slot.
func (b *compiler) console(p *Process, first bool) {
	b.plan.terminal = true
	ptmx := "/dev/pts/ptmx"
	b.plan.master = b.open(ptmx, unix.O_RDWR|unix.O_NOCTTY)
	b.Do("unlocking the terminal", launch.Ioctl, b.plan.master, launch.Value(unix.TIOCSPTLCK), b.Words32(0))
	slave := b.Keep(b.Do("opening the terminal", launch.Ioctl, b.plan.master, launch.Value(uint64(unix.TIOCGPTPEER)),
		launch.Value(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)))
	if s := p.ConsoleSize; s != nil {
		size := b.Bytes([]byte{byte(s.Height), byte(s.Height >> 8), byte(s.Width), byte(s.Width >> 8), 0, 0, 0, 0})
		b.Do("setting the terminal's size", launch.Ioctl, slave, launch.Value(unix.TIOCSWINSZ), size)
	}
	if p.User.UID != 0 {
		b.Do("giving the terminal to its user", launch.Fchownat, slave, b.Text(""), launch.Value(p.User.UID),
			launch.Value(uint32(0xffffffff)), launch.Value(unix.AT_EMPTY_PATH))
	}
	if _, ok := b.c.namespace("mount"); ok && first {
		tree := b.Keep(b.Do("taking the terminal", launch.OpenTree, slave, b.Text(""),
			launch.Value(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)))
		b.file("/dev/console")
		b.attach(tree, "/dev/console")
	}
	for fd := range 3 {
		b.Do(fmt.Sprintf("setting descriptor %d", fd), launch.Dup3, slave, launch.Value(fd), launch.Value(0))
	}
}
