package dhcp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// answer makes a server's message the way a server of its own would: by hand.
func answer(to []byte, k kind, yours string, options ...byte) []byte {
	b := make([]byte, headerSize)
	b[0], b[1], b[2] = 2, 1, 6
	copy(b[4:8], to[4:8])
	addr := netip.MustParseAddr(yours).As4()
	copy(b[16:], addr[:])
	copy(b[28:34], to[28:34])
	b = binary.BigEndian.AppendUint32(b, cookie)
	b = append(b, 53, 1, byte(k), 54, 4, 10, 0, 0, 1)
	b = append(b, options...)
	return append(b, 255)
}

// sentKind reads a client's message type; option 53 is written first.
func sentKind(b []byte) kind { return kind(b[headerSize+4+2]) }

func leaseOptions(d time.Duration) []byte {
	b := []byte{1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 1, 6, 8, 10, 0, 0, 1, 10, 0, 0, 2, 26, 2, 0x05, 0x78, 51, 4}
	return binary.BigEndian.AppendUint32(b, uint32(d/time.Second))
}
