package effects

import (
	"fmt"
	"path"
	"strings"
)

// applyTmpfiles makes what tmpfiles.d files declare, outside the directories
// that a container has anew at each start. Those lines go to the report, for
// whoever starts containers.
//
// Source of the format: tmpfiles.d(5). Of the types, those that make something
// from nothing are done: d D q Q v (directories), f (empty or with a plain
// argument), L, C of a file; attributes, ACLs and removals are left out.
func applyTmpfiles(w *world) error {
	files := map[string]string{}
	for _, dir := range []string{"usr/lib/tmpfiles.d", "etc/tmpfiles.d"} {
		for _, name := range w.children(dir) {
			if strings.HasSuffix(name, ".conf") {
				files[name] = dir + "/" + name
			}
		}
	}
	for _, name := range sortedKeys(files) {
		text, err := w.read(files[name])
		if err != nil {
			w.warn("%s: %v", files[name], err)
			continue
		}
		w.owner = "tmpfiles.d/" + name
		for i, line := range strings.Split(string(text), "\n") {
			f, err := splitFields(line)
			if err == nil && len(f) > 0 {
				err = w.tmpfile(f, line)
			}
			if err != nil {
				w.warn("tmpfiles.d/%s line %d: %v", name, i+1, err)
			}
		}
	}
	return nil
}

// startDirs are made anew at each start of a container.
var startDirs = []string{"/run", "/var/run", "/tmp", "/dev", "/proc", "/sys"}

func (w *world) tmpfile(f []string, line string) error {
	for len(f) < 7 {
		f = append(f, "-")
	}
	kind, p := f[0], f[1]
	if strings.Contains(p, "%") || !strings.HasPrefix(p, "/") {
		return nil // needs the running machine
	}
	for _, dir := range startDirs {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			w.report.Runtime = append(w.report.Runtime, strings.Join(strings.Fields(line), " "))
			return nil
		}
	}
	if strings.ContainsAny(kind, "!$") {
		return nil // of boots alone
	}
	kind = strings.TrimRight(kind, "+-=~^")
	there := w.has(p)
	arg := f[6]
	if len(f) > 7 {
		arg = strings.Join(f[6:], " ")
	}
	switch kind {
	case "d", "D", "q", "Q", "v", "e":
		if kind == "e" && !there {
			return nil
		}
		if err := w.mkdir(p, 0o755); err != nil {
			return err
		}
		return w.attributes(p, f)
	case "f", "w":
		if there || kind == "w" {
			return nil
		}
		content := strings.TrimPrefix(arg, "-")
		if err := w.write(p, []byte(content), 0o644); err != nil {
			return err
		}
		return w.attributes(p, f)
	case "L":
		at, _ := w.place(p)
		if _, ok := w.tree.Get(at); ok {
			return nil
		}
		if arg == "-" {
			arg = "/usr/share/factory" + p
		}
		return w.symlink(arg, p)
	case "C":
		if arg == "-" {
			arg = "/usr/share/factory" + p
		}
		if there || !w.has(arg) {
			return nil
		}
		if err := w.mkdir(path.Dir(p), 0o755); err != nil {
			return err
		}
		return w.copy(arg, p, false)
	case "z", "Z":
		if !there {
			return nil
		}
		return w.attributes(p, f)
	}
	return nil
}

// attributes sets mode and owner; "-" leaves them.
func (w *world) attributes(p string, f []string) error {
	if mode := strings.TrimLeft(f[2], "~:"); mode != "-" {
		if err := w.chmod(p, mode); err != nil {
			return err
		}
	}
	user, group := strings.Trim(f[3], ":-"), strings.Trim(f[4], ":-")
	if user+group == "" {
		return nil
	}
	if err := w.chown(p, user+":"+group); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}
