package blocks

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"math/bits"
	"slices"
)

// State is the content of a recorded disk after a loss of power. It can be read
// while its log is open and stays what it is when more is recorded.
type State struct {
	log   *Log
	n     int // operations that were acknowledged
	solid int // of them, those before the last flush
	kept  func(op int, sector int64) bool
}

// Now returns the disk with everything that was acknowledged.
func (l *Log) Now() *State { return l.Prefix(l.Len()) }

// Prefix returns the disk after the first n operations, none lost.
func (l *Log) Prefix(n int) *State { return &State{log: l, n: n, solid: n} }

// Lost returns the disk after the first n operations, without whatever was not
// flushed.
func (l *Log) Lost(n int) *State {
	return &State{log: l, n: n, solid: l.flushed(n), kept: func(int, int64) bool { return false }}
}

// Cut returns the disk after the first n operations, of which those that were
// not flushed are there or not as the seed has it. Different seeds keep
// different shares of them: whole operations in most states, single sectors in
// the others.
func (l *Log) Cut(n int, seed uint64) *State {
	share := mix(seed) % 257 // of 256; 0 loses all, 256 keeps all
	torn := mix(seed+1)%4 == 0
	return &State{log: l, n: n, solid: l.flushed(n), kept: func(op int, sector int64) bool {
		key := seed*0x9e3779b97f4a7c15 + uint64(op)
		if torn {
			key ^= bits.RotateLeft64(uint64(sector), 32)
		}
		return mix(key)%256 < share
	}}
}

// Pending returns how many writes of the first n operations were not flushed.
func (l *Log) Pending(n int) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	pending := 0
	for _, o := range l.ops[l.flushedLocked(n):n] {
		if o.Kind != Flush && !o.FUA {
			pending++
		}
	}
	return pending
}

func (l *Log) flushed(n int) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.flushedLocked(n)
}

// flushedLocked returns the index of the last flush before n.
func (l *Log) flushedLocked(n int) int {
	i, _ := slices.BinarySearch(l.flushes, n)
	if i == 0 {
		return 0
	}
	return l.flushes[i-1]
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Size returns the size of the disk in bytes.
func (s *State) Size() int64 { return s.log.size }

// Acknowledged returns the number of operations before the cut.
func (s *State) Acknowledged() int { return s.n }

// Identity returns a number that is the same for two states of one log when the
// same writes make up a range of the disk: its content need not be read again.
// Bytes.
func (s *State) Identity(off, size int64) uint64 {
	s.log.mu.RLock()
	defer s.log.mu.RUnlock()
	h := fnv.New64a()
	var b [8]byte
	add := func(v uint64) {
		binary.LittleEndian.PutUint64(b[:], v)
		h.Write(b[:])
	}
	for i, o := range s.log.ops[:s.n] {
		if o.Kind == Flush || o.Off >= off+size || o.Off+o.Size <= off {
			continue
		}
		if i < s.solid || o.FUA {
			add(uint64(i))
			continue
		}
		var bits uint64
		from, to := max(o.Off, off)/SectorSize, (min(o.Off+o.Size, off+size)+SectorSize-1)/SectorSize
		for sector := from; sector < to; sector++ {
			bits <<= 1
			if s.kept(i, sector) {
				bits |= 1
			}
			if (sector-from)%63 == 62 || sector == to-1 {
				if bits != 0 {
					add(uint64(i)<<1 ^ uint64(sector)<<32)
					add(bits)
				}
				bits = 0
			}
		}
	}
	return h.Sum64()
}

// last returns the operation that a sector's content comes from, -1 for the
// base. The log is locked.
func (s *State) last(sector int64) int {
	list := s.log.versions[sector]
	for i := len(list) - 1; i >= 0; i-- {
		op := int(list[i])
		if op < s.solid || op < s.n && (s.log.ops[op].FUA || s.kept(op, sector)) {
			return op
		}
	}
	return -1
}

// ReadAt implements io.ReaderAt. Offset and length need not be whole sectors.
func (s *State) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("reading before the disk")
	}
	if off >= s.log.size {
		return 0, io.EOF
	}
	var end error
	if rest := s.log.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	s.log.mu.RLock()
	defer s.log.mu.RUnlock()
	for done := 0; done < len(p); {
		n, err := s.run(p[done:], off+int64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), end
}

// run reads as many bytes as come from one operation, or from the base.
func (s *State) run(p []byte, off int64) (int, error) {
	first := off / SectorSize
	op := s.last(first)
	end := (first + 1) * SectorSize
	for end < off+int64(len(p)) && s.last(end/SectorSize) == op {
		end += SectorSize
	}
	p = p[:min(int64(len(p)), end-off)]
	if op < 0 {
		n, err := s.log.base.ReadAt(p, off)
		if n == len(p) || errors.Is(err, io.EOF) {
			clear(p[n:])
			return len(p), nil
		}
		return n, err
	}
	o := s.log.ops[op]
	if o.Kind != Write {
		clear(p)
		return len(p), nil
	}
	return s.log.file.ReadAt(p, o.data+off-o.Off)
}

// CutWhole is Cut without torn operations: each that was not flushed is there
// whole or not at all.
func (l *Log) CutWhole(n int, seed uint64) *State {
	share := mix(seed) % 257
	return &State{log: l, n: n, solid: l.flushed(n), kept: func(op int, _ int64) bool {
		return mix(seed*0x9e3779b97f4a7c15+uint64(op))%256 < share
	}}
}

// CutTorn is Cut with every operation torn into sectors, whose units are
// written at once: sectors that unit gives the same number are kept or lost
// together; nil tears them all.
func (l *Log) CutTorn(n int, seed uint64, unit func(sector int64) int64) *State {
	share := mix(seed) % 257
	return &State{log: l, n: n, solid: l.flushed(n), kept: func(op int, sector int64) bool {
		if unit != nil {
			sector = unit(sector)
		}
		return mix(seed*0x9e3779b97f4a7c15+uint64(op)^bits.RotateLeft64(uint64(sector), 32))%256 < share
	}}
}
