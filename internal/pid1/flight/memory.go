package flight

import (
	"fmt"

	"github.com/instar-os/instar/internal/wire"
)

// How much of the boot that runs is kept in memory, in bytes: its beginning, and
// the newest.
const (
	maxHead = 64 << 10
	maxTail = 128 << 10
)

// memory is the entries of the boot that runs.
type memory struct {
	head, tail         []wire.BootEntry
	headSize, tailSize int
	lost               int // between head and tail
}

// cost is what an entry takes, about.
func cost(e wire.BootEntry) int { return len(e.Text) + len(e.Name) + 100 }

func (m *memory) add(e wire.BootEntry) {
	n := cost(e)
	if len(m.tail) == 0 && m.headSize+n <= maxHead {
		m.head, m.headSize = append(m.head, e), m.headSize+n
		return
	}
	m.tail, m.tailSize = append(m.tail, e), m.tailSize+n
	drop := 0
	for m.tailSize > maxTail {
		m.tailSize -= cost(m.tail[drop])
		drop++
	}
	m.tail, m.lost = m.tail[drop:], m.lost+drop
}

func (m *memory) all() []wire.BootEntry {
	all := append([]wire.BootEntry{}, m.head...)
	if m.lost > 0 {
		all = append(all, wire.BootEntry{At: m.tail[0].At, Kind: wire.EntryDropped, Count: m.lost})
	}
	return append(all, m.tail...)
}

// Boots lists what is remembered, the boot that runs last.
func (r *Recorder) Boots() (wire.BootList, error) {
	r.disk.Lock()
	defer r.disk.Unlock()
	current := r.current()
	list := wire.BootList{Kept: current.Number > 0, Boots: []wire.BootInfo{}}
	if r.ring != nil {
		for _, n := range r.ring.Numbers() {
			if n == current.Number {
				continue
			}
			entries, err := r.ring.Read(n)
			if err != nil {
				return list, err
			}
			list.Boots = append(list.Boots, Describe(n, entries))
		}
	}
	list.Boots = append(list.Boots, current.BootInfo)
	return list, nil
}

// current is the record of the boot that runs.
func (r *Recorder) current() wire.BootRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.begin
	entries := append([]wire.BootEntry{first}, r.memory.all()...)
	info := Describe(first.Boot.Number, entries)
	info.Current, info.Lasted, info.End = true, r.since(), ""
	if now := r.now(); now.Year() >= firstYear {
		info.Began = now.Add(-info.Lasted).UTC()
	}
	return wire.BootRecord{BootInfo: info, Entries: entries}
}

// Boot returns the record of a boot.
func (r *Recorder) Boot(req wire.BootRequest) (wire.BootRecord, error) {
	r.disk.Lock()
	defer r.disk.Unlock()
	current := r.current()
	n := req.Number
	if n <= 0 && r.ring != nil {
		numbers := r.ring.Numbers()
		if at := len(numbers) - 1 + int(max(n, -MaxBoots-1)); at >= 0 {
			n = numbers[at]
		}
	}
	switch {
	case n == 0 || n == current.Number:
		return current, nil
	case n < 0 || r.ring == nil:
		return wire.BootRecord{}, fmt.Errorf("no record of boot %d: %s", req.Number, r.why())
	}
	entries, err := r.ring.Read(n)
	return wire.BootRecord{BootInfo: Describe(n, entries), Entries: entries}, err
}

// why says why a boot is not known, under disk.
func (r *Recorder) why() string {
	if r.ring == nil {
		return "nothing lasts here, only the boot that runs is known"
	}
	return fmt.Sprintf("the last %d are kept", MaxBoots)
}
