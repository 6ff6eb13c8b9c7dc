package slot

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// tape is a device in memory that can refuse or spoil what it is given.
type tape struct {
	b      []byte
	writes int
	refuse int // that write fails; 0: none
	spoil  int // that byte is another one on the medium; 0: none
}

func (d *tape) WriteAt(p []byte, off int64) (int, error) {
	if d.writes++; d.writes == d.refuse {
		return 0, errors.New("refused")
	}
	return copy(d.b[off:], p), nil
}

func (d *tape) ReadAt(p []byte, off int64) (int, error) { return copy(p, d.b[off:]), nil }
func (d *tape) Sync() error                             { return nil }

func (d *tape) ReadBack(p []byte, off int64) (int, error) {
	n := copy(p, d.b[off:])
	if at := int64(d.spoil) - off; d.spoil > 0 && at >= 0 && at < int64(n) {
		p[at] ^= 1
	}
	return n, nil
}

// What is written in any pieces, at any places, is what the device has, and is
// proven; a byte that differs anywhere is found.
func TestPump(t *testing.T) {
	const size = 3*pumpPiece + 12345
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(r.Uint32())
		}
		d := &tape{b: make([]byte, size)}
		p := newPump(d)
		gap := int64(0)
		for at := int64(r.IntN(5000)); at < size; {
			n := min(int64(1+r.IntN(600<<10)), size-at)
			if _, err := p.WriteAt(want[at:at+n], at); err != nil {
				t.Fatal(err)
			}
			if at += n; r.IntN(4) == 0 {
				gap = int64(r.IntN(9000))
				clear(want[at:min(at+gap, size)])
				at += gap
			}
		}
		spans, err := p.close()
		if err != nil {
			t.Fatal(err)
		}
		first := spans[0].at
		if !bytes.Equal(d.b[first:], want[first:]) {
			t.Fatalf("seed %d: the device has something else", seed)
		}
		if err := prove(d, spans); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		s := spans[r.IntN(len(spans))]
		d.spoil = int(max(s.at+r.Int64N(s.size), 1))
		if err := prove(d, spans); err == nil || !strings.Contains(err.Error(), "are not what was written") {
			t.Errorf("seed %d: byte %d is another one: %v", seed, d.spoil, err)
		}
	}
}

// A write that fails is an error of the end, at the latest.
func TestPumpRefused(t *testing.T) {
	for n := 1; n <= 4; n++ {
		d := &tape{b: make([]byte, 4*pumpPiece), refuse: n}
		p := newPump(d)
		_, err := p.WriteAt(make([]byte, 4*pumpPiece), 0)
		_, end := p.close()
		if errors.Join(err, end) == nil {
			t.Errorf("write %d was refused, and nobody noticed", n)
		}
	}
}
