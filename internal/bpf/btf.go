package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// kernelTypes is where the kernel describes its own types.
const kernelTypes = "/sys/kernel/btf/vmlinux"

// layout is what programs need to know of the kernel's types.
type layout struct {
	pid      int16             // offset of task_struct.pid
	typedefs map[string]uint32 // numbers of the tracepoints' types that were asked for
}

// readLayout finds the offset of a thread's number and the types of
// tracepoints in the description of the running kernel.
func readLayout(tracepoints ...string) (*layout, error) {
	b, err := os.ReadFile(kernelTypes)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's types: %w", err)
	}
	l, err := parseLayout(b, tracepoints)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kernelTypes, err)
	}
	return l, nil
}

// Kinds of BTF whose descriptions have a tail, with its size: once, or for each
// of vlen. Source: Documentation/bpf/btf.rst.
var btfTails = map[uint32]struct{ fixed, each int }{
	1: {4, 0}, 3: {12, 0}, 4: {0, 12}, 5: {0, 12}, 6: {0, 8}, 13: {0, 8}, 14: {4, 0}, 15: {0, 12}, 17: {4, 0}, 19: {0, 12},
}

const (
	btfMagic   = 0xeb9f
	btfStruct  = 4
	btfTypedef = 8
	btfMember  = 12
)

func parseLayout(b []byte, tracepoints []string) (*layout, error) {
	le := binary.NativeEndian
	if len(b) < 24 || le.Uint16(b) != btfMagic {
		return nil, errors.New("it is no BTF")
	}
	head := uint64(le.Uint32(b[4:]))
	types, err1 := section(b, head+uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:])))
	names, err2 := section(b, head+uint64(le.Uint32(b[16:])), uint64(le.Uint32(b[20:])))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	l := &layout{pid: -1, typedefs: map[string]uint32{}}
	for id := uint32(1); len(types) >= 12; id++ {
		name, info := le.Uint32(types), le.Uint32(types[4:])
		kind, vlen := info>>24&0x1f, int(info&0xffff)
		tail := btfTails[kind]
		size := 12 + tail.fixed + vlen*tail.each
		if size > len(types) {
			return nil, errors.New("a type is cut off")
		}
		switch {
		case kind == btfStruct && is(names, name, "task_struct"):
			l.pid = member(types[12:size], names, "pid")
		case kind == btfTypedef:
			for _, t := range tracepoints {
				if is(names, name, "btf_trace_"+t) {
					l.typedefs[t] = id
				}
			}
		}
		types = types[size:]
	}
	if l.pid < 0 || len(l.typedefs) != len(tracepoints) {
		return nil, fmt.Errorf("it does not describe task_struct.pid and the tracepoints %v", tracepoints)
	}
	return l, nil
}

func section(b []byte, from, size uint64) ([]byte, error) {
	if from > uint64(len(b)) || size > uint64(len(b))-from {
		return nil, errors.New("a section is cut off")
	}
	return b[from : from+size], nil
}

// is compares a name in a table of strings.
func is(names []byte, at uint32, want string) bool {
	end := uint64(at) + uint64(len(want))
	return end < uint64(len(names)) && string(names[at:end]) == want && names[end] == 0
}

// member returns the offset of a struct's member in bytes, -1 when it is not
// there. Without bit fields the offset is all of the word, with them 24 bits.
func member(members, names []byte, want string) int16 {
	for ; len(members) >= btfMember; members = members[btfMember:] {
		if bits := binary.NativeEndian.Uint32(members[8:]) & 0xffffff; is(names, binary.NativeEndian.Uint32(members), want) && bits/8 < 1<<15 {
			return int16(bits / 8)
		}
	}
	return -1
}
