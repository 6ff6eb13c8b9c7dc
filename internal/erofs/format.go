package erofs

import "math/bits"

// Numbers of the formats, as their documents name them.
const (
	blockSize   = 4096 // EROFS block
	blockBits   = 12
	slotSize    = 32 // inodes start at multiples of it; a nid counts them
	superOffset = 1024
	superSize   = 128
	superMagic  = 0xe0f5e1e2
	metaStart   = superOffset + superSize // first inode

	composefsMagic   = 0xd078629a // at offset 0
	composefsVersion = 1
	flagHasACL       = 1

	compatMTime       = 1 << 1
	compatXattrFilter = 1 << 2

	compactSize  = 32 // bytes of an inode without a time of its own
	extendedSize = 64

	layoutPlain  = 0
	layoutInline = 2
	layoutChunk  = 4

	direntSize  = 12
	nullAddress = 0xffffffff // a chunk that reads as zeros

	xattrHeaderSize = 12
	xattrEntrySize  = 4
	maxShared       = 128 // shared attributes of one inode
	filterSeed      = 0x25bbe08f
)

// Attribute names with a meaning to overlayfs.
const (
	overlayPrefix  = "trusted.overlay."
	escapePrefix   = "trusted.overlay.overlay."
	xattrMetacopy  = overlayPrefix + "metacopy"
	xattrRedirect  = overlayPrefix + "redirect"
	xattrOpaque    = overlayPrefix + "opaque"
	xattrSELinux   = "security.selinux"
	xattrACL       = "system.posix_acl_access"
	xattrACLPreset = "system.posix_acl_default"
)

// The disguise of a whiteout, and of the directory that holds one: attributes
// that overlayfs unescapes, for nested mounts of either attribute name space.
var (
	whiteoutXattrs = map[string]string{
		escapePrefix + "whiteout": "",
		"user.overlay.whiteout":   "",
	}
	whiteoutDirXattrs = map[string]string{
		escapePrefix + "whiteouts": "",
		"user.overlay.whiteouts":   "",
		escapePrefix + "opaque":    "x",
		"user.overlay.opaque":      "x",
	}
)

// xattrPrefixes are the names that an entry abbreviates to a number, in the
// order in which mkcomposefs tries them.
var xattrPrefixes = []struct {
	prefix string
	index  byte
}{
	{"user.", 1},
	{xattrACL, 2},
	{xattrACLPreset, 3},
	{"trusted.", 4},
	{"security.", 6},
}

// dirTypes are the file types of directory entries.
var dirTypes = map[uint32]byte{
	TypeFile: 1, TypeDir: 2, TypeChar: 3, TypeBlock: 4, TypeFifo: 5, TypeSocket: 6, TypeSymlink: 7,
}

func roundUp[T int | int64 | uint32](x, to T) T { return (x + to - 1) &^ (to - 1) }

// chunkBits returns log2 of the size of the single chunk that covers a file.
func chunkBits(size int64) int { return max(bits.Len64(uint64(size-1)), blockBits) }

// xxh32 is the 32-bit hash of xxHash (github.com/Cyan4973/xxHash,
// doc/xxhash_spec.md, "XXH32 algorithm description"); the name filter of
// extended attributes uses it.
func xxh32(s string, seed uint32) uint32 {
	const p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
	word := func(i int) uint32 {
		return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
	}
	h, i := seed+p5, 0
	if len(s) >= 16 {
		var one, two uint32 = p1, p2 // variables: the sums wrap
		v := [4]uint32{seed + one + two, seed + two, seed, seed - one}
		for ; i+16 <= len(s); i += 16 {
			for k := range v {
				v[k] = bits.RotateLeft32(v[k]+word(i+4*k)*p2, 13) * p1
			}
		}
		h = bits.RotateLeft32(v[0], 1) + bits.RotateLeft32(v[1], 7) +
			bits.RotateLeft32(v[2], 12) + bits.RotateLeft32(v[3], 18)
	}
	h += uint32(len(s))
	for ; i+4 <= len(s); i += 4 {
		h = bits.RotateLeft32(h+word(i)*p3, 17) * p4
	}
	for ; i < len(s); i++ {
		h = bits.RotateLeft32(h+uint32(s[i])*p5, 11) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}
