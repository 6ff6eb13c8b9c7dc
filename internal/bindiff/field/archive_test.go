package field

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/cpio"
)

func archiveOf(t testing.TB, members ...[]byte) []byte {
	t.Helper()
	var files []cpio.File
	for i, b := range members {
		files = append(files, cpio.File{Path: strings.Repeat("x", i+1), Size: int64(len(b)), Data: bytes.NewReader(b)})
	}
	var w bytes.Buffer
	if err := cpio.Write(&w, files); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

// The fields of an archive's member are those of the file, and know the same
// headers.
func TestArchive(t *testing.T) {
	text, err := os.ReadFile(libc)
	if err != nil {
		t.Skip("no library of x86-64 here")
	}
	alone := Find(text)
	packed := archiveOf(t, []byte("no ELF file"), text, text)
	l := Find(packed)
	if l == nil || len(l.members) != 1 || l.members[0].name != "xx" {
		t.Fatalf("members: %+v", l)
	}
	off := uint32(l.members[0].off)
	if !bytes.Equal(packed[off:l.members[0].end], text) {
		t.Fatal("the member is elsewhere")
	}
	if alone.Count() != l.Count() {
		t.Errorf("%d fields in an archive, %d alone", l.Count(), alone.Count())
	}
	c := alone.From(0)
	for f := range l.Fields() {
		g, _ := c.Next()
		if f.Pos != g.Pos+off || f.Kind() != g.Kind() {
			t.Fatalf("field %+v in an archive is %+v alone", f, g)
		}
		if f.Kind() == Known64 {
			if v := f.Read(packed[f.Pos:]); f.Known(l, l, nil) != v {
				t.Errorf("a header at %d says %x, %x is known", g.Pos, v, f.Known(l, l, nil))
			}
		}
	}
	for _, cut := range []int{1, 60, 111, int(off) + 5, len(packed) - 200} {
		Find(packed[:cut])
	}
}
