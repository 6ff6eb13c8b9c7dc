package effects

import (
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/source/deb/control"
	"github.com/instar-os/instar/internal/tree"
)

// test evaluates the arguments of test or "[", without the brackets.
func (m *machine) test(args []value) truth {
	t := &tester{m: m, args: args}
	if len(args) == 0 {
		return no
	}
	return t.or()
}

type tester struct {
	m    *machine
	args []value
}

func (t *tester) peek(i int) string {
	if i < len(t.args) && t.args[i].known {
		return t.args[i].s
	}
	return ""
}

func (t *tester) or() truth {
	st := t.and()
	for t.peek(0) == "-o" {
		t.args = t.args[1:]
		o := t.and()
		if st == yes || o == yes {
			st = yes
		} else {
			st = max(st, o)
		}
	}
	return st
}

func (t *tester) and() truth {
	st := t.not()
	for t.peek(0) == "-a" {
		t.args = t.args[1:]
		o := t.not()
		if st == no || o == no {
			st = no
		} else {
			st = max(st, o)
		}
	}
	return st
}

func (t *tester) not() truth {
	if t.peek(0) == "!" && len(t.args) > 1 {
		t.args = t.args[1:]
		if st := t.not(); st > yes {
			return st
		} else {
			return yes - st
		}
	}
	return t.primary()
}

var binaryTests = map[string]bool{"=": true, "==": true, "!=": true, "-eq": true, "-ne": true, "-lt": true, "-le": true,
	"-gt": true, "-ge": true, "-nt": true, "-ot": true, "-ef": true}

func (t *tester) primary() truth {
	switch {
	case len(t.args) >= 3 && binaryTests[t.peek(1)]:
		a, op, b := t.args[0], t.args[1].s, t.args[2]
		t.args = t.args[3:]
		return compare(a, op, b)
	case len(t.args) >= 2 && len(t.peek(0)) == 2 && t.peek(0)[0] == '-' && t.peek(0) != "-a" && t.peek(0) != "-o":
		op, v := t.args[0].s[1], t.args[1]
		t.args = t.args[2:]
		return t.m.unary(op, v)
	case len(t.args) >= 1:
		v := t.args[0]
		t.args = t.args[1:]
		if !v.known {
			return doubtful(v)
		}
		return boolTruth(v.s != "")
	}
	return unknown
}

func compare(a value, op string, b value) truth {
	if !a.known || !b.known {
		return doubtful(a, b)
	}
	x, errX := strconv.Atoi(a.s)
	y, errY := strconv.Atoi(b.s)
	switch op {
	case "=", "==":
		return boolTruth(a.s == b.s)
	case "!=":
		return boolTruth(a.s != b.s)
	}
	if errX != nil || errY != nil {
		return unknown
	}
	switch op {
	case "-eq":
		return boolTruth(x == y)
	case "-ne":
		return boolTruth(x != y)
	case "-lt":
		return boolTruth(x < y)
	case "-le":
		return boolTruth(x <= y)
	case "-gt":
		return boolTruth(x > y)
	case "-ge":
		return boolTruth(x >= y)
	}
	return unknown
}

// runtimeDirs are empty or absent where packages are installed into a tree.
var runtimeDirs = []string{"/run/", "/proc/", "/sys/", "/var/run/", "/tmp/"}

func (m *machine) unary(op byte, v value) truth {
	if !v.known {
		return doubtful(v)
	}
	switch op {
	case 'n':
		return boolTruth(v.s != "")
	case 'z':
		return boolTruth(v.s == "")
	case 't':
		return no
	}
	for _, dir := range runtimeDirs {
		if strings.HasPrefix(v.s, dir) {
			return no
		}
	}
	if v.s == "" {
		return no
	}
	if m.world == nil {
		return later
	}
	return boolTruth(m.world.fileTest(op, v.s))
}

// fileTest answers the tests of files from the tree.
func (w *world) fileTest(op byte, p string) bool {
	e, ok := w.tree.Stat(p)
	switch op {
	case 'e', 'r', 'w':
		return ok
	case 'f':
		return ok && e.Kind == tree.File
	case 'd':
		return ok && e.Kind == tree.Dir
	case 'x':
		return ok && e.Mode&0o111 != 0
	case 's':
		return ok && (e.Kind != tree.File || e.Size > 0)
	case 'L', 'h':
		at, ok := w.place(p)
		e, there := w.tree.Get(at)
		return ok && there && e.Kind == tree.Symlink
	}
	return false
}

// compareVersions is dpkg --compare-versions: an empty version is earlier than
// any, or with the -nl operators later than any.
func compareVersions(a value, op string, b value) truth {
	if !a.known || !b.known {
		return unknown
	}
	op, nl := strings.CutSuffix(op, "-nl")
	var c int
	switch {
	case a.s == b.s:
	case a.s == "" || b.s == "":
		if c = -1; b.s == "" {
			c = 1
		}
		if nl {
			c = -c
		}
	default:
		c = control.Compare(a.s, b.s)
	}
	switch op {
	case "lt", "<<":
		return boolTruth(c < 0)
	case "le", "<=":
		return boolTruth(c <= 0)
	case "eq", "=":
		return boolTruth(c == 0)
	case "ne":
		return boolTruth(c != 0)
	case "ge", ">=":
		return boolTruth(c >= 0)
	case "gt", ">>":
		return boolTruth(c > 0)
	}
	return unknown
}
