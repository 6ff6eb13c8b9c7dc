// Package delta is the format of updates: one file that holds what a system
// needs and its bases have not, signed, and authenticated in pieces, so that
// nothing unverified is acted upon and a transfer that was cut goes on at the
// last good piece. docs/format/delta.md describes it.
//
// This package reads and verifies; it uses the standard library only, because
// the first process of a device links it. Package delta/pack writes.
package delta

import (
	"github.com/instar-os/instar/internal/digest"
)

// Magic is how an update begins.
const Magic = "instarup"

// Version is the version of the format.
const Version = 1

// Purpose separates signatures of updates from all others.
const Purpose = "instar update 1"

// Limits of what is read.
const (
	MaxHead       = 16 << 20 // bytes
	MaxBody       = 16 << 30 // bytes
	MaxEntries    = 1 << 18
	MaxStreams    = 1 << 16
	MaxBases      = 16
	MaxSignatures = 8
	MaxContent    = 4 << 30 // bytes of one content
	MinPiece      = 12      // logarithm of bytes
	MaxPiece      = 20
	maxPieces     = 1 << 18
)

// Sizes of the parts in front of the body, in bytes.
const (
	prologueSize  = 32
	hashSize      = 32
	signatureSize = 8 + 64
)

// Kind is what a content is.
type Kind uint8

// The kinds of contents.
const (
	Object Kind = 1 + iota // of the store
	Image                  // of a tree
	System                 // a manifest
	Part                   // of a boot slot: kernel, initrd, stub or loader
	lastKind
)

// String returns the kind's name.
func (k Kind) String() string { return name(int(k), "", "object", "image", "system", "boot part") }

// Form is how a content stands in a stream.
type Form uint8

// The forms.
const (
	Bytes   Form = 1 + iota // as it is
	Listing                 // an image, as the listing of its tree: tree.MarshalText
	lastForm
)

// String returns the form's name.
func (f Form) String() string { return name(int(f), "", "bytes", "listing") }

// Class is what the objects of a stream are: one more than bindiff's, 0 where
// they are of several or no objects.
type Class uint8

// String returns the class's name.
func (c Class) String() string { return name(int(c), "", "texts", "data", "programs", "modules") }

// maxClass is the highest class.
const maxClass = 4

// Method is how contents are made from a stream.
type Method uint8

// The methods.
const (
	Whole      Method = 1 // contents, one behind the other
	Difference Method = 3 // bindiff, each content against its base, or against what stands before; 2 is not used any more
)

// String returns the method's name.
func (m Method) String() string { return name(int(m), "", "whole", "", "difference") }

// Coding is how a stream is compressed.
type Coding uint8

// The codings.
const (
	Plain   Coding = 1 + iota
	Deflate        // RFC 1951
	lastCoding
)

// String returns the coding's name.
func (c Coding) String() string { return name(int(c), "", "plain", "deflate") }

func name(i int, names ...string) string {
	if i < len(names) && i > 0 {
		return names[i]
	}
	return "unknown"
}

// Features are what a reader must know: a bit for each method, coding and form
// that the update uses.
type Features uint64

// feature bits: methods from 0, codings from 16, forms from 32.
func (m Method) feature() Features { return 1 << m }
func (c Coding) feature() Features { return 1 << (16 + c) }
func (f Form) feature() Features   { return 1 << (32 + f) }

// Known are the features that this package reads.
func Known() Features {
	var f Features
	f |= Whole.feature() | Difference.feature()
	for c := Plain; c < lastCoding; c++ {
		f |= c.feature()
	}
	for form := Bytes; form < lastForm; form++ {
		f |= form.feature()
	}
	return f
}

// Head says what an update is and what it is made of.
type Head struct {
	Machine string
	Arch    string          // GOARCH
	Epoch   int64           // of the target's manifest: an update goes to no older one
	Target  digest.Digest   // the system it leads to
	Bases   []digest.Digest // the systems it can begin at; none: it is complete
	Entries []Entry         // contents, in the order of the streams
	Streams []Stream        // in the order of the body
}

// Entry is a content.
type Entry struct {
	Kind   Kind
	Digest digest.Digest
	Size   int64         // bytes
	Base   digest.Digest // content of the same kind that every base has, for methods with one; zero for others
}

// Stream is a part of the body that holds contents.
type Stream struct {
	Class  Class // only for those who look
	Form   Form
	Method Method
	Coding Coding
	First  int   // of the entries
	Count  int   // of entries
	Raw    int64 // bytes after decompression
	Offset int64 // in the body
	Stored int64 // bytes in the body
}

// End returns where in the body the stream ends.
func (s Stream) End() int64 { return s.Offset + s.Stored }

// features returns what the streams need.
func (h *Head) features() Features {
	var f Features
	for _, s := range h.Streams {
		f |= s.Method.feature() | s.Coding.feature() | s.Form.feature()
	}
	return f
}

// Contents returns the entries of a stream.
func (h *Head) Contents(s Stream) []Entry { return h.Entries[s.First : s.First+s.Count] }

// Complete reports whether the update needs no base.
func (h *Head) Complete() bool { return len(h.Bases) == 0 }
