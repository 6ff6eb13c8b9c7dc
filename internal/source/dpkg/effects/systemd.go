package effects

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// unitWant is a unit that a script enables.
type unitWant struct {
	name  string
	user  bool // of users' managers
	owner string
}

// unit is deb-systemd-helper and systemctl; units are enabled once all packages
// are known. Whatever systemctl does besides concerns a running system.
func (m *machine) unit(c *call) truth {
	verb := ""
	var names []string
	for _, a := range c.operands() {
		if verb == "" {
			verb = a
		} else {
			names = append(names, a)
		}
	}
	switch verb {
	case "enable", "reenable", "preset":
		if !c.allKnown() {
			return m.unclaimed(c)
		}
	case "was-enabled": // true where the unit was never seen
		return yes
	case "debian-installed": // by an earlier version
		return no
	case "mask":
		return m.unclaimed(c)
	default:
		return unknown
	}
	user := slices.ContainsFunc(c.words, func(w value) bool { return w.s == "--user" || w.s == "--global" })
	if m.wants != nil {
		for _, n := range names {
			m.wants.units = append(m.wants.units, unitWant{n, user, m.pkg.String()})
		}
	}
	return yes
}

// enableUnits links units as their [Install] sections say, unless a preset
// disables them by a pattern of their own.
//
// Source: systemd.unit(5), "[INSTALL] SECTION OPTIONS"; systemd.preset(5).
func enableUnits(w *world, all []unitWant) error {
	slices.SortFunc(all, func(a, b unitWant) int { return strings.Compare(a.name, b.name) })
	presets := w.presets()
	for _, u := range slices.CompactFunc(all, func(a, b unitWant) bool { return a.name == b.name && a.user == b.user }) {
		if disabled(presets, u.name) {
			w.report.done("unit %s stays disabled by a preset", u.name)
			continue
		}
		w.owner = "unit of " + u.owner
		if err := w.enable(u, map[string]bool{}); err != nil {
			return err
		}
	}
	return nil
}

// presetLine is one rule of a preset file.
type presetLine struct {
	enable  bool
	pattern string
}

func (w *world) presets() []presetLine {
	files := map[string]string{} // base name to path: /etc wins
	for _, dir := range []string{"usr/lib/systemd/system-preset", "etc/systemd/system-preset"} {
		for _, name := range w.children(dir) {
			if strings.HasSuffix(name, ".preset") {
				files[name] = dir + "/" + name
			}
		}
	}
	var all []presetLine
	for _, name := range sortedKeys(files) {
		text, err := w.read(files[name])
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			f := strings.Fields(line)
			if len(f) >= 2 && (f[0] == "enable" || f[0] == "disable") {
				all = append(all, presetLine{f[0] == "enable", f[1]})
			}
		}
	}
	return all
}

// disabled: the first line that matches decides. "disable *" is no decision
// about a unit that its package enables: Debian's packages do so on purpose.
func disabled(presets []presetLine, unit string) bool {
	for _, p := range presets {
		if ok, _ := path.Match(p.pattern, unit); ok && p.pattern != "*" {
			return !p.enable
		}
	}
	return false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// children returns the names in a directory, symlinks followed.
func (w *world) children(dir string) []string {
	at, ok := w.tree.Resolve(dir)
	if !ok {
		return nil
	}
	return w.tree.Children(at)
}

// enable makes the links of one unit and of those it names with Also=.
func (w *world) enable(u unitWant, seen map[string]bool) error {
	if seen[u.name] {
		return nil
	}
	seen[u.name] = true
	dir, etc := "/usr/lib/systemd/system/", "/etc/systemd/system/"
	if u.user {
		dir, etc = "/usr/lib/systemd/user/", "/etc/systemd/user/"
	}
	file := u.name
	base, instance, template := strings.Cut(strings.TrimSuffix(u.name, path.Ext(u.name)), "@")
	if template {
		file = base + "@" + path.Ext(u.name)
	}
	text, err := w.read(dir + file)
	if err != nil {
		w.warn("unit %s of %s: %v", u.name, u.owner, err)
		return nil
	}
	install := section(string(text), "Install")
	name := u.name
	if template && instance == "" {
		name = base + "@" + strings.Join(install["DefaultInstance"], "") + path.Ext(u.name)
	}
	for _, kind := range [][2]string{{"WantedBy", ".wants/"}, {"RequiredBy", ".requires/"}, {"UpheldBy", ".upholds/"}} {
		for _, by := range install[kind[0]] {
			by = strings.ReplaceAll(by, "%i", cmp.Or(instance, "default"))
			if err := w.symlink(dir+file, etc+path.Base(by)+kind[1]+name); err != nil {
				return err
			}
			w.report.done("unit %s is wanted by %s", name, by)
		}
	}
	for _, alias := range install["Alias"] {
		if err := w.symlink(dir+file, etc+path.Base(alias)); err != nil {
			return err
		}
	}
	for _, also := range install["Also"] {
		if err := w.enable(unitWant{also, u.user, u.owner}, seen); err != nil {
			return err
		}
	}
	return nil
}

// section returns the words of each key of a section of a unit file; an empty
// value clears what came before.
func section(text, name string) map[string][]string {
	keys := map[string][]string{}
	in := false
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			in = line == "["+name+"]"
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !in || !ok || line[0] == '#' || line[0] == ';' {
			continue
		}
		k = strings.TrimSpace(k)
		if words := strings.Fields(v); len(words) > 0 {
			keys[k] = append(keys[k], words...)
		} else {
			delete(keys, k)
		}
	}
	return keys
}

// machineID leaves /etc/machine-id empty, which systemd takes as "make one at
// first start" (machine-id(5)).
func machineID(w *world) error {
	if !w.has("usr/lib/systemd/systemd") || w.has("etc/machine-id") {
		return nil
	}
	if err := w.write("etc/machine-id", nil, 0o444); err != nil {
		return err
	}
	if e, ok := w.tree.Get("var/lib/dbus"); ok && e.Kind == tree.Dir && !w.has("var/lib/dbus/machine-id") {
		return w.symlink("/etc/machine-id", "/var/lib/dbus/machine-id")
	}
	return nil
}
