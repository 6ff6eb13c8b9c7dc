package wiring

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A message is an rtnetlink request under construction, with its holes. Numbers
// are little-endian, as all machines of instar are. Source: rtnetlink(7),
// linux/if_link.h.
type message struct {
	b     []byte
	holes []Hole
}

func request(kind, flags uint16) *message {
	m := &message{}
	m.b = binary.LittleEndian.AppendUint32(m.b, 0)
	m.b = binary.LittleEndian.AppendUint16(m.b, kind)
	m.b = binary.LittleEndian.AppendUint16(m.b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m.b = append(m.b, make([]byte, 8)...) // sequence number and port
	return m
}

// step ends the message.
func (m *message) step(space, label string) Step {
	binary.LittleEndian.PutUint32(m.b, uint32(len(m.b)))
	return Step{Label: label, Space: space, Message: m.b, Holes: m.holes}
}

// link appends struct ifinfomsg.
func (m *message) link(index, flags, change uint32) {
	m.b = append(m.b, unix.AF_UNSPEC, 0, 0, 0)
	m.u32(index)
	m.u32(flags)
	m.u32(change)
}

func (m *message) u32(v uint32) { m.b = binary.LittleEndian.AppendUint32(m.b, v) }

func (m *message) attr(kind uint16, value []byte) {
	m.nest(kind, func() { m.b = append(m.b, value...) })
}

func (m *message) text(kind uint16, s string) { m.attr(kind, append([]byte(s), 0)) }

func (m *message) number(kind uint16, v uint32) {
	m.attr(kind, binary.LittleEndian.AppendUint32(nil, v))
}

// hole appends an attribute that the device fills in.
func (m *message) hole(kind uint16, what Kind, space string) {
	m.holes = append(m.holes, Hole{At: uint32(len(m.b)) + 4, Kind: what, Space: space})
	m.number(kind, 0)
}

// nest appends an attribute whose value is what f appends, padded to 4 bytes.
func (m *message) nest(kind uint16, f func()) {
	at := len(m.b)
	m.b = binary.LittleEndian.AppendUint16(m.b, 0)
	m.b = binary.LittleEndian.AppendUint16(m.b, kind)
	f()
	binary.LittleEndian.PutUint16(m.b[at:], uint16(len(m.b)-at))
	m.b = append(m.b, make([]byte, -len(m.b)&3)...)
}

// inSpace puts the interface into a container's namespace; "" is where it is
// made.
func (m *message) inSpace(space string) {
	if space != "" {
		m.hole(unix.IFLA_NET_NS_FD, Namespace, space)
	}
}

// kind appends IFLA_LINKINFO.
func (m *message) kind(name string, data func()) {
	m.nest(unix.IFLA_LINKINFO, func() {
		m.attr(unix.IFLA_INFO_KIND, []byte(name))
		if data != nil {
			m.nest(unix.IFLA_INFO_DATA, data)
		}
	})
}

// Numbers of linux/if_link.h and veth.h that x/sys does not have.
const (
	vethInfoPeer       = 1
	brMulticastSnoop   = 23 // IFLA_BR_MCAST_SNOOPING
	macvlanMode        = 1  // IFLA_MACVLAN_MODE
	macvlanModeBridge  = 4
	inet6AddrGenMode   = 8 // IFLA_INET6_ADDR_GEN_MODE
	addrGenModeNone    = 1
	iflaNewIndex       = 49 // IFLA_NEW_IFINDEX
	createNew          = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	createOrReplace    = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	maxInterfaceNumber = 1 << 30
)

// raise brings an interface up. Unless it is let, the kernel does not invent an
// IPv6 address, which has to be said before.
func raise(space string, index uint32, auto bool, label string) []Step {
	var steps []Step
	if !auto {
		m := request(unix.RTM_NEWLINK, 0)
		m.link(index, 0, 0)
		m.nest(unix.IFLA_AF_SPEC, func() {
			m.nest(unix.AF_INET6, func() { m.attr(inet6AddrGenMode, []byte{addrGenModeNone}) })
		})
		steps = append(steps, m.step(space, "keeping made-up addresses off before "+label))
	}
	m := request(unix.RTM_NEWLINK, 0)
	m.link(index, unix.IFF_UP, unix.IFF_UP)
	return append(steps, m.step(space, label))
}

func remove(space string, index uint32, label string) Step {
	m := request(unix.RTM_DELLINK, 0)
	m.link(index, 0, 0)
	return m.step(space, label)
}

// address gives an interface an address. That nobody else has it, the
// definition says, so none is asked.
func address(space string, index uint32, p netip.Prefix, label string) Step {
	ip := p.Addr().AsSlice()
	flags := byte(0)
	if p.Addr().Is6() {
		flags = unix.IFA_F_NODAD
	}
	m := request(unix.RTM_NEWADDR, createOrReplace)
	m.b = append(m.b, family(p.Addr()), byte(p.Bits()), flags, unix.RT_SCOPE_UNIVERSE) // struct ifaddrmsg
	m.u32(index)
	m.attr(unix.IFA_LOCAL, ip)
	m.attr(unix.IFA_ADDRESS, ip)
	if p.Addr().Is4() && p.Bits() < 31 {
		last := binary.BigEndian.Uint32(p.Masked().Addr().AsSlice()) | 1<<(32-p.Bits()) - 1
		m.attr(unix.IFA_BROADCAST, binary.BigEndian.AppendUint32(nil, last))
	}
	return m.step(space, label)
}

// route sets the default route.
func route(space string, index uint32, gateway netip.Addr, label string) Step {
	m := request(unix.RTM_NEWROUTE, createOrReplace)
	m.b = append(m.b, family(gateway), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST) // struct rtmsg
	m.u32(0)
	m.attr(unix.RTA_GATEWAY, gateway.AsSlice())
	m.number(unix.RTA_OIF, index)
	return m.step(space, label)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
