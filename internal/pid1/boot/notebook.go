package boot

import (
	"slices"
	"sync"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/record"
)

// A notebook is the record as more than one process changes it: the one that
// takes an update writes it too. So it is opened anew each time; and through the
// whole disk, as that one does, for the kernel caches a disk and its partitions
// apart.
type notebook struct {
	at   area
	size int64

	mu   sync.Mutex
	last record.Record // that was read or written
}

// area is a part of a disk.
type area struct {
	*linux.Disk
	offset int64
}

func (a area) ReadAt(p []byte, off int64) (int, error)   { return a.Disk.ReadAt(p, a.offset+off) }
func (a area) WriteAt(p []byte, off int64) (int, error)  { return a.Disk.WriteAt(p, a.offset+off) }
func (a area) ReadBack(p []byte, off int64) (int, error) { return a.Disk.ReadBack(p, a.offset+off) }

// openNotebook opens the disk of a partition. damaged says why nothing could be
// read though something is there.
func openNotebook(p linux.Partition) (n *notebook, damaged, err error) {
	f, err := linux.OpenDisk("/dev/" + p.Disk)
	if err != nil {
		return nil, nil, err
	}
	n = &notebook{at: area{f, p.Start}, size: p.Size}
	b, err := record.Open(n.at, n.size)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	n.last = b.Record()
	return n, b.Damaged, nil
}

// Record returns what is remembered; what cannot be read now, as it was.
func (n *notebook) Record() record.Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b, err := record.Open(n.at, n.size); err == nil && b.Damaged == nil {
		return b.Record()
	}
	return copyRecord(n.last)
}

// Update lets change edit the record and makes it last; an error of the change
// leaves it as it was.
func (n *notebook) Update(change func(*record.Record) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := record.Open(n.at, n.size)
	if err != nil {
		return err
	}
	was := b.Record()
	if b.Damaged != nil { // since it was opened first: what is known is better than nothing
		was = n.last
	}
	r := copyRecord(was)
	if err := change(&r); err != nil {
		return err
	}
	if err := b.Update(func(to *record.Record) { *to = r }); err != nil {
		return err
	}
	n.last = copyRecord(r)
	return nil
}

func copyRecord(r record.Record) record.Record {
	r.Verdicts = slices.Clone(r.Verdicts)
	if r.Trial != nil {
		t := *r.Trial
		r.Trial = &t
	}
	return r
}
