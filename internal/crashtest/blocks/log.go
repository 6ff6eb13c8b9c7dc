// Package blocks records what a machine writes to a disk, and gives every state
// in which a loss of power could have left that disk.
//
// The model is that of a disk with a volatile cache: a write is in the cache
// when it is acknowledged, and on the medium after a flush that came later, or
// at once when it asks for that (FUA). Whatever is only in the cache may be
// there after a loss of power or not, each 512-byte sector by itself, in any
// order. A sector is never torn. Sources: NVM Express 2.0, 5.27 (flush) and
// 6.4 (atomicity); Linux, Documentation/block/writeback_cache_control.rst.
package blocks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// SectorSize is the unit of atomicity in bytes.
const SectorSize = 512

// Kind is what an operation does.
type Kind byte

// The kinds of operations.
const (
	Write Kind = iota + 1
	Zero       // write zeros
	Trim       // the content is not needed any more; reads as zeros here
	Flush
)

func (k Kind) String() string {
	return [...]string{"?", "write", "zero", "trim", "flush"}[min(int(k), 4)]
}

// Op is one operation, as it was acknowledged. Off and Size are bytes.
type Op struct {
	Kind Kind
	FUA  bool
	Off  int64
	Size int64
	data int64 // where the log's file has the content
}

func (o Op) String() string {
	if o.Kind == Flush {
		return "flush"
	}
	s := fmt.Sprintf("%s %d+%d", o.Kind, o.Off, o.Size)
	if o.FUA {
		s += " fua"
	}
	return s
}

// Log is a disk that remembers everything that was done to it. Its methods may
// be called from several goroutines; operations have the order in which they
// take the log. Close gives up the file that holds the written content.
type Log struct {
	base io.ReaderAt
	size int64

	mu       sync.RWMutex
	file     *os.File
	end      int64 // of file
	ops      []Op
	flushes  []int             // indices of flushes in ops, ascending
	versions map[int64][]int32 // by sector: the operations that wrote it, ascending
}

// New returns a log over a disk of size bytes, a multiple of SectorSize, whose
// first content is base, which must not change. Content that is written is kept
// in a file without a name in dir ("" is the system's).
func New(base io.ReaderAt, size int64, dir string) (*Log, error) {
	if size <= 0 || size%SectorSize != 0 {
		return nil, fmt.Errorf("recording a disk of %d bytes: not a multiple of %d", size, SectorSize)
	}
	f, err := os.CreateTemp(dir, "instar-blocks-")
	if err != nil {
		return nil, fmt.Errorf("recording a disk: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Log{base: base, size: size, file: f, versions: map[int64][]int32{}}, nil
}

// Close implements io.Closer. States of the log cannot be read afterwards.
func (l *Log) Close() error { return l.file.Close() }

// Size returns the size of the disk in bytes.
func (l *Log) Size() int64 { return l.size }

// Len returns the number of operations so far.
func (l *Log) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.ops)
}

// Ops returns the operations so far.
func (l *Log) Ops() []Op {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.ops)
}

// ReadAt implements io.ReaderAt: the disk as whoever writes to it sees it.
func (l *Log) ReadAt(p []byte, off int64) (int, error) { return l.Now().ReadAt(p, off) }

// WriteAt implements io.WriterAt. Offset and length must be multiples of
// SectorSize.
func (l *Log) WriteAt(p []byte, off int64) (int, error) {
	if err := l.Do(Op{Kind: Write, Off: off, Size: int64(len(p))}, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync flushes.
func (l *Log) Sync() error { return l.Do(Op{Kind: Flush}, nil) }

// Do does an operation; p is the content of a write.
func (l *Log) Do(o Op, p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.Kind == Flush {
		l.flushes = append(l.flushes, len(l.ops))
		l.ops = append(l.ops, o)
		return nil
	}
	if o.Off < 0 || o.Size <= 0 || o.Off%SectorSize != 0 || o.Size%SectorSize != 0 || o.Off > l.size-o.Size {
		return fmt.Errorf("%s: not whole sectors of a disk of %d bytes", o, l.size)
	}
	if o.Kind == Write {
		if int64(len(p)) != o.Size {
			return fmt.Errorf("%s with %d bytes", o, len(p))
		}
		if _, err := l.file.WriteAt(p, l.end); err != nil {
			return fmt.Errorf("%s: %w", o, err)
		}
		o.data = l.end
		l.end += o.Size
	}
	index := int32(len(l.ops))
	l.ops = append(l.ops, o)
	for s := o.Off / SectorSize; s < (o.Off+o.Size)/SectorSize; s++ {
		l.versions[s] = append(l.versions[s], index)
	}
	return nil
}

// Deaf returns the same history of a disk that ignores some flushes, and some
// of the writes that ask to be on the medium at once: what they should have
// made last can be lost. It can be read while l is open.
func (l *Log) Deaf(to func(op int, o Op) bool) *Log {
	l.mu.RLock()
	defer l.mu.RUnlock()
	d := &Log{base: l.base, size: l.size, file: l.file, end: l.end, ops: slices.Clone(l.ops), versions: l.versions}
	for i := range d.ops {
		o := &d.ops[i]
		ignored := (o.Kind == Flush || o.FUA) && to(i, *o)
		o.FUA = o.FUA && !ignored
		if o.Kind == Flush && !ignored {
			d.flushes = append(d.flushes, i)
		}
	}
	return d
}
