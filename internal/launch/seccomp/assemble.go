package seccomp

import (
	"fmt"
	"maps"
	"slices"
)

// span is a range of numbers, from first to the next span's, with one verdict.
type span struct {
	first uint32
	v     verdict
}

// assembler lays a filter out. Conditional jumps name labels until all is in
// place, for they reach no further than 255 instructions.
type assembler struct {
	code    []Insn
	jumps   []jump
	returns map[uint32]int // label of each return
	labels  []int          // place of each label, -1 while unknown
}

type jump struct{ at, whenTrue, whenFalse int } // labels; next for the following instruction

const next = -1

// assemble makes the filter: the architecture is checked first, then the tree
// leads to a return or to the conditions of one call.
func assemble(audit uint32, verdicts []verdict) ([]Insn, error) {
	a := &assembler{returns: map[uint32]int{}}
	a.emit(Insn{Code: opLoad, K: offArch})
	a.branch(opJEQ, audit, next, a.ret(retKill))
	a.emit(Insn{Code: opLoad, K: offNumber})
	spans := spansOf(verdicts)
	leaves := make([]int, len(spans))
	for i, s := range spans {
		leaves[i] = a.ret(s.v.action)
		if len(s.v.anyOf) > 0 {
			leaves[i] = a.label()
		}
	}
	a.tree(spans, leaves)
	for i, s := range spans {
		if len(s.v.anyOf) > 0 {
			a.place(leaves[i])
			a.conditions(s.v)
		}
	}
	for _, action := range slices.Sorted(maps.Keys(a.returns)) {
		a.place(a.returns[action])
		a.emit(Insn{Code: opRet, K: action})
	}
	return a.link()
}

// spansOf joins neighbours with one verdict; the last span is of all numbers
// that the profile does not know.
func spansOf(verdicts []verdict) []span {
	var out []span
	for n, v := range append(slices.Clip(verdicts), verdict{action: retErrno | enosys}) {
		if len(out) == 0 || !out[len(out)-1].v.same(v) {
			out = append(out, span{uint32(n), v})
		}
	}
	return out
}

// tree emits the search: the number is compared with the first of the upper half.
func (a *assembler) tree(spans []span, leaves []int) {
	if len(spans) == 1 {
		return
	}
	mid := len(spans) / 2
	lower, upper := leaves[0], leaves[mid]
	if mid > 1 {
		lower = next
	}
	if len(spans)-mid > 1 {
		upper = a.label()
	}
	a.branch(opJGE, spans[mid].first, upper, lower)
	a.tree(spans[:mid], leaves[:mid])
	if len(spans)-mid > 1 {
		a.place(upper)
		a.tree(spans[mid:], leaves[mid:])
	}
}

// conditions emits the tests of a call's arguments.
func (a *assembler) conditions(v verdict) {
	allow := a.ret(retAllow)
	loaded := -1 // the argument that the accumulator holds
	for i, c := range v.anyOf {
		if loaded != int(c.arg) {
			a.emit(Insn{Code: opLoad, K: offArgs + 8*uint32(c.arg)})
			loaded = int(c.arg)
		}
		otherwise := next
		if i == len(v.anyOf)-1 {
			otherwise = a.ret(v.action)
		}
		switch c.op {
		case equal:
			a.branch(opJEQ, c.value, allow, otherwise)
		case less:
			a.branch(opJGE, c.value, otherwise, allow)
		case greater:
			a.branch(opJGT, c.value, allow, otherwise)
		case masked:
			a.emit(Insn{Code: opAnd, K: c.mask})
			a.branch(opJEQ, c.value, allow, otherwise)
			loaded = -1
		}
	}
}

func (a *assembler) emit(in Insn) { a.code = append(a.code, in) }

func (a *assembler) branch(code uint16, k uint32, whenTrue, whenFalse int) {
	a.jumps = append(a.jumps, jump{len(a.code), whenTrue, whenFalse})
	a.emit(Insn{Code: code, K: k})
}

func (a *assembler) label() int {
	a.labels = append(a.labels, -1)
	return len(a.labels) - 1
}

func (a *assembler) place(label int) { a.labels[label] = len(a.code) }

// ret returns the label of a return.
func (a *assembler) ret(action uint32) int {
	l, ok := a.returns[action]
	if !ok {
		l = a.label()
		a.returns[action] = l
	}
	return l
}

// link turns labels into distances.
func (a *assembler) link() ([]Insn, error) {
	distance := func(at, label int) (uint8, error) {
		if label == next {
			return 0, nil
		}
		d := a.labels[label] - at - 1
		if d < 0 || d > 255 {
			return 0, fmt.Errorf("system call filter of %d instructions: a jump over %d does not fit", len(a.code), d)
		}
		return uint8(d), nil
	}
	for _, j := range a.jumps {
		var err error
		if a.code[j.at].JT, err = distance(j.at, j.whenTrue); err != nil {
			return nil, err
		}
		if a.code[j.at].JF, err = distance(j.at, j.whenFalse); err != nil {
			return nil, err
		}
	}
	return a.code, nil
}
