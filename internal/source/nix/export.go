package nix

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/source/nix/nar"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/tree"
)

// Objects gives the contents of files back.
type Objects interface {
	Verified(d digest.Digest) (io.ReadCloser, error)
}

// Archive writes the Nix archive of what is at a path of a tree. Hard links
// become files of their own; owners, times and modes but for execution are left
// out, as Nix has it. Devices, pipes and sockets are errors.
func Archive(w io.Writer, objects Objects, t *tree.Tree, at string) error {
	out := nar.NewWriter(w)
	for p, e := range t.All() {
		rel, ok := below(at, p)
		if !ok {
			continue
		}
		if err := addEntry(out, objects, t, rel, p, e); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
	}
	return out.Close()
}

func below(at, p string) (string, bool) {
	switch {
	case p == at:
		return "", true
	case at == tree.Root:
		return p, true
	}
	return strings.CutPrefix(p, at+"/")
}

func addEntry(out *nar.Writer, objects Objects, t *tree.Tree, rel, p string, e tree.Entry) error {
	if e.Kind == tree.Hardlink {
		e, _ = t.Inode(p)
	}
	switch e.Kind {
	case tree.Dir:
		return out.WriteHeader(nar.Header{Path: rel, Kind: nar.Dir})
	case tree.Symlink:
		return out.WriteHeader(nar.Header{Path: rel, Kind: nar.Symlink, Target: e.Target})
	case tree.File:
	default:
		return fmt.Errorf("a %v cannot be in a Nix archive", e.Kind)
	}
	err := out.WriteHeader(nar.Header{Path: rel, Kind: nar.File, Size: e.Size, Executable: e.Mode&0o100 != 0})
	if err != nil || e.Size == 0 {
		return err
	}
	r, err := objects.Verified(e.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(out, r)
	return err
}

// Describe returns the name, hash and size of a tree's content as a store path
// of its own, which is known by its content and needs no signature. It refers
// to nothing.
func Describe(objects Objects, t *tree.Tree, rest string) (narinfo.Info, error) {
	sum := &counter{h: sha256.New()}
	if err := Archive(sum, objects, t, tree.Root); err != nil {
		return narinfo.Info{}, err
	}
	in := narinfo.Info{NarHash: sum.hash(), NarSize: sum.n}
	in.CA = "fixed:r:" + in.NarHash.String()
	var err error
	in.Name, err = narinfo.Fixed(in.NarHash, rest)
	return in, err
}

// A Cache directory is written by an Export.
type Export struct {
	Dir         string
	Secret      *narinfo.Secret // nil: nothing is signed
	Compression string          // zstd or none; "" is zstd
	Objects     Objects
	Parallel    int
	Done        func(n narinfo.Name) // called by any goroutine after each path; may be nil
}

// Exported is one path of a cache.
type Exported struct {
	Info narinfo.Info
	Tree *tree.Tree
	At   string // where in the tree the path is
}

// Written counts what Write did.
type Written struct {
	Paths int   // in the cache now
	New   int   // that were not there
	Bytes int64 // of the new archives, compressed
}

// Write makes the directory a binary cache, or adds to one. A path appears when
// its archive lasts; one that is there is only signed anew where this key's
// signature is missing. It may run again at any time.
func (e *Export) Write(ctx context.Context, all []Exported) (Written, error) {
	if e.Compression == "" {
		e.Compression = "zstd"
	}
	if e.Compression != "zstd" && e.Compression != "none" {
		return Written{}, fmt.Errorf("compression %q: zstd and none are written", e.Compression)
	}
	if err := os.MkdirAll(filepath.Join(e.Dir, "nar"), 0o755); err != nil {
		return Written{}, err
	}
	about := []byte("StoreDir: " + narinfo.StoreDir + "\nWantMassQuery: 1\nPriority: 40\n")
	if err := durable.WriteFile(filepath.Join(e.Dir, "nix-cache-info"), 0o644, about); err != nil {
		return Written{}, err
	}
	sizes := make([]int64, len(all))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(e.Parallel, 1))
	for i := range all {
		g.Go(func() (err error) {
			if err = gctx.Err(); err != nil {
				return err
			}
			if sizes[i], err = e.one(all[i]); err != nil {
				return fmt.Errorf("%s: %w", all[i].Info.Name.Path(), err)
			}
			if e.Done != nil {
				e.Done(all[i].Info.Name)
			}
			return nil
		})
	}
	err := g.Wait()
	w := Written{Paths: len(all)}
	for _, n := range sizes {
		if n > 0 {
			w.New++
			w.Bytes += n
		}
	}
	return w, err
}

// one writes a path and returns the size of its archive's file, 0 when it was
// there.
//
// create, write…, fsync, rename to nar/…, fsync nar; the same for .narinfo.
func (e *Export) one(x Exported) (int64, error) {
	to := filepath.Join(e.Dir, x.Info.Name.Hash()+".narinfo")
	in, err := e.there(to, x.Info)
	if err != nil {
		return 0, err
	}
	size := int64(0)
	if in == nil {
		in = &x.Info
		if err := e.archive(x, in); err != nil {
			return 0, err
		}
		size = in.FileSize
	}
	before := string(in.Format())
	if e.Secret != nil {
		in.Sign(*e.Secret)
	}
	if size == 0 && string(in.Format()) == before {
		return 0, nil
	}
	return size, durable.WriteFile(to, 0o644, in.Format())
}

// there returns what the cache has of a path, nil when it is nothing of use.
func (e *Export) there(name string, want narinfo.Info) (*narinfo.Info, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	in, err := narinfo.Parse(text)
	if err != nil || in.Fingerprint() != want.Fingerprint() {
		return nil, nil
	}
	if st, err := os.Stat(filepath.Join(e.Dir, filepath.FromSlash(path.Clean("/"+in.URL)))); err != nil || st.Size() != in.FileSize {
		return nil, nil
	}
	return in, nil
}

// archive writes the archive's file and fills in where it is.
func (e *Export) archive(x Exported, in *narinfo.Info) error {
	dir := filepath.Join(e.Dir, "nar")
	f, err := durable.Create(dir, 0o644)
	if err != nil {
		return err
	}
	defer f.Abort()
	file, plain := &counter{h: sha256.New()}, &counter{h: sha256.New()}
	var z io.WriteCloser = nopCloser{io.MultiWriter(f, file)}
	suffix := ""
	if e.Compression == "zstd" {
		suffix = ".zst"
		// One goroutine, so that the bytes do not depend on the machine.
		if z, err = zstd.NewWriter(io.MultiWriter(f, file), zstd.WithEncoderConcurrency(1)); err != nil {
			return err
		}
	}
	if err := Archive(io.MultiWriter(z, plain), e.Objects, x.Tree, x.At); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if plain.n != in.NarSize || plain.hash() != in.NarHash {
		return errors.New("what the store has is not what was pinned; instar store verify finds out why")
	}
	sum := file.hash()
	in.URL, in.Compression, in.FileHash, in.FileSize = "nar/"+sum.Base32()+".nar"+suffix, e.Compression, &sum, file.n
	return f.Commit(filepath.Join(e.Dir, in.URL))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
