package oci

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// namespaceFlags are the types of namespaces of the specification.
var namespaceFlags = map[string]uint64{
	"pid": unix.CLONE_NEWPID, "network": unix.CLONE_NEWNET, "mount": unix.CLONE_NEWNS, "ipc": unix.CLONE_NEWIPC,
	"uts": unix.CLONE_NEWUTS, "user": unix.CLONE_NEWUSER, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
}

// kind is what a path is.
type kind int

const (
	missing kind = iota
	directory
	other
)

// facts are what compiling asks of the machine.
type facts struct {
	arch   string
	bundle string
	rootfs string            // absolute
	host   func(string) kind // a path of the host, links followed
	inRoot func(string) kind // a path in the root directory, before mounts
	cgroup *cgroups          // nil for none
}

// The stages at which a container's process waits for the runtime.
const (
	stageNamespaces = 'n' // the namespaces are there
	stageMounts     = 'm' // so are the mounts; the root is still the host's
	stageReady      = 'r' // nothing is left but the container's program
)

// A plan is a compiled container.
type plan struct {
	program  *launch.Program
	tell     launch.Arg // slot: descriptor to tell stages with
	wait     launch.Arg // slot: descriptor to wait for the runtime with
	begin    launch.Arg // slot: descriptor to wait for the start with
	master   launch.Arg // slot: the terminal's master after stageReady
	terminal bool
	warnings []string
}

// A compiler appends a container's operations to a program.
type compiler struct {
	*launch.Assembler
	c     *Config
	f     *facts
	plan  plan
	state struct {
		oldRoot launch.Arg
		trees   []launch.Arg // by mount
		devPts  bool
	}
	mounts []mounting
}

const cwdFD = ^uint64(99) // AT_FDCWD

func (b *compiler) warn(format string, args ...any) {
	b.plan.warnings = append(b.plan.warnings, fmt.Sprintf(format, args...))
}

// compile makes the program of a container's first process. preserve is the
// number of descriptors from 3 that the container's program gets.
func compile(c *Config, f *facts, preserve int) (*plan, error) {
	b := &compiler{c: c, f: f}
	for _, m := range c.Mounts {
		b.mounts = append(b.mounts, understand(m, f.bundle))
	}
	clone, err := b.cloneFlags()
	if err != nil {
		return nil, err
	}
	if err := b.checkStrings(); err != nil {
		return nil, err
	}
	b.Assembler = launch.NewAssembler(f.arch, clone, "config.json")
	b.plan.tell, b.plan.wait, b.plan.begin = b.Reserve(), b.Reserve(), b.Reserve()
	b.Do("dying with the runtime", launch.Prctl, launch.Value(unix.PR_SET_PDEATHSIG), launch.Value(unix.SIGKILL))
	b.Do("clearing the umask", launch.Umask, launch.Value(0))
	b.namespaces()
	b.identity()
	if _, ok := c.namespace("mount"); ok {
		if err := b.root(); err != nil {
			return nil, err
		}
	} else {
		b.chrootOnly()
	}
	if err := b.process(c.Process, preserve, true); err != nil {
		return nil, err
	}
	b.plan.program, err = b.Finish("start")
	if err != nil {
		return nil, err
	}
	return &b.plan, nil
}

// cloneFlags are the namespaces that clone3 makes: all but those that begin
// where the process is by then, unless it has to join a user namespace first.
func (b *compiler) cloneFlags() (uint64, error) {
	user, _ := b.c.namespace("user")
	if user.Path != "" {
		if b.c.makes("pid") {
			return 0, fmt.Errorf("a new PID namespace within the existing user namespace %s is not supported", user.Path)
		}
		return 0, nil
	}
	var flags uint64
	for _, n := range []string{"pid", "network", "mount", "ipc", "uts", "user"} {
		if b.c.makes(n) {
			flags |= namespaceFlags[n]
		}
	}
	return flags, nil
}

// checkStrings refuses what the kernel would take for the end of a string.
func (b *compiler) checkStrings() error {
	c := b.c
	list := []string{b.f.rootfs, c.Hostname, c.Domainname}
	for _, m := range b.mounts {
		list = append(list, m.at, m.fstype, m.source, m.data)
	}
	for k, v := range c.Linux.Sysctl {
		list = append(list, k, v)
	}
	for _, n := range c.Linux.Namespaces {
		list = append(list, n.Path)
	}
	for _, d := range c.Linux.Devices {
		list = append(list, d.Path)
	}
	list = slices.Concat(list, c.Linux.MaskedPaths, c.Linux.ReadonlyPaths)
	if c.Process != nil {
		list = append(append(list, c.Process.Cwd), c.Process.Env...)
	}
	return launch.NoNUL(list...)
}

// sync tells the runtime of a stage and waits for it.
func (b *compiler) sync(stage byte, with launch.Arg) {
	b.Do(fmt.Sprintf("reporting stage %c", stage), launch.Write, b.plan.tell, b.Bytes([]byte{stage}), launch.Value(1))
	b.Do(fmt.Sprintf("waiting after stage %c", stage), launch.Read, with, b.Bytes(make([]byte, 8)), launch.Value(1))
}

// ownsUser reports whether the container is in a user namespace of its own.
func (b *compiler) ownsUser() bool {
	_, ok := b.c.namespace("user")
	return ok
}

// joinOrder is the order of joining: the user namespace last, for the machine's
// root may join any other.
var joinOrder = []string{"network", "ipc", "uts", "time", "cgroup", "mount", "user"}

// namespaces joins and makes namespaces and, in between, cgroups.
func (b *compiler) namespaces() {
	if !b.ownsUser() && b.f.cgroup != nil {
		for _, file := range b.f.cgroup.joins() {
			b.write(file, "0")
		}
	}
	for _, name := range joinOrder {
		n, ok := b.c.namespace(name)
		if !ok || n.Path == "" {
			continue
		}
		fd := b.open(n.Path, unix.O_RDONLY)
		b.Do("joining the "+name+" namespace", launch.Setns, fd, launch.Value(namespaceFlags[name]))
	}
	if user, ok := b.c.namespace("user"); ok && user.Path != "" {
		b.becomeRoot()
		var flags uint64
		for _, n := range []string{"network", "mount", "ipc", "uts"} {
			if b.c.makes(n) {
				flags |= namespaceFlags[n]
			}
		}
		b.Do("making namespaces", launch.Unshare, launch.Value(flags))
	}
	if b.c.makes("user") || len(b.c.Hooks.Prestart)+len(b.c.Hooks.CreateRuntime) > 0 {
		b.sync(stageNamespaces, b.plan.wait)
	}
	if b.c.makes("user") {
		b.becomeRoot()
	}
	b.late()
}

// late makes the namespaces that depend on where the process is.
func (b *compiler) late() {
	if b.c.makes("cgroup") {
		b.Do("making a cgroup namespace", launch.Unshare, launch.Value(unix.CLONE_NEWCGROUP))
	}
	if b.c.makes("time") {
		b.Do("making a time namespace", launch.Unshare, launch.Value(unix.CLONE_NEWTIME))
		for _, clock := range slices.Sorted(maps.Keys(b.c.Linux.TimeOffsets)) {
			o := b.c.Linux.TimeOffsets[clock]
			b.write("/proc/self/timens_offsets", fmt.Sprintf("%s %d %d", clock, o.Secs, o.Nanosecs))
		}
	}
	if b.c.makes("network") {
		b.Loopback()
	}
}

func (b *compiler) becomeRoot() {
	b.Do("becoming the namespace's group 0", launch.Setresgid, launch.Value(0), launch.Value(0), launch.Value(0))
	b.Do("becoming the namespace's user 0", launch.Setresuid, launch.Value(0), launch.Value(0), launch.Value(0))
}

// identity sets names and sysctls, through the host's /proc, which shows those
// of the process's namespaces.
func (b *compiler) identity() {
	if h := b.c.Hostname; h != "" {
		b.Do("setting the host name", launch.Sethostname, b.Text(h), launch.Value(len(h)))
	}
	if d := b.c.Domainname; d != "" {
		b.Do("setting the domain name", launch.Setdomainname, b.Text(d), launch.Value(len(d)))
	}
	for _, name := range slices.Sorted(maps.Keys(b.c.Linux.Sysctl)) {
		b.write("/proc/sys/"+sysctlPath(name), b.c.Linux.Sysctl[name])
	}
}

// sysctlPath turns a name as net.ipv4.ip_forward into a path; in the form with
// slashes, dots belong to names.
func sysctlPath(name string) string {
	if strings.Contains(name, "/") {
		return path.Clean("/" + name)[1:]
	}
	return strings.ReplaceAll(name, ".", "/")
}

// open opens a path and keeps the descriptor.
func (b *compiler) open(file string, flags uint64) launch.Arg {
	return b.Keep(b.Do("opening "+file, launch.Openat, launch.Value(cwdFD), b.Text(file), launch.Value(flags|unix.O_CLOEXEC)))
}

// write writes a kernel's file.
func (b *compiler) write(file, content string) {
	fd := b.open(file, unix.O_WRONLY)
	b.Do("writing "+content+" to "+file, launch.Write, fd, b.Text(content), launch.Value(len(content)))
	b.Do("closing "+file, launch.Close, fd)
}

// chrootOnly is the root of a container in the mount namespace of the runtime:
// nothing can be mounted there.
func (b *compiler) chrootOnly() {
	if len(b.mounts) > 0 {
		b.warn("no mounts are made: the container has no mount namespace")
	}
	b.Do("changing to "+b.f.rootfs, launch.Chdir, b.Text(b.f.rootfs))
	b.Do("making it the root", launch.Chroot, b.Text("."))
	b.Do("changing to the root", launch.Chdir, b.Text("/"))
}

// tolerate lets an operation fail in one way.
func tolerate(o *launch.Op, errno syscall.Errno) { o.Tolerate = errno }
