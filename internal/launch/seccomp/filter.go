// Package seccomp compiles the default system call filter of containers: the
// profile of Docker as classic BPF with a binary search tree over ranges of
// system call numbers.
//
// The profile's data is in table.go, made from github.com/moby/profiles/seccomp
// by this package's tests (go test -run TestTable -update), which also hold the
// filter against that profile. It differs from what Docker makes of it in three
// ways: 32-bit and x32 calls, which Docker allows, are refused; a number newer
// than the profile is ENOSYS, as in runc, so that programs fall back; and
// arguments are compared as the 32-bit values that the kernel takes them for,
// where Docker's filter lets the upper half of a register change the verdict.
//
// Documentation/userspace-api/seccomp_filter.rst, linux/filter.h.
package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Insn is struct sock_filter.
type Insn struct {
	Code   uint16
	JT, JF uint8
	K      uint32
}

// Size is the size of an instruction in bytes, as Encode writes it.
const Size = 8

// Actions of a filter: linux/seccomp.h.
const (
	retAllow = 0x7fff0000 // SECCOMP_RET_ALLOW
	retErrno = 0x00050000 // SECCOMP_RET_ERRNO, with the error number in the lower half
	retKill  = 0x80000000 // SECCOMP_RET_KILL_PROCESS
)

const (
	eperm  = 1
	enosys = 38
)

// BPF instructions: linux/bpf_common.h.
const (
	opLoad = 0x20 // ld [k]
	opAnd  = 0x54 // and #k
	opJEQ  = 0x15
	opJGT  = 0x25
	opJGE  = 0x35
	opRet  = 0x06
)

// Offsets in struct seccomp_data; the lower half of argument i is at offArgs+8i
// on little-endian machines.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// compare says how an argument is tested.
type compare uint8

const (
	equal compare = iota
	less
	greater
	masked // argument & mask == value
)

// condition is a test of the lower 32 bits of an argument.
type condition struct {
	arg         uint8
	op          compare
	value, mask uint32
}

// rule is an entry of the profile for one architecture.
type rule struct {
	with    string     // holds only with this capability
	without string     // holds only without this capability
	errno   uint16     // the calls' error; 0 allows them
	when    *condition // allows them only then
	numbers []uint16   // sorted
}

// verdict is what happens to one system call.
type verdict struct {
	action uint32      // unless one of anyOf holds
	anyOf  []condition // allow
}

func (v verdict) same(o verdict) bool {
	return v.action == o.action && len(v.anyOf) == 0 && len(o.anyOf) == 0
}

// Default returns the default filter for containers of an architecture (a
// GOARCH) that keep capabilities, as CAP_SYS_ADMIN.
func Default(arch string, caps []string) ([]Insn, error) {
	p, ok := profiles()[arch]
	if !ok {
		return nil, fmt.Errorf("no system call filter for architecture %q", arch)
	}
	return assemble(p.audit, decide(p.rules, caps))
}

// Encode returns the filter as an array of struct sock_filter, little-endian.
func Encode(filter []Insn) []byte {
	out := make([]byte, 0, Size*len(filter))
	for _, in := range filter {
		out = binary.LittleEndian.AppendUint16(out, in.Code)
		out = append(out, in.JT, in.JF)
		out = binary.LittleEndian.AppendUint32(out, in.K)
	}
	return out
}

// decide returns the verdict on each number up to the newest the profile has a
// rule for, granted or not. An unconditional rule outweighs conditions.
func decide(rules []rule, caps []string) []verdict {
	highest := uint16(0)
	for _, r := range rules {
		highest = max(highest, slices.Max(r.numbers))
	}
	out := slices.Repeat([]verdict{{action: retErrno | eperm}}, int(highest)+1)
	for _, r := range rules {
		if r.with != "" && !slices.Contains(caps, r.with) || r.without != "" && slices.Contains(caps, r.without) {
			continue
		}
		for _, n := range r.numbers {
			v := &out[n]
			switch {
			case v.action == retAllow:
			case r.errno != 0:
				v.action = retErrno | uint32(r.errno)
			case r.when != nil:
				v.anyOf = append(slices.Clip(v.anyOf), *r.when)
			default:
				*v = verdict{action: retAllow}
			}
		}
	}
	return out
}
