package assemble

import (
	"slices"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
)

// operated fills in what the definition says about a container's life beside
// others. What it needs it also comes after.
func operated(out *system.Container, c config.Container) {
	out.Needs, out.Sysctls = c.Needs, c.Sysctls
	if l := c.Landlock; l != nil {
		out.Landlock = &system.Landlock{Read: l.Read, Write: l.Write}
	}
	out.Logs = system.LogLimits{Size: int64(c.Logs.Size), Rate: int64(c.Logs.Rate)}
	out.After = slices.Clone(out.After)
	for _, n := range c.Needs {
		if !slices.Contains(out.After, n) {
			out.After = append(out.After, n)
		}
	}
}
