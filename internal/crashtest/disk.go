package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
)

// Disk is a raw disk with a volatile cache. It has what the house's device
// interfaces ask for. Sectors are written whole or not at all; what a flush has
// not covered may be written in any order or not at all.
type Disk struct {
	name string
	size int64
	rec  *recorder // nil: of a crashed state

	mu   sync.Mutex
	base layers           // shared
	over map[int64][]byte // sectors that differ
	told map[int64][]byte // sectors as Run has written them, when one write is lost
}

// Size returns the disk's length in bytes.
func (d *Disk) Size() int64 { return d.size }

func (d *Disk) sector(n int64, over map[int64][]byte) []byte {
	if b, ok := over[n]; ok {
		return b
	}
	return d.base.sector(n)
}

// layers are a content that nobody writes to any more, and sectors over it.
type layers struct {
	content []byte
	over    map[int64][]byte
}

func (l layers) sector(n int64) []byte {
	if b, ok := l.over[n]; ok {
		return b
	}
	at := n * blockSize
	if at >= int64(len(l.content)) {
		return zeroSector
	}
	return l.content[at : at+blockSize]
}

var zeroSector = make([]byte, blockSize)

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read(p, off, d.over)
}

// ReadBack is ReadAt for those who check what they have written.
func (d *Disk) ReadBack(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	over := d.over
	if d.rec != nil {
		d.rec.mu.Lock()
		err := d.rec.begin(opReadBack)
		d.rec.mu.Unlock()
		if errors.Is(err, errSkip) && d.told != nil {
			over = d.told
		}
	}
	return d.read(p, off, over)
}

func (d *Disk) read(p []byte, off int64, over map[int64][]byte) (int, error) {
	n := 0
	for n < len(p) && off < d.size {
		in := off % blockSize
		c := copy(p[n:], d.sector(off/blockSize, over)[in:])
		n += c
		off += int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.size {
		return 0, fmt.Errorf("writing %d bytes at %d of a disk of %d", len(p), off, d.size)
	}
	return len(p), d.change(p, off, int64(len(p)), "write")
}

// Zero makes a range read as zeros.
func (d *Disk) Zero(off, size int64) error {
	if off < 0 || off+size > d.size {
		return fmt.Errorf("zeroing %d bytes at %d of a disk of %d", size, off, d.size)
	}
	return d.change(nil, off, size, "zero")
}

// Sync is a flush of the cache.
func (d *Disk) Sync() error {
	if d.rec == nil {
		return nil
	}
	r := d.rec
	r.mu.Lock()
	defer r.mu.Unlock()
	switch err := r.begin(opFlush); {
	case errors.Is(err, errSkip):
		return nil
	case err != nil:
		return fmt.Errorf("disk %s: flush: %w", d.name, err)
	}
	if r.on && !r.blind {
		r.model.event("flush %s", d.name)
		dm := r.model.disks[d.name]
		for _, n := range dm.order {
			r.model.sync(dm.sectors[n])
		}
	}
	return nil
}

// change writes p, or zeros.
func (d *Disk) change(p []byte, off, size int64, what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	lost := false
	var m *model
	var group int
	if r := d.rec; r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if err := r.begin(opWrite); err != nil {
			return fmt.Errorf("disk %s: %s: %w", d.name, what, err)
		}
		if r.on {
			r.writes++
			lost = r.writes == r.lie
			r.hit = r.hit || lost
			if !r.blind {
				m = r.model
			}
		}
		if m != nil {
			m.event("%s %s: %d bytes at %d", what, d.name, size, off)
			group = m.group("%s of %d bytes at %d of disk %s", what, size, off, d.name)
		}
	}
	for done := int64(0); done < size; {
		n, in := (off+done)/blockSize, (off+done)%blockSize
		l := min(blockSize-in, size-done)
		now := bytes.Clone(d.sector(n, d.over))
		if p == nil {
			clear(now[in : in+l])
		} else {
			copy(now[in:], p[done:done+l])
		}
		done += l
		if d.told != nil {
			d.told[n] = now
		}
		if lost || bytes.Equal(now, d.sector(n, d.over)) {
			continue
		}
		if m != nil {
			m.sector(d, n, group, now)
		}
		d.over[n] = now
	}
	return nil
}

// sector records a sector's new content.
func (m *model) sector(d *Disk, n int64, group int, now []byte) {
	dm := m.disks[d.name]
	c, ok := dm.sectors[n]
	if !ok {
		c = m.cell(group, value{b: d.sector(n, d.over)}, "sector %d of disk %s", n, d.name)
		c.versions[0].at = 0
		dm.sectors[n] = c
		dm.order = append(dm.order, n)
	}
	c.group = group
	m.set(c, value{b: now}, nil)
}

func (r *recorder) addDisk(name string, content []byte) *Disk {
	d := &Disk{name: name, size: int64(len(content)), rec: r, base: layers{content: content}, over: map[int64][]byte{}}
	r.disks[name] = d
	return d
}

func (r *recorder) disk(name string) *Disk { return r.disks[name] }

// frozen returns the disk's content as it is now.
func (d *Disk) frozen() layers {
	over := maps.Clone(d.base.over)
	if over == nil {
		over = make(map[int64][]byte, len(d.over))
	}
	maps.Copy(over, d.over)
	return layers{d.base.content, over}
}
