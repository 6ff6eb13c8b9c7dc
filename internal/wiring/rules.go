package wiring

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/instar-os/instar/internal/nft"
	"github.com/instar-os/instar/internal/system"
)

// What the machine's own traffic to itself may be addressed to beside its
// addresses; it cannot leave the machine.
var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// rules compiles what may pass between networks: nothing that is not declared.
// Without an end of the machine on any network there is nothing to filter.
func rules(networks []system.Network, uplinks []string) ([]byte, error) {
	f := &filter{uplinks: uplinks, forward: []nft.Rule{nft.Join(nft.CTState(nft.Established|nft.Related), nft.Accept())}}
	for _, n := range networks {
		if n.Type != system.Bridge && len(n.Gateway) == 0 {
			continue
		}
		f.ends++
		f.machine(&n)
		if n.Type == system.Bridge { // where br_netfilter shows the machine what passes a bridge
			f.forward = append(f.forward, nft.Join(nft.IifName(n.Name), nft.OifName(n.Name), nft.Accept()))
		}
		if err := f.out(&n); err != nil {
			return nil, fmt.Errorf("compiling the rules of network %s: %w", n.Name, err)
		}
		if err := f.published(&n); err != nil {
			return nil, fmt.Errorf("compiling the rules of network %s: %w", n.Name, err)
		}
	}
	if f.ends == 0 {
		return nil, nil
	}
	t := nft.Table{Name: Table, Chains: []nft.Chain{
		{Name: "input", Type: "filter", Hook: nft.Input, Priority: nft.Filter, Rules: f.input},
		{Name: "forward", Type: "filter", Hook: nft.Forward, Priority: nft.Filter, Drop: true, Rules: f.forward},
	}}
	if len(f.prerouting)+len(f.output) > 0 {
		t.Chains = append(t.Chains,
			nft.Chain{Name: "prerouting", Type: "nat", Hook: nft.Prerouting, Priority: nft.DstNAT, Rules: f.prerouting},
			nft.Chain{Name: "output", Type: "nat", Hook: nft.Output, Priority: nft.DstNAT, Rules: f.output})
	}
	if len(f.postrouting) > 0 {
		t.Chains = append(t.Chains, nft.Chain{Name: "postrouting", Type: "nat", Hook: nft.Postrouting, Priority: nft.SrcNAT, Rules: f.postrouting})
	}
	return t.Batch(), nil
}

type filter struct {
	uplinks []string
	ends    int

	input, forward, prerouting, output, postrouting []nft.Rule
}

// machine lets members ask whether their gateway lives, and nothing else of
// the machine. Answers to what the machine began come through.
func (f *filter) machine(n *system.Network) {
	from := nft.IifName(n.Name)
	if len(n.Gateway) > 0 {
		f.input = append(f.input,
			nft.Join(from, nft.L4Proto(nft.ICMP), nft.Accept()),
			nft.Join(from, nft.L4Proto(nft.ICMPv6), nft.Accept()),
			nft.Join(from, nft.CTState(nft.Established|nft.Related), nft.Accept()))
	}
	f.input = append(f.input, nft.Join(from, nft.Drop()))
}

// out lets members reach what the machine's interfaces reach.
func (f *filter) out(n *system.Network) error {
	if !n.Masquerade {
		return nil
	}
	for _, g := range n.Gateway {
		p, err := netip.ParsePrefix(g)
		if err != nil {
			return err
		}
		for _, u := range f.uplinks {
			f.forward = append(f.forward, nft.Join(nft.IifName(n.Name), nft.SAddr(p), nft.OifName(u), nft.Accept()))
			f.postrouting = append(f.postrouting, nft.Join(nft.SAddr(p), nft.OifName(u), nft.Masquerade()))
		}
	}
	return nil
}

// published sends connections to the machine's ports on to members: those that
// come in by its interfaces, and its own to its own addresses.
func (f *filter) published(n *system.Network) error {
	for _, p := range n.Published {
		i := slices.IndexFunc(n.Members, func(m system.Member) bool { return m.Container == p.Container })
		if i < 0 {
			return fmt.Errorf("%s is not a member", p.Container)
		}
		proto := byte(nft.TCP)
		if p.Protocol == "udp" {
			proto = nft.UDP
		}
		targets, err := reachable(n, n.Members[i].Addresses)
		if err != nil {
			return err
		}
		on := f.uplinks
		if p.On != "" {
			on = []string{p.On}
		}
		for _, to := range targets {
			f.publish(n.Name, on, proto, p.MachinePort, netip.AddrPortFrom(to, p.Port))
		}
	}
	return nil
}

func (f *filter) publish(network string, on []string, proto byte, port uint16, to netip.AddrPort) {
	whole := netip.PrefixFrom(to.Addr(), to.Addr().BitLen())
	local := nft.NotDAddr(loopback6)
	if to.Addr().Is4() {
		local = nft.NotDAddr(loopback4)
	}
	for _, u := range on { // a translation of one family leaves the other's packets alone
		f.prerouting = append(f.prerouting, nft.Join(nft.IifName(u), nft.DPort(proto, port), nft.DNAT(to)))
	}
	f.output = append(f.output, nft.Join(nft.OifName("lo"), local, nft.DPort(proto, port), nft.DNAT(to)))
	f.forward = append(f.forward, nft.Join(nft.OifName(network), nft.DAddr(whole), nft.DPort(proto, to.Port()), nft.CTStatus(nft.DNATed), nft.Accept()))
}

// reachable returns the first address of each family that the gateway has too.
func reachable(n *system.Network, addresses []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return nil, err
		}
		six := p.Addr().Is6()
		if slices.ContainsFunc(n.Gateway, func(g string) bool { return isSix(g) == six }) &&
			!slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is6() == six }) {
			out = append(out, p.Addr())
		}
	}
	return out, nil
}

// NoRules is the transaction after which there is no table.
func NoRules() []byte { return nft.Remove(Table) }
