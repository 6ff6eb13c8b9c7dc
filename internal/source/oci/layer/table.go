package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// A Table is the table of contents that a layer of the forms zstd:chunked and
// eStargz carries: every entry, with the digest of its content and where in the
// layer that lies, compressed by itself. With it a layer is read without what
// the store has already.
//
// Sources: containers/storage, docs/containers-storage-zstd-chunked.md;
// stargz-snapshotter, docs/estargz.md.
type Table struct {
	entries []tableEntry
	offsets []int64 // sorted
	zstd    bool
}

// tableEntry is one entry of either form.
type tableEntry struct {
	Type        string            `json:"type"`
	Name        string            `json:"name"`
	LinkName    string            `json:"linkName"`
	Mode        int64             `json:"mode"`
	Size        int64             `json:"size"`
	UID         int               `json:"uid"`
	GID         int               `json:"gid"`
	ModTime     string            `json:"modtime"`
	DevMajor    int64             `json:"devMajor"`
	DevMinor    int64             `json:"devMinor"`
	Xattrs      map[string][]byte `json:"xattrs"`
	Digest      string            `json:"digest"`
	Offset      int64             `json:"offset"`
	EndOffset   int64             `json:"endOffset"` // zstd:chunked
	ChunkSize   int64             `json:"chunkSize"`
	ChunkOffset int64             `json:"chunkOffset"`
	InnerOffset int64             `json:"innerOffset"`
}

// The annotations of a layer's descriptor that say it has a table, and pin it.
// zstd:chunked has had two prefixes.
const (
	chunkedChecksum = ".zstd-chunked.manifest-checksum"
	chunkedPosition = ".zstd-chunked.manifest-position"
	stargzDigest    = "containerd.io/snapshot/stargz/toc.digest"
)

var chunkedPrefixes = []string{"io.github.containers", "io.containers"}

// chunked returns checksum and position of zstd:chunked, "" for none.
func chunked(annotations map[string]string) (checksum, position string) {
	for _, prefix := range chunkedPrefixes {
		if c, p := annotations[prefix+chunkedChecksum], annotations[prefix+chunkedPosition]; c != "" && p != "" {
			return c, p
		}
	}
	return "", ""
}

// Limits of tables.
const (
	maxTable       = 64 << 20 // bytes, plain
	stargzFooter   = 51       // bytes
	maxTableLayers = 16 << 30 // bytes of a layer that has one
)

// Ranges gives parts of a layer. What it gives is not verified.
type Ranges interface {
	Range(ctx context.Context, offset, size int64) (io.ReadCloser, error)
}

// HasTable reports whether a layer's annotations promise a table.
func HasTable(annotations map[string]string) bool {
	checksum, _ := chunked(annotations)
	return checksum != "" || annotations[stargzDigest] != ""
}

// ReadTable reads the table of a layer of size bytes and holds it against the
// annotations, which the image's manifest pins.
func ReadTable(ctx context.Context, blob Ranges, size int64, annotations map[string]string) (*Table, error) {
	var text []byte
	var err error
	checksum, position := chunked(annotations)
	if checksum != "" {
		text, err = chunkedTable(ctx, blob, size, checksum, position)
	} else {
		text, err = stargzTable(ctx, blob, size, annotations[stargzDigest])
	}
	if err != nil {
		return nil, fmt.Errorf("table of contents: %w", err)
	}
	var doc struct {
		Version int          `json:"version"`
		Entries []tableEntry `json:"entries"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("table of contents: %w", err)
	}
	if doc.Version != 1 {
		return nil, fmt.Errorf("table of contents: version %d is not known", doc.Version)
	}
	t := &Table{entries: doc.Entries, zstd: checksum != ""}
	for _, e := range doc.Entries {
		t.offsets = append(t.offsets, e.Offset)
	}
	slices.Sort(t.offsets)
	return t, nil
}

// part reads a part of the layer.
func part(ctx context.Context, blob Ranges, offset, size, limit, whole int64) ([]byte, error) {
	if offset < 0 || size < 0 || size > limit || offset > whole-size {
		return nil, fmt.Errorf("%d bytes at %d are not within its limits", size, offset)
	}
	r, err := blob.Range(ctx, offset, size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, size)
	_, err = io.ReadFull(r, b)
	return b, noEOF(err)
}

func verifySum(b []byte, want string) error {
	sum := sha256.Sum256(b)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != want {
		return fmt.Errorf("it is %s, the manifest says %s", got, want)
	}
	return nil
}

// chunkedTable is in a skippable frame at OFFSET:SIZE:PLAIN:TYPE.
func chunkedTable(ctx context.Context, blob Ranges, size int64, checksum, position string) ([]byte, error) {
	words := strings.Split(position, ":")
	var n [4]int64
	for i := range n {
		var err error
		if len(words) != len(n) {
			err = errors.New("too few numbers")
		} else {
			n[i], err = strconv.ParseInt(words[i], 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("position %q: %w", position, err)
		}
	}
	if n[3] != 1 {
		return nil, fmt.Errorf("type %d is not known", n[3])
	}
	b, err := part(ctx, blob, n[0], n[1], maxTable, size)
	if err != nil {
		return nil, err
	}
	if err := verifySum(b, checksum); err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxTable))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.DecodeAll(b, nil)
}

// stargzTable is in a gzip member that the footer points to.
func stargzTable(ctx context.Context, blob Ranges, size int64, want string) ([]byte, error) {
	footer, err := part(ctx, blob, size-stargzFooter, stargzFooter, stargzFooter, size)
	if err != nil {
		return nil, err
	}
	// An empty gzip member whose extra field is "SG", a length of 22, 16
	// hexadecimal digits and STARGZ.
	if !bytes.HasPrefix(footer, []byte("\x1f\x8b\x08\x04")) || string(footer[12:14]) != "SG" || string(footer[32:38]) != "STARGZ" {
		return nil, errors.New("the layer does not end as eStargz does")
	}
	offset, err := strconv.ParseInt(string(footer[16:32]), 16, 64)
	if err != nil {
		return nil, err
	}
	b, err := part(ctx, blob, offset, size-stargzFooter-offset, maxTable, size)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	t := tar.NewReader(io.LimitReader(z, maxTable))
	h, err := t.Next()
	if err != nil {
		return nil, noEOF(err)
	}
	if h.Name != "stargz.index.json" {
		return nil, fmt.Errorf("its file is called %q", h.Name)
	}
	text, err := io.ReadAll(t)
	if err != nil {
		return nil, err
	}
	return text, verifySum(text, want)
}

// Lookup finds an object by the SHA-256 and size of its content.
type Lookup func(sha256 string, size int64) (digest.Digest, bool)

// Missing returns how many bytes of contents lookup does not find, and of all.
func (t *Table) Missing(lookup Lookup) (missing, all int64) {
	for _, e := range t.entries {
		if e.Type != "reg" || e.Size <= 0 {
			continue
		}
		all += e.Size
		if _, ok := lookup(strings.TrimPrefix(e.Digest, "sha256:"), e.Size); !ok {
			missing += e.Size
		}
	}
	return missing, all
}

// Skipped is what a table saved.
type Skipped struct {
	Files int
	Bytes int64 // of contents
}

// Layer reads the layer by its table: contents that lookup finds are not read.
// Each content is held against its digest in the table.
func (t *Table) Layer(ctx context.Context, blob Ranges, size int64, objects untar.Objects, lookup Lookup, opts Options) (*Layer, Skipped, error) {
	r := &tableReader{ctx: ctx, table: t, blob: blob, size: size, objects: objects, lookup: lookup, layer: &Layer{},
		limits: withDefaults(opts.Limits), opts: untar.Options{Owner: opts.Owner, Devices: true, Limits: opts.Limits}, devices: opts.Devices}
	if size > maxTableLayers {
		return nil, r.skipped, fmt.Errorf("a layer of %d bytes", size)
	}
	if len(t.entries) > 4*r.limits.Entries {
		return nil, r.skipped, fmt.Errorf("more than %d entries", 4*r.limits.Entries)
	}
	for i := range t.entries {
		if err := ctx.Err(); err != nil {
			return nil, r.skipped, err
		}
		if err := r.entry(i); err != nil {
			return nil, r.skipped, fmt.Errorf("entry %q: %w", t.entries[i].Name, err)
		}
	}
	return r.layer, r.skipped, nil
}

type tableReader struct {
	ctx     context.Context
	table   *Table
	blob    Ranges
	size    int64
	objects untar.Objects
	lookup  Lookup
	limits  untar.Limits
	opts    untar.Options
	devices bool
	layer   *Layer
	entries int
	skipped Skipped
}

var tableTypes = map[string]byte{
	"reg": tar.TypeReg, "dir": tar.TypeDir, "symlink": tar.TypeSymlink, "hardlink": tar.TypeLink,
	"char": tar.TypeChar, "block": tar.TypeBlock, "fifo": tar.TypeFifo,
}

func (r *tableReader) entry(i int) error {
	e := &r.table.entries[i]
	if e.Type == "chunk" {
		return nil // read with its file
	}
	if r.entries++; r.entries > r.limits.Entries {
		return fmt.Errorf("more than %d entries", r.limits.Entries)
	}
	p, err := name(e.Name)
	if err != nil {
		return err
	}
	if op, special, err := hides(p); special || err != nil {
		if op.Kind != 0 {
			r.layer.Ops = append(r.layer.Ops, op)
		}
		return err
	}
	entry, err := untar.Attributes(e.header(), r.opts)
	if err != nil {
		return err
	}
	for _, x := range ignoredXattrs {
		delete(entry.Xattrs, x)
	}
	op := Op{Kind: Put, Path: p, Entry: entry}
	switch entry.Kind {
	case tree.File:
		if op.Entry.Size, op.Entry.Digest, err = r.content(i); err != nil {
			return err
		}
	case tree.Hardlink:
		op.Kind = Link
		if op.Entry.Target, err = name(e.LinkName); err != nil {
			return fmt.Errorf("hard link: %w", err)
		}
	case tree.CharDevice, tree.BlockDevice:
		if !r.devices {
			r.layer.Devices++
			return nil
		}
	}
	r.layer.Ops = append(r.layer.Ops, op)
	return nil
}

// header is the entry as an archive would have it.
func (e *tableEntry) header() *tar.Header {
	h := &tar.Header{Typeflag: tableTypes[e.Type], Name: e.Name, Linkname: e.LinkName, Mode: e.Mode, Uid: e.UID, Gid: e.GID,
		Size: e.Size, Devmajor: e.DevMajor, Devminor: e.DevMinor, ModTime: time.Unix(0, 0), PAXRecords: map[string]string{}}
	if h.Typeflag == 0 {
		h.Typeflag = '?' // none; refused by name
	}
	if at, err := time.Parse(time.RFC3339, e.ModTime); err == nil {
		h.ModTime = at
	}
	for k, v := range e.Xattrs {
		h.PAXRecords["SCHILY.xattr."+k] = string(v)
	}
	return h
}

// content finds a file's content in the store, or reads and verifies it.
func (r *tableReader) content(i int) (int64, digest.Digest, error) {
	e := &r.table.entries[i]
	if r.layer.Bytes += e.Size; r.layer.Bytes > r.limits.Bytes {
		return 0, digest.Digest{}, fmt.Errorf("contents exceed %d bytes", r.limits.Bytes)
	}
	if e.Size == 0 {
		return 0, digest.Digest{}, nil
	}
	sum, ok := strings.CutPrefix(e.Digest, "sha256:")
	if !ok || len(sum) != 64 {
		return 0, digest.Digest{}, fmt.Errorf("digest %.80q is no SHA-256", e.Digest)
	}
	if d, ok := r.lookup(sum, e.Size); ok {
		r.skipped.Files++
		r.skipped.Bytes += e.Size
		return e.Size, d, nil
	}
	c := &chunkReader{r: r, chunks: r.chunks(i), sum: sha256.New()}
	d, n, err := r.objects.Put(c)
	if cerr := c.close(); err == nil {
		err = cerr
	}
	if err == nil && n != e.Size {
		err = fmt.Errorf("its content has %d bytes, not %d", n, e.Size)
	}
	if got := hex.EncodeToString(c.sum.Sum(nil)); err == nil && got != sum {
		err = fmt.Errorf("its content is sha256:%s, the table says %s", got, e.Digest)
	}
	return e.Size, d, noEOF(err)
}

// chunks are the entry itself and the entries of type chunk that follow it. In
// zstd:chunked a file's frames lie behind each other, up to its endOffset.
func (r *tableReader) chunks(i int) []*tableEntry {
	all := []*tableEntry{&r.table.entries[i]}
	if r.table.zstd {
		return all
	}
	for j := i + 1; j < len(r.table.entries) && r.table.entries[j].Type == "chunk"; j++ {
		all = append(all, &r.table.entries[j])
	}
	return all
}

// end is where the compressed form of a chunk ends: what the table says, else
// where the next one begins, else the end of the layer.
func (r *tableReader) end(c *tableEntry) int64 {
	if r.table.zstd {
		return c.EndOffset
	}
	i, _ := slices.BinarySearch(r.table.offsets, c.Offset+1)
	if i == len(r.table.offsets) {
		return r.size
	}
	return r.table.offsets[i]
}

// chunkReader reads the chunks of one file after each other.
type chunkReader struct {
	r      *tableReader
	chunks []*tableEntry
	sum    interface {
		io.Writer
		Sum([]byte) []byte
	}
	at    int64 // bytes read
	now   io.Reader
	files []io.Closer
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for {
		if c.now == nil {
			if len(c.chunks) == 0 {
				return 0, io.EOF
			}
			if err := c.next(); err != nil {
				return 0, err
			}
		}
		n, err := c.now.Read(p)
		c.sum.Write(p[:n])
		c.at += int64(n)
		if err == io.EOF {
			c.now, err = nil, c.close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next opens the next chunk.
func (c *chunkReader) next() error {
	e := c.chunks[0]
	c.chunks = c.chunks[1:]
	size := e.ChunkSize
	if size == 0 || c.r.table.zstd {
		size = e.Size - e.ChunkOffset
	}
	if e.ChunkOffset != c.at || size < 0 {
		return fmt.Errorf("a chunk at %d stands where %d bytes were read", e.ChunkOffset, c.at)
	}
	end := c.r.end(e)
	if e.Offset < 0 || end < e.Offset || end > c.r.size {
		return fmt.Errorf("a chunk from %d to %d is not within the layer", e.Offset, end)
	}
	raw, err := c.r.blob.Range(c.r.ctx, e.Offset, end-e.Offset)
	if err != nil {
		return err
	}
	c.files = append(c.files, raw)
	if c.r.table.zstd {
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		c.files = append(c.files, z.IOReadCloser())
		c.now = io.LimitReader(z, size)
		return nil
	}
	z, err := gzip.NewReader(raw)
	if err != nil {
		return noEOF(err)
	}
	if _, err := io.CopyN(io.Discard, z, e.InnerOffset); err != nil {
		return noEOF(err)
	}
	c.now = io.LimitReader(z, size)
	return nil
}

func (c *chunkReader) close() error {
	var errs []error
	for _, f := range slices.Backward(c.files) {
		errs = append(errs, f.Close())
	}
	c.files = nil
	return errors.Join(errs...)
}
