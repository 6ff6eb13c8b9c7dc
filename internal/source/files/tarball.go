package files

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/xz"
)

// Tarball reads the tar archive at a path of the host, compressed with gzip,
// xz, zstd, bzip2 or not at all, as its first bytes tell. Modes, owners and
// times are the archive's own.
func Tarball(ctx context.Context, objects untar.Objects, name string, o Options) (*tree.Tree, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("tarball: %w", err)
	}
	defer f.Close()
	t, err := ReadTarball(ctx, objects, f, o)
	if err != nil {
		return nil, fmt.Errorf("tarball %s: %w", name, err)
	}
	return t, nil
}

// ReadTarball is Tarball for an open archive. It reads to the end of the
// compressed stream, so that damage behind the last entry is found too.
func ReadTarball(ctx context.Context, objects untar.Objects, r io.Reader, o Options) (*tree.Tree, error) {
	to, err := tree.Clean(o.To)
	if err != nil {
		return nil, err
	}
	plain, err := decompress(&contextReader{ctx, r})
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	limits := o.limits()
	t, err := untar.Read(plain, objects, untar.Options{Owner: o.Label, Strip: o.Strip, Limits: limits})
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(plain, limits.Bytes))
	if err != nil {
		return nil, fmt.Errorf("behind the last entry: %w", err)
	}
	if n == limits.Bytes {
		return nil, fmt.Errorf("more than %d bytes behind the last entry", n)
	}
	if t.Len() == 1 {
		return nil, errors.New("nothing is in it" + stripped(o.Strip))
	}
	return move(t, to, o)
}

func stripped(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" when %d leading components are dropped", n)
}

// move puts the tree's content below a directory. The root of a machine is no
// business of the archive's, so that an entry for "." counts only below To.
func move(t *tree.Tree, to string, o Options) (*tree.Tree, error) {
	out := newTree(o)
	if to != tree.Root {
		top := tree.Entry{Kind: tree.Dir, Mode: 0o755, MTime: o.Epoch, Owner: o.Label}
		if err := out.Put(to, top); err != nil {
			return nil, err
		}
	}
	for p, e := range t.All() {
		if p == tree.Root && (to == tree.Root || e.Owner == "") {
			continue
		}
		if e.Kind == tree.Hardlink {
			e.Target = path.Join(to, e.Target)
		}
		if err := out.Put(path.Join(to, p), e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// decompress finds the compression by its magic number: RFC 1952, RFC 8878,
// "The .xz File Format" 2.1.1.1, and bzip2's "BZh".
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(head) == 0 {
		return nil, errors.New("it is empty")
	}
	starts := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case starts("\x1f\x8b"):
		return gzip.NewReader(in)
	case starts("\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case starts("\xfd7zXZ\x00"):
		z, err := xz.NewReader(in)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(z), nil
	case starts("BZh"):
		return io.NopCloser(bzip2.NewReader(in)), nil
	}
	return io.NopCloser(in), nil
}

// contextReader ends with the context's error when that is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
