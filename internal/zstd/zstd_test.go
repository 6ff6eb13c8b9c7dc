package zstd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// contents of all kinds: nothing, noise, repetition far and near, text, sorted
// numbers.
func contents() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	few := make([]byte, 200_000)
	for i := range few {
		few[i] = byte(r.IntN(3))
	}
	var text, numbers []byte
	words := bytes.Fields([]byte("a device cannot be bricked because the running slot is never written and what is new must prove itself"))
	for len(text) < 500_000 {
		text = append(append(text, words[r.IntN(len(words))]...), ' ')
	}
	for n := uint32(0x81000000); len(numbers) < 300_000; n += 1 + r.Uint32N(300) {
		numbers = append(numbers, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	skew := make([]byte, 400_000) // weights that make words too long
	for i := range skew {
		for skew[i] < 60 && r.IntN(2) == 0 {
			skew[i]++
		}
	}
	even := make([]byte, 5000)
	for i := range even {
		even[i] = byte(2 * i)
	}
	return map[string][]byte{
		"nothing": nil, "one": {7}, "two": {7, 7}, "three": []byte("abc"), "zeros": make([]byte, 1<<20),
		"noise": noise, "few": few, "text": text, "skew": skew, "numbers": numbers, "even": even,
		"far":    append(append(bytes.Clone(noise), 1), noise...),
		"block":  noise[:blockSize],
		"mixed":  append(append(bytes.Clone(text[:70_000]), noise[:70_000]...), text[:70_000]...),
		"sparse": append(append(make([]byte, 140_000), text[:200]...), make([]byte, 300_000)...),
	}
}

func compress(t testing.TB, src []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Compress(&b, src); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBack(t *testing.T) {
	for name, c := range contents() {
		z := compress(t, c)
		if len(z) > len(c)+9+3*(len(c)/blockSize+1) {
			t.Errorf("%s: %d bytes became %d", name, len(c), len(z))
		}
		dst := make([]byte, len(c))
		if err := Decompress(dst, append(z, "what follows"...)); err != nil || !bytes.Equal(dst, c) {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := Size(z); err != nil || n != len(c) {
			t.Errorf("%s: a size of %d, %v", name, n, err)
		}
		if Decompress(make([]byte, len(c)+1), z) == nil || Decompress(dst, z[:len(z)-1]) == nil {
			t.Errorf("%s: a place or a frame of another size will do", name)
		}
	}
}

// zstd reads what is written here, and what it writes is read.
func TestForeign(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip(err)
	}
	run := func(in []byte, args ...string) []byte {
		cmd := exec.Command("zstd", args...)
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("zstd %v: %v", args, err)
		}
		return out
	}
	for name, c := range contents() {
		if !bytes.Equal(run(compress(t, c), "-dc"), c) {
			t.Errorf("%s: zstd reads something else", name)
		}
		for _, level := range []string{"-1", "-5", "-19"} {
			z := run(c, "-c", level, "--no-progress", "--stream-size="+itoa(len(c)))
			dst := make([]byte, len(c))
			if err := Decompress(dst, z); err != nil || !bytes.Equal(dst, c) {
				t.Errorf("%s %s: %v", name, level, err)
			}
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// TestFrozen: what Compress makes never changes, for systems name it.
func TestFrozen(t *testing.T) {
	for name, want := range map[string]string{
		"text": "5870147daa3815e6", "numbers": "8a16d8588ad6dffc", "skew": "32a571fca2799d0f",
		"sparse": "5e5c49ff406c87df", "mixed": "02af38e77acae134", "far": "89bf6f12c1cda763",
	} {
		z := compress(t, contents()[name])
		if got := hex.EncodeToString(sum(z)); got != want {
			t.Errorf("%s became %d bytes with hash %q", name, len(z), got)
		}
	}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:8]
}

// Whatever a frame says: no more than its place is written, and it ends.
func FuzzDecompress(f *testing.F) {
	for _, c := range contents() {
		f.Add(compress(f, c[:min(len(c), 3000)]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Size(b)
		if err != nil || n > 1<<20 {
			return
		}
		_ = Decompress(make([]byte, n), b)
	})
}

func FuzzBack(f *testing.F) {
	for _, c := range contents() {
		f.Add(c[:min(len(c), 3000)], uint8(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, times uint8) {
		var src []byte
		for i := range int(times%8) + 1 {
			src = append(append(src, b...), byte(i))
		}
		dst := make([]byte, len(src))
		if err := Decompress(dst, compress(t, src)); err != nil || !bytes.Equal(dst, src) {
			t.Fatalf("%v", err)
		}
	})
}
