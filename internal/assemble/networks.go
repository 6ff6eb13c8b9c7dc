package assemble

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wiring"
)

// networks resolves the networks of every configuration, compiles what makes
// them, and tells the containers what they have of them.
func (b *Builder) networks(def *config.Definition, confs []system.Configuration) error {
	for i := range confs {
		c := &confs[i]
		declared := def.Configurations[c.Name].Networks
		if len(declared) == 0 {
			continue
		}
		list := resolveNetworks(def.Machine, declared)
		p, err := wiring.Compile(list, slices.Sorted(maps.Keys(def.Network)))
		if err != nil {
			return fmt.Errorf("configuration %s: %w", c.Name, err)
		}
		program, err := p.Encode()
		if err != nil {
			return fmt.Errorf("configuration %s: %w", c.Name, err)
		}
		c.Networks = &system.Networks{List: list}
		if c.Networks.Program, err = b.putObject(program); err != nil {
			return err
		}
		for j := range c.Containers {
			join(&c.Containers[j], list, declared)
		}
	}
	return nil
}

// resolveNetworks puts names and defaults in, in order of names.
func resolveNetworks(machine string, declared map[string]config.Network) []system.Network {
	var out []system.Network
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		d := declared[name]
		n := system.Network{Name: name, Type: system.NetworkType(d.Type), Over: d.Over, Routers: d.Routers, MTU: d.MTU,
			Match: system.Match{Driver: d.Match.Driver, MAC: d.Match.MAC, Path: d.Match.Path, Name: d.Match.Name}}
		if d.Gateway != nil {
			n.Gateway, n.Masquerade = d.Gateway.Addresses, d.Gateway.Masquerade
		}
		if d.Gateway != nil || n.Type == system.Bridge {
			n.MAC = wiring.MAC(machine, name)
		}
		for _, container := range slices.Sorted(maps.Keys(d.Members)) {
			n.Members = append(n.Members, member(machine, name, container, d))
		}
		for _, p := range d.Publish {
			n.Published = append(n.Published, system.Published{Container: p.Container, Port: uint16(p.Port), MachinePort: uint16(p.At()), On: p.On, Protocol: p.Protocol})
		}
		out = append(out, n)
	}
	return out
}

func member(machine, network, container string, d config.Network) system.Member {
	m := d.Members[container]
	out := system.Member{Container: container, Interface: m.Interface, MAC: strings.ToLower(m.MAC), Addresses: m.Addresses}
	if out.Interface == "" {
		out.Interface = network
	}
	if out.MAC == "" && d.Type != string(system.Move) {
		out.MAC = wiring.MAC(machine, network, container)
	}
	return out
}

// join gives a container its interfaces, the names of its peers and its name
// servers. A peer is known by its name and, where that leads to several
// networks, by NAME.NETWORK.
func join(c *system.Container, list []system.Network, declared map[string]config.Network) {
	for _, n := range list {
		i := slices.IndexFunc(n.Members, func(m system.Member) bool { return m.Container == c.Name })
		if i < 0 {
			continue
		}
		own := n.Members[i]
		c.Network = system.MemberNetwork
		c.Interfaces = append(c.Interfaces, system.Joined{Network: n.Name, Name: own.Interface, MAC: own.MAC, Addresses: own.Addresses})
		for _, peer := range n.Members {
			if peer.Container == c.Name {
				continue
			}
			for _, a := range peer.Addresses {
				c.Hosts = append(c.Hosts, system.Host{Address: bare(a), Names: []string{peer.Container, peer.Container + "." + n.Name}})
			}
		}
		for _, s := range declared[n.Name].DNS {
			if !slices.Contains(c.DNS, s) {
				c.DNS = append(c.DNS, s)
			}
		}
	}
}

// bare is an address without its prefix length.
func bare(cidr string) string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return cidr
	}
	return p.Addr().String()
}

// nameServers are those that a container has in some configuration; its image
// needs a place for them.
func nameServers(def *config.Definition, container string) []string {
	var out []string
	for _, c := range def.Configurations {
		for _, n := range c.Networks {
			if _, ok := n.Members[container]; ok {
				out = append(out, n.DNS...)
			}
		}
	}
	return out
}

// networkModules are the kernel modules that the networks of all configurations
// need.
func networkModules(def *config.Definition) []string {
	set := map[string]bool{}
	need := func(names ...string) {
		for _, n := range names {
			set[n] = true
		}
	}
	for _, c := range def.Configurations {
		for _, n := range c.Networks {
			switch n.Type {
			case "bridge":
				need("bridge", "veth", "nf_tables", "nft_ct", "nf_conntrack")
			case "point-to-point":
				need("veth")
			case "macvlan":
				need("macvlan")
			}
			if n.Gateway == nil {
				continue
			}
			need("nf_tables", "nft_ct", "nf_conntrack")
			if n.Gateway.Masquerade {
				need("nft_chain_nat", "nft_masq")
			}
			if len(n.Publish) > 0 {
				need("nft_chain_nat", "nft_nat")
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
