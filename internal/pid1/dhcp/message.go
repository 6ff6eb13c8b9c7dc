// Package dhcp is a client of DHCP for IPv4: discovery with retries, renewal,
// rebinding and expiry, as RFC 2131 has it. It asks for broadcast answers, so
// that an ordinary UDP socket receives them before there is an address.
//
// It does not probe an offered address by ARP, and does not remember a lease
// over a reboot.
package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// kind is a DHCP message type, RFC 2132 section 9.6.
type kind byte

const (
	discover kind = 1
	offer    kind = 2
	request  kind = 3
	ack      kind = 5
	nak      kind = 6
)

// The options that are sent or read, RFC 2132.
const (
	optPad         = 0
	optMask        = 1
	optRouter      = 3
	optDNS         = 6
	optHostname    = 12
	optMTU         = 26
	optAddress     = 50
	optLease       = 51
	optOverload    = 52
	optKind        = 53
	optServer      = 54
	optParameters  = 55
	optMessage     = 56
	optMaxSize     = 57
	optRenewal     = 58
	optRebinding   = 59
	optClient      = 61
	optEnd         = 255
	broadcastFlag  = 0x8000
	headerSize     = 236        // up to the options' cookie
	cookie         = 0x63825363 // RFC 2131 section 3
	maxMessage     = 1500       // bytes that are received
	minMessage     = 300        // RFC 1542 section 2.1: relays drop shorter ones
	maxServers     = 8          // name servers that are taken
	maxText        = 120        // bytes of a server's message that are shown
	infinite       = 0xffffffff
	minimumMTU     = 68
	hardwareLength = 6
)

// message is what is sent or received, as far as the client needs it.
type message struct {
	kind     kind
	xid      uint32
	seconds  uint16     // since the client began
	client   netip.Addr // ciaddr
	yours    netip.Addr // yiaddr
	hardware [hardwareLength]byte

	// Options; zero values are absent.
	requested netip.Addr
	server    netip.Addr
	mask      int // bits
	gateway   netip.Addr
	dns       []netip.Addr
	mtu       int
	lease     time.Duration // 0: infinite, when hasLease
	hasLease  bool
	renewal   time.Duration
	rebinding time.Duration
	hostname  string
	text      string
}

// encode writes a client's message.
func (m *message) encode() []byte {
	b := make([]byte, headerSize, minMessage)
	b[0], b[1], b[2] = 1, 1, hardwareLength // BOOTREQUEST over Ethernet
	be := binary.BigEndian
	be.PutUint32(b[4:], m.xid)
	be.PutUint16(b[8:], m.seconds)
	if !m.client.IsValid() {
		be.PutUint16(b[10:], broadcastFlag)
	} else {
		copy(b[12:], m.client.AsSlice())
	}
	copy(b[28:], m.hardware[:])
	b = be.AppendUint32(b, cookie)
	b = option(b, optKind, byte(m.kind))
	b = option(b, optClient, append([]byte{1}, m.hardware[:]...)...)
	if m.requested.IsValid() {
		b = option(b, optAddress, m.requested.AsSlice()...)
	}
	if m.server.IsValid() {
		b = option(b, optServer, m.server.AsSlice()...)
	}
	b = option(b, optMaxSize, be.AppendUint16(nil, maxMessage)...)
	b = option(b, optParameters, optMask, optRouter, optDNS, optMTU, optLease, optRenewal, optRebinding)
	if m.hostname != "" && len(m.hostname) <= 63 {
		b = option(b, optHostname, []byte(m.hostname)...)
	}
	b = append(b, optEnd)
	return append(b, make([]byte, max(0, minMessage-len(b)))...)
}

func option(b []byte, code byte, value ...byte) []byte {
	return append(append(b, code, byte(len(value))), value...)
}

// decode reads a server's message.
func decode(b []byte) (*message, error) {
	switch {
	case len(b) < headerSize+4 || len(b) > maxMessage:
		return nil, fmt.Errorf("DHCP message of %d bytes", len(b))
	case b[0] != 2 || b[1] != 1 || b[2] != hardwareLength:
		return nil, errors.New("DHCP message that is no answer over Ethernet")
	case binary.BigEndian.Uint32(b[headerSize:]) != cookie:
		return nil, errors.New("BOOTP message without DHCP options")
	}
	m := &message{
		xid:   binary.BigEndian.Uint32(b[4:]),
		yours: netip.AddrFrom4([4]byte(b[16:20])),
	}
	copy(m.hardware[:], b[28:])
	overload := byte(0)
	if err := m.options(b[headerSize+4:], &overload); err != nil {
		return nil, err
	}
	// RFC 2131 section 4.1: file before sname.
	var none byte
	if overload&1 != 0 {
		if err := m.options(b[108:236], &none); err != nil {
			return nil, err
		}
	}
	if overload&2 != 0 {
		if err := m.options(b[44:108], &none); err != nil {
			return nil, err
		}
	}
	if m.kind == 0 {
		return nil, errors.New("DHCP message without a type")
	}
	return m, nil
}

func (m *message) options(b []byte, overload *byte) error {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return fmt.Errorf("DHCP option %d is cut", b[0])
		}
		code, value := b[0], b[2:2+int(b[1])]
		if code == optOverload && len(value) == 1 {
			*overload = value[0]
		} else if err := m.option(code, value); err != nil {
			return err
		}
		b = b[2+len(value):]
	}
	return nil
}

// option takes one option; those that are not known are skipped.
func (m *message) option(code byte, v []byte) error {
	bad := func() error { return fmt.Errorf("DHCP option %d with %d bytes", code, len(v)) }
	switch code {
	case optKind:
		if len(v) != 1 {
			return bad()
		}
		m.kind = kind(v[0])
	case optMask:
		bits, ok := maskBits(v)
		if !ok {
			return fmt.Errorf("DHCP subnet mask %x", v)
		}
		m.mask = bits
	case optRouter, optDNS, optServer:
		if len(v) == 0 || len(v)%4 != 0 {
			return bad()
		}
		m.addresses(code, v)
	case optMTU:
		if len(v) != 2 {
			return bad()
		}
		m.mtu = int(binary.BigEndian.Uint16(v))
	case optLease, optRenewal, optRebinding:
		if len(v) != 4 {
			return bad()
		}
		m.time(code, binary.BigEndian.Uint32(v))
	case optMessage:
		m.text = fmt.Sprintf("%.*q", maxText, v)
	}
	return nil
}

func (m *message) addresses(code byte, v []byte) {
	first := netip.AddrFrom4([4]byte(v))
	switch code {
	case optRouter:
		m.gateway = first
	case optServer:
		m.server = first
	case optDNS:
		m.dns = nil
		for ; len(v) > 0 && len(m.dns) < maxServers; v = v[4:] {
			m.dns = append(m.dns, netip.AddrFrom4([4]byte(v)))
		}
	}
}

func (m *message) time(code byte, seconds uint32) {
	d := time.Duration(seconds) * time.Second
	switch code {
	case optLease:
		m.hasLease = true
		if seconds != infinite {
			m.lease = max(d, time.Second)
		}
	case optRenewal:
		m.renewal = d
	case optRebinding:
		m.rebinding = d
	}
}

// maskBits counts the leading ones; false when others follow zeros.
func maskBits(v []byte) (int, bool) {
	if len(v) != 4 {
		return 0, false
	}
	ones := ^binary.BigEndian.Uint32(v)
	if ones&(ones+1) != 0 {
		return 0, false
	}
	bits := 32
	for ; ones != 0; ones >>= 1 {
		bits--
	}
	return bits, true
}
