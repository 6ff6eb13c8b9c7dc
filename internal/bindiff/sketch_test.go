package bindiff

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// A file finds the one it was made of among others, though most of it is new;
// one that is all new finds none.
func TestAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	var old []Sketch
	var files [][]byte
	for range 20 {
		files = append(files, random(50_000))
		old = append(old, NewSketch(files[len(files)-1]))
	}
	mixed := append(random(60_000), files[7][10_000:40_000]...)
	got := Alike(old, []Sketch{NewSketch(mixed), NewSketch(random(50_000)), NewSketch(files[3][1000:]), NewSketch(nil), NewSketch(bytes.Repeat([]byte{0}, 100_000))})
	for i, want := range []int{7, -1, 3, -1, -1} {
		if got[i] != want {
			t.Errorf("file %d is like %d, want %d", i, got[i], want)
		}
	}
	if len(old[0]) != sketchSize {
		t.Errorf("a sketch of %d", len(old[0]))
	}
}
