// Package layer reads the layers of OCI images and lays them over each other.
//
// A layer is a tar archive of what changed: entries that are new or replace
// others, and whiteouts, names beginning with ".wh.", that hide what the layers
// below have. Read turns one archive into a Layer, which knows nothing of the
// others, so that any number of them are read at a time; a Stack lays them over
// each other in order and gives the tree.
//
// Source: OCI image specification 1.1, "Image Layer Filesystem Changeset".
// Where the specification is silent the applier does what containerd, docker
// and umoci agree on; docs/design/oci-images.md lists those cases.
package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// Kind says what an Op does.
type Kind uint8

// The kinds of operations.
const (
	Put      Kind = iota + 1 // Entry comes to Path
	Link                     // Path becomes a further name of what is at Entry.Target
	Whiteout                 // what the layers below have at Path is hidden
	Opaque                   // what the layers below have in the directory Path is hidden
)

// Op is one entry of a layer. Paths are in the tree's form; their parents may
// be symlinks, which are followed when the layer is laid over others.
type Op struct {
	Kind  Kind
	Path  string
	Entry tree.Entry
}

// Layer is what one layer does, in the order of its archive.
type Layer struct {
	Ops     []Op
	Bytes   int64 // of contents, each as large as its header says
	Devices int   // device nodes that were left out
}

// Options of Read.
type Options struct {
	Owner string // label of every entry (tree.Entry.Owner)
	// Devices keeps device nodes. Containers get their devices from the
	// runtime, so that the nodes that old images carry are left out otherwise.
	Devices  bool
	Parallel int // contents put into the store at a time; 0: 2
	Limits   untar.Limits
}

// smallFile is the size in bytes up to which a content is read into a buffer
// and put by another goroutine while the archive is read on.
const smallFile = 256 << 10

// ignoredXattrs are labels of the machine that made the image.
var ignoredXattrs = []string{"security.selinux", "system.nfs4_acl"}

// The names that mean more than themselves.
const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh." // AUFS' own files; only the opaque mark means something
	opaqueName     = ".wh..wh..opq"
)

// Read reads an uncompressed layer to its end. Errors name the entry; contents
// put until then stay in objects, where nothing refers to them.
//
// Refused are absolute names and names with "..", in entries, whiteouts and
// hard links alike, and what exceeds the limits.
func Read(ctx context.Context, r io.Reader, objects untar.Objects, opts Options) (*Layer, error) {
	jobs, ctx := errgroup.WithContext(ctx)
	jobs.SetLimit(max(opts.Parallel, 2))
	l := &reader{
		ctx: ctx, tar: tar.NewReader(r), objects: objects, jobs: jobs, layer: &Layer{}, limits: withDefaults(opts.Limits),
		opts: untar.Options{Owner: opts.Owner, Devices: true, Limits: opts.Limits}, devices: opts.Devices,
	}
	err := l.all()
	// What a job failed with is the cause of what the reader says then.
	if jerr := jobs.Wait(); jerr != nil {
		err = jerr
	}
	if err != nil {
		return nil, err
	}
	for _, p := range l.puts {
		l.layer.Ops[p.op].Entry.Digest = *p.digest
	}
	return l.layer, nil
}

// withDefaults fills in the limits that Read itself looks at.
func withDefaults(l untar.Limits) untar.Limits {
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 16 << 30
	}
	return l
}

type reader struct {
	ctx     context.Context
	tar     *tar.Reader
	objects untar.Objects
	jobs    *errgroup.Group
	opts    untar.Options
	limits  untar.Limits
	devices bool
	layer   *Layer
	entries int
	puts    []put
}

// put is a content that another goroutine puts.
type put struct {
	op     int
	digest *digest.Digest
}

func (l *reader) all() error {
	for {
		h, err := l.tar.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after entry %d: %w", l.entries, noEOF(err))
		}
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if err := l.entry(h); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (l *reader) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if l.entries++; l.entries > l.limits.Entries {
		return fmt.Errorf("more than %d entries", l.limits.Entries)
	}
	p, err := name(h.Name)
	if err != nil {
		return err
	}
	if op, special, err := hides(p); special || err != nil {
		if op.Kind != 0 {
			l.layer.Ops = append(l.layer.Ops, op)
		}
		return err
	}
	e, err := untar.Attributes(h, l.opts)
	if err != nil {
		return err
	}
	for _, x := range ignoredXattrs {
		delete(e.Xattrs, x)
	}
	op := Op{Kind: Put, Path: p, Entry: e}
	switch e.Kind {
	case tree.File:
		return l.file(h, op)
	case tree.Hardlink:
		op.Kind = Link
		if op.Entry.Target, err = name(h.Linkname); err != nil {
			return fmt.Errorf("hard link: %w", err)
		}
	case tree.CharDevice, tree.BlockDevice:
		if !l.devices {
			l.layer.Devices++
			return nil
		}
	}
	l.layer.Ops = append(l.layer.Ops, op)
	return nil
}

// name returns a name in the tree's form, refusing what tree.Clean would bend.
func name(s string) (string, error) {
	if strings.HasPrefix(s, "/") {
		return "", fmt.Errorf("the name %q is absolute; names in layers are relative", s)
	}
	return tree.Clean(s)
}

// hides recognises whiteouts. An Op without a kind is an entry that means
// nothing here: the files that AUFS kept for itself.
func hides(p string) (op Op, special bool, err error) {
	dir, base := path.Split(p)
	dir = path.Clean(dir)
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, metaPrefix) {
			if base == opaqueName {
				op = Op{Kind: Opaque, Path: dir}
			}
			return op, true, nil
		}
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	if !ok {
		return op, false, nil
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return op, true, fmt.Errorf("a whiteout of %q, which is no name", hidden)
	}
	return Op{Kind: Whiteout, Path: path.Join(dir, hidden)}, true, nil
}

// file puts the content of a file: a small one while reading goes on.
func (l *reader) file(h *tar.Header, op Op) error {
	if l.layer.Bytes += h.Size; l.layer.Bytes > l.limits.Bytes {
		return fmt.Errorf("contents exceed %d bytes", l.limits.Bytes)
	}
	op.Entry.Size = h.Size
	switch {
	case h.Size == 0:
	case h.Size > smallFile:
		d, n, err := l.objects.Put(l.tar)
		if err == nil && n != h.Size {
			err = fmt.Errorf("%d of %d bytes: %w", n, h.Size, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return noEOF(err)
		}
		op.Entry.Digest = d
	default:
		b := make([]byte, h.Size)
		if _, err := io.ReadFull(l.tar, b); err != nil {
			return noEOF(err)
		}
		l.later(b)
	}
	l.layer.Ops = append(l.layer.Ops, op)
	return nil
}

// later has b put for the operation that comes next.
func (l *reader) later(b []byte) {
	p := put{len(l.layer.Ops), new(digest.Digest)}
	l.puts = append(l.puts, p)
	l.jobs.Go(func() error {
		d, err := l.objects.PutBytes(b)
		*p.digest = d
		return err
	})
}

// Owned returns the layer with another label on every entry.
func (l *Layer) Owned(owner string) *Layer {
	out := *l
	out.Ops = slices.Clone(l.Ops)
	for i := range out.Ops {
		out.Ops[i].Entry.Owner = owner
	}
	return &out
}

// Digests calls f with the digest and size of each content, until it says no.
func (l *Layer) Digests(f func(d digest.Digest, size int64) bool) bool {
	for _, op := range l.Ops {
		if op.Kind == Put && !op.Entry.Digest.IsZero() && !f(op.Entry.Digest, op.Entry.Size) {
			return false
		}
	}
	return true
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
