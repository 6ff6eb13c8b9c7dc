package bindiff

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// program is a real one, or nil where the machine has none.
func program(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skip("no /bin/true here")
	}
	return b
}

// Any two versions of a program come back, however little sense they make.
func TestElfRoundTrip(t *testing.T) {
	old := program(t)
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		text := bytes.Clone(old)
		for range rapid.IntRange(0, 30).Draw(rt, "edits") {
			at := rng.IntN(len(text) - 64)
			n := rng.IntN(64)
			switch rng.IntN(5) {
			case 0:
				text = append(text[:at:at], text[at+n:]...)
			case 1:
				text = append(text[:at:at], append(make([]byte, n), text[at:]...)...)
			case 2:
				text[rng.IntN(64)]++ // the header
			case 3:
				text[len(text)-1-rng.IntN(2048)]++ // section headers
			default:
				text[at] += byte(n)
			}
		}
		p := pair{old, text}
		if rapid.Bool().Draw(rt, "backwards") {
			p = pair{text, old}
		}
		decodeSmall(t, 10, encodeSmall(t, 10, p, p), p, p)
	})
}

// Instructions of aarch64 whose other bits change come back as well.
func TestArmRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		old := armProgram(rng)
		text := bytes.Clone(old)
		for range rapid.IntRange(0, 40).Draw(rt, "edits") {
			text[64+rng.IntN(4096)] ^= 1 << rng.IntN(8)
		}
		p := pair{old, text}
		decodeSmall(t, 10, encodeSmall(t, 10, p), p)
	})
}

// armProgram is an ELF file of 1024 instructions: branches, pairs and others.
func armProgram(rng *rand.Rand) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+4096+3*64+32)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], 183)
	le.PutUint64(b[40:], 64+4096)
	le.PutUint16(b[58:], 64)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	for at := 64; at < 64+4096; at += 4 {
		kinds := [...]uint32{0x94000000, 0x90000001, 0x91000021, 0xf9400022, 0xaa0003e0}
		le.PutUint32(b[at:], kinds[rng.IntN(len(kinds))]|uint32(rng.IntN(64))<<10)
	}
	text := b[64+4096+64:]
	le.PutUint32(text[0:], 1)
	le.PutUint32(text[4:], 1)
	le.PutUint64(text[8:], 6)
	le.PutUint64(text[16:], 0x10040)
	le.PutUint64(text[24:], 64)
	le.PutUint64(text[32:], 4096)
	names := text[64:]
	le.PutUint32(names[4:], 3)
	le.PutUint64(names[24:], 64+4096+3*64)
	le.PutUint64(names[32:], 32)
	copy(b[64+4096+3*64:], "\x00.text\x00")
	return b
}

// A program whose second half has moved costs little, though nothing that
// points across the place has followed.
func TestInserted(t *testing.T) {
	old := program(t)
	f, err := elf.NewFile(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(".text")
	if s == nil {
		t.Skip("/bin/true is unusual")
	}
	// Behind .text everything moves by 16 in the file, as if the linker had put
	// something there; what points there stays as it was, and so is wrong.
	text := append(bytes.Clone(old[:s.Offset+s.Size]), append(make([]byte, 16), old[s.Offset+s.Size:]...)...)
	p := pair{old, text}
	stream := encode(t, p)
	decode(t, stream, p)
	if len(stream) > 600 {
		t.Errorf("%d bytes", len(stream))
	}
}

// Whatever stream and old program say: an error or a file of the right size.
func FuzzElfDecoder(f *testing.F) {
	old, err := os.ReadFile("/bin/true")
	if err != nil {
		f.Skip("no /bin/true here")
	}
	f.Add([]byte{Version, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, uint16(50), byte(3))
	f.Fuzz(func(t *testing.T, stream []byte, at uint16, change byte) {
		old := bytes.Clone(old)
		old[int(at)%len(old)] = change
		d, err := newDecoder(bytes.NewReader(stream), 8)
		if err != nil {
			return
		}
		w := &refusing{t, int64(len(old))}
		if err := d.Next(old, int64(len(old)), w); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		} else if err == nil && w.left != 0 {
			t.Fatalf("%d bytes are missing", w.left)
		}
	})
}
