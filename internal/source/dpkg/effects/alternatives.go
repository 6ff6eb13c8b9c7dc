package effects

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// alternative is one update-alternatives --install call.
type alternative struct {
	link, name, target string
	priority           int
	slaves             [][3]string // link, name, target
	owner              string
}

// alternative is update-alternatives. Choices are made once all are known.
func (m *machine) alternative(c *call) truth {
	if !c.allKnown() {
		return m.unclaimed(c)
	}
	for _, w := range c.words[1:] {
		switch w.s {
		case "--remove", "--remove-all", "--auto", "--display", "--query", "--list":
			return yes // a fresh tree has none
		case "--set", "--config":
			return m.unclaimed(c)
		}
	}
	a := alternative{owner: m.pkg.String()}
	for i := 1; i < len(c.words); i++ {
		switch c.words[i].s {
		case "--install":
			n, err := strconv.Atoi(c.arg(i + 4))
			if err != nil {
				return m.unclaimed(c)
			}
			a.link, a.name, a.target, a.priority = c.arg(i+1), c.arg(i+2), c.arg(i+3), n
			i += 4
		case "--slave":
			a.slaves = append(a.slaves, [3]string{c.arg(i + 1), c.arg(i + 2), c.arg(i + 3)})
			i += 3
		case "--quiet", "--force", "--skip-auto":
		default:
			return m.unclaimed(c)
		}
	}
	if a.name == "" || strings.Contains(a.name, "/") {
		return m.unclaimed(c)
	}
	if m.wants != nil {
		m.wants.alternatives = append(m.wants.alternatives, a)
	}
	return yes
}

// applyAlternatives links each name to the choice of highest priority whose
// target is in the tree; of equal ones to the first by target. Slaves follow
// where their own target is there.
func applyAlternatives(w *world, all []alternative) error {
	slices.SortStableFunc(all, func(a, b alternative) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(b.priority, a.priority), strings.Compare(a.target, b.target))
	})
	last := ""
	for _, a := range all {
		if a.name == last || !w.has(a.target) {
			continue
		}
		last = a.name
		w.owner = "alternative of " + a.owner
		if err := w.alternate(a.link, a.name, a.target); err != nil {
			return err
		}
		w.report.done("alternative %s is %s", a.name, a.target)
		for _, s := range a.slaves {
			if !w.has(s[2]) {
				continue
			}
			if err := w.alternate(s[0], s[1], s[2]); err != nil {
				return err
			}
		}
	}
	return nil
}

// alternate links link -> /etc/alternatives/name -> target.
func (w *world) alternate(link, name, target string) error {
	if e, ok := w.tree.Get(strings.TrimPrefix(link, "/")); ok && e.Kind != tree.Symlink {
		w.warn("%s: /%s is a %v of %s and stays", w.owner, strings.TrimPrefix(link, "/"), e.Kind, e.Owner)
		return nil
	}
	if err := w.symlink(target, path.Join("/etc/alternatives", name)); err != nil {
		return err
	}
	return w.symlink(path.Join("/etc/alternatives", name), link)
}
