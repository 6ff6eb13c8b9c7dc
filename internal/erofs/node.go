// Package erofs writes and reads file trees as composefs images: EROFS file
// systems that hold names and attributes only, while the content of files
// stands beside them as objects named by digest, found by overlayfs through
// extended attributes.
//
// Write makes the same bytes as mkcomposefs 1.0; Read accepts nothing but what
// Write makes. docs/format/image.md describes the layout field by field.
//
// Sources: Documentation/filesystems/erofs.rst and the EROFS on-disk format
// (erofs.docs.kernel.org, "Core on-disk format"); Documentation/filesystems/
// overlayfs.rst ("metadata only copy up", "data-only lower layers", "nesting");
// mkcomposefs(1) and composefs-dump(5).
package erofs

import (
	"github.com/instar-os/instar/internal/digest"
)

// File types within Node.Mode (inode(7)).
const (
	TypeMask    = 0o170000
	TypeFifo    = 0o010000
	TypeChar    = 0o020000
	TypeDir     = 0o040000
	TypeBlock   = 0o060000
	TypeFile    = 0o100000
	TypeSymlink = 0o120000
	TypeSocket  = 0o140000
)

// Limits of what an image can hold.
const (
	MaxInline = 4096    // bytes of a file's Data
	MaxSize   = 1 << 43 // bytes of a file: one chunk of the largest kind
	MaxTarget = 4095    // bytes of a symlink
	maxName   = 255     // bytes of a name, and of an attribute's name
	maxXattrs = 32767   // bytes of a node's attributes as mkcomposefs counts them
	maxInodes = 1 << 24 // nodes of one image
)

// Node is an inode. A regular file that stands in several directories, or
// under several names, is one Node with several Children pointing at it.
type Node struct {
	Mode   uint32 // type and permission bits, as st_mode
	UID    uint32
	GID    uint32
	MTime  int64         // seconds since 1970
	Size   int64         // bytes; of regular files
	Digest digest.Digest // of the content of a regular file without Data
	Data   []byte        // content of a small file, kept in the image
	Target string        // of a symlink
	Rdev   uint32        // of a device: minor bits 0-7, major 8-19, minor 20-31
	Xattrs map[string]string

	Children []Child // of a directory, in any order, without "." and ".."
}

// Child is a name in a directory.
type Child struct {
	Name string
	Node *Node
}

// Type returns the type bits of the mode.
func (n *Node) Type() uint32 { return n.Mode & TypeMask }

// isObject reports whether the node's content stands outside the image.
func (n *Node) isObject() bool { return n.Type() == TypeFile && n.Size > 0 && n.Data == nil }

// isWhiteout reports whether overlayfs would take the node for a deletion; an
// image holds it in disguise.
func (n *Node) isWhiteout() bool { return n.Type() == TypeChar && n.Rdev == 0 }

// Rdev returns the encoding of a device number in Node.Rdev. A major of 12 and
// a minor of 20 bits fit.
func Rdev(major, minor uint32) uint32 {
	return minor&0xff | (major&0xfff)<<8 | minor>>8<<20
}

// Device splits what Rdev made.
func Device(rdev uint32) (major, minor uint32) {
	return rdev >> 8 & 0xfff, rdev&0xff | rdev>>20<<8
}
