package deflate

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"testing"
)

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// contents of all kinds: nothing, noise, repetition far and near, text.
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
	var text []byte
	words := bytes.Fields([]byte("a device cannot be bricked because the running slot is never written and what is new must prove itself"))
	for len(text) < 500_000 {
		text = append(append(text, words[r.IntN(len(words))]...), ' ')
	}
	skew := make([]byte, 400_000) // weights that make words too long
	for i := range skew {
		for skew[i] < 60 && r.IntN(2) == 0 {
			skew[i]++
		}
	}
	return map[string][]byte{
		"nothing": nil, "one": {7}, "two": {7, 7}, "three": []byte("abc"), "zeros": make([]byte, 1<<20),
		"noise": noise, "few": few, "text": text, "skew": skew, "far": append(append(bytes.Clone(noise[:window]), 1), noise[:window]...),
		"block": noise[:maxTokens], "mixed": append(append(bytes.Clone(text[:70_000]), noise[:70_000]...), text[:70_000]...),
	}
}

func TestRead(t *testing.T) {
	for name, c := range contents() {
		z := Gzip([]byte("before"), c)
		if !bytes.HasPrefix(z, []byte("before")) {
			t.Errorf("%s: what was before is gone", name)
		}
		if got := unzip(t, z[6:]); !bytes.Equal(got, c) {
			t.Errorf("%s: %d bytes came back of %d", name, len(got), len(c))
		}
		if len(z)-6 > len(c)+len(c)/1000+40 {
			t.Errorf("%s: %d bytes became %d", name, len(c), len(z)-6)
		}
	}
}

// TestGolden holds every byte that is written: devices in the field make the
// same ones.
func TestGolden(t *testing.T) {
	h := sha256.New()
	all := contents()
	for _, name := range []string{"nothing", "one", "two", "three", "zeros", "noise", "few", "text", "skew", "far", "block", "mixed"} {
		h.Write(Gzip(nil, all[name]))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != golden {
		t.Errorf("what is written has changed: %s", got)
	}
}

const golden = "fc46f1c76cc66a4730124665966461a738c024f110ce3abc522f926472640040"

// TestDense compares with the standard library at its best.
func TestDense(t *testing.T) {
	c := contents()["text"]
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	w.Write(c)
	w.Close()
	if n := len(Gzip(nil, c)); n > b.Len()*103/100 {
		t.Errorf("%d bytes; the standard library makes %d", n, b.Len())
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range contents() {
		f.Add(c[:min(len(c), 2000)])
	}
	f.Fuzz(func(t *testing.T, c []byte) {
		if got := unzip(t, Gzip(nil, c)); !bytes.Equal(got, c) {
			t.Errorf("%d bytes came back of %d", len(got), len(c))
		}
	})
}
