package launch

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// Mount flags of what a container gets: nothing in it is a way to devices or
// to another user.
const (
	quiet      = unix.MS_NOSUID | unix.MS_NODEV
	quieter    = quiet | unix.MS_NOEXEC
	attrQuiet  = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrRdonly = unix.MOUNT_ATTR_RDONLY
)

// compileSpaces makes the namespaces that hold no mounts. With its own range of
// IDs all of them belong to the container's user namespace, so that its
// capabilities are good for them and for nothing else.
func compileSpaces(s *Spec) (*Program, error) {
	b := newBuilder(s)
	b.slots = firstApart
	c := s.Container
	b.p.Clone = unix.CLONE_FILES | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	if c.IDs.Base != 0 {
		b.p.Clone |= unix.CLONE_NEWUSER
	}
	b.namespace("uts", UTSNS)
	b.namespace("ipc", IPCNS)
	b.do("setting the host name", Sethostname, b.str(c.Hostname), imm(len(c.Hostname)))
	if c.Network == system.NoNetwork {
		b.do("making the net namespace", Unshare, imm(unix.CLONE_NEWNET))
		b.namespace("net", NetNS)
	}
	if c.Network != system.MemberNetwork {
		b.open("letting the mounts have them", Ready)
	}
	if c.Network == system.NoNetwork {
		b.loopback()
	}
	if len(c.Sysctls) > 0 && c.IDs.Base != 0 { // the files belong to user 0 as soon as there is one
		b.await("the users", Users)
		b.do("becoming group 0", Setresgid, imm(0), imm(0), imm(0))
		b.do("becoming user 0", Setresuid, imm(0), imm(0), imm(0))
	}
	b.sysctls(c.Sysctls)
	return b.finish("namespaces")
}

// compileRoot makes a namespace with the container's mounts, /proc excepted,
// which belongs to a PID namespace. Sources on the host are taken as detached
// mounts first; targets are looked up when the container's root is the root,
// so that no symlink of an image leads out of it. The namespace belongs to the
// machine: nobody in the container can change its mounts, whatever it may.
func compileRoot(s *Spec) (*Program, error) {
	b := newBuilder(s)
	c := s.Container
	b.slots += len(c.Data)
	b.p.Clone = unix.CLONE_FILES
	b.do("copying the machine's mount namespace", Unshare, imm(unix.CLONE_NEWNS))
	b.do("making the mount namespace private", Mount, imm(0), b.str("/"), imm(0), imm(unix.MS_REC|unix.MS_PRIVATE))
	b.namespace("mnt", MountNS)
	b.do("clearing the umask", Umask, imm(0))
	b.do("mounting memory to build in", Mount, b.str("tmpfs"), held(Place), b.str("tmpfs"), imm(quiet), b.str(sized(s, "mode=0700")))
	b.do("changing to it", Chdir, held(Place))
	b.overlay(s, "root")
	bound := b.sources(s)
	b.enter("root")
	b.dev()
	if c.TTY {
		b.do("opening the container's terminal", Openat, imm(atCWD), b.str("/dev/pts/ptmx"),
			imm(unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC)).Out = Master
	}
	b.memory(s)
	for _, m := range bound {
		if above, ok := memoryAbove(c, m.at); ok {
			b.mkdirBelow(above, path.Dir(m.at))
			b.target(m)
		}
		b.bind(m.tree, m.at, m.attributes)
	}
	b.await("the namespaces", Ready)
	b.join("ipc", IPCNS, unix.CLONE_NEWIPC) // what mqueue and sysfs show
	if c.Network != system.HostNetwork {
		b.join("net", NetNS, unix.CLONE_NEWNET)
	}
	b.queues()
	b.sys()
	if b.slots > firstApart {
		return nil, fmt.Errorf("compiling the root of a container: more than %d slots", firstApart)
	}
	return b.finish("root")
}

func (b *builder) namespace(kind string, slot uint8) {
	b.do("opening the "+kind+" namespace", Openat, imm(atCWD), b.str("/proc/self/ns/"+kind),
		imm(unix.O_RDONLY|unix.O_CLOEXEC)).Out = slot
}

// sized adds the container's memory limit to a tmpfs' options: where no cgroup
// counts its pages, it is no more than that.
func sized(s *Spec, options string) string {
	if m := s.Container.Limits.Memory; m > 0 {
		options += fmt.Sprintf(",size=%d", m)
	}
	return options
}

// overlay mounts the container's root file system: the image over the objects,
// or a directory, and memory above it when it is ephemeral. It is one overlay,
// for the kernel stacks no more than two file systems. The image is attached to
// a path because Linux before 6.15 takes no detached layers. Owners are mapped
// on the layer that holds them, for an overlay itself cannot be mapped.
//
// Documentation/filesystems/overlayfs.rst, "Data-only lower layers".
func (b *builder) overlay(s *Spec, at string) {
	b.mkdir("image", 0o755)
	var layer Arg
	if s.Lower {
		layer = b.clone("the root directory", held(Image))
	} else {
		layer = b.super("erofs", attrRdonly|attrQuiet, []option{{"source", held(Image)}, {"ro", Arg{}}})
	}
	if b.base != 0 {
		b.await("the users", Users)
	}
	b.idmap("the image", layer)
	b.attach("the image", layer, "image")
	b.mkdir(at, 0o755)
	attributes := uint64(unix.MOUNT_ATTR_NODEV)
	options := []option{{"source", b.str(s.Container.Name)}, {"lowerdir+", b.str("image")}}
	if !s.Lower {
		options = append(options, option{"datadir+", held(Objects)},
			option{"metacopy", b.str("on")}, option{"redirect_dir", b.str("on")}, option{"verity", held(Verity)})
	}
	if s.Container.Root == system.Ephemeral {
		b.mkdir("upper", 0o755)
		b.own("upper", 0, 0)
		b.mkdir("work", 0o755)
		options = append(options, option{"upperdir", b.str("upper")}, option{"workdir", b.str("work")})
	} else {
		attributes |= attrRdonly
		if s.Lower { // an overlay of one layer needs a second or an upper one
			b.mkdir("empty", 0o755)
			options = append(options, option{"lowerdir+", b.str("empty")})
		}
	}
	b.attach("the overlay", b.super("overlay", attributes, options), at)
}

// option is one of a file system; without a value it is a flag.
type option struct {
	key   string
	value Arg
}

// super makes a file system with the mount API and a detached mount of it.
func (b *builder) super(fstype string, attributes uint64, options []option) Arg {
	fs := b.slot(b.do("opening file system type "+fstype, Fsopen, b.str(fstype), imm(unix.FSOPEN_CLOEXEC)))
	for _, o := range options {
		if o.value == (Arg{}) {
			b.do(fmt.Sprintf("setting %s %s", fstype, o.key), Fsconfig, fs, imm(unix.FSCONFIG_SET_FLAG), b.str(o.key))
			continue
		}
		b.do(fmt.Sprintf("setting %s %s=%s", fstype, o.key, b.p.argument(o.value)), Fsconfig, fs,
			imm(unix.FSCONFIG_SET_STRING), b.str(o.key), o.value, imm(0))
	}
	b.do("creating the "+fstype, Fsconfig, fs, imm(unix.FSCONFIG_CMD_CREATE))
	return b.slot(b.do("making a mount of the "+fstype, Fsmount, fs, imm(unix.FSMOUNT_CLOEXEC), imm(attributes)))
}

// attach mounts a detached mount at a path of the build place.
func (b *builder) attach(what string, tree Arg, at string) {
	b.do("mounting "+what, MoveMount, tree, b.str(""), imm(atCWD), b.str(at), imm(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// A source is a detached mount and where it goes.
type source struct {
	tree       Arg
	at         string
	attributes uint64
	dir        bool
}

// sources takes what the container gets of the host, outer targets first.
func (b *builder) sources(s *Spec) []source {
	c := s.Container
	var out []source
	for i, d := range c.Data {
		tree := b.clone("the data for "+d.Path, held(FirstData+i))
		b.idmap("the data for "+d.Path, tree)
		out = append(out, source{tree, path.Clean(d.Path), attrQuiet, true})
	}
	if c.Control {
		out = append(out, source{b.clone("the control socket", held(Control)), controlFile, attrQuiet, false})
	}
	out = append(out,
		source{b.generated("hosts", hosts(c)), hostsFile, attrRdonly | attrQuiet, false},
		source{b.generated("hostname", c.Hostname+"\n"), hostnameFile, attrRdonly | attrQuiet, false})
	if c.Network == system.HostNetwork {
		out = append(out, source{b.clone("resolv.conf", held(Resolv)), resolvFile, attrRdonly | attrQuiet, false})
	} else if len(c.DNS) > 0 {
		out = append(out, source{b.generated("resolv.conf", resolv(c)), resolvFile, attrRdonly | attrQuiet, false})
	}
	slices.SortStableFunc(out, func(a, b source) int { return cmp.Compare(a.at, b.at) })
	return out
}

// generated writes a file in the build place and takes it from there.
func (b *builder) generated(name, content string) Arg {
	b.file(name, 0o644, content)
	return b.clone(name, b.str(name))
}

// target makes the mount point of a source in memory.
func (b *builder) target(m source) {
	if m.dir {
		b.mkdir(m.at, 0o755)
		b.own(m.at, 0, 0)
		return
	}
	b.file(m.at, 0o644, "")
}

// enter makes a mount the root of the namespace. All others are below /proc then,
// where nothing is mounted yet, until Drop has dropped them: pivot_root(2).
func (b *builder) enter(root string) {
	b.do("changing to "+root, Chdir, b.str(root))
	b.do("making it the root", PivotRoot, b.str("."), b.str("proc"))
	b.do("changing to the new root", Chdir, b.str("/"))
	b.open("letting the host's mounts be dropped", Entered)
}

// compileDrop drops the host's mounts while Root goes on: the kernel waits for an
// RCU grace period before it comes back.
func compileDrop(s *Spec) (*Program, error) {
	b := newBuilder(s)
	b.p.Clone = unix.CLONE_FILES
	b.await("the container's root", Entered)
	b.join("mount", MountNS, unix.CLONE_NEWNS)
	b.do("dropping the host's mounts", Umount2, b.str("/proc"), imm(unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	return b.finish("drop")
}

// devices are the nodes of /dev, with their numbers: Documentation/admin-guide/devices.txt.
var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

// dev makes /dev: nodes, links, pts and shm; itself it is read-only.
func (b *builder) dev() {
	b.mount("tmpfs", "/dev", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=65536")
	for _, d := range devices {
		at := "/dev/" + d.name
		b.do("making "+at, Mknodat, imm(atCWD), b.str(at), imm(unix.S_IFCHR|0o666), imm(unix.Mkdev(d.major, d.minor)))
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"},
		{"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}} {
		b.do("making the link /dev/"+l[0], Symlinkat, b.str(l[1]), imm(atCWD), b.str("/dev/"+l[0]))
	}
	for _, d := range []string{"pts", "shm", "mqueue"} {
		b.mkdir("/dev/"+d, 0o755)
	}
	b.mount("devpts", "/dev/pts", unix.MS_NOSUID|unix.MS_NOEXEC, fmt.Sprintf("newinstance,ptmxmode=0666,mode=0620,gid=%d", b.base+5))
	b.mount("tmpfs", "/dev/shm", quieter, "mode=1777,size=67108864")
	b.do("making /dev read-only", Mount, imm(0), b.str("/dev"), imm(0),
		imm(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC))
}

// queues mounts the message queues of the IPC namespace.
func (b *builder) queues() { b.mount("mqueue", "/dev/mqueue", quieter, "") }

// sys mounts /sys read-only, without what names the firmware's memory and the
// power meters (a side channel).
func (b *builder) sys() {
	b.mount("sysfs", "/sys", quieter|unix.MS_RDONLY, "")
	for _, dir := range []string{"/sys/firmware", "/sys/devices/virtual/powercap"} {
		b.hideDir(dir)
	}
}

func (b *builder) hideDir(dir string) {
	o := b.mount("tmpfs", dir, quieter|unix.MS_RDONLY, "mode=0555,size=4096")
	o.Label, o.Tolerate = "hiding "+dir, syscall.ENOENT
}

// memory mounts /tmp, /run and the declared tmpfs.
func (b *builder) memory(s *Spec) {
	for _, m := range memory(s.Container) {
		if above, ok := memoryAbove(s.Container, m.Path); ok {
			b.mkdirBelow(above, m.Path)
		}
		options := []string{fmt.Sprintf("mode=%04o", m.Mode), fmt.Sprintf("uid=%d,gid=%d", b.base+m.UID, b.base+m.GID)}
		switch {
		case m.Size > 0:
			options = append(options, fmt.Sprintf("size=%d", m.Size))
		case s.Container.Limits.Memory > 0:
			options = append(options, fmt.Sprintf("size=%d", s.Container.Limits.Memory))
		}
		flags := uint64(quiet)
		if m.NoExec {
			flags = quieter
		}
		if m.Inodes > 0 {
			options = append(options, fmt.Sprintf("nr_inodes=%d", m.Inodes))
		}
		b.mount("tmpfs", m.Path, flags, strings.Join(options, ","))
	}
}

// loopback brings the interface lo of the new network namespace up: netdevice(7).
func (b *builder) loopback() {
	ifreq := make([]byte, 40)
	copy(ifreq, "lo")
	binary.LittleEndian.PutUint16(ifreq[16:], unix.IFF_UP)
	sock := b.slot(b.do("opening a socket for lo", Socket, imm(unix.AF_INET), imm(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), imm(0)))
	b.do("bringing lo up", Ioctl, sock, imm(unix.SIOCSIFFLAGS), b.bytes(ifreq))
}
