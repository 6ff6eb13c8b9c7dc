package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// baseRules hold after the declared ones: nodes may be made, and the devices
// that every container has may be used.
func baseRules() []DeviceRule {
	n := func(i int64) *int64 { return &i }
	out := []DeviceRule{{Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"}}
	for _, d := range defaultDevices {
		out = append(out, DeviceRule{true, "c", n(d.Major), n(d.Minor), "rwm"})
	}
	return append(out,
		DeviceRule{true, "c", n(136), nil, "rwm"}, // /dev/pts/*
		DeviceRule{true, "c", n(5), n(2), "rwm"},  // /dev/ptmx
		DeviceRule{true, "c", n(5), n(1), "rwm"})  // /dev/console
}

// String is the rule as version 1's device files have it:
// Documentation/admin-guide/cgroup-v1/devices.rst.
func (r DeviceRule) String() string {
	kind := r.Type
	if kind == "" || kind == "a" {
		if r.Major == nil && r.Minor == nil {
			return "a"
		}
		kind = "a"
	}
	number := func(n *int64) string {
		if n == nil || *n < 0 {
			return "*"
		}
		return fmt.Sprint(*n)
	}
	access := r.Access
	if access == "" {
		access = "rwm"
	}
	return fmt.Sprintf("%s %s:%s %s", kind, number(r.Major), number(r.Minor), access)
}

func (r DeviceRule) check() error {
	if !strings.Contains(" a b c ", " "+r.Type+" ") && r.Type != "" {
		return fmt.Errorf("device rule of unknown type %q", r.Type)
	}
	if strings.Trim(r.Access, "rwm") != "" {
		return fmt.Errorf("device rule with unknown access %q", r.Access)
	}
	return nil
}

// setDevices makes the cgroups hold the device rules.
func (g *cgroups) setDevices(declared []DeviceRule) error {
	for _, r := range declared {
		if err := r.check(); err != nil {
			return err
		}
	}
	if g == nil || len(declared) == 0 {
		return nil
	}
	rules := append(append([]DeviceRule{}, declared...), baseRules()...)
	if dir := g.v1("devices"); dir != "" {
		for _, r := range rules {
			file := "devices.deny"
			if r.Allow {
				file = "devices.allow"
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(r.String()), 0); err != nil {
				return fmt.Errorf("writing device rule %q: %w", r, err)
			}
		}
		return nil
	}
	if dir := g.v2(); dir != "" {
		return attachDevices(dir, deviceProgram(rules))
	}
	return errors.New("device rules are declared and the machine has no cgroup to hold them")
}

// bpfInsn is struct bpf_insn of linux/bpf.h.
type bpfInsn struct {
	code uint8
	regs uint8 // destination in the lower half, source in the upper
	off  int16
	imm  int32
}

// Instructions of eBPF: linux/bpf_common.h, linux/bpf.h.
const (
	bpfLoad32 = 0x61 // dst = *(u32 *)(src + off)
	bpfMov32  = 0xbc // dst = src
	bpfMovImm = 0xb7
	bpfAndImm = 0x54 // 32 bits
	bpfShrImm = 0x74 // 32 bits
	bpfJeqImm = 0x15
	bpfJneImm = 0x55
	bpfJneReg = 0x5d
	bpfExit   = 0x95
)

// deviceProgram is a program for BPF_PROG_TYPE_CGROUP_DEVICE. Its context is
// struct bpf_cgroup_dev_ctx: access in the upper and type in the lower half of
// the first word, then major and minor. The last rule that covers an access
// decides, so the rules are tested from the last one on; what no rule covers is
// allowed, as in version 1.
func deviceProgram(rules []DeviceRule) []bpfInsn {
	p := []bpfInsn{
		{bpfLoad32, 2 | 1<<4, 0, 0}, {bpfAndImm, 2, 0, 0xffff}, // r2: type
		{bpfLoad32, 3 | 1<<4, 0, 0}, {bpfShrImm, 3, 0, 16}, // r3: access
		{bpfLoad32, 4 | 1<<4, 4, 0}, // r4: major
		{bpfLoad32, 5 | 1<<4, 8, 0}, // r5: minor
	}
	for i := len(rules) - 1; i >= 0; i-- {
		block, all := ruleBlock(rules[i])
		p = append(p, block...)
		if all {
			return p
		}
	}
	return append(p, bpfInsn{bpfMovImm, 0, 0, 1}, bpfInsn{bpfExit, 0, 0, 0})
}

// ruleBlock tests one rule: an allowing one has to cover all of the access, a
// forbidding one any of it. all says that it decides everything.
func ruleBlock(r DeviceRule) (block []bpfInsn, all bool) {
	var tests []bpfInsn // the jump's distance is put in at the end
	switch r.Type {
	case "c":
		tests = append(tests, bpfInsn{bpfJneImm, 2, 0, unix.BPF_DEVCG_DEV_CHAR})
	case "b":
		tests = append(tests, bpfInsn{bpfJneImm, 2, 0, unix.BPF_DEVCG_DEV_BLOCK})
	}
	if mask := accessMask(r.Access); mask != 7 {
		tests = append(tests, bpfInsn{bpfMov32, 1 | 3<<4, 0, 0}, bpfInsn{bpfAndImm, 1, 0, mask})
		if r.Allow {
			tests = append(tests, bpfInsn{bpfJneReg, 1 | 3<<4, 0, 0})
		} else { // r1 == 0: nothing of it is forbidden
			tests = append(tests, bpfInsn{bpfJeqImm, 1, 0, 0})
		}
	}
	if r.Major != nil && *r.Major >= 0 {
		tests = append(tests, bpfInsn{bpfJneImm, 4, 0, int32(*r.Major)})
	}
	if r.Minor != nil && *r.Minor >= 0 {
		tests = append(tests, bpfInsn{bpfJneImm, 5, 0, int32(*r.Minor)})
	}
	verdict := int32(0)
	if r.Allow {
		verdict = 1
	}
	for i := range tests {
		switch tests[i].code {
		case bpfJneImm, bpfJneReg, bpfJeqImm:
			tests[i].off = int16(len(tests) - i - 1 + 2)
		}
	}
	return append(tests, bpfInsn{bpfMovImm, 0, 0, verdict}, bpfInsn{bpfExit, 0, 0, 0}), len(tests) == 0
}

func accessMask(access string) int32 {
	if access == "" {
		return 7
	}
	mask := int32(0)
	for letter, bit := range map[string]int32{"m": unix.BPF_DEVCG_ACC_MKNOD, "r": unix.BPF_DEVCG_ACC_READ, "w": unix.BPF_DEVCG_ACC_WRITE} {
		if strings.Contains(access, letter) {
			mask |= bit
		}
	}
	return mask
}

// attachDevices loads the program and attaches it to a cgroup, which then holds it.
func attachDevices(dir string, insns []bpfInsn) error {
	cgroup, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening cgroup %s: %w", dir, err)
	}
	defer unix.Close(cgroup)
	license := []byte("Apache-2.0\x00")
	load := struct {
		kind, count    uint32
		insns, license uint64
		_              [12]uint64 // the rest of union bpf_attr
	}{kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(insns)),
		insns: address(&insns[0]), license: address(&license[0])}
	prog, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	if errno != 0 {
		return fmt.Errorf("loading device rules: %w", errno)
	}
	defer unix.Close(int(prog))
	attach := struct{ target, prog, kind, flags, replace uint32 }{
		uint32(cgroup), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI, 0}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attach)), unsafe.Sizeof(attach)); errno != 0 {
		return fmt.Errorf("attaching device rules to %s: %w", dir, errno)
	}
	return nil
}

func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }
