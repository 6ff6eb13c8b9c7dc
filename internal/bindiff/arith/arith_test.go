package arith

import (
	"bytes"
	"io"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// step is one thing said to a Coder.
type step struct {
	kind int
	v    uint64
}

func run(c *Coder, steps []step) []uint64 {
	var flag [4]Flag
	var num Number
	m := NewBytes(2, 10, 2)
	got := make([]uint64, 0, len(steps))
	last := uint32(0)
	for _, s := range steps {
		switch s.kind {
		case 0:
			got = append(got, uint64(flag[last&3].Code(c, int(s.v&1))))
		case 1:
			got = append(got, num.Code(c, s.v))
		case 2:
			got = append(got, uint64(num.Signed(c, int64(s.v))))
		case 3:
			got = append(got, c.Even(s.v, 64))
		default:
			b := m.Code(c, byte(s.v), []uint32{last, 7}, int(last&1), int(last%300)-44, int(last%Trusts))
			got = append(got, uint64(b))
			last = uint32(b)
		}
	}
	return got
}

// What was written is read, and not a byte more than that.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOf(rapid.Custom(func(t *rapid.T) step {
			return step{rapid.IntRange(0, 4).Draw(t, "kind"), rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300), rapid.Just(uint64(math.MaxUint64))).Draw(t, "v")}
		})).Draw(t, "steps")
		var buf bytes.Buffer
		w := NewWriter(&buf)
		want := run(w, steps)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if int64(buf.Len()) != w.Written() {
			t.Fatalf("Written says %d, it wrote %d", w.Written(), buf.Len())
		}
		buf.WriteString("tail")
		r, err := NewReader(&buf)
		if err != nil {
			t.Fatal(err)
		}
		got := run(r, steps)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("step %d: got %d, want %d", i, got[i], want[i])
			}
		}
		if err := r.Err(); err != nil || buf.String() != "tail" {
			t.Fatalf("error %v, left over %q", err, buf.String())
		}
	})
}

func TestTruncated(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	steps := make([]step, 500)
	for i := range steps {
		steps[i] = step{3, uint64(i) * 0x9e3779b97f4a7c15}
	}
	run(w, steps)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(buf.Bytes()[:buf.Len()-1]))
	if err != nil {
		t.Fatal(err)
	}
	if run(r, steps); r.Err() != io.ErrUnexpectedEOF {
		t.Fatalf("got %v", r.Err())
	}
}

func BenchmarkBytes(b *testing.B) {
	m := NewBytes(6, 20, 1)
	c := NewWriter(io.Discard)
	ctx := make([]uint32, 6)
	b.SetBytes(1)
	x := uint32(1)
	for b.Loop() {
		x = x*1664525 + 1013904223
		for i := range ctx {
			ctx[i] = ctx[i]<<(4+i) ^ x>>28
		}
		m.Code(c, byte(x>>28), ctx, 0, -1, 0)
	}
}
