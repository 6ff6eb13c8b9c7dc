package slottest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
)

// ErrCut is what a Disk returns after its power was cut.
var ErrCut = errors.New("power cut")

const page = 4096

// Disk is a disk in memory with a cache that a power cut loses: of what was
// written after the last Sync any subset of sectors is on the medium. It takes
// only what was written, whatever its size.
type Disk struct {
	size   int64
	medium map[int64][]byte // by page
	cache  []write          // since the last Sync

	left  int // operations until the cut; -1: none
	ops   int // operations so far: writes and syncs
	lazy  func(op int) bool
	rand  *rand.Rand
	rotAt int64 // a byte that the medium loses; -1: none
}

type write struct {
	off  int64
	data []byte
}

// NewDisk returns a disk of zeros.
func NewDisk(size int64) *Disk {
	return &Disk{size: size, medium: map[int64][]byte{}, left: -1, rand: rand.New(rand.NewPCG(1, 2)), rotAt: -1}
}

// Clone returns a disk of its own with the same content.
func (d *Disk) Clone() *Disk {
	c := NewDisk(d.size)
	for at, p := range d.medium {
		c.medium[at] = bytes.Clone(p)
	}
	c.cache = append(c.cache, d.cache...)
	return c
}

// Size returns the disk's size in bytes.
func (d *Disk) Size() int64 { return d.size }

// CutAfter cuts the power in the middle of operation n from now on, chosen by a
// seed: each write and each Sync counts as one.
func (d *Disk) CutAfter(n int, seed uint64) {
	d.left, d.ops, d.rand = n, 0, rand.New(rand.NewPCG(seed, uint64(n)))
}

// DropSync lets a Sync do nothing when drop says so of its number.
func (d *Disk) DropSync(drop func(n int) bool) { d.lazy = drop }

// Rot lets the medium hold another byte than was written there.
func (d *Disk) Rot(at int64) { d.rotAt = at }

// Reboot returns the power: what was only cached is there in part.
func (d *Disk) Reboot() {
	for _, w := range d.cache {
		for i := 0; i < len(w.data); i += 512 {
			if d.rand.IntN(2) == 0 {
				d.store(w.off+int64(i), w.data[i:min(i+512, len(w.data))])
			}
		}
	}
	d.cache, d.left, d.lazy = nil, -1, nil
}

func (d *Disk) store(off int64, p []byte) {
	for len(p) > 0 {
		at := off / page * page
		b, n := d.medium[at], min(len(p), int(at+page-off))
		if b == nil && !bytes.Equal(p[:n], make([]byte, n)) {
			b = make([]byte, page)
			d.medium[at] = b
		}
		if b != nil {
			copy(b[off-at:], p[:n])
		}
		off, p = off+int64(n), p[n:]
	}
}

func (d *Disk) load(off int64, p []byte) {
	for len(p) > 0 {
		at := off / page * page
		n := min(int64(len(p)), at+page-off)
		if b := d.medium[at]; b != nil {
			copy(p[:n], b[off-at:])
		} else {
			clear(p[:n])
		}
		off, p = off+n, p[n:]
	}
}

// ReadAt implements io.ReaderAt: what was written last, cached or not.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.ReadBack(p, off)
	for _, w := range d.cache {
		if from, to := max(off, w.off), min(off+int64(n), w.off+int64(len(w.data))); from < to {
			copy(p[from-off:to-off], w.data[from-w.off:])
		}
	}
	return n, err
}

// ReadBack reads the medium alone.
func (d *Disk) ReadBack(p []byte, off int64) (int, error) {
	if off < 0 || off >= d.size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), d.size-off)
	d.load(off, p[:n])
	if d.rotAt >= off && d.rotAt < off+n {
		p[d.rotAt-off] ^= 0x40
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteAt implements io.WriterAt. The write that is cut arrives in part.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.size {
		return 0, io.ErrShortWrite
	}
	if d.left == 0 && d.ops < 0 {
		return 0, ErrCut
	}
	d.cache = append(d.cache, write{off, bytes.Clone(p)})
	if d.cut() {
		return 0, ErrCut
	}
	return len(p), nil
}

// Sync makes last what was written before.
func (d *Disk) Sync() error {
	if d.left == 0 && d.ops < 0 || d.cut() {
		return ErrCut
	}
	if d.lazy != nil && d.lazy(d.ops) {
		return nil
	}
	for _, w := range d.cache {
		d.store(w.off, w.data)
	}
	d.cache = nil
	return nil
}

// Step does something atomic beside the disk, as setting a variable of firmware,
// and counts it as an operation: when that is the one that is cut, it is done
// or not.
func (d *Disk) Step(do func()) error {
	if d.left == 0 && d.ops < 0 {
		return ErrCut
	}
	if d.cut() {
		if d.rand.IntN(2) == 0 {
			do()
		}
		return ErrCut
	}
	do()
	return nil
}

// cut counts an operation; true when it is the one that is cut.
func (d *Disk) cut() bool {
	if d.left == 0 {
		d.ops = -1
		return true
	}
	d.left = max(-1, d.left-1)
	d.ops++
	return false
}

// Ops returns the number of operations since CutAfter.
func (d *Disk) Ops() int { return d.ops }
