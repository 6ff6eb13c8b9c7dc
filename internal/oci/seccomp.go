package oci

import (
	"fmt"

	"github.com/instar-os/instar/internal/launch/seccomp"
	"golang.org/x/sys/unix"
)

// Seccomp is the container's system call filter.
type Seccomp struct {
	DefaultAction string    `json:"defaultAction"`
	DefaultErrno  *uint     `json:"defaultErrnoRet,omitempty"`
	Architectures []string  `json:"architectures,omitempty"`
	Flags         []string  `json:"flags,omitempty"`
	ListenerPath  string    `json:"listenerPath,omitempty"`
	Syscalls      []Syscall `json:"syscalls,omitempty"`
}

// Syscall is a rule for some system calls.
type Syscall struct {
	Names  []string `json:"names"`
	Action string   `json:"action"`
	Errno  *uint    `json:"errnoRet,omitempty"`
	Args   []SysArg `json:"args,omitempty"`
}

// SysArg is a condition on an argument; all of a rule's have to hold.
type SysArg struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo,omitempty"`
	Op       string `json:"op"`
}

// seccompFlags of linux/seccomp.h.
var seccompFlags = map[string]uint64{
	"SECCOMP_FILTER_FLAG_TSYNC": unix.SECCOMP_FILTER_FLAG_TSYNC, "SECCOMP_FILTER_FLAG_LOG": unix.SECCOMP_FILTER_FLAG_LOG,
	"SECCOMP_FILTER_FLAG_SPEC_ALLOW": unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
}

// compile makes the filter. Of the architectures only the machine's own is
// filtered call by call; calls of any other end the process.
func (s *Seccomp) compile(arch string) ([]seccomp.Insn, error) {
	if s.ListenerPath != "" {
		return nil, fmt.Errorf("a listener (%s) is not supported", s.ListenerPath)
	}
	for _, f := range s.Flags {
		if _, ok := seccompFlags[f]; !ok {
			return nil, fmt.Errorf("unknown flag %q", f)
		}
	}
	rules := make([]seccomp.Rule, 0, len(s.Syscalls))
	for _, c := range s.Syscalls {
		action, err := seccomp.Action(c.Action, c.Errno)
		if err != nil {
			return nil, err
		}
		r := seccomp.Rule{Names: c.Names, Action: action}
		for _, a := range c.Args {
			r.Args = append(r.Args, seccomp.Condition{Arg: a.Index, Op: a.Op, Value: a.Value, Two: a.ValueTwo})
		}
		rules = append(rules, r)
	}
	action, err := seccomp.Action(s.DefaultAction, s.DefaultErrno)
	if err != nil {
		return nil, err
	}
	return seccomp.Compile(arch, action, rules)
}
