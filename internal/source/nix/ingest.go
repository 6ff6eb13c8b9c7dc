package nix

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/nix/nar"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// mtime is the time of everything in a Nix store, seconds since 1970.
const mtime = 1

// Job says how paths become trees.
type Job struct {
	Places   []Place
	Objects  untar.Objects
	Cache    *Cache                           // of trees; nil for none
	Parallel int                              // paths at a time
	Done     func(n narinfo.Name, size int64) // called by any goroutine after each path; may be nil
}

// Paths puts the contents of pinned paths into the store of objects and returns
// their tree, with the paths below nix/store. Each path must have the archive
// that its NarHash names, and refer to none of the others that it does not
// declare. Contents put until an error stay in objects, where nothing refers to
// them.
func (j *Job) Paths(ctx context.Context, pinned []narinfo.Info) (*tree.Tree, error) {
	trees, err := j.Trees(ctx, pinned)
	if err != nil {
		return nil, err
	}
	return together(trees)
}

// Trees is Paths with a tree for each path, in their order.
func (j *Job) Trees(ctx context.Context, pinned []narinfo.Info) ([]*tree.Tree, error) {
	names := make([]narinfo.Name, len(pinned))
	for i, in := range pinned {
		names[i] = in.Name
	}
	trees := make([]*tree.Tree, len(pinned))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(j.Parallel, 1))
	for _, i := range largestFirst(pinned) {
		g.Go(func() (err error) {
			trees[i], err = j.one(gctx, &pinned[i], names)
			if err == nil && j.Done != nil {
				j.Done(pinned[i].Name, pinned[i].NarSize)
			}
			return err
		})
	}
	return trees, g.Wait()
}

// together makes one tree of trees of different paths.
func together(trees []*tree.Tree) (*tree.Tree, error) {
	out := tree.New()
	for _, dir := range []string{"nix", "nix/store"} {
		if err := out.Put(dir, tree.Entry{Kind: tree.Dir, Mode: 0o755, MTime: mtime, Owner: "nix"}); err != nil {
			return nil, err
		}
	}
	for _, t := range trees {
		for p, e := range t.All() {
			if len(p) <= len("nix/store") {
				continue
			}
			if err := out.Put(p, e); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// largestFirst keeps the largest path from being the last to begin.
func largestFirst(all []narinfo.Info) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(min(1, max(-1, all[b].NarSize-all[a].NarSize))) })
	return order
}

func (j *Job) one(ctx context.Context, pin *narinfo.Info, names []narinfo.Name) (*tree.Tree, error) {
	if t, ok := j.Cache.load(pin); ok {
		return t, nil
	}
	var errs []error
	for _, p := range j.Places {
		in, err := p.Info(ctx, pin.Name)
		if errors.Is(err, ErrNotHere) {
			continue
		}
		var t *tree.Tree
		if err == nil {
			t, err = j.read(ctx, p, in, pin, names)
		}
		if err == nil {
			return t, j.Cache.save(pin, t)
		}
		errs = append(errs, fmt.Errorf("%s of %s: %w", pin.Name.Path(), p, err))
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil, missing(pin.Name, j.Places)
	}
	return nil, errors.Join(errs...)
}

// read unpacks one archive and holds it against what is pinned.
func (j *Job) read(ctx context.Context, p Place, in, pin *narinfo.Info, names []narinfo.Name) (*tree.Tree, error) {
	r, err := p.Open(ctx, in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	sum, scan := &counter{h: sha256.New()}, newScanner(names)
	limited := &io.LimitedReader{R: &contextReader{ctx, r}, N: pin.NarSize + 1}
	t, err := unpack(io.TeeReader(limited, both{sum, scan}), j.Objects, pin)
	if sum.n > pin.NarSize || err == nil && sum.n != pin.NarSize {
		return nil, fmt.Errorf("the archive has %s%d bytes, pinned are %d", more(sum.n > pin.NarSize), min(sum.n, pin.NarSize), pin.NarSize)
	}
	if err != nil {
		return nil, err
	}
	if got := sum.hash(); got != pin.NarHash {
		return nil, fmt.Errorf("the archive has NarHash %s, pinned is %s", got, pin.NarHash)
	}
	for _, n := range scan.names() {
		if n != pin.Name && !slices.Contains(pin.References, n) {
			return nil, fmt.Errorf("it refers to %s, which its references do not name", n.Path())
		}
	}
	return t, nil
}

func more(yes bool) string {
	if yes {
		return "more than "
	}
	return ""
}

// both writes to the hash and to the scanner.
type both struct {
	sum  *counter
	scan *scanner
}

func (b both) Write(p []byte) (int, error) {
	b.scan.Write(p)
	return b.sum.Write(p)
}

// smallFile is the size in bytes up to which a content is read at once.
const smallFile = 256 << 10

var buffers = sync.Pool{New: func() any { return new([smallFile]byte) }}

// unpack reads an archive into the tree of a path.
func unpack(r io.Reader, objects untar.Objects, pin *narinfo.Info) (*tree.Tree, error) {
	t := tree.New()
	at := path.Join("nix/store", string(pin.Name))
	owner := "nix " + pin.Name.Rest()
	buf := buffers.Get().(*[smallFile]byte)
	defer buffers.Put(buf)
	in := nar.NewReader(r, nar.Limits{File: pin.NarSize})
	for {
		h, err := in.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		e := tree.Entry{MTime: mtime, Owner: owner}
		switch h.Kind {
		case nar.Dir:
			e.Kind, e.Mode = tree.Dir, 0o555
		case nar.Symlink:
			e.Kind, e.Mode, e.Target = tree.Symlink, 0o777, h.Target
		case nar.File:
			e.Kind, e.Mode, e.Size = tree.File, 0o444, h.Size
			if h.Executable {
				e.Mode = 0o555
			}
			if e.Digest, err = content(in, h.Size, objects, buf[:]); err != nil {
				return nil, fmt.Errorf("/%s: %w", h.Path, err)
			}
		}
		if err := t.Put(path.Join(at, h.Path), e); err != nil {
			return nil, err
		}
	}
}

func content(r io.Reader, size int64, objects untar.Objects, buf []byte) (d digest.Digest, err error) {
	switch {
	case size == 0:
		return d, nil
	case size <= int64(len(buf)):
		if _, err = io.ReadFull(r, buf[:size]); err != nil {
			return d, err
		}
		return objects.PutBytes(buf[:size])
	}
	d, n, err := objects.Put(r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return d, err
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

// Cache remembers the trees of paths in a directory, one file a path. A file
// that is damaged, or whose contents have left the store, counts as absent.
type Cache struct {
	Dir string                     // made when missing
	Has func(d digest.Digest) bool // whether the store has a content; called by several goroutines
}

// name is the file of a path: what decides its tree, and what it was held against.
func (c *Cache) name(pin *narinfo.Info) string {
	sum := sha256.Sum256([]byte("instar nix tree 1\n" + pin.Fingerprint()))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:]))
}

func (c *Cache) load(pin *narinfo.Info) (*tree.Tree, bool) {
	if c == nil {
		return nil, false
	}
	b, err := os.ReadFile(c.name(pin))
	if err != nil || len(b) < sha256.Size || sha256.Sum256(b[sha256.Size:]) != [sha256.Size]byte(b[:sha256.Size]) {
		return nil, false
	}
	t, err := tree.Parse(b[sha256.Size:])
	if err != nil {
		return nil, false
	}
	owner := "nix " + pin.Name.Rest()
	for _, p := range t.Paths() {
		e, _ := t.Get(p)
		if !e.Digest.IsZero() && !c.Has(e.Digest) {
			return nil, false
		}
		if e.Owner = owner; strings.HasPrefix(p, "nix/store/") && t.Put(p, e) != nil {
			return nil, false
		}
	}
	return t, true
}

// save writes a temporary file and renames it. It is not synced: a file that a
// crash cut off fails its checksum and is written again.
func (c *Cache) save(pin *narinfo.Info, t *tree.Tree) error {
	if c == nil {
		return nil
	}
	text, err := t.MarshalText()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.Dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	sum := sha256.Sum256(text)
	_, err = io.Copy(f, io.MultiReader(bytes.NewReader(sum[:]), bytes.NewReader(text)))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.name(pin))
}

// Archive writes the archive of a pinned path as it comes from the first place
// that has it, verified: a writer that got an error got nothing of use.
func (j *Job) Archive(ctx context.Context, w io.Writer, pin *narinfo.Info) error {
	for _, p := range j.Places {
		in, err := p.Info(ctx, pin.Name)
		if errors.Is(err, ErrNotHere) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", pin.Name.Path(), p, err)
		}
		r, err := p.Open(ctx, in)
		if err != nil {
			return err
		}
		defer r.Close()
		sum := &counter{h: sha256.New()}
		if _, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(&contextReader{ctx, r}, pin.NarSize+1)); err != nil {
			return fmt.Errorf("%s of %s: %w", pin.Name.Path(), p, err)
		}
		if sum.n != pin.NarSize || sum.hash() != pin.NarHash {
			return fmt.Errorf("%s of %s: the archive is not the one that is pinned", pin.Name.Path(), p)
		}
		return nil
	}
	return missing(pin.Name, j.Places)
}

// Known reports whether the path's tree is remembered with all its contents.
func (c *Cache) Known(pin *narinfo.Info) bool {
	_, ok := c.load(pin)
	return ok
}
