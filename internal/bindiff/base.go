package bindiff

import (
	"path"
	"strings"

	"github.com/instar-os/instar/internal/bindiff/field"
)

// Candidate is a file by which a base is chosen: its path and its size.
type Candidate struct {
	Path string
	Size int64
}

// Bases chooses for each new file the old one that it is most likely a version
// of: the one of the same path; else of the same path but for numbers, as in
// lib/modules/6.12.107/fs.ko; else of the same name; else of the same name but
// for numbers. Among several, it takes the one whose directories are the same but
// for numbers, then that of the very name, then that of the nearest size, then the
// first. It returns indices into old, -1 for none.
func Bases(old, new []Candidate) []int {
	index := make([]map[string][]int, len(keys))
	for k, key := range keys {
		index[k] = map[string][]int{}
		for i, f := range old {
			s := key(f.Path)
			index[k][s] = append(index[k][s], i)
		}
	}
	bases := make([]int, len(new))
	for i, f := range new {
		bases[i] = -1
		for k, key := range keys {
			if list := index[k][key(f.Path)]; len(list) > 0 {
				bases[i] = nearest(old, list, f)
				break
			}
		}
	}
	return bases
}

// keys are what two paths may have in common, the surest first.
var keys = []func(string) string{
	func(p string) string { return p },
	unnumbered,
	path.Base,
	func(p string) string { return unnumbered(path.Base(p)) },
}

// nearest returns the best of several old files for f.
func nearest(old []Candidate, list []int, f Candidate) int {
	best := -1
	for _, i := range list {
		if best < 0 || better(old[i], old[best], f) {
			best = i
		}
	}
	return best
}

func better(a, b, f Candidate) bool {
	dir := unnumbered(path.Dir(f.Path))
	x, y := unnumbered(path.Dir(a.Path)) == dir, unnumbered(path.Dir(b.Path)) == dir
	if x != y {
		return x
	}
	if x, y = path.Base(a.Path) == path.Base(f.Path), path.Base(b.Path) == path.Base(f.Path); x != y {
		return x
	}
	return distance(a.Size, f.Size) < distance(b.Size, f.Size)
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// unnumbered replaces each run of digits, and what joins them to a version, and
// the hash of a store path by one sign. A digit that ends a word, as in x86 or sha256, stays.
func unnumbered(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); {
		if strings.HasSuffix(p[:i], "store/") && hashed(p[i:]) {
			b.WriteByte('#')
			i += field.HashSize
			continue
		}
		n := 0
		for i+n < len(p) && (p[i+n] >= '0' && p[i+n] <= '9' || n > 0 && strings.IndexByte(".+~", p[i+n]) >= 0) {
			n++
		}
		if n == 0 || i > 0 && letter(p[i-1]) {
			b.WriteByte(p[i])
			i++
			for n > 1 { // the digits behind a letter
				b.WriteByte(p[i])
				i, n = i+1, n-1
			}
			continue
		}
		b.WriteByte('#')
		i += n
	}
	return b.String()
}

// hashed reports whether a name begins with the hash of a store path.
func hashed(name string) bool {
	if len(name) <= field.HashSize || name[field.HashSize] != '-' {
		return false
	}
	for i := range field.HashSize {
		if field.HashDigit(name[i]) < 0 {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
