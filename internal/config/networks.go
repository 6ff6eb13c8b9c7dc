package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Network is a network of a configuration: which containers are on it, with
// which addresses, and what leads out of it.
type Network struct {
	Type    string            `yaml:"type" doc:"point-to-point: a cable between two ends. bridge: every member reaches every other. macvlan: each member has an address of its own on the network of a machine's interface. move: a device of the machine belongs to the only member." enum:"point-to-point,bridge,macvlan,move" default:"bridge"`
	Members map[string]Member `yaml:"members,required" keys:"name" doc:"Containers on the network, by name, each with its addresses. They find each other by these names." example:"{broker: {addresses: [10.9.0.1/24]}}"`
	Gateway *Gateway          `yaml:"gateway" doc:"The machine is on the network as well, and the members' way out. For bridge and point-to-point."`
	Publish []Publish         `yaml:"publish" doc:"Ports of members that are reachable at the machine's addresses. Needs gateway."`
	Over    string            `yaml:"over" is:"interface" doc:"Interface of the machine that the members share. For macvlan." example:"lan"`
	Match   Match             `yaml:"match" doc:"Which device is moved. For move." example:"{path: \"0000:00:05.0\"}"`
	Routers []string          `yaml:"routers" is:"ip" unique:"true" doc:"Default gateways out there, at most one of IPv4 and one of IPv6. For macvlan and move." example:"[192.0.2.1]"`
	DNS     []string          `yaml:"dns" is:"ip" unique:"true" doc:"Name servers of the members. Without any they know their peers' names only."`
	MTU     int               `yaml:"mtu" doc:"MTU in bytes. Default: the kernel's." min:"1280" max:"65535"`
}

// Member is a container's interface on a network.
type Member struct {
	Addresses []string `yaml:"addresses,required" is:"cidr" unique:"true" doc:"Its addresses with prefix length, IPv4 and IPv6." example:"[10.9.0.1/24, \"fd09::1/64\"]"`
	MAC       string   `yaml:"mac" is:"mac" doc:"Its hardware address. Default: one that follows from the names of machine, network and container. Not for move." example:"02:00:00:00:00:01"`
	Interface string   `yaml:"interface" is:"interface" doc:"Name of the interface in the container. Default: the network's name."`
}

// Gateway is the machine's end of a network.
type Gateway struct {
	Addresses  []string `yaml:"addresses,required" is:"cidr" unique:"true" doc:"The machine's addresses on the network." example:"[10.9.0.254/24]"`
	Masquerade bool     `yaml:"masquerade" doc:"Members reach what lies behind the machine's interfaces, under the machine's addresses."`
}

// Publish makes a port of a member reachable at the machine.
type Publish struct {
	Container   string `yaml:"container,required" is:"name" doc:"The member." example:"panel"`
	Port        int    `yaml:"port,required" doc:"Its port." min:"1" max:"65535" example:"80"`
	MachinePort int    `yaml:"machinePort" doc:"The machine's port. Default: the same." min:"1" max:"65535"`
	On          string `yaml:"on" is:"interface" doc:"Interface of the machine at which it is reachable. Default: all that the machine declares."`
	Protocol    string `yaml:"protocol" doc:"Transport protocol." enum:"tcp,udp" default:"tcp"`
}

// At is the port on the machine.
func (p Publish) At() int {
	if p.MachinePort != 0 {
		return p.MachinePort
	}
	return p.Port
}

// A networkChecker checks the networks of one configuration.
type networkChecker struct {
	*checker
	configuration string
	cfg           Configuration
	hosts         map[netip.Addr]string   // who has an address
	subnets       map[netip.Prefix]string // which network is where
	macs          map[string]string
	ifaces        map[string]string // "container interface" to network
	ways          map[string]string // "container family" to the network that leads out
	moved         map[Match]string
	published     []published
}

type published struct {
	Publish
	who string
}

func (c *checker) networks(name string, cfg Configuration) {
	n := &networkChecker{c, name, cfg, map[netip.Addr]string{}, map[netip.Prefix]string{},
		map[string]string{}, map[string]string{}, map[string]string{}, map[Match]string{}, nil}
	for _, iface := range sorted(c.def.Network) {
		for _, a := range c.def.Network[iface].Addresses {
			if p, err := netip.ParsePrefix(a); err == nil {
				n.subnets[p.Masked()], n.hosts[p.Addr()] = "interface "+iface, "the machine's "+iface
			}
		}
	}
	for _, net := range sorted(cfg.Networks) {
		n.network(join(join("configurations", name)+".networks", net), net, cfg.Networks[net])
	}
}

func (n *networkChecker) network(path, name string, net Network) {
	n.shape(path, name, net)
	seen := map[bool]netip.Prefix{} // the network's subnet, by whether it is IPv6
	for _, member := range sorted(net.Members) {
		at := join(path+".members", member)
		n.member(at, name, member, net)
		n.addresses(at, name, member, net, net.Members[member].Addresses, seen)
	}
	if net.Gateway != nil {
		n.addresses(path+".gateway", name, "gateway of "+name, net, net.Gateway.Addresses, seen)
	}
	for i, r := range net.Routers {
		n.router(index(path+".routers", i), r, seen)
	}
	for _, p := range seen {
		n.subnets[p] = "network " + name
	}
	n.way(path, name, net)
	for i, p := range net.Publish {
		n.publish(index(path+".publish", i), name, net, p)
	}
}

// shape checks that the keys fit the type.
func (n *networkChecker) shape(path, name string, net Network) {
	inside := net.Type == "bridge" || net.Type == "point-to-point"
	only := func(key, types string, set, ok bool) {
		if set && !ok {
			n.wrongKey(path+"."+key, "is not for "+net.Type, "it is for "+types)
		}
	}
	only("gateway", "bridge and point-to-point", net.Gateway != nil, inside)
	only("over", "macvlan", net.Over != "", net.Type == "macvlan")
	only("match", "move", n.has(path+".match"), net.Type == "move")
	only("routers", "macvlan and move", len(net.Routers) > 0, !inside)
	if net.Gateway == nil && len(net.Publish) > 0 {
		n.wrongKey(path+".publish", "needs a gateway", "give the machine an address on the network: gateway: {addresses: [10.9.0.254/24]}")
	}
	ends := len(net.Members)
	if net.Gateway != nil {
		ends++
	}
	switch {
	case n.isBad(path+".members") || n.isBad(path+".type") || n.within(path+".members"):
	case net.Type == "point-to-point" && ends != 2:
		n.wrongKey(path, fmt.Sprintf("a point-to-point network has two ends, this one has %d", ends), "two members, or one and a gateway; a bridge connects more")
	case net.Type == "move" && len(net.Members) != 1:
		n.wrongKey(path, "a device is moved to exactly one container", "")
	}
	switch net.Type {
	case "macvlan":
		if !n.has(path + ".over") {
			n.missing(path, "over", "name an interface of the machine")
		} else {
			n.interfaceOf(path+".over", net.Over)
		}
	case "move":
		n.move(path, name, net.Match)
	default:
		if _, taken := n.def.Network[name]; taken {
			n.wrongKey(path, "the machine has an interface "+name, "give the network a name of its own")
		}
	}
}

// interfaceOf reports a name that is no interface of the machine.
func (n *networkChecker) interfaceOf(path, name string) {
	if _, ok := n.def.Network[name]; !ok {
		n.wrong(path, fmt.Sprintf("the machine has no interface %q", name), "declare it under network")
	}
}

func (n *networkChecker) move(path, name string, m Match) {
	switch other, twice := n.moved[m]; {
	case !n.has(path + ".match"):
		n.missing(path, "match", "say which device it is")
	case m == (Match{}):
		if !n.within(path + ".match") {
			n.wrong(path+".match", "selects nothing", "give one of driver, mac, path, name")
		}
	case twice:
		n.wrong(path+".match", "network "+other+" has moved the same device", "a device belongs to one container")
	}
	for _, iface := range sorted(n.def.Network) {
		if m == n.def.Network[iface].Match && m != (Match{}) {
			n.wrong(path+".match", "selects the same device as interface "+iface, "a device belongs to the machine or to one container")
		}
	}
	n.moved[m] = name
}

func (n *networkChecker) member(path, network, name string, net Network) {
	m := net.Members[name]
	ct, declared := n.def.Containers[name]
	switch {
	case !n.named(path, name, "container", sorted(n.def.Containers)) || !declared:
	case !slices.Contains(n.cfg.Containers, name):
		n.wrongKey(path, fmt.Sprintf("%s does not run in configuration %s", name, n.configuration), "add it to the configuration's containers")
	case ct.Network == "host":
		n.wrongKey(path, name+" has the machine's network", "remove network: host from the container, or the container from this network")
	}
	iface := m.Interface
	if iface == "" {
		iface = network
	}
	if other, taken := n.ifaces[name+" "+iface]; taken {
		n.wrong(path+".interface", fmt.Sprintf("%s has an interface %s on network %s", name, iface, other), "choose another name")
	}
	n.ifaces[name+" "+iface] = network
	if m.MAC != "" {
		n.mac(path+".mac", network, name, m.MAC, net)
	}
}

func (n *networkChecker) mac(path, network, name, text string, net Network) {
	mac := strings.ToLower(text)
	first, err := strconv.ParseUint(mac[:min(2, len(mac))], 16, 8)
	switch other, taken := n.macs[mac]; {
	case err != nil:
	case net.Type == "move":
		n.wrongKey(path, "a moved device keeps its hardware address", "remove it")
	case first&1 != 0 || mac == "00:00:00:00:00:00":
		n.wrong(path, text+" is no address of a single interface", "begin it with 02")
	case taken:
		n.wrong(path, "is that of "+other, "remove it; the default is unique")
	}
	n.macs[mac] = name + " on " + network
}

// addresses checks one end's addresses: usable, nobody else's, in the network's
// one subnet of IPv4 and one of IPv6, which no other network overlaps.
func (n *networkChecker) addresses(path, network, who string, net Network, list []string, seen map[bool]netip.Prefix) {
	for i, text := range list {
		at := index(path+".addresses", i)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		six := p.Addr().Is6()
		subnet, known := seen[six]
		switch other, taken := n.hosts[p.Addr()]; {
		case !usable(p):
			n.wrong(at, p.Addr().String()+" cannot be an interface's address", "choose an address within the subnet")
		case taken:
			n.wrong(at, fmt.Sprintf("%s is the address of %s", p.Addr(), other), "choose another")
		case known && subnet != p.Masked():
			n.wrong(at, fmt.Sprintf("%s is not in the network's subnet %s", p, subnet), "a network has one subnet of IPv4 and one of IPv6")
		case !known:
			n.overlap(at, network, net, p.Masked())
		}
		n.hosts[p.Addr()] = who
		if !known {
			seen[six] = p.Masked()
		}
	}
}

// overlap reports a subnet that lies where another is. Those of macvlan and
// moved devices are out there, where the machine's interfaces are as well.
func (n *networkChecker) overlap(at, network string, net Network, p netip.Prefix) {
	outside := net.Type == "macvlan" || net.Type == "move"
	var others []netip.Prefix
	for o, what := range n.subnets {
		if o.Overlaps(p) && !(outside && strings.HasPrefix(what, "interface ")) {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		return
	}
	slices.SortFunc(others, netip.Prefix.Compare)
	n.wrong(at, fmt.Sprintf("%s overlaps %s of %s", p, others[0], n.subnets[others[0]]), "choose another subnet")
}

// usable reports whether an interface can have the address.
func usable(p netip.Prefix) bool {
	a := p.Addr()
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() || p.Bits() == 0 {
		return false
	}
	if !a.Is4() || p.Bits() >= 31 {
		return true
	}
	above := a.Next()
	return a != p.Masked().Addr() && above.IsValid() && p.Contains(above)
}

// way checks that no member has two default routes of a family.
func (n *networkChecker) way(path, name string, net Network) {
	out, key := net.Routers, ".routers"
	if net.Gateway != nil {
		out, key = net.Gateway.Addresses, ".gateway"
	}
	for _, member := range sorted(net.Members) {
		for _, family := range []string{"IPv4", "IPv6"} {
			if !slices.ContainsFunc(out, func(a string) bool { return strings.Contains(a, ":") == (family == "IPv6") }) {
				continue
			}
			if other, taken := n.ways[member+" "+family]; taken && other != name {
				n.wrongKey(path+key, fmt.Sprintf("%s has its way out, for %s, on network %s", member, family, other), "a container has one default route; put it on one of the two")
				return
			}
			n.ways[member+" "+family] = name
		}
	}
}

func (n *networkChecker) router(at, text string, seen map[bool]netip.Prefix) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return
	}
	subnet, known := seen[a.Is6()]
	switch other, taken := n.hosts[a]; {
	case !known || !subnet.Contains(a):
		n.wrong(at, text+" is in the subnet of no member", "a router is reached directly")
	case taken:
		n.wrong(at, text+" is the address of "+other, "")
	}
	n.hosts[a] = "a router"
}

func (n *networkChecker) publish(at, network string, net Network, p Publish) {
	if _, member := net.Members[p.Container]; !member {
		n.wrong(at+".container", fmt.Sprintf("%s is not on network %s", p.Container, network), oneOf(p.Container, sorted(net.Members)))
	}
	if p.On != "" {
		n.interfaceOf(at+".on", p.On)
	}
	key := at + ".port"
	if p.MachinePort != 0 {
		key = at + ".machinePort"
	}
	for _, o := range n.published {
		if o.At() == p.At() && o.Protocol == p.Protocol && (o.On == "" || p.On == "" || o.On == p.On) {
			n.wrong(key, fmt.Sprintf("port %d of the machine is published for %s", p.At(), o.who), "set another machinePort")
			return
		}
	}
	n.published = append(n.published, published{p, p.Container})
	for _, name := range n.cfg.Containers {
		ct := n.def.Containers[name]
		if ct.Network == "host" && p.Protocol == "tcp" && healthPort(ct.Health) == p.At() {
			n.wrong(key, fmt.Sprintf("port %d of the machine is that of %s, which has the machine's network", p.At(), name), "set another machinePort")
		}
	}
}

// healthPort is the TCP port that a container is known to serve, or 0.
func healthPort(h *Health) int {
	if h == nil {
		return 0
	}
	text := h.TCP
	if h.HTTP != "" {
		host, _, _ := strings.Cut(strings.TrimPrefix(h.HTTP, "http://"), "/")
		if text = host; !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":") {
			return 80
		}
	}
	n, err := strconv.Atoi(text[strings.LastIndexByte(text, ':')+1:])
	if err != nil {
		return 0
	}
	return n
}
