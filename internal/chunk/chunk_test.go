package chunk_test

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/trust"
)

func random(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

// ids are the chunks of b in order.
func ids(t testing.TB, b []byte) (list []chunk.ID, sizes []int) {
	t.Helper()
	var at int64
	err := chunk.Each(iotest.HalfReader(bytes.NewReader(b)), func(place int64, c []byte) error {
		if place != at || !bytes.Equal(c, b[at:at+int64(len(c))]) {
			return fmt.Errorf("a chunk at %d, want %d", place, at)
		}
		at += int64(len(c))
		list, sizes = append(list, chunk.IDOf(c)), append(sizes, len(c))
		return nil
	})
	if err != nil || at != int64(len(b)) {
		t.Fatalf("%d of %d bytes, %v", at, len(b), err)
	}
	return list, sizes
}

// Where chunks end belongs to the format.
func TestCutsAreFixed(t *testing.T) {
	list, _ := ids(t, random(4<<20, 1))
	h := sha256.New()
	for _, id := range list {
		h.Write(id[:])
	}
	const want = "113 9581d0f19a6bc91b"
	if got := fmt.Sprint(len(list), " ", hex.EncodeToString(h.Sum(nil)[:8])); got != want {
		t.Errorf("%s, want %s: devices find nothing of what is published again", got, want)
	}
}

func TestSizes(t *testing.T) {
	_, sizes := ids(t, random(16<<20, 2))
	for i, n := range sizes {
		if n > chunk.MaxSize || n < chunk.MinSize && i < len(sizes)-1 {
			t.Errorf("chunk %d has %d bytes", i, n)
		}
	}
	if avg := 16 << 20 / len(sizes); avg < chunk.AvgSize*3/4 || avg > chunk.AvgSize*3/2 {
		t.Errorf("chunks of %d bytes on average", avg)
	}
	for _, b := range [][]byte{nil, {1}, make([]byte, chunk.MinSize), make([]byte, 3*chunk.MaxSize+5)} {
		ids(t, b)
	}
}

// What is inserted changes the chunks around it and no others.
func TestShift(t *testing.T) {
	a := random(4<<20, 3)
	b := append(append(bytes.Clone(a[:2<<20]), "inserted"...), a[2<<20:]...)
	x, _ := ids(t, a)
	y, _ := ids(t, b)
	have := map[chunk.ID]bool{}
	for _, id := range x {
		have[id] = true
	}
	fresh := 0
	for _, id := range y {
		if !have[id] {
			fresh++
		}
	}
	if fresh < 1 || fresh > 3 {
		t.Errorf("%d of %d chunks are new", fresh, len(y))
	}
}

func key(t testing.TB, seed string) trust.Private {
	t.Helper()
	k, err := trust.NewKey(strings.NewReader(strings.Repeat(seed, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// example is an index of two contents in three chunks, and its pack.
func example(t testing.TB) (*chunk.Index, []byte) {
	t.Helper()
	manifest, object := []byte(strings.Repeat("manifest ", 20)), random(50000, 4)
	row := append(bytes.Clone(manifest), object...)
	x := &chunk.Index{Machine: "m", Arch: "amd64", Epoch: 5, Target: digest.Of(manifest), Contents: []chunk.Content{
		{Kind: delta.System, Digest: digest.Of(manifest), Size: int64(len(manifest))},
		{Kind: delta.Object, Digest: digest.Of(object), Size: int64(len(object))}}}
	var pack []byte
	for _, b := range [][]byte{row[:180], row[180:30000], row[30000:]} {
		stored := b
		var z bytes.Buffer
		w, _ := flate.NewWriter(&z, 9)
		w.Write(b)
		w.Close()
		if z.Len() < len(b) {
			stored = z.Bytes()
		}
		x.Chunks = append(x.Chunks, chunk.Chunk{ID: chunk.IDOf(b), Raw: int64(len(b)), Stored: int64(len(stored)), Offset: int64(len(pack))})
		pack = append(pack, stored...)
	}
	x.Packs = []chunk.Pack{{Name: sha256.Sum256(pack), Size: int64(len(pack))}}
	return x, pack
}

func TestIndex(t *testing.T) {
	x, pack := example(t)
	k := key(t, "k")
	b, err := x.Encode([]trust.Private{k})
	if err != nil {
		t.Fatal(err)
	}
	y, err := chunk.Read(io.MultiReader(bytes.NewReader(b), strings.NewReader("behind")), trust.Keys{k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	if y.Size != int64(len(b)) || y.Target != x.Target || len(y.Chunks) != 3 || y.Chunks[2] != x.Chunks[2] || y.Contents[1] != x.Contents[1] || y.Packs[0] != x.Packs[0] {
		t.Errorf("read %+v of %+v", y, x)
	}
	var row []byte
	for _, c := range y.Chunks {
		raw, err := c.Unpack(pack[c.Offset:c.Offset+c.Stored], nil)
		if err != nil {
			t.Fatal(err)
		}
		row = append(row, raw...)
	}
	if digest.Of(row[:180]) != x.Target {
		t.Error("the manifest is another")
	}
	if got := y.Ranges([]int{0, 1, 2}); len(got) != 1 || got[0].Length != int64(len(pack)) {
		t.Errorf("ranges %v", got)
	}
	if got := y.Ranges([]int{0, 2}); len(got) != 2 {
		t.Errorf("ranges %v", got)
	}
}

func TestIndexRefused(t *testing.T) {
	k := key(t, "k")
	good := func() []byte {
		x, _ := example(t)
		b, err := x.Encode([]trust.Private{k})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	for name, row := range map[string]struct {
		b    []byte
		keys trust.Keys
		want string
	}{
		"another key":    {good, trust.Keys{key(t, "x").Public()}, "no trusted key has signed it"},
		"no key":         {good, nil, "no key is trusted here"},
		"changed":        {flip(40), trust.Keys{k.Public()}, "the signature of key"},
		"cut":            {good[:len(good)-1], trust.Keys{k.Public()}, "cut off"},
		"cut in front":   {good[:7], trust.Keys{k.Public()}, "cut off"},
		"an update":      {append([]byte(delta.Magic), good[8:]...), trust.Keys{k.Public()}, "no index"},
		"a later one":    {flip(8), trust.Keys{k.Public()}, "format version 0"},
		"a large head":   {append(append(bytes.Clone(good[:12]), 0xff, 0xff, 0xff, 0xff), good[16:]...), trust.Keys{k.Public()}, "a head of 4294967295"},
		"nothing at all": {nil, trust.Keys{k.Public()}, "cut off"},
	} {
		if _, err := chunk.Read(bytes.NewReader(row.b), row.keys); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	for name, change := range map[string]func(x *chunk.Index){
		"no manifest":        func(x *chunk.Index) { x.Contents = x.Contents[1:] },
		"another manifest":   func(x *chunk.Index) { x.Target = x.Contents[1].Digest },
		"a content twice":    func(x *chunk.Index) { x.Contents = append(x.Contents, x.Contents[1]) },
		"an unknown kind":    func(x *chunk.Index) { x.Contents[1].Kind = 9 },
		"an empty content":   func(x *chunk.Index) { x.Contents[1].Size = 0 },
		"chunks too short":   func(x *chunk.Index) { x.Chunks = x.Chunks[:2] },
		"beyond the pack":    func(x *chunk.Index) { x.Chunks[2].Offset += 1 },
		"before the pack":    func(x *chunk.Index) { x.Chunks[0].Offset = -1 },
		"larger than raw":    func(x *chunk.Index) { x.Chunks[0].Stored = x.Chunks[0].Raw + 1 },
		"a pack that is not": func(x *chunk.Index) { x.Chunks[1].Pack = 0; x.Packs = nil },
		"more than 64 GiB":   func(x *chunk.Index) { x.Contents[1].Size = 1 << 62 },
	} {
		x, _ := example(t)
		change(x)
		if _, err := x.Encode([]trust.Private{k}); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestUnpackRefused(t *testing.T) {
	x, pack := example(t)
	c := x.Chunks[0]
	stored := bytes.Clone(pack[:c.Stored])
	for name, b := range map[string][]byte{"cut": stored[:len(stored)-2], "longer": append(bytes.Clone(stored), stored...), "nothing": nil} {
		if got, err := c.Unpack(b, nil); err == nil && name != "longer" {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
	c.ID[0] ^= 1
	if _, err := c.Unpack(stored, nil); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("another chunk: %v", err)
	}
	// A bomb: few bytes that say they are few, and are many.
	var z bytes.Buffer
	w, _ := flate.NewWriter(&z, 9)
	w.Write(make([]byte, 64<<20))
	w.Close()
	bomb := chunk.Chunk{ID: c.ID, Raw: chunk.MaxSize, Stored: int64(z.Len())}
	if _, err := bomb.Unpack(z.Bytes(), nil); err == nil {
		t.Error("a bomb is unpacked")
	}
}

func FuzzIndex(f *testing.F) {
	x, _ := example(f)
	b, err := x.Encode([]trust.Private{key(f, "k")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := chunk.Inspect(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := x.Encode([]trust.Private{key(t, "k")})
		if err != nil {
			t.Fatalf("what was read is not encoded: %v", err)
		}
		y, err := chunk.Inspect(bytes.NewReader(again))
		if err != nil || len(y.Chunks) != len(x.Chunks) || len(y.Contents) != len(x.Contents) {
			t.Fatalf("read again: %v", err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	x, pack := example(f)
	c := x.Chunks[0]
	f.Add(pack[:c.Stored], c.Raw)
	f.Fuzz(func(t *testing.T, b []byte, raw int64) {
		c := chunk.Chunk{Raw: min(max(raw, 1), chunk.MaxSize), Stored: int64(len(b))}
		if out, err := c.Unpack(b, nil); err == nil && chunk.IDOf(out) != c.ID {
			t.Fatal("another chunk")
		}
	})
}

func BenchmarkEach(b *testing.B) {
	data := random(32<<20, 5)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := chunk.Each(bytes.NewReader(data), func(int64, []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
