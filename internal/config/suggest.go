package config

import "strings"

// suggest returns the word that is nearest to s, "" when none is near: a third
// of its letters may differ, but one always may.
func suggest(s string, words []string) string {
	best, distance := "", max(1, len(s)/3)+1
	if len(s) > 64 {
		return ""
	}
	for _, w := range words {
		if strings.EqualFold(w, s) {
			return w
		}
		if d := editDistance(s, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// oneOf is the hint for a word that is none of those allowed.
func oneOf(s string, words []string) string {
	if w := suggest(s, words); w != "" {
		return "did you mean " + w + "?"
	}
	if len(words) == 0 {
		return ""
	}
	return "use one of " + strings.Join(words, ", ")
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a (optimal string alignment).
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
