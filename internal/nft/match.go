package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Registers: a value to compare, and the address and port of a translation.
const (
	register  = unix.NFT_REG_1
	addressIn = unix.NFT_REG_1
	portIn    = unix.NFT_REG_2
)

// Verdicts.
const (
	drop   = 0 // NF_DROP
	accept = 1 // NF_ACCEPT
)

// Protocol numbers of IP for L4Proto.
const (
	TCP    = unix.IPPROTO_TCP
	UDP    = unix.IPPROTO_UDP
	ICMP   = unix.IPPROTO_ICMP
	ICMPv6 = unix.IPPROTO_ICMPV6
)

// States of connections, as bits: NF_CT_STATE_BIT of nf_conntrack_common.h.
const (
	Established = 1 << 1
	Related     = 1 << 2
)

// DNATed is the bit IPS_DST_NAT of a connection's status.
const DNATed = 1 << 5

// IifName matches packets that came in by an interface.
func IifName(name string) []Expr { return ifName(unix.NFT_META_IIFNAME, unix.NFT_CMP_EQ, name) }

// OifName matches packets that go out by an interface.
func OifName(name string) []Expr { return ifName(unix.NFT_META_OIFNAME, unix.NFT_CMP_EQ, name) }

func ifName(key, op uint32, name string) []Expr {
	value := make([]byte, unix.IFNAMSIZ)
	copy(value, name)
	return []Expr{meta(key), compare(op, value)}
}

// L4Proto matches a transport protocol.
func L4Proto(proto byte) []Expr {
	return []Expr{meta(unix.NFT_META_L4PROTO), compare(unix.NFT_CMP_EQ, []byte{proto})}
}

// DPort matches a destination port of TCP or UDP.
func DPort(proto byte, port uint16) []Expr {
	const offset = 2 // struct tcphdr, struct udphdr
	return append(L4Proto(proto), payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2), compare(unix.NFT_CMP_EQ, be16(port)))
}

// SAddr matches packets from a subnet.
func SAddr(p netip.Prefix) []Expr { return address(p, 12, 8, unix.NFT_CMP_EQ) }

// DAddr matches packets to a subnet.
func DAddr(p netip.Prefix) []Expr { return address(p, 16, 24, unix.NFT_CMP_EQ) }

// NotDAddr matches packets of the subnet's family to elsewhere.
func NotDAddr(p netip.Prefix) []Expr { return address(p, 16, 24, unix.NFT_CMP_NEQ) }

// address compares an address at an offset of struct iphdr or ipv6hdr.
func address(p netip.Prefix, v4, v6, op uint32) []Expr {
	a := p.Masked().Addr().AsSlice()
	family, offset := byte(unix.NFPROTO_IPV4), v4
	if isIPv6(a) {
		family, offset = unix.NFPROTO_IPV6, v6
	}
	out := []Expr{meta(unix.NFT_META_NFPROTO), compare(unix.NFT_CMP_EQ, []byte{family}),
		payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, uint32(len(a)))}
	if !p.IsSingleIP() {
		out = append(out, bitwise(mask(p.Bits(), len(a))))
	}
	return append(out, compare(op, a))
}

// mask returns bits ones and then zeros, size bytes in all.
func mask(bits, size int) []byte {
	m := make([]byte, size)
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// CTState matches connections in one of the states.
func CTState(states uint32) []Expr { return ctBits(unix.NFT_CT_STATE, states) }

// CTStatus matches connections with one of the status bits.
func CTStatus(bits uint32) []Expr { return ctBits(unix.NFT_CT_STATUS, bits) }

// ctBits compares bits of a number in the machine's byte order.
func ctBits(key, bits uint32) []Expr {
	load := attr(nil, unix.NFTA_CT_KEY, be32(key))
	load = attr(load, unix.NFTA_CT_DREG, be32(register))
	return []Expr{expr("ct", load), bitwise(le32(bits)), compare(unix.NFT_CMP_NEQ, le32(0))}
}

// Accept ends the chain's judgement.
func Accept() []Expr { return verdict(accept) }

// Drop ends the packet.
func Drop() []Expr { return verdict(drop) }

// DNAT sends a connection to another address and port.
func DNAT(to netip.AddrPort) []Expr {
	a := to.Addr().AsSlice()
	family := uint32(unix.NFPROTO_IPV4)
	if isIPv6(a) {
		family = unix.NFPROTO_IPV6
	}
	nat := attr(nil, unix.NFTA_NAT_TYPE, be32(unix.NFT_NAT_DNAT))
	nat = attr(nat, unix.NFTA_NAT_FAMILY, be32(family))
	nat = attr(nat, unix.NFTA_NAT_REG_ADDR_MIN, be32(addressIn))
	nat = attr(nat, unix.NFTA_NAT_REG_PROTO_MIN, be32(portIn))
	return []Expr{immediate(addressIn, a), immediate(portIn, be16(to.Port())), expr("nat", nat)}
}

// Masquerade gives a connection the address of the interface it leaves by.
func Masquerade() []Expr { return []Expr{expr("masq", nil)} }

// Join makes a rule of matches and what happens.
func Join(parts ...[]Expr) Rule {
	var r Rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

func expr(name string, data []byte) Expr {
	return attr(attr(nil, unix.NFTA_EXPR_NAME, text(name)), unix.NFTA_EXPR_DATA|unix.NLA_F_NESTED, data)
}

func meta(key uint32) Expr {
	data := attr(nil, unix.NFTA_META_KEY, be32(key))
	return expr("meta", attr(data, unix.NFTA_META_DREG, be32(register)))
}

func payload(base, offset, size uint32) Expr {
	data := attr(nil, unix.NFTA_PAYLOAD_DREG, be32(register))
	data = attr(data, unix.NFTA_PAYLOAD_BASE, be32(base))
	data = attr(data, unix.NFTA_PAYLOAD_OFFSET, be32(offset))
	return expr("payload", attr(data, unix.NFTA_PAYLOAD_LEN, be32(size)))
}

func compare(op uint32, value []byte) Expr {
	data := attr(nil, unix.NFTA_CMP_SREG, be32(register))
	data = attr(data, unix.NFTA_CMP_OP, be32(op))
	return expr("cmp", attr(data, unix.NFTA_CMP_DATA|unix.NLA_F_NESTED, dataValue(value)))
}

// bitwise keeps the bits of a mask.
func bitwise(m []byte) Expr {
	data := attr(nil, unix.NFTA_BITWISE_SREG, be32(register))
	data = attr(data, unix.NFTA_BITWISE_DREG, be32(register))
	data = attr(data, unix.NFTA_BITWISE_LEN, be32(uint32(len(m))))
	data = attr(data, unix.NFTA_BITWISE_MASK|unix.NLA_F_NESTED, dataValue(m))
	return expr("bitwise", attr(data, unix.NFTA_BITWISE_XOR|unix.NLA_F_NESTED, dataValue(make([]byte, len(m)))))
}

func immediate(register uint32, value []byte) Expr {
	data := attr(nil, unix.NFTA_IMMEDIATE_DREG, be32(register))
	return expr("immediate", attr(data, unix.NFTA_IMMEDIATE_DATA|unix.NLA_F_NESTED, dataValue(value)))
}

func verdict(code uint32) []Expr {
	v := attr(nil, unix.NFTA_VERDICT_CODE, be32(code))
	data := attr(nil, unix.NFTA_IMMEDIATE_DREG, be32(unix.NFT_REG_VERDICT))
	data = attr(data, unix.NFTA_IMMEDIATE_DATA|unix.NLA_F_NESTED, attr(nil, unix.NFTA_DATA_VERDICT|unix.NLA_F_NESTED, v))
	return []Expr{expr("immediate", data)}
}

// dataValue is struct nft_data as attributes.
func dataValue(v []byte) []byte { return attr(nil, unix.NFTA_DATA_VALUE, v) }
