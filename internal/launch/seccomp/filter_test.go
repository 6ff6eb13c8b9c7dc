package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// data is struct seccomp_data.
type data struct {
	nr   uint32
	arch uint32
	args [6]uint64
}

func (d data) bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, d.nr)
	b = binary.LittleEndian.AppendUint32(b, d.arch)
	b = binary.LittleEndian.AppendUint64(b, 0) // instruction pointer
	for _, a := range d.args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return b
}

// interpret runs a filter as the kernel does, with the checks of its verifier.
func interpret(filter []Insn, d data) (action uint32, steps int, err error) {
	memory := d.bytes()
	var acc uint32
	for pc := 0; pc < len(filter); pc++ {
		steps++
		in := filter[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.JT)
			} else {
				pc += int(in.JF)
			}
		}
		switch in.Code {
		case 0x20: // BPF_LD | BPF_W | BPF_ABS
			if in.K%4 != 0 || int(in.K)+4 > len(memory) {
				return 0, steps, fmt.Errorf("instruction %d loads from %d", pc, in.K)
			}
			acc = binary.LittleEndian.Uint32(memory[in.K:])
		case 0x54: // BPF_ALU | BPF_AND | BPF_K
			acc &= in.K
		case 0x15: // BPF_JMP | BPF_JEQ | BPF_K
			jump(acc == in.K)
		case 0x25: // BPF_JGT
			jump(acc > in.K)
		case 0x35: // BPF_JGE
			jump(acc >= in.K)
		case 0x05: // BPF_JA
			pc += int(in.K)
		case 0x06: // BPF_RET | BPF_K
			return in.K, steps, nil
		default:
			return 0, steps, fmt.Errorf("instruction %d: unknown code %#x", pc, in.Code)
		}
	}
	return 0, steps, fmt.Errorf("ran off the end")
}

// expect evaluates the profile itself: what its rules, rule by rule, say about
// a call.
func expect(p *moby.Seccomp, arch string, caps []string, names map[uint16]string, highest uint16, nr uint32, args [6]uint64) uint32 {
	if nr > uint32(highest) {
		return retErrno | enosys
	}
	action := uint32(retErrno) | uint32(*p.DefaultErrnoRet)
	for _, s := range p.Syscalls {
		if !applies(s, arch) || !slices.Contains(s.Names, names[uint16(nr)]) {
			continue
		}
		if s.Includes != nil && len(s.Includes.Caps) > 0 && !slices.Contains(caps, s.Includes.Caps[0]) {
			continue
		}
		if s.Excludes != nil && len(s.Excludes.Caps) > 0 && slices.Contains(caps, s.Excludes.Caps[0]) {
			continue
		}
		if s.Action == specs.ActErrno {
			action = retErrno | uint32(*s.ErrnoRet)
			continue
		}
		hold := true
		for _, a := range s.Args {
			v := uint64(uint32(args[a.Index]))
			switch a.Op {
			case specs.OpEqualTo:
				hold = hold && v == a.Value
			case specs.OpLessThan:
				hold = hold && v < a.Value
			case specs.OpGreaterThan:
				hold = hold && v > a.Value
			case specs.OpMaskedEqual:
				hold = hold && v&a.Value == a.ValueTwo
			}
		}
		if hold {
			return retAllow
		}
	}
	return action
}

// samples are values around every constant of the profile.
func samples(p *moby.Seccomp) []uint64 {
	out := []uint64{0, 1, 2, 11 /* SIGSEGV */, 17 /* SIGCHLD */, 0x7fffffff, 1 << 32, 0x1_0000_0026, ^uint64(0)}
	for _, s := range p.Syscalls {
		for _, a := range s.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				out = append(out, v-1, v, v+1, v|1<<32)
			}
			for bit := range 32 {
				out = append(out, a.Value&(1<<bit))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestFilterIsTheProfile runs every number with arguments around every
// constant of the profile through the filter and through the profile.
func TestFilterIsTheProfile(t *testing.T) {
	p := moby.DefaultProfile()
	values := samples(p)
	all := []string{}
	for _, s := range p.Syscalls {
		if s.Includes != nil {
			all = append(all, s.Includes.Caps...)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	sets := [][]string{nil, all}
	for _, c := range all {
		sets = append(sets, []string{c})
	}
	for arch, audit := range audits {
		names, highest := map[uint16]string{}, uint16(0)
		for name, nr := range numbers(t, arch) {
			names[nr] = name
			for _, s := range p.Syscalls {
				if applies(s, arch) && slices.Contains(s.Names, name) {
					highest = max(highest, nr)
				}
			}
		}
		for _, caps := range sets {
			filter, err := Default(arch, caps)
			if err != nil {
				t.Fatal(err)
			}
			for n := range uint32(601) {
				list := values
				if names[uint16(n)] != "clone" && names[uint16(n)] != "socket" && names[uint16(n)] != "personality" {
					list = values[:4]
				}
				for _, v := range list {
					d := data{nr: n, arch: audit, args: [6]uint64{v, ^v, v, v, v, v}}
					want := expect(p, arch, caps, names, highest, n, d.args)
					if got, _, err := interpret(filter, d); err != nil || got != want {
						t.Fatalf("%s with %v: %s (%d) of %#x: %#x, %v; the profile says %#x", arch, caps, names[uint16(n)], n, v, got, err, want)
					}
					d.nr |= 1 << 30 // __X32_SYSCALL_BIT
					if got, _, err := interpret(filter, d); err != nil || got != retErrno|enosys {
						t.Fatalf("%s: x32 call %d: %#x, %v", arch, n, got, err)
					}
				}
			}
		}
	}
}

func TestForeignArchitectureIsKilled(t *testing.T) {
	for arch, audit := range audits {
		filter, err := Default(arch, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []uint32{0x40000003 /* i386 */, 0x40000028 /* arm */, audit ^ 1, 0} {
			if got, _, err := interpret(filter, data{nr: 1, arch: other}); err != nil || got != retKill {
				t.Errorf("%s: architecture %#x: %#x, %v", arch, other, got, err)
			}
		}
	}
	if _, err := Default("riscv64", nil); err == nil {
		t.Error("a filter for an architecture without a profile")
	}
}

// TestSize holds the target: the filter is checked on every system call and
// loaded on every start.
func TestSize(t *testing.T) {
	for arch, audit := range audits {
		filter, err := Default(arch, nil)
		if err != nil {
			t.Fatal(err)
		}
		worst, sum := 0, 0
		for n := range uint32(601) {
			_, steps, err := interpret(filter, data{nr: n, arch: audit})
			if err != nil {
				t.Fatal(err)
			}
			worst, sum = max(worst, steps), sum+steps
		}
		t.Logf("%s: %d instructions, at most %d steps, %.1f on average", arch, len(filter), worst, float64(sum)/601)
		if len(filter) > 200 || worst > 24 {
			t.Errorf("%s: %d instructions, at most %d steps; want no more than 200 and 24", arch, len(filter), worst)
		}
		if got := len(Encode(filter)); got != Size*len(filter) {
			t.Errorf("%s: %d bytes for %d instructions", arch, got, len(filter))
		}
	}
}
