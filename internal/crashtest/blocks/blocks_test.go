package blocks

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestStates compares every state with a model that does it slowly: all
// operations on a byte slice.
func TestStates(t *testing.T) {
	const sectors = 24
	r := rand.New(rand.NewPCG(1, 2))
	base := make([]byte, sectors*SectorSize)
	for i := range base {
		base[i] = byte(r.IntN(256))
	}
	l, err := New(bytes.NewReader(base), int64(len(base)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var contents [][]byte
	for range 200 {
		o := Op{Kind: Kind(1 + r.IntN(4)), FUA: r.IntN(8) == 0}
		var p []byte
		if o.Kind != Flush {
			first := r.IntN(sectors)
			o.Off, o.Size = int64(first)*SectorSize, int64(1+r.IntN(min(4, sectors-first)))*SectorSize
			p = make([]byte, o.Size)
		}
		if o.Kind == Write {
			for i := range p {
				p[i] = byte(r.IntN(256))
			}
			if err := l.Do(o, p); err != nil {
				t.Fatal(err)
			}
		} else if err := l.Do(o, nil); err != nil {
			t.Fatal(err)
		}
		contents = append(contents, p)
	}
	for n := 0; n <= l.Len(); n += 3 {
		for seed := range uint64(8) {
			for name, s := range map[string]*State{"prefix": l.Prefix(n), "lost": l.Lost(n), "cut": l.Cut(n, seed)} {
				if err := compare(l, s, base, contents, n); err != nil {
					t.Fatalf("%s of %d, seed %d: %v", name, n, seed, err)
				}
			}
		}
	}
}

func compare(l *Log, s *State, base []byte, contents [][]byte, n int) error {
	want := bytes.Clone(base)
	flushed := 0
	for i, o := range l.ops[:n] {
		if o.Kind == Flush {
			flushed = i
		}
	}
	for i, o := range l.ops[:n] {
		for at := int64(0); at < o.Size; at += SectorSize {
			if i < flushed || o.FUA || s.kept == nil || s.kept(i, (o.Off+at)/SectorSize) {
				copy(want[o.Off+at:], contents[i][at:at+SectorSize])
			}
		}
	}
	got := make([]byte, len(want))
	if _, err := s.ReadAt(got, 0); err != nil {
		return err
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("byte %d of sector %d is %d, want %d", i%SectorSize, i/SectorSize, got[i], want[i])
		}
	}
	odd := make([]byte, 700)
	if _, err := s.ReadAt(odd, 301); err != nil {
		return err
	}
	if !bytes.Equal(odd, want[301:1001]) {
		return fmt.Errorf("reading across sectors differs")
	}
	return nil
}

// TestShares sees that seeds reach no write, all writes and torn ones.
func TestShares(t *testing.T) {
	base := make([]byte, 16*SectorSize)
	l, err := New(bytes.NewReader(base), int64(len(base)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ones := bytes.Repeat([]byte{1}, 2*SectorSize)
	for i := range 4 {
		if _, err := l.WriteAt(ones, int64(i)*4*SectorSize); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Pending(4); n != 4 {
		t.Errorf("%d writes pending, want 4", n)
	}
	seen := map[string]bool{}
	for seed := range uint64(1000) {
		p := make([]byte, len(base))
		if _, err := l.Cut(4, seed).ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		var key []byte
		for i := 0; i < len(p); i += SectorSize {
			key = append(key, '0'+p[i])
		}
		seen[string(key)] = true
	}
	for _, want := range []string{"0000000000000000", "1100110011001100", "1100000000000000", "0000000000001100"} {
		if !seen[want] {
			t.Errorf("no seed leaves %s", want)
		}
	}
	torn := 0
	for k := range seen {
		if bytes.Contains([]byte(k), []byte("10")) && (k[0] != k[1] || k[4] != k[5]) {
			torn++
		}
	}
	if torn == 0 {
		t.Error("no seed tears a write between its sectors")
	}
}

// TestIdentity sees that ranges with one identity have one content.
func TestIdentity(t *testing.T) {
	const size = 64 * SectorSize
	r := rand.New(rand.NewPCG(3, 4))
	l, err := New(bytes.NewReader(make([]byte, size)), size, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 60 {
		if i%9 == 8 {
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		n := 1 + r.IntN(8)
		if _, err := l.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, n*SectorSize), int64(r.IntN(64-n))*SectorSize); err != nil {
			t.Fatal(err)
		}
	}
	content := map[uint64][]byte{}
	again := 0
	for n := range l.Len() {
		for seed := range uint64(40) {
			for _, s := range []*State{l.Cut(n, seed), l.Prefix(n), l.Lost(n)} {
				const off, length = 8 * SectorSize, 16 * SectorSize
				p := make([]byte, length)
				if _, err := s.ReadAt(p, off); err != nil {
					t.Fatal(err)
				}
				id := s.Identity(off, length)
				if old, ok := content[id]; ok {
					again++
					if !bytes.Equal(old, p) {
						t.Fatalf("after %d operations, seed %d: another content of identity %x", n, seed, id)
					}
				}
				content[id] = p
			}
		}
	}
	if again == 0 || len(content) < 20 {
		t.Errorf("%d identities, met %d times again", len(content), again)
	}
}

func TestRefused(t *testing.T) {
	if _, err := New(bytes.NewReader(nil), 100, t.TempDir()); err == nil {
		t.Error("a disk of 100 bytes was taken")
	}
	l, err := New(bytes.NewReader(nil), 8*SectorSize, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, o := range []Op{{Kind: Write, Off: 1, Size: 512}, {Kind: Write, Off: 0, Size: 100}, {Kind: Zero, Off: 7 * 512, Size: 1024},
		{Kind: Trim, Off: -512, Size: 512}, {Kind: Write, Off: 512, Size: 1 << 62}} {
		if err := l.Do(o, nil); err == nil {
			t.Errorf("%s was taken", o)
		}
	}
	if l.Len() != 0 {
		t.Error("something refused was recorded")
	}
}

// A deaf disk loses what a flush should have made last, and nothing that another
// flush has covered.
func TestDeaf(t *testing.T) {
	l, err := New(bytes.NewReader(make([]byte, 2*SectorSize)), 2*SectorSize, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	one := bytes.Repeat([]byte{1}, SectorSize)
	for _, o := range []Op{{Kind: Write, Size: SectorSize}, {Kind: Flush}, {Kind: Write, FUA: true, Off: SectorSize, Size: SectorSize}} {
		p := one
		if o.Kind == Flush {
			p = nil
		}
		if err := l.Do(o, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name string
		to   func(int, Op) bool
		want string
	}{
		{"nothing", func(int, Op) bool { return false }, "11"},
		{"flushes", func(_ int, o Op) bool { return o.Kind == Flush }, "01"},
		{"FUA", func(_ int, o Op) bool { return o.FUA }, "10"},
		{"the second", func(i int, _ Op) bool { return i == 2 }, "10"},
		{"all", func(int, Op) bool { return true }, "00"},
	} {
		var b [2 * SectorSize]byte
		if _, err := l.Deaf(row.to).Lost(3).ReadAt(b[:], 0); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(b[0], b[SectorSize]); got != row.want[:1]+" "+row.want[1:] {
			t.Errorf("deaf to %s: %s, want %s", row.name, got, row.want)
		}
	}
}
