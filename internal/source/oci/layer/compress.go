package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest window of a zstd frame in bytes: what a decoder must
// keep in memory. The format asks for 8 MiB; --long=27 makes 128 MiB.
const maxWindow = 128 << 20

// Compression tells how content is compressed by its first bytes (RFC 1952,
// RFC 8878): "gzip", "zstd" or "". Media types are not believed: archives that
// docker save wrote have none.
func Compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b\x08")):
		return "gzip"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")),
		// A skippable frame may come first.
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")):
		return "zstd"
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return "xz"
	case bytes.HasPrefix(head, []byte("BZh")):
		return "bzip2"
	}
	return ""
}

// Decompress reads gzip, zstd or nothing of the kind, as the first bytes tell,
// in a goroutine of its own, which writes the plain bytes to sum as well when
// that is not nil. The caller closes it, which ends that goroutine; only then
// sum and r are the caller's again.
func Decompress(r io.Reader, sum io.Writer) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch kind := Compression(head); kind {
	case "":
		return readAhead(in, sum, func() {}), nil
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", noEOF(err))
		}
		return readAhead(z, sum, func() {}), nil
	case "zstd":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return readAhead(z, sum, z.Close), nil
	default:
		return nil, fmt.Errorf("compressed with %s; layers of OCI images are plain, gzip or zstd", kind)
	}
}

// ahead reads in a goroutine, a few blocks before it is asked to.
type ahead struct {
	full, empty chan []byte
	stop        chan struct{}
	done        sync.WaitGroup
	err         error // after full is closed
	block, rest []byte
}

// The blocks of one reader: 1 MiB of memory.
const (
	aheadBlocks = 4
	aheadBlock  = 256 << 10
)

func readAhead(r io.Reader, sum io.Writer, release func()) *ahead {
	if sum != nil {
		r = io.TeeReader(r, sum)
	}
	a := &ahead{full: make(chan []byte, aheadBlocks), empty: make(chan []byte, aheadBlocks), stop: make(chan struct{})}
	for range aheadBlocks {
		a.empty <- make([]byte, aheadBlock)
	}
	a.done.Go(func() {
		defer release()
		defer close(a.full)
		for a.err == nil {
			select {
			case <-a.stop:
				a.err = errClosed
				return
			case b := <-a.empty:
				var n int
				n, a.err = fill(r, b)
				a.full <- b[:n]
			}
		}
	})
	return a
}

// fill reads until b is full or r ends, and says why it did.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

var errClosed = errors.New("reading what was closed")

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.block != nil {
			a.empty <- a.block[:aheadBlock]
			a.block = nil
		}
		b, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.block, a.rest = b, b
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close ends the goroutine and waits for it.
func (a *ahead) Close() error {
	close(a.stop)
	a.done.Wait()
	return nil
}
