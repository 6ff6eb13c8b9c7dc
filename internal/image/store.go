package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

const (
	storeJournal = 4 << 20   // bytes; the least mke2fs makes
	minStore     = 16 << 20  // bytes; below 8 MiB mke2fs makes no journal
	spareInodes  = 4096      // for the objects of updates, at least
	maxDataFS    = 256 << 20 // bytes
)

// storeFile is one file of the store partition.
type storeFile struct {
	name   string // in the store, as "objects/ab/cdef…"
	from   string // on the build host
	digest digest.Digest
	size   int64 // bytes
	data   int64 // bytes in blocks that are not all zeros: mke2fs makes holes of the others
}

// storeFiles lists what the store partition of a system holds, sorted by name:
// the system's closure but for what only the boot slot needs and holds. Of the
// objects only the empty data file system is read, to learn how much of it is
// data.
func storeFiles(s *store.Store, m *system.Manifest, c store.Closure) ([]storeFile, error) {
	inSlot, err := bootOnly(s, m)
	if err != nil {
		return nil, err
	}
	sparse := m.Boot.DataFS.Digest
	var all []storeFile
	for _, o := range c.Objects {
		if inSlot[o.Digest] {
			continue
		}
		f := storeFile{"objects/" + o.Digest.Path(), s.ObjectPath(o.Digest), o.Digest, o.Size, o.Size}
		if o.Digest == sparse {
			b, err := s.Bytes(o.Digest, maxDataFS)
			if err != nil {
				return nil, err
			}
			f.data = dataBytes(b)
		}
		all = append(all, f)
	}
	for _, o := range c.Images {
		all = append(all, storeFile{"images/" + o.Digest.String(), s.ImagePath(o.Digest), o.Digest, o.Size, o.Size})
	}
	for _, o := range c.Systems {
		all = append(all, storeFile{"systems/" + o.Digest.String(), s.SystemPath(o.Digest), o.Digest, o.Size, o.Size})
	}
	slices.SortFunc(all, func(a, b storeFile) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// bootOnly returns the objects that are in the boot slot (within the unified
// kernel image, or beside it) and that nothing in the store partition needs. The
// UEFI stub is not among them: it cannot be taken out of an image again, and
// the device needs it for the next one.
func bootOnly(s *store.Store, m *system.Manifest) (map[digest.Digest]bool, error) {
	k := m.Kernel
	only := map[digest.Digest]bool{}
	for _, o := range append(k.Parts(), k.Image, k.Initrd, k.Loader, k.Init) {
		only[o.Digest] = true
	}
	for _, o := range m.Images() {
		t, err := s.Image(o.Digest)
		if err != nil {
			return nil, err
		}
		for _, e := range t.All() {
			delete(only, e.Digest)
		}
	}
	return only, nil
}

// dataBytes counts the bytes of blocks that are not all zeros.
func dataBytes(b []byte) int64 {
	var n int64
	zeros := make([]byte, blockSize)
	for len(b) > 0 {
		k := min(len(b), blockSize)
		if !bytes.Equal(b[:k], zeros[:k]) {
			n += int64(k)
		}
		b = b[k:]
	}
	return n
}

// storeDirs returns the directories of the files, each before what it holds.
func storeDirs(files []storeFile) []string {
	dirs := []string{"objects", "images", "systems"}
	seen := map[string]bool{"objects": true, "images": true, "systems": true}
	for _, f := range files {
		if d := path.Dir(f.name); !seen[d] {
			seen[d] = true
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// storeInodes returns how many inodes the store gets: for two systems.
func storeInodes(files []storeFile) int64 {
	n := int64(len(files) + len(storeDirs(files)))
	return n + max(n, spareInodes)
}

// storeSize returns the partition's size in bytes: as declared, or such that
// another system of this one's size fits that shares nothing with it.
//
// A larger partition costs a disk image nothing but its holes.
func (p *Plan) storeSize(declared int64) (int64, error) {
	// The boot parts of an update lie in the store until its slot is written.
	k := p.Manifest.Kernel
	content := k.Image.Size + k.Initrd.Size + minStoreFree
	if k.Payload != nil { // what it is packed of, and what was unpacked of the one before
		content += k.Payload.Shell.Size + 2*k.Payload.Content.Size + k.Image.Size
	}
	for _, f := range p.files {
		content += roundUp(f.data, blockSize)
	}
	least := storeSize(p.files, 0)
	switch {
	case declared == 0:
		return storeSize(p.files, content), nil
	case declared < least:
		return 0, fmt.Errorf("a store partition of %d bytes; this system alone needs %d, and another one beside it %d",
			declared, least, storeSize(p.files, content))
	}
	return roundUp(declared, disk.Align), nil
}

// storeSize computes the size in bytes of a partition that holds the files:
// content in blocks, what ext4 needs for itself, and free space.
func storeSize(files []storeFile, free int64) int64 {
	content := int64(len(storeDirs(files))+8) * blockSize
	entries := map[string]int64{} // bytes of each directory's entries
	for _, f := range files {
		content += roundUp(f.data, blockSize)
		dir, name := path.Split(f.name)
		entries[dir] += 8 + roundUp(int64(len(name)), 4)
	}
	for _, n := range entries {
		content += n / (blockSize - 100) * blockSize // blocks after the first; their ends stay unused
	}
	blocks := (content + free + storeJournal + roundUp(storeInodes(files)*inodeSize, blockSize)) / blockSize
	// Of each group two bitmaps, and descriptors with their copies.
	groups := blocks/groupBlocks + 2
	blocks += groups*2 + 8*(groups*64/blockSize+1)
	// Inode tables are rounded up in every group.
	blocks += groups * 2
	return max(minStore, roundUp(blocks*blockSize, disk.Align))
}

// writeStore makes the store partition's file system with its content.
func (p *Plan) writeStore(ctx context.Context, tool Tool, f *os.File, part disk.Partition) error {
	e := ext4{
		label: StoreName, seed: p.seed(), epoch: p.Manifest.Epoch, features: "verity",
		journal: storeJournal, inodes: storeInodes(p.files),
		path: f.Name(), offset: part.Offset(), size: part.Size(),
		fill: func(w io.Writer) error { return writeTar(ctx, w, p.files, p.Manifest.Epoch) },
	}
	if err := e.make(ctx, tool); err != nil {
		return fmt.Errorf("store partition: %w", err)
	}
	return nil
}

// writeTar writes the files with their directories as a tar archive: owner
// 0:0, files 0444, directories 0755, all of one time. Each content is verified
// on its way; a damaged one is an error.
func writeTar(ctx context.Context, w io.Writer, files []storeFile, epoch int64) error {
	tw := tar.NewWriter(w)
	mtime := time.Unix(epoch, 0)
	for _, d := range append([]string{"."}, storeDirs(files)...) {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755, ModTime: mtime, Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o444, Size: f.size, ModTime: mtime, Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := copyVerified(tw, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return tw.Close()
}

func copyVerified(w io.Writer, f storeFile) error {
	src, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer src.Close()
	h := digest.New()
	if _, err := io.Copy(io.MultiWriter(w, h), src); err != nil {
		return err
	}
	if h.Size() != f.size {
		return fmt.Errorf("%d bytes, not %d", h.Size(), f.size)
	}
	if h.Sum() != f.digest {
		return errors.New("the content does not have the digest that names it; run instar store verify")
	}
	return nil
}

func roundUp(n, a int64) int64 { return (n + a - 1) / a * a }
