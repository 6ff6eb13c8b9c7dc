package effects

import (
	"fmt"
	"maps"
	"path"
	"strings"

	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/shell"
	"github.com/instar-os/instar/internal/tree"
)

// truth is the outcome of a command or condition.
type truth int

const (
	no      truth = iota
	yes           // exit status 0
	later         // decided by the merged tree, which is not there yet
	unknown       // decided by something no tree holds
)

// machine follows a maintainer script as a fresh installation would run it,
// without running anything: conditions that a fresh installation or the tree
// decides are decided, commands are given to rules, and what no rule claims is
// recorded.
//
// Without a tree it follows every branch that a tree may choose and only
// collects; with one it changes the tree.
type machine struct {
	pkg    *dpkg.Package
	script string // preinst or postinst
	world  *world // nil: explain only

	vars  map[string]value
	args  []value
	funcs map[string]shell.Node

	steps, depth int
	left         bool // exit, return, break or continue was met
	doubt        int  // within branches that only something unknowable chooses
	wants        *wants
	open         []string // commands that no rule explains, in order
	failed       error    // what could not be done to the tree
}

// Limits of following one script.
const (
	maxSteps = 20_000
	maxCalls = 40
)

// follow walks a script from its start.
func follow(p *dpkg.Package, script string, w *world, wants *wants) *machine {
	m := &machine{pkg: p, script: script, world: w, wants: wants, funcs: map[string]shell.Node{}, vars: map[string]value{}}
	for k, v := range map[string]string{"DPKG_MAINTSCRIPT_PACKAGE": p.Control.Name, "DPKG_MAINTSCRIPT_ARCH": p.Control.Arch,
		"DPKG_MAINTSCRIPT_NAME": script, "DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin", "HOME": "/root"} {
		m.vars[k] = literal(v)
	}
	if script == "preinst" {
		m.args = []value{literal("install")}
	} else {
		m.args = []value{literal("configure"), literal("")}
	}
	text := p.Scripts[script]
	if first, _, _ := strings.Cut(text, "\n"); !isShell(first) {
		m.unexplained(fmt.Sprintf("all of it: %q is no shell script", first))
		return m
	}
	list, err := shell.Parse(text)
	if err != nil {
		m.unexplained("all of it: cannot be read: " + err.Error())
		return m
	}
	m.run(list)
	return m
}

func isShell(first string) bool {
	words := strings.Fields(strings.TrimPrefix(first, "#!"))
	if !strings.HasPrefix(first, "#!") || len(words) == 0 {
		return false
	}
	switch path.Base(words[0]) {
	case "sh", "dash", "bash":
		return true
	}
	return false
}

func (m *machine) unexplained(what string) {
	for _, o := range m.open {
		if o == what {
			return
		}
	}
	m.open = append(m.open, what)
}

// run follows one statement.
func (m *machine) run(n shell.Node) truth {
	if m.steps++; m.steps > maxSteps {
		m.unexplained("the rest: it does not come to an end")
		m.left = true
	}
	if m.left || m.failed != nil {
		return unknown
	}
	switch n := n.(type) {
	case *shell.List:
		return m.list(n)
	case *shell.Pipeline:
		return m.pipeline(n)
	case *shell.If:
		return m.branch(m.run(n.Cond), func() truth { return m.run(n.Then) }, func() truth {
			if n.Else == nil {
				return yes
			}
			return m.run(n.Else)
		})
	case *shell.Case:
		return m.choose(n)
	case *shell.Loop:
		return m.loop(n)
	case *shell.Func:
		m.funcs[n.Name] = n.Body
		return yes
	case *shell.Group:
		return m.group(n)
	case *shell.Simple:
		return m.simple(n)
	}
	return yes
}

func (m *machine) list(l *shell.List) truth {
	st := yes
	for i, it := range l.Items {
		if m.left {
			return st
		}
		op := ";"
		if i > 0 {
			op = l.Ops[i-1]
		}
		before := st
		switch {
		case op == "&&" && before == no, op == "||" && before == yes:
			continue
		case op == "&&" && before >= later, op == "||" && before >= later:
			after := m.perhaps(before, func() truth { return m.run(it) })
			if op == "||" && after == yes {
				st = yes
			} else if op == "&&" && after == no {
				st = no
			} else {
				st = max(before, after)
			}
		default:
			st = m.run(it)
		}
	}
	return st
}

// branch follows what a condition chooses.
func (m *machine) branch(c truth, then, other func() truth) truth {
	switch c {
	case yes:
		return then()
	case no:
		return other()
	}
	a := m.perhaps(c, then)
	b := m.perhaps(c, other)
	if a == b {
		return a
	}
	return max(a, b, c)
}

// perhaps follows a branch that is not certain to be taken. Nothing changes the
// tree there; variables that it sets are unknown afterwards.
func (m *machine) perhaps(c truth, f func() truth) truth {
	if c == unknown || m.world != nil {
		m.doubt++
		defer func() { m.doubt-- }()
	}
	before := maps.Clone(m.vars)
	st := f()
	for k, v := range m.vars {
		old, set := before[k]
		if !set {
			old = literal("")
		}
		if old != v {
			m.vars[k] = value{s: "$" + k, later: c == later && (v.known || v.later) && (old.known || old.later)}
		}
	}
	m.left = false
	return st
}

func (m *machine) pipeline(p *shell.Pipeline) truth {
	st := yes
	for _, c := range p.Cmds {
		st = m.run(c)
	}
	if len(p.Cmds) > 1 {
		first, _ := p.Cmds[0].(*shell.Simple)
		st = m.filtered(first, p)
	}
	if p.Not && st <= yes {
		return yes - st
	}
	return st
}

func (m *machine) choose(c *shell.Case) truth {
	w := m.one(c.Word)
	st := yes
	for _, arm := range c.Arms {
		hit := no
		for _, pat := range arm.Patterns {
			switch p := m.one(pat); {
			case !w.known || !p.known:
				hit = max(hit, doubtful(w, p))
			case matches(p.s, w.s):
				hit = yes
			}
			if hit == yes {
				break
			}
		}
		switch hit {
		case yes:
			return m.run(arm.Body)
		case no:
		default:
			st = m.perhaps(hit, func() truth { return m.run(arm.Body) })
		}
	}
	return st
}

// matches compares by the shell's patterns, where "/" is no special character.
func matches(pattern, s string) bool {
	swap := strings.NewReplacer("/", "\x00")
	ok, err := path.Match(swap.Replace(pattern), swap.Replace(s))
	return err == nil && ok
}

func (m *machine) loop(l *shell.Loop) truth {
	if l.Cond != nil {
		c := m.run(l.Cond)
		if l.Until && c <= yes {
			c = yes - c
		}
		if c == no {
			return yes
		}
		return m.perhaps(unknown, func() truth { return m.run(l.Body) })
	}
	words := m.args
	if l.In {
		words = nil
		for _, w := range l.Words {
			words = append(words, m.fields(w)...)
		}
	}
	st := yes
	for _, w := range words {
		all, certain := m.glob(w)
		for _, v := range all {
			m.vars[l.Name] = v
			if certain == yes {
				st = m.run(l.Body)
			} else {
				st = m.perhaps(certain, func() truth { return m.run(l.Body) })
			}
			if m.left && !m.exits() {
				m.left = false
			}
		}
	}
	return st
}

// exits tells exit and return from break and continue, which end no more than
// one turn of a loop here: scripts use them to pass over an item.
func (m *machine) exits() bool { return m.vars[exitMark].known }

// exitMark cannot be a variable's name.
const exitMark = "exit!"

// glob expands a pattern against the tree.
func (m *machine) glob(v value) ([]value, truth) {
	if !v.known {
		return []value{v}, doubtful(v)
	}
	if !strings.ContainsAny(v.s, "*?[") {
		return []value{v}, yes
	}
	if m.world == nil {
		return []value{{s: v.s, later: true}}, later
	}
	var all []value
	pattern := strings.TrimPrefix(v.s, "/")
	for p := range m.world.tree.All() {
		if ok, _ := path.Match(pattern, p); ok {
			all = append(all, literal("/"+p))
		}
	}
	if len(all) == 0 {
		all = []value{v}
	}
	return all, yes
}

func (m *machine) group(g *shell.Group) truth {
	for _, r := range g.Redirs {
		if to := m.target(r); strings.HasPrefix(r.Op, ">") && !harmlessTarget(to) {
			m.explain(&call{words: []value{literal("write"), to}, text: "… > " + to.s})
		}
	}
	st := m.run(g.Body)
	if g.Subshell {
		m.left = false
		delete(m.vars, exitMark)
	}
	return st
}

// substitute follows a command substitution and returns what it prints, where a
// rule knows that.
func (m *machine) substitute(script, asWritten string) value {
	list, err := shell.Parse(script)
	if err != nil {
		m.unexplained(asWritten)
		return open(asWritten)
	}
	if len(list.Items) == 1 {
		if s, ok := list.Items[0].(*shell.Simple); ok && len(s.Words) > 0 {
			if v, ok := m.output(s); ok {
				return v
			}
		}
	}
	left := m.left
	m.run(list)
	m.left = left
	return open(asWritten)
}

// lookup finds a command of the tree.
func (m *machine) lookup(name string) (string, truth) {
	if _, ok := m.funcs[name]; ok {
		return name, yes
	}
	if builtins[name] {
		return name, yes
	}
	if m.world == nil {
		return "", later
	}
	if strings.HasPrefix(name, "/") {
		_, ok := m.world.tree.Stat(name)
		return name, boolTruth(ok)
	}
	for _, dir := range []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"} {
		if e, ok := m.world.tree.Stat(dir + "/" + name); ok && e.Kind == tree.File && e.Mode&0o111 != 0 {
			return "/" + dir + "/" + name, yes
		}
	}
	return "", no
}

// doubtful says what decides a condition on values that are not all known.
func doubtful(all ...value) truth {
	for _, v := range all {
		if !v.known && !v.later {
			return unknown
		}
	}
	return later
}

func boolTruth(b bool) truth {
	if b {
		return yes
	}
	return no
}
