package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Device is where the record lies: a partition, or a file that stands for one.
// A Device that also has a method ReadBack, as io.ReaderAt's ReadAt, is read
// back through that after a write: from the medium, past every cache.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error // what was written before lasts when it returns nil
}

// Book is an open record. Its methods may be called by several goroutines; only
// one Book of a device may be open for Update at a time.
type Book struct {
	// Damaged says why neither copy could be read although something is there;
	// the record is empty then. The next Update begins anew.
	Damaged error

	dev    Device
	copyAt int64 // distance of the two copies, bytes

	mu     sync.Mutex
	record Record
	seq    uint64
	next   int // index of the copy that the next Update overwrites
}

// Open reads the record of a device of size bytes. It fails only when the device
// cannot be read or is too small: damage of both copies is told by Damaged.
func Open(dev Device, size int64) (*Book, error) {
	b := &Book{dev: dev, copyAt: size / 2 / sector * sector}
	if b.copyAt < minCopy {
		return nil, fmt.Errorf("opening the record: %d bytes are too few", size)
	}
	var errs [2]error
	blank := true
	for i := range errs {
		r, seq, err := b.read(dev.ReadAt, i)
		switch {
		case err == nil:
			if b.seq == 0 || seq > b.seq {
				b.record, b.seq, b.next = *r, seq, 1-i
			}
		case errors.Is(err, errDamaged):
			errs[i] = fmt.Errorf("copy %d: %w", i, err)
			blank = blank && errors.Is(err, errBlank)
		default:
			return nil, fmt.Errorf("opening the record: copy %d: %w", i, err)
		}
	}
	if b.seq == 0 && !blank {
		b.Damaged = fmt.Errorf("the record is damaged: %w", errors.Join(errs[0], errs[1]))
	}
	return b, nil
}

// Record returns what is remembered; the caller may change it.
func (b *Book) Record() Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.record.clone()
}

// Update lets change edit the record and makes it last. When it returns nil,
// the new record is found after any cut. When it returns an error, Record
// returns the old one, and a later Open finds the old or the new one. It may be
// repeated.
//
// write (the older copy), sync, read back.
func (b *Book) Update(change func(*Record)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record.clone()
	change(&r)
	if err := b.write(&r, b.seq+1); err != nil {
		return fmt.Errorf("updating the record: %w", err)
	}
	b.record, b.seq, b.next, b.Damaged = r.clone(), b.seq+1, 1-b.next, nil
	return nil
}

func (b *Book) write(r *Record, seq uint64) error {
	data, err := Encode(*r, seq)
	if err != nil {
		return err
	}
	if int64(len(data)) > b.copyAt {
		return fmt.Errorf("it has %d bytes, there is room for %d", len(data), b.copyAt)
	}
	at := int64(b.next) * b.copyAt
	if _, err := b.dev.WriteAt(data, at); err != nil {
		return fmt.Errorf("writing copy %d: %w", b.next, err)
	}
	if err := b.dev.Sync(); err != nil {
		return fmt.Errorf("syncing copy %d: %w", b.next, err)
	}
	read := b.dev.ReadAt
	if m, ok := b.dev.(interface {
		ReadBack(p []byte, off int64) (int, error)
	}); ok {
		read = m.ReadBack
	}
	back := make([]byte, len(data))
	if _, err := read(back, at); err != nil {
		return fmt.Errorf("reading copy %d back: %w", b.next, err)
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("copy %d reads back as something else than was written", b.next)
	}
	return nil
}

// read decodes a copy. An error of the device is returned as it is, one of the
// content is errDamaged.
func (b *Book) read(readAt func([]byte, int64) (int, error), i int) (*Record, uint64, error) {
	at := int64(i) * b.copyAt
	h := make([]byte, sector)
	if _, err := readAt(h, at); err != nil {
		return nil, 0, err
	}
	n, err := length(h)
	if err != nil {
		return nil, 0, err
	}
	n = (n + sector - 1) / sector * sector
	if n > b.copyAt {
		return nil, 0, fmt.Errorf("%w: %d bytes do not fit", errDamaged, n)
	}
	data := make([]byte, n)
	if _, err := readAt(data, at); err != nil {
		return nil, 0, err
	}
	return Decode(data)
}
