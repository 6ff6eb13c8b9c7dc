package bindiff

import (
	"bytes"
	"slices"

	"github.com/instar-os/instar/internal/bindiff/field"
)

// Sketch stands for the content of a file: of two files that share pieces, the
// sketches share about as large a part. Bytes that hold addresses do not count,
// so that code which has moved is still the same.
//
// Source: A. Broder, "On the resemblance and containment of documents" (1997).
type Sketch []uint32

const (
	sketchSize = 256 // features of a file that are kept, the smallest
	leastAlike = 12  // features that two files must share to be called alike
)

// gear are the random numbers of a hash of the last 32 bytes.
var gear = func() (t [256]uint32) {
	x := uint64(1)
	for i := range t {
		x = x*6364136223846793005 + 1442695040888963407
		t[i] = uint32(x >> 32)
	}
	return t
}()

// NewSketch makes the sketch of a file.
func NewSketch(text []byte) Sketch {
	if l := field.Find(text); l != nil {
		text = bytes.Clone(text)
		for f := range l.Fields() {
			clear(text[f.Pos:f.End()])
		}
	}
	var s Sketch
	h, limit := uint32(0), uint32(1<<32-1)
	last := uint32(0)
	for i, c := range text {
		h = h<<1 + gear[c]
		v := h * 0x9e3779b1
		if v >= limit || v == last || i < 31 {
			continue
		}
		if last = v; !slices.Contains(s, v) {
			s = append(s, v)
		}
		if len(s) == 2*sketchSize {
			slices.Sort(s)
			s = s[:sketchSize]
			limit = s[sketchSize-1]
		}
	}
	slices.Sort(s)
	return slices.Clip(s[:min(len(s), sketchSize)])
}

// Alike finds for each new sketch the old one that shares most with it, the
// first of several; -1 where none shares enough.
func Alike(old, new []Sketch) []int {
	index := map[uint32][]int32{}
	for i, s := range old {
		for _, v := range s {
			if len(index[v]) < 64 { // what is everywhere says nothing
				index[v] = append(index[v], int32(i))
			}
		}
	}
	best := make([]int, len(new))
	count := make([]int, len(old))
	for i, s := range new {
		clear(count)
		for _, v := range s {
			for _, o := range index[v] {
				count[o]++
			}
		}
		best[i] = -1
		most := leastAlike - 1
		for o, n := range count {
			if n > most {
				best[i], most = o, n
			}
		}
	}
	return best
}
