package effects

import (
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/source/dpkg/shell"
)

// call is one command with its words expanded.
type call struct {
	words []value
	text  string // the command on one line, for people
	out   value  // where standard output goes; "" when nowhere
	more  bool   // ">>"
	in    string // the here-document on standard input
	inOK  bool   // in is known
}

func (c *call) name() string { return path.Base(c.words[0].s) }

func (c *call) arg(i int) string {
	if i < len(c.words) {
		return c.words[i].s
	}
	return ""
}

// allKnown reports whether every word is known.
func (c *call) allKnown() bool {
	return !slices.ContainsFunc(c.words, func(w value) bool { return !w.known })
}

// decidable reports whether the tree decides every word that is not known.
func (c *call) decidable() bool {
	return !slices.ContainsFunc(c.words, func(w value) bool { return !w.known && !w.later })
}

// operands returns the words after the name that are no options.
func (c *call) operands() []string {
	var all []string
	options := true
	for _, w := range c.words[1:] {
		if options && w.s == "--" {
			options = false
			continue
		}
		if options && len(w.s) > 1 && w.s[0] == '-' {
			continue
		}
		all = append(all, w.s)
	}
	return all
}

// builtins are the shell's own commands, found without the tree.
var builtins = map[string]bool{":": true, "true": true, "false": true, "set": true, "cd": true, "test": true, "[": true,
	"echo": true, "printf": true, "exit": true, "return": true, "export": true, "local": true, "readonly": true, "unset": true,
	"shift": true, "trap": true, "umask": true, "read": true, "command": true, "type": true, "break": true, "continue": true, ".": true}

// simple follows a simple command.
func (m *machine) simple(s *shell.Simple) truth {
	for _, a := range s.Assigns {
		v := m.one(a.Word)
		if len(s.Words) == 0 {
			m.vars[a.Name] = v
		}
	}
	c := m.call(s)
	if len(c.words) == 0 {
		if c.out.s != "" && !harmlessTarget(c.out) {
			c.words = []value{literal("write")}
			return m.explain(c)
		}
		return yes
	}
	if f, ok := m.funcs[c.words[0].s]; ok && c.words[0].known {
		return m.invoke(f, c.words[1:])
	}
	return m.explain(c)
}

// call expands the words and redirections of a command.
func (m *machine) call(s *shell.Simple) *call {
	c := &call{}
	var text []string
	for _, w := range s.Words {
		c.words = append(c.words, m.fields(w)...)
	}
	for _, v := range c.words {
		text = append(text, v.s)
	}
	for _, r := range s.Redirs {
		switch {
		case strings.HasPrefix(r.Op, "<<"):
			body := literal(r.Word)
			if !r.Quoted {
				x := &expander{m: m, known: true}
				x.double(r.Word)
				body = x.value()
			}
			c.in, c.inOK = body.s, body.known
		case r.FD <= 1 && r.FD != 0 && (r.Op == ">" || r.Op == ">>" || r.Op == ">|"):
			c.out, c.more = m.target(r), r.Op == ">>"
			text = append(text, r.Op, c.out.s)
		}
	}
	c.text = clip(strings.Join(text, " "))
	return c
}

// clip keeps a command's text on one line of reasonable length.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 160 {
		s = s[:157] + "..."
	}
	return s
}

func (m *machine) target(r *shell.Redir) value { return m.one(r.Word) }

// harmlessTarget reports whether writing there leaves nothing in a tree.
func harmlessTarget(v value) bool {
	if v.s == "" || v.s == "/dev/null" || v.s == "/dev/stderr" || v.s == "/dev/tty" {
		return true
	}
	if !v.known {
		return strings.Contains(strings.ToLower(v.s), "tmp") || strings.HasPrefix(v.s, "$new_")
	}
	for _, dir := range runtimeDirs {
		if strings.HasPrefix(v.s, dir) {
			return true
		}
	}
	return false
}

// invoke follows a call of a function.
func (m *machine) invoke(body shell.Node, args []value) truth {
	if m.depth++; m.depth > maxCalls {
		m.unexplained("the rest: functions call each other without end")
		m.left = true
	}
	saved := m.args
	m.args = args
	st := m.run(body)
	m.args = saved
	m.depth--
	if !m.exits() {
		m.left = false
	}
	return st
}

// explain gives a command to the rule of its name.
func (m *machine) explain(c *call) truth {
	if claimed(m.pkg.Control.Name, c.text) {
		return unknown
	}
	if !c.words[0].known {
		return m.unclaimed(c)
	}
	if rule := ruleFor(c.name()); rule != nil {
		return rule(m, c)
	}
	if _, ok := harmless[c.name()]; ok && harmlessTarget(c.out) {
		return unknown
	}
	return m.unclaimed(c)
}

func (m *machine) unclaimed(c *call) truth {
	m.unexplained(c.text)
	return unknown
}

// effect claims a command that changes the tree, when everything about it is
// known and it is certain to run, and does it.
func (m *machine) effect(c *call, do func(w *world) error) truth {
	if !c.allKnown() && (m.world != nil || !c.decidable()) {
		return m.unclaimed(c)
	}
	if m.doubt > 0 {
		m.unexplained(c.text + " (under a condition that nothing here decides)")
		return unknown
	}
	if m.world == nil {
		return yes
	}
	m.world.owner = "script of " + m.pkg.String()
	if err := do(m.world); err != nil {
		m.world.warn("%s %s: %s: %v", m.pkg, m.script, c.text, err)
		return no
	}
	return yes
}

// filtered is the outcome of a pipeline of several commands: known where the
// first one's output is.
func (m *machine) filtered(first *shell.Simple, p *shell.Pipeline) truth {
	if first == nil || len(first.Words) == 0 {
		return unknown
	}
	words := m.call(first).words
	if len(words) == 0 {
		return unknown
	}
	switch words[0].s {
	case "getent":
		// A group of the base system has the number that Debian gives it.
		return later
	case "chronyd":
		return no // the packaged configuration names no user
	case "dpkg-divert", "dpkg-query", "apt-key":
		return no // there are no diversions, and no other packages to ask about
	}
	return unknown
}

// output returns what a command within $(…) prints, where that is known.
func (m *machine) output(s *shell.Simple) (value, bool) {
	c := m.call(s)
	if len(c.words) == 0 || !c.allKnown() {
		return value{}, false
	}
	last := c.words[len(c.words)-1]
	switch name := c.name(); {
	case name == "dpkg-divert" && c.arg(1) == "--truename":
		return last, true
	case name == "dpkg-divert" && c.arg(1) == "--listpackage", name == "dpkg-query", name == "chronyd":
		return literal(""), true
	case name == "mktemp":
		return open("$tmp"), true
	case (name == "command" || name == "which") && len(c.words) > 1:
		p, st := m.lookup(last.s)
		return value{s: p, known: st <= yes, later: st == later}, true
	case name == "basename" && len(c.words) == 2:
		return literal(path.Base(last.s)), true
	case name == "dirname" && len(c.words) == 2:
		return literal(path.Dir(last.s)), true
	case name == "seq" && c.arg(1) == "6":
		return literal("6 5 4 3 2 1 0"), true
	case name == "readlink" && m.world != nil:
		return m.world.readlink(c), true
	case name == "stat" && m.world != nil && c.arg(1) == "-L" && c.arg(2) == "-c":
		return m.world.statFormat(c.arg(3), last.s), true
	case name == "readlink", name == "stat":
		return value{s: "$(" + c.text + ")", later: true}, true
	}
	return value{}, false
}
