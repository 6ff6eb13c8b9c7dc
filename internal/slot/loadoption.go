package slot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/instar-os/instar/internal/disk"
)

// loadOption is what a variable Boot#### says (UEFI 2.10, 3.1.3): a file on a
// partition, which firmware finds by the partition's GUID.
type loadOption struct {
	Active      bool
	Description string
	Number      uint32 // of the partition in its table
	First, Size uint64 // sectors
	Partition   disk.GUID
	Path        string // "\EFI\BOOT\BOOTX64.EFI"
}

// Nodes of device paths (UEFI 2.10, 10.3).
const (
	nodeMedia     = 4
	nodeHardDrive = 1
	nodeFile      = 4
	nodeEnd       = 0x7f
	hardDriveSize = 42
	formatGPT     = 2
	signatureGUID = 2
	maxLoadOption = 4096 // bytes that are read
)

func (o loadOption) encode() []byte {
	le := binary.LittleEndian
	hd := []byte{nodeMedia, nodeHardDrive, hardDriveSize, 0}
	hd = le.AppendUint32(hd, o.Number)
	hd = le.AppendUint64(hd, o.First)
	hd = le.AppendUint64(hd, o.Size)
	hd = append(append(hd, o.Partition[:]...), formatGPT, signatureGUID)
	path := encodeUTF16(o.Path)
	file := append(le.AppendUint16([]byte{nodeMedia, nodeFile}, uint16(4+len(path))), path...)
	paths := append(append(hd, file...), nodeEnd, 0xff, 4, 0)

	b := le.AppendUint32(nil, map[bool]uint32{true: 1}[o.Active])
	b = le.AppendUint16(b, uint16(len(paths)))
	return append(append(b, encodeUTF16(o.Description)...), paths...)
}

func encodeUTF16(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// decodeUTF16 reads up to a NUL and returns how many bytes that were.
func decodeUTF16(b []byte) (string, int, error) {
	var units []uint16
	for i := 0; i+2 <= len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			return string(utf16.Decode(units)), i + 2, nil
		}
		units = append(units, u)
	}
	return "", 0, errors.New("a text without end")
}

// decodeLoadOption reads a load option whose path begins with a partition;
// firmware writes many of other kinds, which are an error.
func decodeLoadOption(b []byte) (loadOption, error) {
	le := binary.LittleEndian
	if len(b) < 6 || len(b) > maxLoadOption {
		return loadOption{}, fmt.Errorf("a load option of %d bytes", len(b))
	}
	o := loadOption{Active: le.Uint32(b)&1 != 0}
	size := int(le.Uint16(b[4:]))
	text, n, err := decodeUTF16(b[6:])
	if err != nil {
		return o, err
	}
	o.Description = text
	if b = b[6+n:]; size > len(b) {
		return o, fmt.Errorf("a device path of %d bytes in %d", size, len(b))
	}
	return o, o.decodePath(b[:size])
}

func (o *loadOption) decodePath(b []byte) error {
	le := binary.LittleEndian
	for first := true; len(b) >= 4; first = false {
		kind, sub, size := b[0], b[1], int(le.Uint16(b[2:]))
		if size < 4 || size > len(b) {
			return fmt.Errorf("a node of %d bytes", size)
		}
		node := b[:size]
		b = b[size:]
		switch {
		case kind == nodeEnd:
			return nil
		case first && (kind != nodeMedia || sub != nodeHardDrive || size != hardDriveSize || node[40] != formatGPT || node[41] != signatureGUID):
			return errors.New("it does not begin with a partition of a GPT")
		case first:
			o.Number, o.First, o.Size = le.Uint32(node[4:]), le.Uint64(node[8:]), le.Uint64(node[16:])
			o.Partition = disk.GUID(node[24:40])
		case kind == nodeMedia && sub == nodeFile:
			text, _, err := decodeUTF16(node[4:])
			if err != nil {
				return err
			}
			o.Path += text
		default:
			return fmt.Errorf("a node of type %d.%d", kind, sub)
		}
	}
	return errors.New("a device path without end")
}

// efiPath writes a path as UEFI does.
func efiPath(p string) string { return `\` + strings.ReplaceAll(p, "/", `\`) }
