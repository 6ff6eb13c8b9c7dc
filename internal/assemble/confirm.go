package assemble

import (
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
)

func confirm(c config.Confirm) system.Confirm {
	return system.Confirm{After: int64(c.After), Within: int64(c.Within), Tries: c.Tries}
}

// checks returns what must hold in a configuration: the machine's checks that
// are about something it has, and its own.
func checks(def *config.Definition, cfg config.Configuration) []system.Check {
	var out []system.Check
	for _, ck := range def.Boot.Confirm.Checks {
		tasked, _, _ := strings.Cut(ck.Task, ".")
		if (ck.Container == "" || slices.Contains(cfg.Containers, ck.Container)) &&
			(tasked == "" || slices.Contains(cfg.Containers, tasked)) &&
			(ck.Link == "" || slices.ContainsFunc(cfg.Links, func(l config.Link) bool { return l.Name == ck.Link })) {
			out = append(out, check(ck))
		}
	}
	for _, ck := range cfg.Checks {
		out = append(out, check(ck))
	}
	return out
}

func check(ck config.Check) system.Check {
	out := system.Check{Container: ck.Container, Exec: ck.Exec, Link: ck.Link, Interface: ck.Interface, Reach: ck.Reach, Task: ck.Task}
	if ck.Link != "" {
		out.Fresh = int64(ck.Fresh)
	}
	if len(ck.Exec) > 0 || ck.Reach != "" {
		out.Timeout = int64(ck.Timeout)
	}
	return out
}
