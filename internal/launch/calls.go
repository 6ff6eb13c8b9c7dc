package launch

import "fmt"

// Call is a system call a Program may make.
type Call uint8

// The calls.
const (
	Read Call = iota
	Write
	Openat
	Close
	Dup3
	Fcntl
	CloseRange
	Mkdirat
	Fchownat
	Mknodat
	Symlinkat
	Chdir
	Umask
	Mount
	Umount2
	PivotRoot
	OpenTree
	MoveMount
	MountSetattr
	Fsopen
	Fsconfig
	Fsmount
	Setns
	Unshare
	Sethostname
	Socket
	Ioctl
	Setsid
	Setgroups
	Setresgid
	Setresuid
	Capset
	Prctl
	Prlimit64
	RtSigprocmask
	Keyctl
	Seccomp
	Execve
	Chroot
	Fchdir
	Setdomainname
	Clone // see Op
	Execveat
	LandlockCreateRuleset
	LandlockAddRule
	LandlockRestrictSelf
	Ppoll
)

// archs gives the column of an architecture in calls.
var archs = map[string]int{"amd64": 0, "arm64": 1}

// calls holds name and numbers of each Call: arch/x86/entry/syscalls/syscall_64.tbl
// and scripts/syscall.tbl of Linux.
var calls = [...]struct {
	name string
	nr   [2]uint16
}{
	Read:          {"read", [2]uint16{0, 63}},
	Write:         {"write", [2]uint16{1, 64}},
	Openat:        {"openat", [2]uint16{257, 56}},
	Close:         {"close", [2]uint16{3, 57}},
	Dup3:          {"dup3", [2]uint16{292, 24}},
	Fcntl:         {"fcntl", [2]uint16{72, 25}},
	CloseRange:    {"close_range", [2]uint16{436, 436}},
	Mkdirat:       {"mkdirat", [2]uint16{258, 34}},
	Mknodat:       {"mknodat", [2]uint16{259, 33}},
	Symlinkat:     {"symlinkat", [2]uint16{266, 36}},
	Chdir:         {"chdir", [2]uint16{80, 49}},
	Umask:         {"umask", [2]uint16{95, 166}},
	Mount:         {"mount", [2]uint16{165, 40}},
	Umount2:       {"umount2", [2]uint16{166, 39}},
	PivotRoot:     {"pivot_root", [2]uint16{155, 41}},
	OpenTree:      {"open_tree", [2]uint16{428, 428}},
	MoveMount:     {"move_mount", [2]uint16{429, 429}},
	MountSetattr:  {"mount_setattr", [2]uint16{442, 442}},
	Fsopen:        {"fsopen", [2]uint16{430, 430}},
	Fsconfig:      {"fsconfig", [2]uint16{431, 431}},
	Fsmount:       {"fsmount", [2]uint16{432, 432}},
	Setns:         {"setns", [2]uint16{308, 268}},
	Unshare:       {"unshare", [2]uint16{272, 97}},
	Sethostname:   {"sethostname", [2]uint16{170, 161}},
	Socket:        {"socket", [2]uint16{41, 198}},
	Ioctl:         {"ioctl", [2]uint16{16, 29}},
	Setsid:        {"setsid", [2]uint16{112, 157}},
	Setgroups:     {"setgroups", [2]uint16{116, 159}},
	Setresgid:     {"setresgid", [2]uint16{119, 149}},
	Setresuid:     {"setresuid", [2]uint16{117, 147}},
	Capset:        {"capset", [2]uint16{126, 91}},
	Prctl:         {"prctl", [2]uint16{157, 167}},
	Prlimit64:     {"prlimit64", [2]uint16{302, 261}},
	RtSigprocmask: {"rt_sigprocmask", [2]uint16{14, 135}},
	Keyctl:        {"keyctl", [2]uint16{250, 219}},
	Seccomp:       {"seccomp", [2]uint16{317, 277}},
	Execve:        {"execve", [2]uint16{59, 221}},
	Chroot:        {"chroot", [2]uint16{161, 51}},
	Fchdir:        {"fchdir", [2]uint16{81, 50}},
	Fchownat:      {"fchownat", [2]uint16{260, 54}},
	Setdomainname: {"setdomainname", [2]uint16{171, 162}},
	Clone:         {"clone", [2]uint16{56, 220}},
	Execveat:      {"execveat", [2]uint16{322, 281}},

	LandlockCreateRuleset: {"landlock_create_ruleset", [2]uint16{444, 444}},
	LandlockAddRule:       {"landlock_add_rule", [2]uint16{445, 445}},
	LandlockRestrictSelf:  {"landlock_restrict_self", [2]uint16{446, 446}},
	Ppoll:                 {"ppoll", [2]uint16{271, 73}},
}

// String returns the call's name in Linux.
func (c Call) String() string {
	if int(c) < len(calls) {
		return calls[c].name
	}
	return fmt.Sprintf("Call(%d)", uint8(c))
}

// Number returns the call's number on an architecture that Check accepts.
func (c Call) Number(arch string) uintptr { return uintptr(calls[c].nr[archs[arch]]) }
