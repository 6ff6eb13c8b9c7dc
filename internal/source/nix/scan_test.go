package nix

import (
	"bytes"
	"slices"
	"testing"

	"github.com/instar-os/instar/internal/source/nix/narinfo"
)

// FuzzScan writes bytes in two pieces and compares with a plain search.
func FuzzScan(f *testing.F) {
	names := []narinfo.Name{
		"7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27", "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools",
		"00000000000000000000000000000000-zero", "00000000000000000000000000000001-one",
	}
	f.Add([]byte("/nix/store/7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27/lib"), 20, 30)
	f.Add(bytes.Repeat([]byte("0"), 63), 31, 1)
	f.Add([]byte("0000000000000000000000000000000100bgd045z0d4icpbc2yyz4gx48ak44la7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc"), 5, 2)
	f.Fuzz(func(t *testing.T, b []byte, i, j int) {
		s := newScanner(names)
		rest := b
		for k := 0; len(rest) > 0; k++ {
			n := []int{i, j}[k%2]
			if n <= 0 || n > len(rest) {
				n = len(rest)
			}
			s.Write(rest[:n])
			rest = rest[n:]
		}
		var want []narinfo.Name
		for _, n := range names {
			if bytes.Contains(b, []byte(n.Hash())) {
				want = append(want, n)
			}
		}
		slices.Sort(want)
		if got := s.names(); !slices.Equal(got, want) {
			t.Fatalf("found %v, want %v in %q", got, want, b)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	s := newScanner([]narinfo.Name{"7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27"})
	text := bytes.Repeat([]byte("The quick brown fox\x00\x01\x02 jumps over 13 lazy dogs.\n"), 20_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.Write(text)
	}
}
