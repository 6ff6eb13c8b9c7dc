package erofs

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"testing"
)

// same compares trees as graphs: hard links must link the same places.
func same(a, b *Node, seen map[*Node]*Node) bool {
	if other, ok := seen[a]; ok {
		return other == b
	}
	seen[a] = b
	if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.MTime != b.MTime || a.Size != b.Size ||
		a.Digest != b.Digest || !bytes.Equal(a.Data, b.Data) || (a.Data == nil) != (b.Data == nil) ||
		a.Target != b.Target || a.Rdev != b.Rdev || !maps.Equal(a.Xattrs, b.Xattrs) || len(a.Children) != len(b.Children) {
		return false
	}
	byName := func(x, y Child) int { return cmp.Compare(x.Name, y.Name) }
	x, y := slices.SortedFunc(slices.Values(a.Children), byName), slices.SortedFunc(slices.Values(b.Children), byName)
	for i := range x {
		if x[i].Name != y[i].Name || !same(x[i].Node, y[i].Node, seen) {
			return false
		}
	}
	return true
}

func read(b []byte) (*Node, error) { return Read(bytes.NewReader(b), int64(len(b))) }

func TestReadGivesBack(t *testing.T) {
	for name, root := range trees() {
		b, err := Append(nil, root)
		if err != nil {
			t.Fatal(err)
		}
		back, err := read(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !same(root, back, map[*Node]*Node{}) {
			t.Errorf("%s: read back another tree:\n%s\nwant\n%s", name, dump(back), dump(root))
		}
	}
}

// TestReadRefusesChanges flips bits of every byte that is not zero, and some
// that are: no changed image may be taken for an image, whatever it says.
func TestReadRefusesChanges(t *testing.T) {
	for _, name := range []string{"small", "overlay-xattrs", "whiteouts", "hard-links", "devices"} {
		b, err := Append(nil, trees()[name])
		if err != nil {
			t.Fatal(err)
		}
		accepted := 0
		for i := range b {
			if b[i] == 0 && i%512 != 0 || i%3 != 0 && i > 2*blockSize {
				continue
			}
			c := bytes.Clone(b)
			c[i] ^= 1 << (i % 8)
			root, err := read(c)
			if err != nil {
				continue
			}
			// A change of content or attributes makes another true image.
			again, err := Append(nil, root)
			if err != nil || !bytes.Equal(again, c) {
				t.Errorf("%s: byte %#x changed: the image was accepted and is not canonical", name, i)
			}
			accepted++
		}
		if accepted > len(b)/8 {
			t.Errorf("%s: %d changed images of %d accepted", name, accepted, len(b))
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"empty", "small", "overlay-xattrs", "whiteouts", "hard-links", "symlinks"} {
		b, err := Append(nil, trees()[name])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := read(b)
		if err != nil {
			return
		}
		again, err := Append(nil, root)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatal("an image was accepted that Write does not make")
		}
	})
}
