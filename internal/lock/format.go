package lock

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// header is the first line of every lock file.
const header = "# made by instar lock; do not edit\n"

// Format writes the lock file: one line a package, everything in order, so
// that a difference of two locks shows what changed. The same lock gives the
// same bytes. It fails when Parse would refuse the result.
func (l *Lock) Format() ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("format lock: %w", err)
	}
	w := &writer{}
	w.b.WriteString(header)
	w.line(0, "version: %d", l.Version)
	w.line(0, "machine: %s", scalar(l.Machine))
	w.line(0, "request: %s", scalar(l.Request))
	w.line(0, "epoch: %d", l.Epoch)
	w.suites(l.Suites)
	w.head(0, "arches", len(l.Arches), "{}")
	for _, arch := range sorted(l.Arches) {
		w.inputs(arch, l.Arches[arch])
	}
	if len(l.Tools) > 0 {
		w.line(0, "tools:")
	}
	for _, arch := range sorted(l.Tools) {
		w.inputs(arch, l.Tools[arch])
	}
	w.users(l.Users)
	w.files(l.Files)
	w.images(l.Images)
	w.closures(l.Nix)
	return w.b.Bytes(), nil
}

type writer struct{ b bytes.Buffer }

func (w *writer) line(indent int, format string, args ...any) {
	w.b.WriteString(strings.Repeat("  ", indent))
	fmt.Fprintf(&w.b, format+"\n", args...)
}

// head writes a key, with what stands for its emptiness when it has no content.
func (w *writer) head(indent int, key string, n int, empty string) {
	if n == 0 {
		w.line(indent, "%s: %s", key, empty)
		return
	}
	w.line(indent, "%s:", key)
}

func (w *writer) suites(suites []Suite) {
	suites = slices.Clone(suites)
	slices.SortFunc(suites, func(a, b Suite) int {
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		return strings.Compare(a.Suite, b.Suite)
	})
	w.head(0, "suites", len(suites), "[]")
	for _, s := range suites {
		w.line(1, "- {source: %s, suite: %s, date: %s, inrelease: %s, signedBy: %s}",
			scalar(s.Source), scalar(s.Suite), scalar(s.Date), scalar(s.InRelease), scalar(s.SignedBy))
	}
}

func (w *writer) inputs(arch string, in *Inputs) {
	w.line(1, "%s:", scalar(arch))
	w.packages(2, in.Packages)
	if len(in.Kernel) > 0 {
		w.names(2, "kernel", in.Kernel)
	}
	if len(in.Boot) > 0 {
		w.names(2, "boot", in.Boot)
	}
	w.head(2, "trees", len(in.Trees), "{}")
	for _, tree := range sorted(in.Trees) {
		w.names(3, scalar(tree), in.Trees[tree])
	}
}

func (w *writer) names(indent int, key string, names []string) {
	names = slices.Clone(names)
	slices.Sort(names)
	w.head(indent, key, len(names), "[]")
	for _, n := range names {
		w.line(indent+1, "- %s", scalar(n))
	}
}

func (w *writer) packages(indent int, packages []Package) {
	packages = slices.Clone(packages)
	slices.SortFunc(packages, compare)
	w.head(indent, "packages", len(packages), "[]")
	for _, p := range packages {
		w.line(indent+1, "- {name: %s, version: %s, arch: %s, source: %s, sha256: %s, size: %d, path: %s%s%s}",
			scalar(p.Name), scalar(p.Version), scalar(p.Arch), scalar(p.Source), scalar(p.SHA256), p.Size, scalar(p.Path), scripts(p.Scripts), origin(p.Origin))
	}
}

// scripts writes the scripts of a package on its line.
func scripts(all []Script) string {
	if len(all) == 0 {
		return ""
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Script) int { return strings.Compare(a.Name, b.Name) })
	var texts []string
	for _, s := range all {
		effects := make([]string, len(s.Effects))
		for i, e := range s.Effects {
			effects[i] = scalar(e)
		}
		text := fmt.Sprintf("{name: %s, sha256: %s, effects: [%s]", scalar(s.Name), scalar(s.SHA256), strings.Join(effects, ", "))
		if s.Accepted != "" {
			text += ", accepted: " + scalar(s.Accepted)
		}
		texts = append(texts, text+"}")
	}
	return ", scripts: [" + strings.Join(texts, ", ") + "]"
}

func (w *writer) users(u Users) {
	w.head(0, "users", len(u.UIDs)+len(u.GIDs), "{}")
	for _, part := range []struct {
		key     string
		numbers map[string]uint32
	}{{"uids", u.UIDs}, {"gids", u.GIDs}} {
		if len(part.numbers) == 0 {
			continue
		}
		w.line(1, "%s:", part.key)
		for _, name := range sorted(part.numbers) {
			w.line(2, "%s: %d", scalar(name), part.numbers[name])
		}
	}
}

func (w *writer) files(files []File) {
	if len(files) == 0 {
		return
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int {
		if c := strings.Compare(a.Tree, b.Tree); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	w.line(0, "files:")
	for _, f := range files {
		arch := ""
		if f.Arch != "" {
			arch = ", arch: " + scalar(f.Arch)
		}
		w.line(1, "- {tree: %s%s, url: %s, sha256: %s, size: %d}", scalar(f.Tree), arch, scalar(f.URL), scalar(f.SHA256), f.Size)
	}
}

// plainForm is text that any YAML reads as a string without quotes: it begins
// with a letter, slash or underscore and holds nothing that flow style takes for itself.
var plainForm = regexp.MustCompile(`^[A-Za-z/_]([A-Za-z0-9._/+~:=-]*[A-Za-z0-9._/+~=-])?$`)

// wordForm is a word that some YAML does not take for a string.
var wordForm = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null|nan|inf)$`)

// numberForm is a digest that YAML takes for a number.
var numberForm = regexp.MustCompile(`^[0-9]+([eE][0-9]*)?$`)

// scalar writes text so that it is read back as that string: plain where that
// is safe, else in double quotes.
func scalar(s string) string {
	switch {
	case plainForm.MatchString(s) && !wordForm.MatchString(s):
		return s
	case hashForm.MatchString(s) && !numberForm.MatchString(s):
		return s
	}
	return strconv.Quote(s)
}
