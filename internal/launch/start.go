package launch

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"syscall"

	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// compileStart is the path of a first process: it joins the namespaces that
// Root made and adds the /proc of its PID namespace, to a copy of the mounts when
// commands come before it. Else the mounts are the supervisor's to take apart, not
// the process's when it ends.
func compileStart(s *Spec, caps uint64) (*Program, error) {
	b := newBuilder(s)
	b.p.Clone = unix.CLONE_NEWPID
	b.join("uts", UTSNS, unix.CLONE_NEWUTS)
	b.join("ipc", IPCNS, unix.CLONE_NEWIPC)
	if s.Container.Network != system.HostNetwork {
		b.join("net", NetNS, unix.CLONE_NEWNET)
	}
	b.join("mount", MountNS, unix.CLONE_NEWNS)
	if len(s.Container.Prepare) > 0 {
		b.do("copying the mount namespace", Unshare, imm(unix.CLONE_NEWNS))
	}
	b.do("making a cgroup namespace", Unshare, imm(unix.CLONE_NEWCGROUP))
	b.proc()
	b.slots += len(s.Container.Descriptors)
	b.process(s, caps, UserNS, s.Container.Descriptors)
	return b.finish("start")
}

// compileJoin is the path of a further process of a running container.
func compileJoin(s *Spec, caps uint64) (*Program, error) {
	b := newBuilder(s)
	flags := unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS
	if s.Container.Network != system.HostNetwork {
		flags |= unix.CLONE_NEWNET
	}
	b.join("container's", MountNS, flags)
	b.process(s, caps, MountNS, nil)
	return b.finish("joining")
}

func (b *builder) join(what string, slot int, kind int) {
	b.do("joining the "+what+" namespace", Setns, held(slot), imm(kind))
}

// proc mounts /proc with the paths hidden and read-only that container runtimes
// agree on (the defaults of the OCI runtimes): they tell about or change the
// whole machine.
func (b *builder) proc() {
	b.mount("proc", "/proc", quieter, "")
	for _, dir := range []string{"/proc/acpi", "/proc/asound", "/proc/scsi"} {
		b.hideDir(dir)
	}
	for _, file := range []string{"/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats"} {
		b.do("hiding "+file, Mount, b.str("/dev/null"), b.str(file), imm(0), imm(unix.MS_BIND)).Tolerate = syscall.ENOENT
	}
	for _, p := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} {
		b.do("making a mount of "+p, Mount, b.str(p), b.str(p), imm(0), imm(unix.MS_BIND)).Tolerate = syscall.ENOENT
		b.do("making "+p+" read-only", Mount, imm(0), b.str(p), imm(0),
			imm(quieter|unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY)).Tolerate = syscall.ENOENT
	}
}

// process does the rest: what belongs to the process itself, each step before
// the one that takes away the right to do it. The slot users leads to the user
// namespace; its owner's rights end there. The files of links are the first
// process's own.
func (b *builder) process(s *Spec, caps uint64, users int, links []system.Descriptor) {
	c := s.Container
	b.do("starting a session", Setsid)
	b.do("starting a session keyring", Keyctl, imm(unix.KEYCTL_JOIN_SESSION_KEYRING), imm(0)).Tolerate = syscall.ENOSYS
	b.oomScore(c.Limits.OOMScore)
	b.limits(s)
	b.do("setting the umask", Umask, imm(0o022))
	b.do("changing to "+c.Dir, Chdir, b.str(c.Dir))
	if c.IDs.Base != 0 {
		b.join("user", users, unix.CLONE_NEWUSER)
	}
	b.user(c, caps)
	b.streams(links, c.Landlock)
	b.do("forbidding new privileges", Prctl, imm(unix.PR_SET_NO_NEW_PRIVS), imm(1))
	if s.Filter != nil {
		fprog := b.bytes(words(uint64(len(s.Filter)/8), 0)) // struct sock_fprog: length, address
		b.point(fprog, 8, b.bytes(s.Filter))
		b.do("installing the system call filter", Seccomp, imm(unix.SECCOMP_SET_MODE_FILTER), imm(0), fprog)
	}
	switch {
	case users == MountNS:
		b.do("taking its terminal", Ioctl, imm(0), imm(unix.TIOCSCTTY), imm(0)).Tolerate = syscall.ENOTTY
		b.command(held(Env))
	case c.Init:
		b.divide(func() { b.first(c, links) })
	default:
		b.first(c, links)
	}
}

// first executes the command of the container.
func (b *builder) first(c *system.Container, links []system.Descriptor) {
	if c.TTY {
		b.do("taking its terminal", Ioctl, imm(0), imm(unix.TIOCSCTTY), imm(0)).Tolerate = syscall.ENOTTY // a Prepare command has none
	}
	b.command(b.vector(append(slices.Clip(c.Env), linkEnv(links, commandPID(c.Init))...)))
}

func (b *builder) command(env Arg) {
	b.do("clearing the signal mask", RtSigprocmask, imm(unix.SIG_SETMASK), b.bytes(words(0)), imm(0), imm(8))
	b.do("executing the program", Execve, held(Path), held(Argv), env)
}

// oomScore gives the container's processes their own badness for the OOM killer,
// whatever the supervisor's is. Where that takes a privilege it lacks, they stay
// as the supervisor.
func (b *builder) oomScore(score int64) {
	text := strconv.FormatInt(score, 10)
	fd := b.slot(b.do("opening /proc/self/oom_score_adj", Openat, imm(atCWD), b.str("/proc/self/oom_score_adj"),
		imm(unix.O_WRONLY|unix.O_CLOEXEC)))
	b.do("setting the OOM score", Write, fd, b.str(text), imm(len(text))).Tolerate = syscall.EACCES
	b.do("closing /proc/self/oom_score_adj", Close, fd)
}

// limits sets the resource limits, nofile always, for the Go runtime has raised
// the supervisor's.
func (b *builder) limits(s *Spec) {
	if _, ok := s.Container.Limits.Rlimits["nofile"]; !ok {
		b.do("setting rlimit nofile", Prlimit64, imm(0), imm(rlimits["nofile"]), held(Nofile), imm(0))
	}
	set := map[string][2]uint64{}
	for name, v := range s.Container.Limits.Rlimits {
		n := uint64(v)
		if v < 0 {
			n = math.MaxUint64 // RLIM_INFINITY
		}
		set[name] = [2]uint64{n, n}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		v := set[name]
		b.do(fmt.Sprintf("setting rlimit %s to %d", name, int64(v[1])), Prlimit64, imm(0),
			imm(rlimits[name]), b.bytes(words(v[0], v[1])), imm(0))
	}
}

// user takes the container's user and leaves nothing but the kept capabilities:
// capabilities(7). A user that is not root keeps them over execve by the ambient
// set; root gets what the bounding set leaves.
func (b *builder) user(c *system.Container, caps uint64) {
	b.do("clearing the ambient capabilities", Prctl, imm(unix.PR_CAP_AMBIENT), imm(unix.PR_CAP_AMBIENT_CLEAR_ALL))
	for n := range 64 {
		if caps&(1<<n) == 0 { // those the kernel does not know are invalid
			b.do(fmt.Sprintf("dropping capability %d", n), Prctl, imm(unix.PR_CAPBSET_DROP), imm(n)).Tolerate = syscall.EINVAL
		}
	}
	if c.UID != 0 {
		b.do("keeping capabilities over the change of user", Prctl, imm(unix.PR_SET_KEEPCAPS), imm(1))
	}
	groups := b.bytes(words32(c.Groups...))
	b.do("setting groups", Setgroups, imm(len(c.Groups)), groups)
	b.do(fmt.Sprintf("becoming group %d", c.GID), Setresgid, imm(c.GID), imm(c.GID), imm(c.GID))
	b.do(fmt.Sprintf("becoming user %d", c.UID), Setresuid, imm(c.UID), imm(c.UID), imm(c.UID))
	inheritable := uint64(0)
	if c.UID != 0 {
		inheritable = caps
	}
	header := b.bytes(words32(unix.LINUX_CAPABILITY_VERSION_3, 0))
	b.do("setting capabilities", Capset, header, b.bytes(capData(caps, inheritable)))
	for n := range 64 {
		if inheritable&(1<<n) != 0 {
			b.do("keeping "+capabilities[n], Prctl, imm(unix.PR_CAP_AMBIENT), imm(unix.PR_CAP_AMBIENT_RAISE), imm(n))
		}
	}
}

// capData encodes two struct __user_cap_data_struct, the lower 32 bits first.
func capData(caps, inheritable uint64) []byte {
	var out []byte
	for _, shift := range []uint{0, 32} {
		for _, set := range []uint64{caps, caps, inheritable} {
			out = binary.LittleEndian.AppendUint32(out, uint32(set>>shift))
		}
	}
	return out
}
