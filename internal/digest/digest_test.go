package digest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// reference follows the kernel document literally: whole levels in memory.
func reference(data []byte) Digest {
	var root [Size]byte
	if len(data) > 0 {
		cur := data
		for {
			var next []byte
			for off := 0; off < len(cur); off += BlockSize {
				var block [BlockSize]byte
				copy(block[:], cur[off:])
				s := sha256.Sum256(block[:])
				next = append(next, s[:]...)
			}
			if len(next) == Size {
				copy(root[:], next)
				break
			}
			cur = next
		}
	}
	d := make([]byte, 256)
	d[0], d[1], d[2] = 1, 1, 12
	binary.LittleEndian.PutUint64(d[8:], uint64(len(data)))
	copy(d[16:], root[:])
	return sha256.Sum256(d)
}

// The digest of the empty file, as `fsverity digest` prints it.
const empty = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"

func TestEmpty(t *testing.T) {
	if got := Of(nil).String(); got != empty {
		t.Errorf("empty file: got %s, want %s", got, empty)
	}
}

func TestAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []int{1, 31, 4095, 4096, 4097, 8192, 128 * 4096, 128*4096 + 1, 129 * 4096, 256*4096 - 1, 3 << 20}
	for i := 0; i < 40; i++ {
		sizes = append(sizes, r.IntN(2<<20))
	}
	for _, n := range sizes {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		want := reference(data)
		if got := Of(data); got != want {
			t.Fatalf("%d bytes at once: got %s, want %s", n, got, want)
		}
		h := New()
		for rest := data; len(rest) > 0; {
			k := min(1+r.IntN(9000), len(rest))
			h.Write(rest[:k])
			rest = rest[k:]
		}
		if got := h.Sum(); got != want {
			t.Fatalf("%d bytes in pieces: got %s, want %s", n, got, want)
		}
		got, size, err := FromReader(bytes.NewReader(data))
		if err != nil || got != want || size != int64(n) {
			t.Fatalf("FromReader(%d bytes) = %s, %d, %v", n, got, size, err)
		}
	}
}

func TestParse(t *testing.T) {
	d := Of([]byte("x"))
	back, err := Parse(d.String())
	if err != nil || back != d {
		t.Fatalf("Parse(String) = %v, %v", back, err)
	}
	for _, bad := range []string{"", "ab", d.String() + "0", "Z" + d.String()[1:], "A" + d.String()[1:]} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) succeeded", bad)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	data := make([]byte, 16<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		Of(data)
	}
}
