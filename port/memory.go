package port

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// memory is a mapped port. After close every access panics instead of
// reaching what was mapped there next.
type memory struct {
	layout Layout
	mem    []byte
	cursor []byte // nil for a sampling port
	wake   *os.File
	own    bool // wake is closed with it
	clock  clock
	stride int
	slots  uint64
}

// open maps a port and compares it with what the program expects.
func open(e Ends, want Message, kind Kind, write bool) (*memory, error) {
	m, err := mapEnds(e, want, kind, write)
	if err != nil {
		return nil, fmt.Errorf("opening link %s: %w", want.Link, err)
	}
	return m, nil
}

// openNamed maps a port that this process was started with.
func openNamed(want Message, kind Kind, write bool) (*memory, error) {
	e, err := Find(want.Link)
	if err != nil {
		return nil, err
	}
	m, err := open(e, want, kind, write)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	m.own, e.Wake = true, nil
	if err := e.Close(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func mapEnds(e Ends, want Message, kind Kind, write bool) (_ *memory, err error) {
	m := &memory{wake: e.Wake}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if m.mem, err = mapFile(e.Memory, write); err != nil {
		return nil, err
	}
	var hash uint64
	if m.layout, hash, err = parse(m.mem); err != nil {
		return nil, err
	}
	if m.layout.Kind != kind || hash != want.hash(kind) {
		return nil, fmt.Errorf("%w: the port has kind %d, size %d, version %d; this program wants kind %d, size %d, version %d under the name %s",
			ErrMismatch, m.layout.Kind, m.layout.Size, m.layout.Version, kind, want.Size, want.Version, want.Link)
	}
	m.layout.Link = want.Link
	m.stride, m.slots = stride(m.layout.Size), uint64(m.layout.slots())
	if kind == Queueing {
		if m.cursor, err = mapFile(e.Cursor, !write); err != nil {
			return nil, err
		}
		if len(m.cursor) < CursorBytes || binary.LittleEndian.Uint64(m.cursor) != cursorMagic || binary.LittleEndian.Uint64(m.cursor[16:]) != hash {
			return nil, fmt.Errorf("%w: its cursor belongs to another port", ErrMismatch)
		}
	}
	m.clock, err = newClock()
	return m, err
}

func mapFile(f *os.File, write bool) ([]byte, error) {
	if f == nil {
		return nil, ErrNoLink
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if size < headerSize || size > 2*MaxMemory {
		return nil, ErrCorrupt
	}
	prot := syscall.PROT_READ
	if write {
		prot |= syscall.PROT_WRITE
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, int(size), prot, syscall.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return mem, nil
}

// close unmaps the port; files that are the caller's stay open.
func (m *memory) close() error {
	var errs []error
	if m.own && m.wake != nil {
		errs = append(errs, m.wake.Close())
		m.wake = nil
	}
	for _, b := range []*[]byte{&m.mem, &m.cursor} {
		if *b != nil {
			errs = append(errs, os.NewSyscallError("munmap", syscall.Munmap(*b)))
			*b = nil
		}
	}
	return errors.Join(errs...)
}

func word(mem []byte, at int) *uint64 {
	return (*uint64)(unsafe.Pointer(&mem[at : at+8][0]))
}

func load(mem []byte, at int) uint64     { return atomic.LoadUint64(word(mem, at)) }
func store(mem []byte, at int, v uint64) { atomic.StoreUint64(word(mem, at), v) }

func (m *memory) published() uint64 { return load(m.mem, atPublished) }

// at returns the offset of the slot of message n, which counts from 1.
func (m *memory) at(n uint64) int { return headerSize + int((n-1)%m.slots)*m.stride }

// put writes message n, and publishes it last: whoever sees the new count sees
// the message. origin is when what it rests on began, 0 for now. A slot's sequence is odd while it changes. Cut anywhere, the
// next put of the same n repairs it.
func (m *memory) put(n uint64, data []byte, origin time.Duration) {
	at := m.at(n)
	slot := m.mem[at : at+m.stride]
	store(slot, 0, 2*n-1)
	storeWord(word(slot, slotTime), uint64(m.clock.now()))
	storeWord(word(slot, slotLength), uint64(len(data)))
	storeWord(word(slot, slotOrigin), uint64(origin))
	to := slot[slotData:]
	for len(data) >= 8 {
		storeWord(word(to, 0), binary.LittleEndian.Uint64(data))
		data, to = data[8:], to[8:]
	}
	if len(data) > 0 {
		var rest [8]byte
		copy(rest[:], data)
		storeWord(word(to, 0), binary.LittleEndian.Uint64(rest[:]))
	}
	store(slot, 0, 2*n)
	store(m.mem, atPublished, n)
}

// get copies message n, and reports whether it was whole.
func (m *memory) get(n uint64, buf []byte) (s Sample, err error, whole bool) {
	at := m.at(n)
	slot := m.mem[at : at+m.stride]
	if load(slot, 0) != 2*n {
		return s, nil, false
	}
	written := time.Duration(loadWord(word(slot, slotTime)))
	length := loadWord(word(slot, slotLength))
	origin := time.Duration(loadWord(word(slot, slotOrigin)))
	if length > uint64(m.layout.Size) { // torn, or a writer gone mad
		return s, ErrCorrupt, load(slot, 0) == 2*n
	}
	s.Length, s.Sequence = int(length), n
	if s.Length > len(buf) {
		err = fmt.Errorf("link %s: %w: %d bytes for a buffer of %d", m.layout.Link, ErrSize, s.Length, len(buf))
	} else {
		read(buf[:s.Length], slot[slotData:])
	}
	if load(slot, 0) != 2*n {
		return s, nil, false
	}
	now := m.clock.now()
	if origin <= 0 || origin > written { // it rests on nothing before
		origin = written
	}
	s.Age, s.Origin, s.DataAge = max(now-written, 0), origin, max(now-origin, 0)
	s.Valid = m.layout.Validity == 0 || s.Age <= m.layout.Validity
	return s, err, true
}

func read(to, from []byte) {
	for len(to) >= 8 {
		binary.LittleEndian.PutUint64(to, loadWord(word(from, 0)))
		to, from = to[8:], from[8:]
	}
	if len(to) > 0 {
		var rest [8]byte
		binary.LittleEndian.PutUint64(rest[:], loadWord(word(from, 0)))
		copy(to, rest[:])
	}
}

func (m *memory) tooLarge(data []byte) error {
	if len(data) > m.layout.Size {
		return fmt.Errorf("link %s: %w: %d bytes of at most %d", m.layout.Link, ErrSize, len(data), m.layout.Size)
	}
	return nil
}

// signal wakes the reader. An eventfd blocks only at 2^64-2 wake-ups that
// nobody took.
func (m *memory) signal() error {
	if m.wake == nil {
		return nil
	}
	one := [8]byte{1}
	if _, err := syscall.Write(int(m.wake.Fd()), one[:]); err != nil {
		return fmt.Errorf("link %s: waking the reader: %w", m.layout.Link, err)
	}
	return nil
}
