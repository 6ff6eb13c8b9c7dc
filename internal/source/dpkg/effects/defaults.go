package effects

import (
	"path"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// defaults are files that packages keep below /usr/share and that their scripts
// put in place by ways too winding to follow: where the first is in the tree and
// the second is not, it is copied.
var defaults = [][2]string{
	{"usr/share/openssh/sshd_config", "etc/ssh/sshd_config"},
	{"usr/share/sudo/sudoers", "etc/sudoers"},
}

func copyDefaults(w *world) error {
	for _, d := range defaults {
		if !w.has(d[0]) || w.has(d[1]) {
			continue
		}
		w.owner = "default of " + d[0]
		if err := w.mkdir(path.Dir(d[1]), 0o755); err != nil {
			return err
		}
		if err := w.copy(d[0], d[1], false); err != nil {
			return err
		}
		w.report.done("/%s is a copy of /%s", d[1], d[0])
	}
	return nil
}

// localtime is UTC unless a tree says otherwise.
func localtime(w *world) error {
	const utc = "/usr/share/zoneinfo/Etc/UTC"
	if at, _ := w.place("/etc/localtime"); !w.has(utc) || hasEntry(w, at) {
		return nil
	}
	w.owner = "time zone"
	return w.symlink(utc, "/etc/localtime")
}

func hasEntry(w *world, at string) bool {
	_, ok := w.tree.Get(at)
	return ok
}

// shells makes /etc/shells from what debianutils and the shells declare: each
// with its name in the other of /bin and /usr/bin, as update-shells does.
func shells(w *world) error {
	base, err := w.read("usr/share/debianutils/shells")
	if err != nil {
		return nil
	}
	w.owner = "shells"
	lines := strings.Split(strings.TrimSpace(string(base)), "\n")
	for _, name := range w.children("usr/share/debianutils/shells.d") {
		text, err := w.read("usr/share/debianutils/shells.d/" + name)
		if err != nil {
			return err
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	seen := map[string]bool{}
	var out strings.Builder
	for _, l := range lines {
		names := []string{l}
		if rest, ok := strings.CutPrefix(l, "/bin/"); ok {
			names = append(names, "/usr/bin/"+rest)
		} else if rest, ok := strings.CutPrefix(l, "/usr/bin/"); ok {
			names = []string{"/bin/" + rest, l}
		}
		for _, n := range names {
			if n != "" && !seen[n] {
				seen[n] = true
				out.WriteString(n + "\n")
			}
		}
	}
	return w.write("etc/shells", []byte(out.String()), 0o644)
}

// noSecrets removes what must never be in an image, should a package bring it.
func noSecrets(w *world) {
	var gone []string
	for p, e := range w.tree.All() {
		key := strings.HasPrefix(p, "etc/ssh/ssh_host_") || strings.HasPrefix(p, "etc/ssl/private/")
		if e.Kind == tree.File && key {
			gone = append(gone, p)
		}
	}
	for _, p := range gone {
		w.tree.Remove(p)
		w.warn("/%s is a secret and was left out", p)
	}
}
