package oci

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/launch/seccomp"
	"golang.org/x/sys/unix"
)

// process does what belongs to the process itself, each step before the one
// that takes away the right to do it. first says that it is the container's
// first one, which waits for the start.
func (b *compiler) process(p *Process, preserve int, first bool) error {
	if p == nil {
		return fmt.Errorf("process is missing")
	}
	b.Do("starting a session", launch.Setsid)
	tolerate(b.Do("starting a session keyring", launch.Keyctl, launch.Value(unix.KEYCTL_JOIN_SESSION_KEYRING), launch.Value(0)), unix.ENOSYS)
	if p.Terminal {
		b.console(p, first)
		b.Do("taking the terminal as the controlling one", launch.Ioctl, launch.Value(0), launch.Value(unix.TIOCSCTTY), launch.Value(0))
	}
	if err := b.rlimits(p); err != nil {
		return err
	}
	b.Do("changing to "+p.Cwd, launch.Chdir, b.Text(p.Cwd))
	filter, err := b.filter()
	if err != nil {
		return err
	}
	b.Do("closing other descriptors at exec", launch.CloseRange, launch.Value(3+preserve), launch.Value(uint32(math.MaxUint32)),
		launch.Value(unix.CLOSE_RANGE_CLOEXEC))
	b.Do("clearing the signal mask", launch.RtSigprocmask, launch.Value(unix.SIG_SETMASK), b.Words(0), launch.Value(0), launch.Value(8))
	if filter != nil && !p.NoNewPrivileges { // while there is the privilege that it takes
		b.seccomp(filter)
	}
	if err := b.user(p); err != nil {
		return err
	}
	if p.NoNewPrivileges {
		b.Do("forbidding new privileges", launch.Prctl, launch.Value(unix.PR_SET_NO_NEW_PRIVS), launch.Value(1))
	}
	env := b.Vector(p.Env)
	b.Do("outliving the runtime", launch.Prctl, launch.Value(unix.PR_SET_PDEATHSIG), launch.Value(0))
	if first || p.Terminal {
		b.sync(stageReady, b.plan.begin)
	}
	if filter != nil && p.NoNewPrivileges {
		b.seccomp(filter)
	}
	b.Do("executing the program", launch.Execve, launch.Held(launch.Path), launch.Held(launch.Argv), env)
	if p.ApparmorProfile != "" {
		b.warn("AppArmor profile %s is not applied", p.ApparmorProfile)
	}
	if p.SelinuxLabel != "" || b.c.Linux.MountLabel != "" {
		b.warn("SELinux labels are not applied")
	}
	return nil
}

// filter compiles the container's system call filter; nil for none.
func (b *compiler) filter() ([]byte, error) {
	s := b.c.Linux.Seccomp
	if s == nil {
		return nil, nil
	}
	insns, err := s.compile(b.f.arch)
	if err != nil {
		return nil, fmt.Errorf("compiling the system call filter: %w", err)
	}
	return seccomp.Encode(insns), nil
}

func (b *compiler) seccomp(filter []byte) {
	var flags uint64
	for _, f := range b.c.Linux.Seccomp.Flags {
		flags |= seccompFlags[f]
	}
	b.Do("installing the system call filter", launch.Seccomp, launch.Value(unix.SECCOMP_SET_MODE_FILTER),
		launch.Value(flags), b.Filter(filter))
}

// rlimits sets resource limits. In a user namespace of its own, where a limit
// cannot be raised, the runtime does it.
func (b *compiler) rlimits(p *Process) error {
	for _, r := range p.Rlimits {
		n, err := r.number()
		if err != nil {
			return err
		}
		if !b.c.makes("user") {
			b.Do(fmt.Sprintf("setting %s to %d", r.Type, r.Hard), launch.Prlimit64, launch.Value(0), launch.Value(n),
				b.Words(r.Soft, r.Hard), launch.Value(0))
		}
	}
	return nil
}

func (r *Rlimit) number() (uint64, error) {
	name, ok := strings.CutPrefix(r.Type, "RLIMIT_")
	if !ok {
		return 0, fmt.Errorf("unknown rlimit %q", r.Type)
	}
	if r.Soft > r.Hard {
		return 0, fmt.Errorf("rlimit %s: soft limit %d is more than the hard limit %d", r.Type, r.Soft, r.Hard)
	}
	return launch.RlimitNumber(strings.ToLower(name))
}

// user takes the process's user and capabilities: capabilities(7).
func (b *compiler) user(p *Process) error {
	caps := p.Capabilities
	if caps == nil {
		caps = &Caps{}
	}
	var sets [5]uint64
	for i, names := range [][]string{caps.Bounding, caps.Effective, caps.Permitted, caps.Inheritable, caps.Ambient} {
		var err error
		if sets[i], err = launch.CapabilitySet(names); err != nil {
			return err
		}
	}
	bounding, effective, permitted, inheritable, ambient := sets[0], sets[1], sets[2], sets[3], sets[4]
	b.Do("clearing the ambient capabilities", launch.Prctl, launch.Value(unix.PR_CAP_AMBIENT), launch.Value(unix.PR_CAP_AMBIENT_CLEAR_ALL))
	for n := range 64 {
		if bounding&(1<<n) == 0 { // those the kernel does not know are invalid
			tolerate(b.Do(fmt.Sprintf("dropping capability %d", n), launch.Prctl, launch.Value(unix.PR_CAPBSET_DROP), launch.Value(n)), unix.EINVAL)
		}
	}
	u := p.User
	b.Do("keeping capabilities over the change of user", launch.Prctl, launch.Value(unix.PR_SET_KEEPCAPS), launch.Value(1))
	groups := b.Do("setting groups", launch.Setgroups, launch.Value(len(u.AdditionalGids)), b.Words32(u.AdditionalGids...))
	if b.ownsUser() && len(u.AdditionalGids) == 0 {
		tolerate(groups, unix.EPERM) // where setgroups is denied, there are none to lose
	}
	b.Do(fmt.Sprintf("becoming group %d", u.GID), launch.Setresgid, launch.Value(u.GID), launch.Value(u.GID), launch.Value(u.GID))
	b.Do(fmt.Sprintf("becoming user %d", u.UID), launch.Setresuid, launch.Value(u.UID), launch.Value(u.UID), launch.Value(u.UID))
	b.Do("setting capabilities", launch.Capset, b.Words32(unix.LINUX_CAPABILITY_VERSION_3, 0), b.Bytes(capData(effective, permitted, inheritable)))
	for n := range 64 {
		if ambient&inheritable&permitted&(1<<n) != 0 {
			b.Do(fmt.Sprintf("keeping capability %d", n), launch.Prctl, launch.Value(unix.PR_CAP_AMBIENT),
				launch.Value(unix.PR_CAP_AMBIENT_RAISE), launch.Value(n))
		}
	}
	umask := uint32(0o022)
	if u.Umask != nil {
		umask = *u.Umask
	}
	b.Do("setting the umask", launch.Umask, launch.Value(umask))
	return nil
}

// capData encodes two struct __user_cap_data_struct, the lower 32 bits first.
func capData(effective, permitted, inheritable uint64) []byte {
	var out []byte
	for _, shift := range []uint{0, 32} {
		for _, set := range []uint64{effective, permitted, inheritable} {
			out = binary.LittleEndian.AppendUint32(out, uint32(set>>shift))
		}
	}
	return out
}
