package dpkg

import (
	"cmp"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/lock"
)

// Cache remembers unpacked packages in a directory, one file a package named by
// the archive's SHA-256. A file that is damaged, of another format, or whose
// contents have left the store counts as absent. Several processes may share one.
type Cache struct {
	Dir string                     // made when missing
	Has func(d digest.Digest) bool // whether the store has a content; called by several goroutines
}

// path returns the file of a package, or "" when its digest is no digest.
func (c *Cache) path(pkg lock.Package) string {
	if b, err := hex.DecodeString(pkg.SHA256); err != nil || len(b) != 32 {
		return ""
	}
	return filepath.Join(c.Dir, pkg.SHA256+".pkg")
}

func (c *Cache) load(pkg lock.Package) (*Package, bool) {
	if c == nil || c.path(pkg) == "" {
		return nil, false
	}
	b, err := os.ReadFile(c.path(pkg))
	if err != nil {
		return nil, false
	}
	p, err := decode(b)
	if err != nil || p.Control.Name != pkg.Name || p.Control.Version != pkg.Version || p.Control.Arch != pkg.Arch {
		return nil, false
	}
	for _, e := range p.Tree.All() {
		if !e.Digest.IsZero() && !c.Has(e.Digest) {
			return nil, false
		}
	}
	return p, true
}

// save writes a temporary file and renames it. It is not synced: a file that a
// crash cut off fails its checksum and is written again.
func (c *Cache) save(pkg lock.Package, p *Package) error {
	if c == nil || c.path(pkg) == "" {
		return nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.Dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(encode(p))
	if err := cmp.Or(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path(pkg))
}

// bySize returns the indices of archives, the largest first.
func bySize(archives []Archive) []int {
	order := make([]int, len(archives))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(archives[b].Package.Size, archives[a].Package.Size)
	})
	return order
}
