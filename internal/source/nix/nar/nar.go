// Package nar reads and writes Nix archives: file trees of regular files that
// may be executable, directories and symlinks, and nothing else, in one order.
// A tree has one archive, so that its hash names the tree.
//
// Source of the format: Eelco Dolstra, "The Purely Functional Software
// Deployment Model", figure 5.2; nix 2.8: src/libutil/archive.cc.
package nar

// Kind is what an entry is.
type Kind uint8

// The kinds of entries.
const (
	File Kind = iota + 1
	Dir
	Symlink
)

// Header is one entry. Entries come in the order of a walk: a directory before
// what is in it, names of a directory in the order of their bytes.
type Header struct {
	Path       string // relative, "" for the root of the archive
	Kind       Kind
	Size       int64 // bytes, of files
	Executable bool  // of files
	Target     string
}

// magic is the first token of every archive.
const magic = "nix-archive-1"

// Limits bound what one archive may cost. Zero fields mean the defaults.
type Limits struct {
	Entries int   // names; default 4,000,000
	Depth   int   // directories in each other; default 256
	File    int64 // bytes of one content; default 16 GiB
}

func (l Limits) defaults() Limits {
	if l.Entries == 0 {
		l.Entries = 4_000_000
	}
	if l.Depth == 0 {
		l.Depth = 256
	}
	if l.File == 0 {
		l.File = 16 << 30
	}
	return l
}

// Limits of names, as Linux has them (NAME_MAX, PATH_MAX without its NUL).
const (
	maxName   = 255
	maxTarget = 4095
)
