package slot

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"unsafe"
)

// What a slot is written and read back in: pieces large enough for a disk to
// be at its best, and few enough for a machine with little memory.
const (
	pumpPiece   = 2 << 20 // bytes
	pumpPieces  = 3       // at most, made while one is written
	proofReader = 4       // at once
)

// sectorAlign is what memory and places of a piece are multiples of, in bytes,
// so that a disk can take it past the kernel's cache.
const sectorAlign = 4096

// A span is a run of bytes that was written, and what it hashed to.
type span struct {
	at, size int64
	hash     uint64
}

// pump is an io.WriterAt that puts neighbours together and writes them behind
// its caller's back, one after the other.
type pump struct {
	dev   Device
	free  chan []byte
	full  chan piece
	done  chan struct{}
	spans []span // of all pieces that were handed on

	now piece // being filled

	mu  sync.Mutex
	err error // of the first piece that could not be written
}

type piece struct {
	at  int64
	buf []byte // of pumpPiece bytes, or nil: none
	n   int
}

// proofSeed hashes what is written and what is read back.
var proofSeed = maphash.MakeSeed()

func newPump(dev Device) *pump {
	p := &pump{dev: dev, free: make(chan []byte, pumpPieces), full: make(chan piece, pumpPieces), done: make(chan struct{})}
	for range pumpPieces {
		p.free <- aligned(pumpPiece)
	}
	go p.write()
	return p
}

// aligned returns memory that a disk may read and write directly.
func aligned(size int) []byte {
	b := make([]byte, size+sectorAlign)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (sectorAlign - 1)
	return b[skip : skip+size : skip+size]
}

// write writes pieces until there are no more.
func (p *pump) write() {
	defer close(p.done)
	for b := range p.full {
		if p.failed() == nil {
			if _, err := p.dev.WriteAt(b.buf[:b.n], b.at); err != nil {
				p.mu.Lock()
				p.err = err
				p.mu.Unlock()
			}
		}
		p.free <- b.buf
	}
}

func (p *pump) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// WriteAt implements io.WriterAt. An error may be one of an earlier call.
func (p *pump) WriteAt(b []byte, off int64) (int, error) {
	written := len(b)
	for len(b) > 0 {
		if p.now.buf != nil && off != p.now.at+int64(p.now.n) {
			p.hand()
		}
		if p.now.buf == nil {
			p.now = piece{at: off, buf: <-p.free}
		}
		// A piece that begins anywhere ends where the next one is aligned.
		room := pumpPiece - int(p.now.at%sectorAlign) - p.now.n
		n := copy(p.now.buf[p.now.n:p.now.n+room], b)
		p.now.n += n
		b, off = b[n:], off+int64(n)
		if n == room {
			p.hand()
		}
	}
	return written, p.failed()
}

func (p *pump) hand() {
	b := p.now
	p.now = piece{}
	p.spans = append(p.spans, span{b.at, int64(b.n), maphash.Bytes(proofSeed, b.buf[:b.n])})
	p.full <- b
}

// close writes what is left and returns all that was written.
func (p *pump) close() ([]span, error) {
	if p.now.buf != nil {
		p.hand()
	}
	close(p.full)
	<-p.done
	return p.spans, p.err
}

// prove reads spans back from the medium and compares their hashes.
func prove(dev Device, spans []span) error {
	var group sync.WaitGroup
	errs := make([]error, proofReader)
	for i := range proofReader {
		group.Go(func() {
			buf := aligned(pumpPiece)
			for k := i; k < len(spans) && errs[i] == nil; k += proofReader {
				errs[i] = spans[k].prove(dev, buf)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s span) prove(dev Device, buf []byte) error {
	b := buf[:s.size]
	if _, err := dev.ReadBack(b, s.at); err != nil {
		return err
	}
	if maphash.Bytes(proofSeed, b) != s.hash {
		return fmt.Errorf("the %d bytes at %d of the disk are not what was written", s.size, s.at)
	}
	return nil
}
