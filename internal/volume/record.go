package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/durable"
)

// Format is the version of the record's format; docs/format/data.md.
const Format = 1

// Limits of a record; what exceeds them is refused.
const (
	maxRecord    = 1 << 20 // bytes
	maxSnapshots = 1000
)

// Reason says why a snapshot was made.
type Reason string

// The reasons of snapshots: each is what would have been lost.
const (
	BeforeUpgrade   Reason = "before upgrade"
	BeforeDowngrade Reason = "before downgrade"
	BeforeRestore   Reason = "before restore"
	BeforeImport    Reason = "before import"
)

// record is the only truth about a volume: which directory is current, and
// which are snapshots. A directory that it does not name is a leftover.
type record struct {
	Format    int        `json:"format"`
	Path      string     `json:"path"`    // in the container
	Version   int        `json:"version"` // of the current generation's format
	Current   int        `json:"current"` // generation, the name of its directory
	Last      int        `json:"last"`    // highest generation that was ever named
	Size      int64      `json:"size,omitempty"`
	Project   uint32     `json:"project,omitempty"` // quota project of the current generation; 0: none
	Keep      int        `json:"keep,omitempty"`
	Budget    int64      `json:"budget,omitempty"`
	Snapshots []Snapshot `json:"snapshots,omitempty"` // oldest first
}

// Snapshot is a former state of a volume.
type Snapshot struct {
	Generation int       `json:"generation"`
	Version    int       `json:"version"`
	Bytes      int64     `json:"bytes"` // what its files occupy
	Made       time.Time `json:"made"`
	Reason     Reason    `json:"reason"`
}

// parseRecord reads a record and refuses one that contradicts itself.
func parseRecord(b []byte) (*record, error) {
	if len(b) > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes, more than %d", len(b), maxRecord)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("reading the record: %w", err)
	}
	switch {
	case r.Format != Format:
		return nil, fmt.Errorf("a record of format %d; format %d is understood", r.Format, Format)
	case r.Current < 1 || r.Current > r.Last:
		return nil, fmt.Errorf("a record with current generation %d of %d", r.Current, r.Last)
	case len(r.Snapshots) > maxSnapshots:
		return nil, fmt.Errorf("a record of %d snapshots, more than %d", len(r.Snapshots), maxSnapshots)
	}
	seen := map[int]bool{r.Current: true}
	for _, s := range r.Snapshots {
		if s.Generation < 1 || s.Generation > r.Last || seen[s.Generation] || s.Bytes < 0 {
			return nil, fmt.Errorf("a record with an impossible snapshot %d", s.Generation)
		}
		seen[s.Generation] = true
	}
	return &r, nil
}

// place is where a volume lies.
type place struct {
	dir string
	fs  durable.FS
}

func (p place) record() string {
	return filepath.Join(filepath.Dir(p.dir), "."+filepath.Base(p.dir)+".json")
}

func (p place) generation(n int) string { return filepath.Join(p.dir, fmt.Sprint(n)) }

// read returns the record, nil when the volume has never been used.
func (p place) read() (*record, error) {
	f, err := os.Open(p.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes, more than %d", info.Size(), maxRecord)
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return nil, fmt.Errorf("reading the record: %w", err)
	}
	return parseRecord(b)
}

// write makes a record the truth. The generations that it names must be on the
// disk already.
func (p place) write(r *record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return p.fs.WriteFile(p.record(), 0o644, append(b, '\n'))
}

// sweep removes generations that the record does not name: what a cut has left,
// and what the record has just let go.
func (p place) sweep(r *record) error {
	named := map[string]bool{fmt.Sprint(r.Current): true}
	for _, s := range r.Snapshots {
		named[fmt.Sprint(s.Generation)] = true
	}
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		if !named[e.Name()] {
			errs = append(errs, p.fs.RemoveAll(filepath.Join(p.dir, e.Name())))
		}
	}
	return errors.Join(append(errs, err)...)
}

// slug turns a path into one name that no other path has: '/' becomes '-', and
// '-' and '%' are written as %2D and %25.
func slug(path string) string {
	path = strings.Trim(filepath.Clean(path), "/")
	return strings.NewReplacer("%", "%25", "-", "%2D", "/", "-").Replace(path)
}
