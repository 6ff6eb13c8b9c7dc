package assemble

import (
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
)

// link puts a configuration's links into it, and their ends into its
// containers.
func link(c *system.Configuration, declared []config.Link) {
	for _, l := range declared {
		l = l.Resolved()
		c.Links = append(c.Links, system.Link{
			Name: l.Name, Type: system.LinkType(l.Type), From: l.From, To: l.To,
			Size: int(l.Size), Version: uint32(l.Version), Depth: l.Depth, Drop: l.Policy == "drop",
			Validity: int64(l.Validity), Wake: l.Wake, Address: l.Address,
		})
	}
	for i := range c.Containers {
		c.Containers[i].Descriptors = system.Descriptors(c.Links, c.Containers[i].Name)
	}
}
