package bindiff

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/instar-os/instar/internal/bindiff/arith"
)

// pair holds both files of a Pair.
type pair struct{ old, text []byte }

func (p pair) Pair() Pair {
	q := Pair{Name: "test", New: func() ([]byte, error) { return p.text, nil }}
	if p.old != nil {
		q.Old = func() ([]byte, error) { return p.old, nil }
	}
	return q
}

func encode(t testing.TB, pairs ...pair) []byte {
	t.Helper()
	return encodeSmall(t, 0, pairs...)
}

// encodeSmall takes tables of 1<<bits slots.
func encodeSmall(t testing.TB, bits int, pairs ...pair) []byte {
	t.Helper()
	var list []Pair
	for _, p := range pairs {
		list = append(list, p.Pair())
	}
	var buf bytes.Buffer
	r, err := Encode(context.Background(), &buf, list, Options{Workers: 2, bits: bits})
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes != int64(buf.Len()) {
		t.Fatalf("the report says %d bytes, the stream has %d", r.Bytes, buf.Len())
	}
	return buf.Bytes()
}

func decode(t testing.TB, stream []byte, pairs ...pair) {
	t.Helper()
	decodeSmall(t, tableBits, stream, pairs...)
}

func decodeSmall(t testing.TB, bits int, stream []byte, pairs ...pair) {
	t.Helper()
	r := bytes.NewReader(stream)
	d, err := newDecoder(r, bits)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		var got bytes.Buffer
		if err := d.Next(p.old, int64(len(p.text)), &got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), p.text) {
			t.Fatalf("file %d differs", i)
		}
	}
	if r.Len() != 0 {
		t.Fatalf("%d bytes of the stream are left", r.Len())
	}
}

// edited is a file and one made of it by moving, changing, inserting and
// removing pieces.
var edited = rapid.Custom(func(t *rapid.T) pair {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	letters := rapid.IntRange(1, 256).Draw(t, "letters")
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.IntN(letters))
		}
		return b
	}
	old := random(rapid.IntRange(0, 4000).Draw(t, "size"))
	text := bytes.Clone(old)
	for range rapid.IntRange(0, 8).Draw(t, "edits") {
		if len(text) == 0 {
			break
		}
		at := rng.IntN(len(text))
		n := rng.IntN(min(len(text)-at, 300) + 1)
		switch rng.IntN(4) {
		case 0:
			text = append(text[:at:at], text[at+n:]...)
		case 1:
			text = append(text[:at:at], append(random(n), text[at:]...)...)
		case 2:
			text = append(text[:at:at], append(bytes.Clone(text[at:at+n]), text[at:]...)...)
		default:
			for range n / 10 {
				text[at+rng.IntN(n)] ^= byte(rng.IntN(letters))
			}
		}
	}
	return pair{old, text}
})

func TestRoundTrip(t *testing.T) {
	decode(t, encode(t))
	rapid.Check(t, func(rt *rapid.T) {
		pairs := rapid.SliceOfN(edited, 1, 4).Draw(rt, "pairs")
		decodeSmall(t, 10, encodeSmall(t, 10, pairs...), pairs...)
	})
}

func TestSpecial(t *testing.T) {
	noise := make([]byte, 100_000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	long := bytes.Repeat([]byte("instar "), 10_000)
	pairs := []pair{
		{nil, nil}, {nil, noise}, {noise, noise}, {noise, nil}, {noise, noise[:50_000]}, {noise[:1], noise[:2]},
		{noise[500:], noise}, {long, long[3:]}, {make([]byte, 200_000), make([]byte, 300_000)},
		{append(bytes.Clone(noise[:1000]), long...), append(bytes.Clone(long), noise[:1000]...)},
	}
	stream := encode(t, pairs...)
	decode(t, stream, pairs...)
	if len(stream) > len(noise)*102/100+1500+1000 {
		t.Errorf("%d bytes for 101,500 random ones", len(stream))
	}
}

// One changed word in a large file costs a few bytes, a file that stays nothing.
func TestSmall(t *testing.T) {
	old := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range old {
		old[i] += byte(rng.IntN(3))
	}
	text := bytes.Clone(old)
	copy(text[100_000:], "changed!")
	if n := len(encode(t, pair{old, text})); n > 40 {
		t.Errorf("%d bytes for one changed word", n)
	}
	same := make([]pair, 200)
	for i := range same {
		same[i] = pair{old[i*1000:][:1000], old[i*1000:][:1000]}
	}
	if n := len(encode(t, same...)); n > 200 {
		t.Errorf("%d bytes for 200 files that stay", n)
	}
}

// The stream is the same whatever the machine and the number of workers.
func TestDeterministic(t *testing.T) {
	p := pair{[]byte("one two three four five six seven eight nine ten"), []byte("one two four three five six seven 8 nine ten")}
	want := encode(t, p, p, p)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if !bytes.Equal(encode(t, p, p, p), want) {
		t.Error("another stream with one processor")
	}
}

// Every stream cut short is an error, and so is one for other files.
func TestTruncated(t *testing.T) {
	old := bytes.Repeat([]byte("all work and no play "), 100)
	text := append(bytes.Clone(old[:1000]), bytes.Repeat([]byte("makes Jack a dull boy, "), 10)...)
	stream := encode(t, pair{old, text})
	for n := range stream {
		d, err := NewDecoder(bytes.NewReader(stream[:n]))
		if err == nil {
			err = d.Next(old, int64(len(text)), io.Discard)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d of %d bytes: %v", n, len(stream), err)
		}
	}
	d, err := NewDecoder(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Next(old[:10], int64(len(text)), io.Discard); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a shorter old file: %v", err)
	}
	if _, err := NewDecoder(bytes.NewReader([]byte{99, 0, 0, 0, 0, 0})); err == nil {
		t.Fatal("version 99 was taken")
	}
}

// refusing is a writer that refuses more than it was promised.
type refusing struct {
	t    testing.TB
	left int64
}

func (w *refusing) Write(p []byte) (int, error) {
	if w.left -= int64(len(p)); w.left < 0 {
		w.t.Error("more bytes than the size said")
	}
	return len(p), nil
}

// Whatever the stream says, a file has at most its size, the error is one, and
// memory is bounded.
func FuzzDecoder(f *testing.F) {
	const bits = 8 // small tables: an execution is 100 times as fast
	p := pair{bytes.Repeat([]byte("all work and no play "), 40), bytes.Repeat([]byte("all play and no work "), 40)}
	f.Add([]byte{Version, 0, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte{}, uint16(9))
	f.Add([]byte{Version, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, p.old, uint16(900))
	f.Fuzz(func(t *testing.T, stream, old []byte, size uint16) {
		d, err := newDecoder(bytes.NewReader(stream), bits)
		if err != nil {
			return
		}
		for range 3 {
			w := &refusing{t, int64(size)}
			err := d.Next(old, int64(size), w)
			if err == nil && w.left != 0 {
				t.Fatalf("%d bytes are missing", w.left)
			}
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
		}
	})
}

// A number of spans that no file of that size can have is refused before any
// memory is taken for them.
func TestAbsurdCount(t *testing.T) {
	for _, n := range []uint64{2, maxSpans + 1, 1 << 40, 1<<64 - 1} {
		var buf bytes.Buffer
		buf.WriteByte(Version)
		c := arith.NewWriter(&buf)
		m := newModels(8)
		m.class.Code(c, 0)
		m.spans[0].count.Code(c, n)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		size := int64(2*minSpan - 1)
		if n > 2 {
			size = MaxSize
		}
		d, err := newDecoder(&buf, 8)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Next(nil, size, io.Discard); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d spans: %v", n, err)
		}
	}
}

// The hash of a store path costs its 20 bytes once, however many files refer
// to it.
func TestHashes(t *testing.T) {
	const was, now = "0123456789abcdfghijklmnpqrsvwxyz", "zyxwvsrqpnmlkjihgfdcba9876543210"
	rng := rand.New(rand.NewPCG(1, 2))
	var pairs []pair
	for range 300 {
		b := make([]byte, 5000)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		copy(b[1000:], "/nix/store/"+was+"-glibc-2.41/lib")
		copy(b[3000:], "/nix/store/"+was+"-glibc-2.41/lib")
		pairs = append(pairs, pair{b, bytes.ReplaceAll(b, []byte(was), []byte(now))})
	}
	pairs[7].text = bytes.ReplaceAll(pairs[7].text, []byte(now), bytes.Repeat([]byte{0, 255}, 16))
	stream := encode(t, pairs...)
	decode(t, stream, pairs...)
	if len(stream) > 250 {
		t.Errorf("%d bytes", len(stream))
	}
}
