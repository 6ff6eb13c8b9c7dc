package bom

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/digest"
)

// Sum fills in the SHA-1 and SHA-256 of the files, each object read once. open
// is called by several goroutines.
func (b *Bill) Sum(ctx context.Context, open func(digest.Digest) (io.ReadCloser, error)) error {
	type sums struct{ one, two string }
	var mu sync.Mutex
	got := map[digest.Digest]sums{}
	empty1, empty2 := sha1.Sum(nil), sha256.Sum256(nil)
	got[digest.Digest{}] = sums{hex.EncodeToString(empty1[:]), hex.EncodeToString(empty2[:])}
	begun := map[digest.Digest]bool{{}: true}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range b.Files {
		if begun[f.Object] {
			continue
		}
		begun[f.Object] = true
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := open(f.Object)
			if err != nil {
				return err
			}
			defer r.Close()
			one, two := sha1.New(), sha256.New()
			if _, err := io.Copy(io.MultiWriter(one, two), r); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			got[f.Object] = sums{hex.EncodeToString(one.Sum(nil)), hex.EncodeToString(two.Sum(nil))}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range b.Files {
		s := got[b.Files[i].Object]
		b.Files[i].SHA1, b.Files[i].SHA256 = s.one, s.two
	}
	return nil
}
