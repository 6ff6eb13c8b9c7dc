package effects

import (
	"path"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// write is echo, printf, cat or a bare redirection into a file.
func (m *machine) write(c *call) truth {
	if harmlessTarget(c.out) {
		return yes
	}
	var content string
	switch c.name() {
	case "write", ":":
	case "cat":
		if len(c.words) > 1 || !c.inOK {
			return m.unclaimed(c)
		}
		content = c.in
	case "echo":
		var words []string
		for _, w := range c.words[1:] {
			words = append(words, w.s)
		}
		content = strings.Join(words, " ") + "\n"
	case "printf":
		if len(c.words) != 2 || strings.ContainsAny(c.arg(1), `%\`) {
			return m.unclaimed(c)
		}
		content = c.arg(1)
	}
	if !c.out.known {
		return m.unclaimed(c)
	}
	return m.effect(c, func(w *world) error {
		if c.more {
			old, _ := w.read(c.out.s) // what is not there is empty
			content = string(old) + content
		}
		return w.write(c.out.s, []byte(content), 0o644)
	})
}

// files are the commands that change files. What happens below runtime
// directories leaves nothing in a tree.
func (m *machine) files(c *call) truth {
	names := c.operands()
	if c.name() == "chmod" || c.name() == "chown" || c.name() == "chgrp" {
		names = names[min(1, len(names)):]
	}
	if len(names) > 0 && c.name() != "cp" && c.name() != "mv" && allRuntime(names) {
		return yes
	}
	if c.name() == "rm" && len(names) > 0 && strings.Contains(names[0], "tmp") && !c.allKnown() {
		return yes // the script's own temporary file
	}
	if !supported(c) || c.name() == "chmod" && !octal(c.operands()) && c.allKnown() {
		return m.unclaimed(c)
	}
	return m.effect(c, func(w *world) error { return w.command(c) })
}

func allRuntime(names []string) bool {
	for _, n := range names {
		if !harmlessTarget(literal(n)) || strings.Contains(n, "tmp.") && !strings.HasPrefix(n, "/") {
			return false
		}
	}
	return true
}

// supportedOptions are the options of file commands whose meaning is kept; -Z
// and -v change nothing in a tree.
var supportedOptions = map[string]string{
	"mkdir": "pZvm", "ln": "sfnr", "cp": "apfdnZv", "mv": "fnT", "rm": "rfv", "rmdir": "p", "touch": "", "chmod": "f", "chown": "fh", "chgrp": "fh", "install": "dmogD",
}

func supported(c *call) bool {
	for _, w := range c.words[1:] {
		switch {
		case len(w.s) < 2 || w.s[0] != '-':
			continue
		case strings.HasPrefix(w.s, "--"):
			if w.s != "--" && w.s != "--parents" && w.s != "--symbolic" && w.s != "--force" && w.s != "--ignore-fail-on-non-empty" && w.s != "--no-clobber" && w.s != "--mode" {
				return false
			}
			continue
		}
		for _, r := range w.s[1:] {
			if !strings.ContainsRune(supportedOptions[c.name()], r) {
				return false
			}
		}
	}
	return true
}

// octal reports whether the first operand is a mode in octal digits.
func octal(args []string) bool {
	return len(args) > 0 && strings.Trim(args[0], "01234567") == ""
}

// option reports whether a one-letter option is given.
func (c *call) option(letter rune) bool {
	for _, w := range c.words[1:] {
		if len(w.s) > 1 && w.s[0] == '-' && w.s[1] != '-' && strings.ContainsRune(w.s, letter) {
			return true
		}
	}
	return false
}

// command does what a file command would do.
func (w *world) command(c *call) error {
	args := c.operands()
	if len(args) == 0 {
		return nil
	}
	first, last := args[0], args[len(args)-1]
	switch c.name() {
	case "mkdir":
		mode := ""
		if c.option('m') {
			mode, args = first, args[1:]
		}
		return each(args, func(p string) error {
			if err := w.mkdir(p, 0o755); err != nil || mode == "" {
				return err
			}
			return w.chmod(p, mode)
		})
	case "touch":
		return each(args, func(p string) error {
			if w.has(p) {
				return nil
			}
			return w.write(p, nil, 0o644)
		})
	case "ln":
		return w.link(c, args)
	case "cp":
		return each(args[:len(args)-1], func(p string) error { return w.copy(p, last, c.option('p') || c.option('a')) })
	case "mv":
		return w.move(first, last)
	case "rm":
		return each(args, func(p string) error { return w.remove(p, c.option('r'), false) })
	case "rmdir":
		return each(args, func(p string) error { return w.remove(p, false, true) })
	case "chmod":
		return each(args[1:], func(p string) error { return w.chmod(p, first) })
	case "chown":
		return each(args[1:], func(p string) error { return w.chown(p, first) })
	case "chgrp":
		return each(args[1:], func(p string) error { return w.chown(p, ":"+first) })
	case "install":
		return w.install(c)
	}
	return nil
}

func each(all []string, f func(p string) error) error {
	for _, p := range all {
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}

// link is ln -s, and ln of a file.
func (w *world) link(c *call, args []string) error {
	target := args[0]
	to := "/" + path.Base(target)
	if len(args) > 1 {
		to = args[1]
	}
	if e, ok := w.tree.Stat(to); ok && e.Kind == tree.Dir && !c.option('n') {
		to = path.Join(to, path.Base(target))
	}
	if c.option('s') {
		return w.symlink(target, to)
	}
	return w.copy(target, to, true)
}

// install is install -d, and install of one file.
func (w *world) install(c *call) error {
	mode, owner, group := "755", "", ""
	var args []string
	for i := 1; i < len(c.words); i++ {
		switch s := c.words[i].s; {
		case s == "-m" || s == "-o" || s == "-g" || s == "--mode":
			i++
			*map[string]*string{"-m": &mode, "--mode": &mode, "-o": &owner, "-g": &group}[s] = c.arg(i)
		case strings.HasPrefix(s, "-m"):
			mode = s[2:]
		case s[0] != '-':
			args = append(args, s)
		}
	}
	made := args
	if !c.option('d') {
		if len(args) != 2 {
			return nil
		}
		if err := w.installFile(args[0], args[1]); err != nil {
			return err
		}
		made = args[1:]
	}
	return each(made, func(p string) error {
		if err := w.mkdirIf(c.option('d'), p); err != nil {
			return err
		}
		if err := w.chmod(p, mode); err != nil || owner+group == "" {
			return err
		}
		return w.chown(p, owner+":"+group)
	})
}

// installFile copies a file; /dev/null is an empty one.
func (w *world) installFile(from, to string) error {
	if from == "/dev/null" {
		return w.write(to, nil, 0o644)
	}
	return w.copy(from, to, false)
}

func (w *world) mkdirIf(dir bool, p string) error {
	if !dir {
		return nil
	}
	return w.mkdir(p, 0o755)
}

// ucf installs a configuration file that a package keeps below /usr/share.
func (m *machine) ucf(c *call) truth {
	var args []string
	for i := 1; i < len(c.words); i++ {
		if s := c.words[i].s; s == "--sum-file" || s == "--sum-dir" || s == "--src-dir" {
			i++
		} else if !strings.HasPrefix(s, "-") {
			args = append(args, s)
		}
	}
	if len(args) != 2 {
		return m.unclaimed(c)
	}
	return m.effect(c, func(w *world) error {
		if w.has(args[1]) {
			return nil
		}
		if err := w.mkdir(path.Dir(args[1]), 0o755); err != nil {
			return err
		}
		return w.copy(args[0], args[1], false)
	})
}

// statoverride is dpkg-statoverride: --list finds none, --add sets owner and mode.
func (m *machine) statoverride(c *call) truth {
	add := false
	for _, w := range c.words[1:] {
		if w.s == "--list" {
			return no
		}
		add = add || w.s == "--add"
	}
	args := c.operands()
	if !add || len(args) != 4 {
		return m.unclaimed(c)
	}
	return m.effect(c, func(w *world) error {
		if !w.has(args[3]) {
			return nil // dpkg-statoverride warns and goes on
		}
		if err := w.chown(args[3], args[0]+":"+args[1]); err != nil {
			return err
		}
		return w.chmod(args[3], args[2])
	})
}

// setcap would set a file capability: only its absence is known.
func (m *machine) setcap(c *call) truth {
	if c.arg(1) == "-r" {
		return yes
	}
	return m.unclaimed(c)
}
