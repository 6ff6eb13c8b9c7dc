// Package bindiff writes the difference between two sets of files so that it is
// small, and makes the new files from the old ones and the difference.
//
// A difference is one stream over many pairs of files: what is learned from one
// pair helps the next. The writer works hard (Encode); the reader (Decoder)
// makes one file after the other in the order of the stream, with bounded
// memory and in one pass, from the old file that the caller gives it.
//
// The stream names no files and has no checksum: the caller knows which old
// file each new one is made of and how long the new one is, and verifies what
// was made. docs/format/bindiff.md has the format, docs/design/bindiff.md the
// method.
package bindiff

import (
	"errors"
)

// MaxSize is the largest file that is taken, in bytes.
const MaxSize = 1<<31 - 2

// Version is the first byte of a stream. Readers refuse any other.
const Version = 1

// ErrDamaged is wrapped by every error that says the stream cannot have been
// written by Encode for the files at hand.
var ErrDamaged = errors.New("the difference is damaged or belongs to other files")

// span says that new[at:at+n] resembles old[from:from+n].
type span struct {
	at, from, n int32
}

// minSpan is the shortest span that a stream may have; maxSpans bounds the memory
// of the reader: 12 bytes each.
const (
	minSpan  = 8
	maxSpans = 1 << 18
)

// Class is what a file is, as far as it matters to the models.
type Class uint8

// The classes.
const (
	ClassText Class = iota
	ClassData
	ClassCode
	ClassModule
	classes
)
