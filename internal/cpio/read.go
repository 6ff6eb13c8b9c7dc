package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Entry is one member as Read returns it.
type Entry struct {
	Path         string
	Ino          uint32
	Mode         uint32 // type and permission bits
	UID, GID     uint32
	Links        uint32
	MTime        uint32 // seconds since 1970
	Major, Minor uint32 // of a device node
	Data         []byte
}

// Read reads one newc archive up to its trailer. Data of all members together
// may have up to limit bytes, and there may be up to 65536 members.
func Read(r io.Reader, limit int64) ([]Entry, error) {
	const maxEntries = 1 << 16
	cr := &countReader{r: r}
	var all []Entry
	for len(all) < maxEntries {
		e, err := readEntry(cr, limit)
		if err != nil {
			return nil, fmt.Errorf("cpio member %d: %w", len(all), err)
		}
		if e.Path == trailer {
			return all, nil
		}
		limit -= int64(len(e.Data))
		all = append(all, e)
	}
	return nil, fmt.Errorf("cpio archive with more than %d members", maxEntries)
}

func readEntry(r *countReader, limit int64) (Entry, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Entry{}, err
	}
	f, err := parseHeader(head[:])
	if err != nil {
		return Entry{}, err
	}
	size, nameSize := f[6], f[11]
	if nameSize < 2 || nameSize > MaxName+1 {
		return Entry{}, fmt.Errorf("name of %d bytes", nameSize)
	}
	if int64(size) > limit {
		return Entry{}, fmt.Errorf("%d bytes of data, more than the limit", size)
	}
	name := make([]byte, nameSize)
	if _, err := io.ReadFull(r, name); err != nil {
		return Entry{}, err
	}
	if bytes.IndexByte(name, 0) != len(name)-1 {
		return Entry{}, errors.New("name does not end with its only NUL")
	}
	e := Entry{
		Path: string(name[:len(name)-1]),
		Ino:  f[0], Mode: f[1], UID: f[2], GID: f[3], Links: f[4], MTime: f[5], Major: f[9], Minor: f[10],
	}
	if err := r.align(); err != nil {
		return Entry{}, err
	}
	// The copy grows with what is really there, whatever the header says.
	var data bytes.Buffer
	if _, err := io.CopyN(&data, r, int64(size)); err != nil {
		return Entry{}, err
	}
	e.Data = data.Bytes()
	return e, r.align()
}

func parseHeader(head []byte) ([13]uint32, error) {
	var f [13]uint32
	if string(head[:len(magic)]) != magic {
		return f, fmt.Errorf("magic is %q, not %q", head[:len(magic)], magic)
	}
	for i := range f {
		s := string(head[len(magic)+8*i:][:8])
		v, err := strconv.ParseUint(s, 16, 32)
		if err != nil {
			return f, fmt.Errorf("header field %q is not hexadecimal", s)
		}
		f[i] = uint32(v)
	}
	return f, nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countReader) align() error {
	var pad [3]byte
	_, err := io.ReadFull(c, pad[:-c.n&3])
	return err
}
