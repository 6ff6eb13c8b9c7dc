package launch

import (
	"fmt"
	"strings"

	"github.com/instar-os/instar/internal/system"
)

// hosts is /etc/hosts: the container itself, and the peers on its networks.
func hosts(c *system.Container) string {
	var b strings.Builder
	fmt.Fprintf(&b, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 %s\n", c.Hostname)
	for _, h := range c.Hosts {
		fmt.Fprintf(&b, "%s %s\n", h.Address, strings.Join(h.Names, " "))
	}
	return b.String()
}

// resolv is /etc/resolv.conf with a container's own name servers.
func resolv(c *system.Container) string {
	var b strings.Builder
	for _, s := range c.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	return b.String()
}
