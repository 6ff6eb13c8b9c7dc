package wiring

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// Compile makes the program of a configuration's networks. uplinks are the
// interfaces that the machine declares. The order of its arguments is that of
// names; the same network is the same bytes in every configuration that has it.
func Compile(networks []system.Network, uplinks []string) (*Program, error) {
	c := &compiler{p: &Program{Version: Version, Spaces: []Space{}, Settings: []Setting{}, Networks: []Network{}},
		indices: map[uint32]string{}}
	var members []string
	for _, n := range networks {
		for _, m := range n.Members {
			members = append(members, m.Container)
		}
	}
	slices.Sort(members)
	for _, name := range slices.Compact(members) {
		c.p.Spaces = append(c.p.Spaces, Space{name, spaceSettings()})
	}
	for _, n := range networks {
		if err := c.network(&n); err != nil {
			return nil, fmt.Errorf("compiling network %s: %w", n.Name, err)
		}
	}
	var err error
	if c.p.Rules, err = rules(networks, uplinks); err != nil {
		return nil, err
	}
	c.p.Settings = machineSettings(networks)
	return c.p, c.p.Check()
}

// spaceSettings are those of every member's namespace. It belongs to the
// machine, so that no capability of the container changes its addresses; for
// the same reason none would let it listen on a low port. Nobody on the network
// tells it routes.
func spaceSettings() []Setting {
	return []Setting{
		{"net/ipv4/ip_unprivileged_port_start", "0"},
		{"net/ipv6/conf/all/accept_ra", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
	}
}

// machineSettings lets the machine forward where something is declared that
// needs it.
func machineSettings(networks []system.Network) []Setting {
	out := []Setting{}
	for _, v := range []struct {
		six  bool
		path string
	}{{false, "net/ipv4/ip_forward"}, {true, "net/ipv6/conf/all/forwarding"}} {
		if slices.ContainsFunc(networks, func(n system.Network) bool {
			return (n.Masquerade || len(n.Published) > 0) && slices.ContainsFunc(n.Gateway, func(a string) bool { return isSix(a) == v.six })
		}) {
			out = append(out, Setting{v.path, "1"})
		}
	}
	return out
}

func isSix(cidr string) bool {
	p, err := netip.ParsePrefix(cidr)
	return err == nil && p.Addr().Is6()
}

// MAC returns the hardware address that follows from names: locally
// administered, of one interface.
func MAC(names ...string) string {
	d := digest.Of([]byte(fmt.Sprintf("hardware address %q", names)))
	return net.HardwareAddr{0x02, d[0], d[1], d[2], d[3], d[4]}.String()
}

type compiler struct {
	p       *Program
	indices map[uint32]string
}

// index chooses the number of an interface. Those that the kernel counts
// begin at 1 and do not come so far.
func (c *compiler) index(names ...string) (uint32, error) {
	what := fmt.Sprintf("interface %q", names)
	d := digest.Of([]byte(what))
	v := 1<<16 + binary.LittleEndian.Uint32(d[:])%(maxInterfaceNumber-1<<16)
	if other, taken := c.indices[v]; taken && other != what {
		return 0, fmt.Errorf("%s and %s hash to the same number; rename one of them", what, other)
	}
	c.indices[v] = what
	return v, nil
}

// An end is one interface of a network.
type end struct {
	who       string // the container in whose namespace it is; "" for the machine
	name      string
	index     uint32
	mac       net.HardwareAddr
	addresses []netip.Prefix
	routers   []netip.Addr
}

func (e *end) six() bool {
	return slices.ContainsFunc(e.addresses, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

func (e *end) label() string {
	if e.who == "" {
		return "of the machine"
	}
	return "of " + e.who
}

func (c *compiler) network(n *system.Network) error {
	ends, err := c.ends(n)
	if err != nil {
		return err
	}
	out := Network{Name: n.Name}
	switch n.Type {
	case system.Bridge:
		err = c.bridge(&out, n, ends)
	case system.PointToPoint:
		if len(ends) != 2 {
			return fmt.Errorf("%d ends instead of two", len(ends))
		}
		out.Steps = append(out.Steps, veth(n, ends[0], ends[1], 0))
		out.Undo = append(out.Undo, remove(ends[0].who, ends[0].index, "removing the cable"))
	case system.Macvlan:
		out.Device.Interface = n.Over
		for _, e := range ends {
			out.Steps = append(out.Steps, macvlan(n, e))
			out.Undo = append(out.Undo, remove(e.who, e.index, "removing the interface "+e.label()))
		}
	case system.Move:
		out.Device = Device{Driver: n.Match.Driver, MAC: n.Match.MAC, Path: n.Match.Path, Name: n.Match.Name}
		out.Steps = append(out.Steps, move(n, ends[0]))
		out.Undo = append(out.Undo, giveBack(ends[0]))
	default:
		err = fmt.Errorf("unknown type %q", n.Type)
	}
	for _, e := range ends {
		outside := n.Type == system.Macvlan || n.Type == system.Move
		if e.six() && !outside {
			e.addresses = append(e.addresses, linkLocal(e.index))
		}
		out.Steps = append(out.Steps, settle(e, outside && e.six())...)
	}
	c.p.Networks = append(c.p.Networks, out)
	return err
}

// ends returns the members' ends and, with a gateway, the machine's first.
func (c *compiler) ends(n *system.Network) ([]*end, error) {
	var all []*end
	machine := system.Member{Interface: n.Name, MAC: n.MAC, Addresses: n.Gateway}
	if len(n.Gateway) > 0 || n.Type == system.Bridge {
		e, err := c.end(n, machine)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	for _, m := range n.Members {
		e, err := c.end(n, m)
		if err != nil {
			return nil, err
		}
		for _, r := range append(slices.Clone(n.Routers), n.Gateway...) {
			a, err := netip.ParseAddr(r)
			if p, e := netip.ParsePrefix(r); e == nil {
				a, err = p.Addr(), nil
			}
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(e.addresses, func(p netip.Prefix) bool { return p.Contains(a) }) &&
				!slices.ContainsFunc(e.routers, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
				e.routers = append(e.routers, a)
			}
		}
		all = append(all, e)
	}
	return all, nil
}

func (c *compiler) end(n *system.Network, m system.Member) (*end, error) {
	e := &end{who: m.Container, name: m.Interface}
	var err error
	if e.index, err = c.index(n.Name, m.Container); err != nil {
		return nil, err
	}
	if m.MAC != "" {
		if e.mac, err = net.ParseMAC(m.MAC); err != nil {
			return nil, err
		}
	}
	if len(m.Interface) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("the name %s has more than %d characters", m.Interface, unix.IFNAMSIZ-1)
	}
	for _, a := range m.Addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return nil, err
		}
		e.addresses = append(e.addresses, p)
	}
	return e, nil
}

// bridge makes the bridge, and a cable from it to each member. Its own
// interface is the machine's end.
func (c *compiler) bridge(out *Network, n *system.Network, ends []*end) error {
	b := ends[0]
	m := request(unix.RTM_NEWLINK, createNew)
	m.link(b.index, 0, 0)
	described(m, n, b)
	m.kind("bridge", func() { m.attr(brMulticastSnoop, []byte{0}) })
	out.Steps = append(out.Steps, m.step("", "making bridge "+n.Name))
	for _, e := range ends[1:] {
		index, err := c.index(n.Name, e.who, "port")
		if err != nil {
			return err
		}
		port := &end{name: fmt.Sprintf("p%x", index), index: index}
		out.Steps = append(out.Steps, veth(n, port, e, b.index))
		out.Steps = append(out.Steps, raise("", index, false, "raising the port of "+e.who)...)
		out.Undo = append(out.Undo, remove("", index, "removing the port of "+e.who))
	}
	out.Undo = append(out.Undo, remove("", b.index, "removing bridge "+n.Name))
	return nil
}

// described appends what every new interface has.
func described(m *message, n *system.Network, e *end) {
	m.text(unix.IFLA_IFNAME, e.name)
	if e.mac != nil {
		m.attr(unix.IFLA_ADDRESS, e.mac)
	}
	if n.MTU > 0 {
		m.number(unix.IFLA_MTU, uint32(n.MTU))
	}
}

// veth makes a cable, its ends where they belong; the first may be a port of a
// bridge.
func veth(n *system.Network, a, b *end, bridge uint32) Step {
	m := request(unix.RTM_NEWLINK, createNew)
	m.link(a.index, 0, 0)
	described(m, n, a)
	m.inSpace(a.who)
	if bridge != 0 {
		m.number(unix.IFLA_MASTER, bridge)
	}
	m.kind("veth", func() {
		m.nest(vethInfoPeer, func() {
			m.link(b.index, 0, 0)
			described(m, n, b)
			m.inSpace(b.who)
		})
	})
	if bridge != 0 {
		return m.step("", "making a cable from the bridge to "+b.who)
	}
	return m.step("", fmt.Sprintf("making a cable between %s and %s", cmp.Or(a.who, "the machine"), b.who))
}

func macvlan(n *system.Network, e *end) Step {
	m := request(unix.RTM_NEWLINK, createNew)
	m.link(e.index, 0, 0)
	described(m, n, e)
	m.inSpace(e.who)
	m.hole(unix.IFLA_LINK, Index, "")
	m.kind("macvlan", func() { m.number(macvlanMode, macvlanModeBridge) })
	return m.step("", fmt.Sprintf("making the interface of %s over %s", e.who, n.Over))
}

// move puts a device into the member's namespace, with its new name and
// number. The kernel gives it back when the namespace ends.
func move(n *system.Network, e *end) Step {
	m := request(unix.RTM_NEWLINK, 0)
	m.holes = append(m.holes, Hole{At: uint32(len(m.b)) + 4, Kind: Index}) // ifi_index
	m.link(0, 0, unix.IFF_UP)
	described(m, n, e)
	m.inSpace(e.who)
	m.number(iflaNewIndex, e.index)
	return m.step("", "moving the device to "+e.who)
}

// giveBack moves a device to the namespace of process 1, the machine's.
func giveBack(e *end) Step {
	m := request(unix.RTM_NEWLINK, 0)
	m.link(e.index, 0, unix.IFF_UP)
	m.text(unix.IFLA_IFNAME, "moved%d")
	m.number(unix.IFLA_NET_NS_PID, 1)
	return m.step(e.who, "giving the device back")
}

// linkLocal is the address with which a router asks for its neighbours. The
// kernel would make one as well, and check for some seconds whether somebody
// else has it, during which nothing is forwarded.
func linkLocal(index uint32) netip.Prefix {
	a := [16]byte{0xfe, 0x80, 11: 1}
	binary.BigEndian.PutUint32(a[12:], index)
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// settle brings an interface up and gives it what it has. auto lets the kernel
// add a link-local address of IPv6.
func settle(e *end, auto bool) []Step {
	steps := raise(e.who, e.index, auto, "raising the interface "+e.label())
	for _, a := range e.addresses {
		steps = append(steps, address(e.who, e.index, a, fmt.Sprintf("adding address %s %s", a, e.label())))
	}
	for _, r := range e.routers {
		steps = append(steps, route(e.who, e.index, r, fmt.Sprintf("setting the default route %s to %s", e.label(), r)))
	}
	return steps
}

// StandIn returns the steps that make a cable to nowhere, for a machine that
// lacks a device, and the index of its end. A name of "" is the kernel's choice.
func StandIn(name string) (int, []Step) {
	d := digest.Of([]byte("stand-in for " + name))
	index := 1<<16 + binary.LittleEndian.Uint32(d[:])%(maxInterfaceNumber-1<<16)
	m := request(unix.RTM_NEWLINK, createNew)
	m.link(index, 0, 0)
	if name != "" {
		m.text(unix.IFLA_IFNAME, name)
	}
	m.kind("veth", func() {
		m.nest(vethInfoPeer, func() { m.link(index+1, 0, 0) })
	})
	steps := []Step{m.step("", "making a cable that stands in for "+name)}
	for _, i := range []uint32{index, index + 1} {
		steps = append(steps, raise("", i, false, "raising the stand-in for "+name)...)
	}
	return int(index), steps
}
