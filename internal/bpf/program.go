package bpf

import "encoding/binary"

// insnSize is the size of struct bpf_insn in bytes; a 64-bit constant takes two.
const insnSize = 8

// Operation codes (Documentation/bpf/standardization/instruction-set.rst).
const (
	loadWord     = 0x61 // dst = *(u32 *)(src + off)
	storeWord    = 0x63 // *(u32 *)(dst + off) = src
	storeConst   = 0x62 // *(u32 *)(dst + off) = imm
	loadImm64    = 0x18
	move         = 0xbf
	moveConst    = 0xb7
	addConst     = 0x07
	andConst     = 0x57
	and          = 0x5f
	shiftRight   = 0x77
	jumpIfConst  = 0x15 // if dst == imm, pc += off
	jumpIf       = 0x1d // if dst == src, pc += off
	callHelper   = 0x85
	exit         = 0x95
	pseudoMapFD  = 1
	lookupHelper = 1 // bpf_map_lookup_elem
)

// Registers: r0 is a result, r1 to r5 are arguments that a call destroys, r6 to
// r9 stay, r10 is the frame.
const (
	r0 = iota
	r1
	r2
	r3
	_
	_
	r6
	r7
	_
	_
	r10
)

// assembler appends instructions; jumps name labels.
type assembler struct {
	code   []byte
	labels map[string]int
	jumps  map[int]string
}

func (a *assembler) at() int { return len(a.code) / insnSize }

func (a *assembler) do(op, dst, src byte, off int16, imm int32) {
	a.code = append(a.code, op, src<<4|dst)
	a.code = binary.LittleEndian.AppendUint16(a.code, uint16(off))
	a.code = binary.LittleEndian.AppendUint32(a.code, uint32(imm))
}

func (a *assembler) jump(op, dst, src byte, imm int32, label string) {
	a.jumps[a.at()] = label
	a.do(op, dst, src, 0, imm)
}

func (a *assembler) label(name string) { a.labels[name] = a.at() }

// finish puts the distances into the jumps.
func (a *assembler) finish() []byte {
	for at, label := range a.jumps {
		binary.LittleEndian.PutUint16(a.code[at*insnSize+2:], uint16(a.labels[label]-at-1))
	}
	return a.code
}

// deviceProgram returns the program for the map of a descriptor. Its context is
// struct bpf_cgroup_dev_ctx: access<<16|type, major, minor. 1 allows.
func deviceProgram(devices int32) []byte {
	a := &assembler{labels: map[string]int{}, jumps: map[int]string{}}
	a.do(loadWord, r6, r1, 0, 0)
	a.do(loadWord, r2, r1, 4, 0)
	a.do(loadWord, r3, r1, 8, 0)
	a.do(move, r7, r6, 0, 0)
	a.do(shiftRight, r7, 0, 0, 16) // the access that is wanted
	a.do(andConst, r6, 0, 0, 0xffff)
	a.do(storeWord, r10, r6, -12, 0)
	a.do(storeWord, r10, r2, -8, 0)
	a.do(storeWord, r10, r3, -4, 0)
	a.lookup(devices, "any minor")
	a.label("any minor")
	a.do(storeConst, r10, 0, -4, -1)
	a.lookup(devices, "deny")
	a.label("deny")
	a.do(moveConst, r0, 0, 0, 0)
	a.do(exit, 0, 0, 0, 0)
	a.label("allow")
	a.do(moveConst, r0, 0, 0, 1)
	a.do(exit, 0, 0, 0, 0)
	return a.finish()
}

// lookup goes to "allow" when the key on the stack has an entry that holds all
// of r7, and else to a label, which must follow.
func (a *assembler) lookup(devices int32, otherwise string) {
	a.do(loadImm64, r1, pseudoMapFD, 0, devices)
	a.do(0, 0, 0, 0, 0)
	a.do(move, r2, r10, 0, 0)
	a.do(addConst, r2, 0, 0, -12)
	a.do(callHelper, 0, 0, 0, lookupHelper)
	a.jump(jumpIfConst, r0, 0, 0, otherwise)
	a.do(loadWord, r1, r0, 0, 0)
	a.do(and, r1, r7, 0, 0)
	a.jump(jumpIf, r1, r7, 0, "allow")
}
