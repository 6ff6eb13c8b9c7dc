package network

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/wire"
)

// maxServers is how many name servers resolv.conf may hold, MAXNS of
// resolv.conf(5).
const maxServers = 3

// resolv rewrites the file with the name servers of all interfaces, in order
// of their declaration. It is written in place because containers have it
// mounted.
func (n *Network) resolv() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Resolv == "" {
		return nil
	}
	var servers []netip.Addr
	for _, l := range n.links {
		for _, a := range l.dns {
			if !slices.Contains(servers, a) && len(servers) < maxServers {
				servers = append(servers, a)
			}
		}
	}
	var b strings.Builder
	for _, a := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if err := os.WriteFile(n.Resolv, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the list of name servers: %w", err)
	}
	return nil
}

// Status returns the declared interfaces in order.
func (n *Network) Status() []wire.InterfaceStatus {
	devices, err := linux.NetDevices(n.Sysfs)
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]wire.InterfaceStatus, 0, len(n.links))
	for _, l := range n.links {
		s := wire.InterfaceStatus{Name: l.decl.Name, State: l.state, Detail: l.detail, Addresses: []string{}}
		for _, a := range l.addresses {
			s.Addresses = append(s.Addresses, a.String())
		}
		i := slices.IndexFunc(devices, func(d linux.NetDevice) bool { return d.Index == l.index })
		switch {
		case err != nil || l.index == 0:
		case i < 0:
			s.State, s.Detail = missing, "the device has gone"
		case l.state == up && !devices[i].Up:
			s.State, s.Detail = down, "no carrier"
		}
		all = append(all, s)
	}
	return all
}

// Healthy reports whether every interface that is not optional is up.
func (n *Network) Healthy() bool {
	for i, s := range n.Status() {
		if s.State != up && !n.links[i].decl.Optional {
			return false
		}
	}
	return true
}
