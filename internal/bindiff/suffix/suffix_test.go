package suffix

import (
	"bytes"
	"index/suffixarray"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// texts are short and long, over few and many letters: repetition is what
// makes sorting suffixes hard.
var texts = rapid.Custom(func(t *rapid.T) []byte {
	letters := rapid.IntRange(1, 256).Draw(t, "letters")
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) byte {
		return byte(rapid.IntRange(0, letters-1).Draw(t, "letter"))
	}), 0, 300).Draw(t, "text")
})

func TestOrder(t *testing.T) {
	check := func(text []byte) {
		got := New(text).order
		want := make([]int32, len(text))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortFunc(want, func(a, b int32) int { return bytes.Compare(text[a:], text[b:]) })
		if !slices.Equal(got, want) {
			t.Fatalf("order of %q:\n got %v\nwant %v", text, got, want)
		}
	}
	for _, s := range []string{"", "a", "aa", "ab", "ba", "banana", "mississippi", strings.Repeat("ab", 50), strings.Repeat("a", 99), "\x00\x00\xff\x00"} {
		check([]byte(s))
	}
	rapid.Check(t, func(t *rapid.T) { check(texts.Draw(t, "text")) })
}

// The longest match is as long as any that a search by hand finds.
func TestLongest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, pattern := texts.Draw(t, "text"), texts.Draw(t, "pattern")
		want := 0
		for i := range text {
			want = max(want, common(text[i:], pattern))
		}
		pos, n := New(text).Longest(pattern, len(text)/2)
		if want < 2 { // too short to be looked for
			return
		}
		if n != want || common(text[pos:], pattern) != n {
			t.Fatalf("%q in %q: %d bytes at %d, want %d", pattern, text, n, pos, want)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog, and over 13 others; "), 1<<14)
	for i := range text {
		text[i] += byte(i * i >> 16 & 3)
	}
	b.Run("own", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			New(text)
		}
	})
	b.Run("standard", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			suffixarray.New(text)
		}
	})
}
