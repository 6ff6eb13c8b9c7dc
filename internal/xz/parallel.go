package xz

import (
	"errors"
	"io"
)

// maxAhead is how many bytes of decoded blocks may wait for the reader; files
// with larger blocks are decoded in sequence, in the memory of one dictionary.
const maxAhead = 256 << 20

// NewReaderAt decodes the file of the given size, up to parallel blocks of it at
// a time. The bytes are those that NewReader gives. Close ends the goroutines;
// it must be called, also after an error.
func NewReaderAt(r io.ReaderAt, size int64, parallel int) (io.ReadCloser, error) {
	flags, blocks, err := readIndex(r, size)
	if err != nil && !errors.Is(err, errShape) {
		return nil, err
	}
	parallel = max(parallel, 1)
	if err != nil || len(blocks) == 0 || !fits(blocks, parallel) {
		z, err := NewReader(io.NewSectionReader(r, 0, size))
		return io.NopCloser(z), err
	}
	p := &blockReader{stop: make(chan struct{}), queue: make(chan chan result, parallel-1), done: make(chan struct{})}
	go p.run(r, flags, blocks)
	return p, nil
}

func fits(blocks []block, parallel int) bool {
	for _, b := range blocks {
		if b.size > uint64(maxAhead/(parallel+1)) {
			return false
		}
	}
	return true
}

type result struct {
	data []byte
	err  error
}

// blockReader hands out decoded blocks in the order of the file.
type blockReader struct {
	queue chan chan result // one channel a block, in order; its capacity bounds the work ahead
	stop  chan struct{}
	done  chan struct{}
	cur   []byte
	err   error
}

// run starts a goroutine a block, no more ahead than the queue is long.
func (p *blockReader) run(r io.ReaderAt, flags [2]byte, blocks []block) {
	defer close(p.done)
	defer close(p.queue)
	var started []chan struct{}
	for _, b := range blocks {
		out := make(chan result, 1)
		select {
		case p.queue <- out:
		case <-p.stop:
			wait(started)
			return
		}
		end := make(chan struct{})
		started = append(started, end)
		go func() {
			defer close(end)
			data, err := b.decode(r, flags)
			out <- result{data, err}
		}()
	}
	wait(started)
}

func wait(all []chan struct{}) {
	for _, c := range all {
		<-c
	}
}

func (p *blockReader) Read(b []byte) (int, error) {
	for len(p.cur) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		out, ok := <-p.queue
		if !ok {
			p.err = io.EOF
			return 0, io.EOF
		}
		res := <-out
		p.cur, p.err = res.data, res.err
	}
	n := copy(b, p.cur)
	p.cur = p.cur[n:]
	return n, nil
}

// Close stops decoding and waits for the goroutines.
func (p *blockReader) Close() error {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	for range p.queue {
	}
	<-p.done
	p.cur, p.err = nil, errors.New("xz: read after close")
	return nil
}
