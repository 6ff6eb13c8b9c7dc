package seccomp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rule is what happens to some system calls, in the words of the OCI runtime
// specification. Names that the architecture does not have are skipped.
type Rule struct {
	Names  []string
	Action uint32 // as Action returns it
	Args   []Condition
}

// Condition is a test of an argument, of all its 64 bits; Op is as
// SCMP_CMP_EQ. With SCMP_CMP_MASKED_EQ, Value is the mask and Two the value.
type Condition struct {
	Arg        uint
	Op         string
	Value, Two uint64
}

// actions of the specification, without the number that some carry.
var actions = map[string]uint32{
	"SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": retKill,
	"SCMP_ACT_TRAP": 0x00030000, "SCMP_ACT_ERRNO": retErrno, "SCMP_ACT_TRACE": 0x7ff00000,
	"SCMP_ACT_LOG": 0x7ffc0000, "SCMP_ACT_ALLOW": retAllow,
}

// Action returns a filter's verdict for an action of the specification, as
// SCMP_ACT_ERRNO. The error number is EPERM when none is given.
func Action(name string, errno *uint) (uint32, error) {
	a, ok := actions[name]
	if !ok {
		return 0, fmt.Errorf("unknown action %q", name)
	}
	if name != "SCMP_ACT_ERRNO" && name != "SCMP_ACT_TRACE" {
		if errno != nil {
			return 0, fmt.Errorf("action %s takes no error number", name)
		}
		return a, nil
	}
	n := uint(eperm)
	if errno != nil {
		n = *errno
	}
	if n > 0xffff {
		return 0, fmt.Errorf("error number %d of action %s is more than 65535", n, name)
	}
	return a | uint32(n), nil
}

// maxFilter is BPF_MAXINSNS of linux/bpf_common.h.
const maxFilter = 4096

// audit is AUDIT_ARCH of linux/audit.h.
var audit = map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}

// x32Bit is __X32_SYSCALL_BIT.
const x32Bit = 1 << 30

// callRules are the rules for one system call.
type callRules struct {
	always *uint32 // the action of a rule without conditions
	when   []Rule
}

// Compile makes the filter of an architecture (a GOARCH). A rule without
// conditions outweighs those with; of these the first that holds decides. When
// the default is an error, numbers newer than any that a rule names are ENOSYS,
// so that programs fall back. Calls of another architecture end the process.
func Compile(arch string, otherwise uint32, rules []Rule) ([]Insn, error) {
	calls, err := gather(arch, otherwise, rules)
	if err != nil {
		return nil, err
	}
	var spans []leaf
	newest := otherwise
	if otherwise&0xffff0000 == retErrno {
		newest = retErrno | enosys
	}
	for n := range calls {
		code, err := calls[n].code(otherwise)
		if err != nil {
			return nil, err
		}
		if len(spans) == 0 || !slices.Equal(spans[len(spans)-1].code, code) {
			spans = append(spans, leaf{uint32(n), code})
		}
	}
	if len(calls) == 0 || !slices.Equal(spans[len(spans)-1].code, ret(newest)) {
		spans = append(spans, leaf{uint32(len(calls)), ret(newest)})
	}
	if arch == "amd64" {
		spans = append(spans, leaf{x32Bit, ret(retKill)})
	}
	out := []Insn{{Code: opLoad, K: offArch}, {Code: opJEQ, JT: 1, K: audit[arch]}, {Code: opRet, K: retKill}, {Code: opLoad, K: offNumber}}
	out = append(out, search(spans)...)
	if len(out) > maxFilter {
		return nil, fmt.Errorf("a system call filter of %d instructions, more than %d", len(out), maxFilter)
	}
	return out, nil
}

// gather sorts the rules by number.
func gather(arch string, otherwise uint32, rules []Rule) ([]callRules, error) {
	table, ok := callNumbers[arch]
	if !ok {
		return nil, fmt.Errorf("no system call filter for architecture %q", arch)
	}
	var calls []callRules
	for _, r := range rules {
		for _, name := range r.Names {
			i, known := slices.BinarySearchFunc(table, name, func(c callNumber, n string) int { return strings.Compare(c.name, n) })
			if !known {
				continue
			}
			n := int(table[i].number)
			for len(calls) <= n {
				calls = append(calls, callRules{})
			}
			if len(r.Args) == 0 {
				if calls[n].always == nil {
					calls[n].always = &r.Action
				}
				continue
			}
			calls[n].when = append(calls[n].when, alternatives(r)...)
		}
	}
	return calls, nil
}

// alternatives splits a rule that has two conditions on one argument: these are
// alternatives, as in every runtime.
func alternatives(r Rule) []Rule {
	seen := map[uint]bool{}
	twice := false
	for _, c := range r.Args {
		twice = twice || seen[c.Arg]
		seen[c.Arg] = true
	}
	if !twice {
		return []Rule{r}
	}
	var out []Rule
	for _, c := range r.Args {
		out = append(out, Rule{Action: r.Action, Args: []Condition{c}})
	}
	return out
}

// leaf is what happens to numbers from first on.
type leaf struct {
	first uint32
	code  []Insn
}

func ret(action uint32) []Insn { return []Insn{{Code: opRet, K: action}} }

// opJA jumps always, over K instructions.
const opJA = 0x05

// search is a binary search tree over the spans. The code of the lower half
// follows the comparison.
func search(spans []leaf) []Insn {
	if len(spans) == 1 {
		return spans[0].code
	}
	mid := len(spans) / 2
	lower, upper := search(spans[:mid]), search(spans[mid:])
	out := []Insn{{Code: opJGE, JT: uint8(min(len(lower), 255)), K: spans[mid].first}}
	if len(lower) > 255 {
		out = []Insn{{Code: opJGE, JF: 1, K: spans[mid].first}, {Code: opJA, K: uint32(len(lower))}}
	}
	return slices.Concat(out, lower, upper)
}

// code is what a call runs through.
func (c *callRules) code(otherwise uint32) ([]Insn, error) {
	if c.always != nil {
		return ret(*c.always), nil
	}
	var out []Insn
	for _, r := range c.when {
		tests, err := r.tests()
		if err != nil {
			return nil, err
		}
		out = append(append(out, tests...), ret(r.Action)...)
	}
	return append(out, ret(otherwise)...), nil
}

// Where a test goes on.
const (
	follow = iota // at the following instruction
	holds         // at the next condition
	fails         // at the next rule
)

// test is an instruction and where it goes on.
type test struct {
	in                  Insn
	whenTrue, whenFalse int
}

// tests are the conditions of a rule; behind them stands its verdict.
func (r *Rule) tests() ([]Insn, error) {
	var list [][]test
	size := 0
	for _, c := range r.Args {
		t, err := c.tests()
		if err != nil {
			return nil, err
		}
		list = append(list, t)
		size += len(t)
	}
	if size > 200 {
		return nil, errors.New("a rule with too many conditions")
	}
	out := make([]Insn, 0, size)
	end := 0
	for _, tests := range list {
		end += len(tests)
		for _, t := range tests {
			at := len(out)
			distance := map[int]int{follow: 0, holds: end - at - 1, fails: size + 1 - at - 1}
			t.in.JT, t.in.JF = uint8(distance[t.whenTrue]), uint8(distance[t.whenFalse])
			out = append(out, t.in)
		}
	}
	return out, nil
}

// tests compares the upper half of an argument, then the lower one.
func (c Condition) tests() ([]test, error) {
	if c.Arg > 5 {
		return nil, fmt.Errorf("a condition on argument %d; the last one is 5", c.Arg)
	}
	low, high := offArgs+8*uint32(c.Arg), offArgs+8*uint32(c.Arg)+4
	load := func(at uint32) test { return test{Insn{Code: opLoad, K: at}, follow, follow} }
	is := func(op uint16, v uint64, whenTrue, whenFalse int) test {
		return test{Insn{Code: op, K: uint32(v)}, whenTrue, whenFalse}
	}
	v, up := c.Value, c.Value>>32
	switch c.Op {
	case "SCMP_CMP_EQ":
		return []test{load(high), is(opJEQ, up, follow, fails), load(low), is(opJEQ, v, holds, fails)}, nil
	case "SCMP_CMP_NE":
		return []test{load(high), is(opJEQ, up, follow, holds), load(low), is(opJEQ, v, fails, holds)}, nil
	case "SCMP_CMP_GT":
		return []test{load(high), is(opJGT, up, holds, follow), is(opJEQ, up, follow, fails), load(low), is(opJGT, v, holds, fails)}, nil
	case "SCMP_CMP_GE":
		return []test{load(high), is(opJGT, up, holds, follow), is(opJEQ, up, follow, fails), load(low), is(opJGE, v, holds, fails)}, nil
	case "SCMP_CMP_LT":
		return []test{load(high), is(opJGT, up, fails, follow), is(opJEQ, up, follow, holds), load(low), is(opJGE, v, fails, holds)}, nil
	case "SCMP_CMP_LE":
		return []test{load(high), is(opJGT, up, fails, follow), is(opJEQ, up, follow, holds), load(low), is(opJGT, v, fails, holds)}, nil
	case "SCMP_CMP_MASKED_EQ":
		mask := func(m uint64) test { return test{Insn{Code: opAnd, K: uint32(m)}, follow, follow} }
		want := c.Two & c.Value
		return []test{load(high), mask(v >> 32), is(opJEQ, want>>32, follow, fails), load(low), mask(v), is(opJEQ, want, holds, fails)}, nil
	}
	return nil, fmt.Errorf("unknown comparison %q", c.Op)
}
