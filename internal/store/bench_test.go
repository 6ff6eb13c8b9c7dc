package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
)

// BenchmarkPutImage makes the image of 64k files from a tree, all the way but
// for the sync. The objects are only said to be there.
func BenchmarkPutImage(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	t := tree.New()
	for i := range 64 << 10 {
		e := tree.Entry{Kind: tree.File, Mode: 0o644, Size: int64(1000 + i), Digest: digest.Of(fmt.Append(nil, i))}
		if err := t.Put(fmt.Sprintf("usr/lib/package-%d/dir-%d/file-%d.so", i>>10, i>>4&63, i), e); err != nil {
			b.Fatal(err)
		}
		s.learn(e.Digest, e.Size)
	}
	for b.Loop() {
		o, err := s.PutImage(context.Background(), t)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(o.Size)
	}
}
