package field

import "testing"

// Of a kernel without sections, code is told from data, and addresses from numbers.
func TestImage(t *testing.T) {
	text := make([]byte, 64<<10)
	copy(text[0x38:], imageMagic)
	le.PutUint64(text[0x10:], 1<<20)
	for at := 8 << 10; at < 12<<10; at += 4 {
		le.PutUint32(text[at:], 0x94000040) // bl . + 256
	}
	for at := 16 << 10; at < 17<<10; at += 16 {
		le.PutUint64(text[at:], imageBase+uint64(at))
		le.PutUint64(text[at+8:], 0x9400004094000040) // data, however it looks
	}
	count := map[Kind]int{}
	for f := range Find(text).Fields() {
		count[f.Kind()]++
		if inCode := f.Pos >= 8<<10 && f.Pos < 12<<10; inCode != (f.Kind() == Branch26) {
			t.Errorf("field of kind %d at %d", f.Kind(), f.Pos)
		}
	}
	if count[Branch26] != 1024 || count[Abs64] != 64 {
		t.Errorf("fields by kind: %v", count)
	}
	for _, n := range []int{0, 0x38, 0x3c, 4095, 5000} {
		Find(text[:n])
	}
}
