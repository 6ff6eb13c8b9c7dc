package flight

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"github.com/instar-os/instar/internal/wire"
)

// A file is a sequence of frames:
//
//	0  length of the payload, 4 bytes, little-endian
//	4  CRC-32C (RFC 3720, B.4) of the length and the payload, 4 bytes, little-endian
//	8  payload: JSON of a wire.BootEntry
//
// docs/format/boots.md says more.
const (
	frameHeader = 8
	maxPayload  = 16 << 10 // bytes; a crash's text is cut into several entries
	maxText     = 2 << 10  // bytes of an entry's Text, before JSON makes up to six of each
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame returns an entry as it is written.
func frame(e wire.BootEntry) []byte {
	e.Text = clip(e.Text, maxText)
	e.Name = clip(e.Name, maxText/8)
	b := make([]byte, frameHeader, 256)
	payload, err := json.Marshal(e)
	if err != nil || len(payload) > maxPayload {
		// Only a time beyond year 9999, or an identity that is no identity.
		payload, _ = json.Marshal(wire.BootEntry{At: e.At, Kind: wire.EntryDropped, Count: 1})
	}
	b = append(b, payload...)
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[4:], checksum(b))
	return b
}

// checksum is over a frame but its own checksum.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[frameHeader:])
}

// unframe reads entries up to the first that is torn or damaged, and returns
// how many bytes it has read. What stands behind them a cut has left.
func unframe(b []byte) (entries []wire.BootEntry, good int) {
	for {
		rest := b[good:]
		if len(rest) < frameHeader {
			return entries, good
		}
		n := int64(binary.LittleEndian.Uint32(rest))
		if n == 0 || n > maxPayload || frameHeader+n > int64(len(rest)) {
			return entries, good
		}
		whole := rest[:frameHeader+n]
		var e wire.BootEntry
		if binary.LittleEndian.Uint32(whole[4:]) != checksum(whole) || json.Unmarshal(whole[frameHeader:], &e) != nil {
			return entries, good
		}
		entries = append(entries, e)
		good += len(whole)
	}
}

// clip returns at most n bytes of a text, and says when it has cut.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:n], len(s))
}
