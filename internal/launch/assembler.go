package launch

import (
	"fmt"
	"slices"
	"strings"
)

// An Assembler makes a Program operation by operation, for rooms whose
// containers are not described by a manifest. The order of its calls is the
// order of the operations.
type Assembler struct{ b *builder }

// NewAssembler begins a program for an architecture, whose child gets the
// namespaces of clone's flags. Errors name the source.
func NewAssembler(arch string, clone uint64, source string) *Assembler {
	return &Assembler{&builder{p: &Program{Arch: arch, Clone: clone, Source: source}, slots: FirstData, known: map[string]uint64{}}}
}

// Do appends a call. The operation may be changed until the next call of Do.
func (a *Assembler) Do(label string, c Call, args ...Arg) *Op { return a.b.do(label, c, args...) }

// Keep sets a slot aside for what the operation returns.
func (a *Assembler) Keep(o *Op) Arg { return a.b.slot(o) }

// Reserve sets a slot aside that the executor's caller sets.
func (a *Assembler) Reserve() Arg {
	a.b.slots++
	return held(a.b.slots - 1)
}

// Text puts a string in the pool; one with a NUL byte is found by Finish.
func (a *Assembler) Text(s string) Arg { return a.b.str(s) }

// Bytes puts a structure in the pool, aligned to 8 bytes.
func (a *Assembler) Bytes(s []byte) Arg { return a.b.bytes(s) }

// Words puts 64-bit words in the pool.
func (a *Assembler) Words(list ...uint64) Arg { return a.b.bytes(words(list...)) }

// Words32 puts 32-bit words in the pool.
func (a *Assembler) Words32(list ...uint32) Arg { return a.b.bytes(words32(list...)) }

// Vector puts a NULL-terminated array of strings in the pool.
func (a *Assembler) Vector(list []string) Arg { return a.b.vector(list) }

// Filter puts a struct sock_fprog of an encoded filter in the pool.
func (a *Assembler) Filter(filter []byte) Arg {
	fprog := a.b.bytes(words(uint64(len(filter)/8), 0))
	a.b.point(fprog, 8, a.b.bytes(filter))
	return fprog
}

// Finish checks the program. of names it in an error.
func (a *Assembler) Finish(of string) (*Program, error) { return a.b.finish(of) }

// Value is an argument that is a number.
func Value[T ~int | ~uint | ~uint32 | ~uint64](v T) Arg { return imm(v) }

// Held is what a slot holds.
func Held(slot int) Arg { return held(slot) }

// CapabilitySet turns names, as CAP_CHOWN, into a bit set.
func CapabilitySet(names []string) (uint64, error) { return capabilitySet(names) }

// RlimitNumber returns the number of a resource limit, as nofile.
func RlimitNumber(name string) (uint64, error) {
	n, ok := rlimits[name]
	if !ok {
		return 0, fmt.Errorf("unknown rlimit %q", name)
	}
	return n, nil
}

// NoNUL reports the first string with a NUL byte, which the kernel would take
// for the string's end.
func NoNUL(list ...string) error {
	i := slices.IndexFunc(list, func(s string) bool { return strings.IndexByte(s, 0) >= 0 })
	if i >= 0 {
		return fmt.Errorf("%q contains a NUL byte", list[i])
	}
	return nil
}

// Loopback brings lo up in a new network namespace.
func (a *Assembler) Loopback() { a.b.loopback() }
