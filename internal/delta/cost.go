package delta

import (
	"bufio"
	"io"
)

// Costs decodes a stream and returns how many of its bytes each of its contents
// takes, in their order. A difference is read as far as a content needs it; a
// compressed stream is unpacked in steps, whose bytes are divided among the
// contents of a step by their sizes. What the sink is given it may read or leave.
func (u *Update) Costs(s Stream, body io.ReaderAt, base Base, sink Sink) ([]int64, error) {
	stored := io.NewSectionReader(body, s.Offset, s.Stored)
	r := bufio.NewReader(stored)
	var at []int64
	err := u.decode(s, r, base, func(e Entry, content io.Reader) error {
		if err := sink(e, content); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		read, err := stored.Seek(0, io.SeekCurrent)
		at = append(at, read-int64(r.Buffered()))
		return err
	})
	if err != nil {
		return nil, err
	}
	at[len(at)-1] = s.Stored // what ends the stream
	return shares(at, u.Contents(s)), nil
}

// shares divides bytes among contents: at says how far the stream was read when
// each of them was whole.
func shares(at []int64, list []Entry) []int64 {
	costs := make([]int64, len(list))
	var before int64
	for i := 0; i < len(list); {
		n, sum := i+1, list[i].Size
		for n < len(list) && at[n] == at[i] {
			sum += list[n].Size
			n++
		}
		rest := at[i] - before
		before = at[i]
		for ; i < n; i++ {
			share := rest
			if sum > 0 {
				share = rest * list[i].Size / sum
			}
			costs[i] = share
			rest, sum = rest-share, sum-list[i].Size
		}
	}
	return costs
}
