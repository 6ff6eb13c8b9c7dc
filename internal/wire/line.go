package wire

import (
	"bufio"
	"errors"
	"io"
)

// ErrTooLong says that a line was longer than its reader takes.
var ErrTooLong = errors.New("line too long")

// A lineReader reads lines of limited length. A longer one is dropped to its
// end, so that the next call begins with the next line.
type lineReader struct {
	r   *bufio.Reader
	max int
	buf []byte
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 4<<10), max: limit}
}

// next returns the next line without its end, valid until the following call,
// or ErrTooLong, or the reader's error. What stands after the last line end is
// no line.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if !long && len(l.buf)+len(part) <= l.max+1 {
			l.buf = append(l.buf, part...)
		} else {
			long = true
		}
		switch {
		case err != nil:
			continue
		case long:
			return nil, ErrTooLong
		}
		return l.buf[:len(l.buf)-1], nil
	}
}
