// Package crash cuts the power of whole machines: their disks are recorded write
// by write behind an NBD server, every state in which a cut could have left them
// is looked at with our own readers, and those that a boot could tell apart are
// booted. docs/design/crash.md describes the model.
package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/instar-os/instar/internal/crashtest/blocks"
	"github.com/instar-os/instar/internal/crashtest/ext4"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/erofs"
	"github.com/instar-os/instar/internal/image"
	"github.com/instar-os/instar/internal/pid1/data"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/system"
)

// Look is what a boot would find on a disk.
type Look struct {
	Table   string            // primary or backup: which partition table holds
	Loader  map[string]string // files of the slot that firmware boots: identity by path
	Default string            // the file that its loader boots; "" when Entries choose
	Entries map[string]Entry  // of the loader, by the name of the file
	Record  string            // current, trial and verdicts; "damaged: …", "blank"
	Systems map[string]string // "whole", or what a system of the store lacks
	Data    string            // "none", "whole", or what is wrong with the data partition
}

// Entry is a file of loader/entries.
type Entry struct{ Key, Image string }

// Key is the same for looks that boots cannot tell apart.
func (l *Look) Key() string { return fmt.Sprintf("%+v", *l) }

// Eye looks at states of one disk. It remembers what it has read: most states
// share most of their content. It may be used by one goroutine.
type Eye struct {
	slots  map[uint64]slotLook
	files  map[uint64]digest.Digest
	images map[digest.Digest][]digest.Digest
}

// NewEye returns an eye for the states of one log.
func NewEye() *Eye {
	return &Eye{map[uint64]slotLook{}, map[uint64]digest.Digest{}, map[digest.Digest][]digest.Digest{}}
}

type slotLook struct {
	files   map[string]string
	entries map[string]Entry
	def     string
	err     error
}

// At returns what a boot finds in a state. An error says that it finds no way
// to a system.
func (e *Eye) At(s *blocks.State) (*Look, error) {
	table, err := disk.ReadGPT(s, s.Size())
	if err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	l := &Look{Table: "primary"}
	if table.Recovered {
		l.Table = "backup"
	}
	if err := e.slot(s, table, l); err != nil {
		return l, err
	}
	if err := e.store(s, table, l); err != nil {
		return l, err
	}
	l.Record = recordLook(s, table)
	l.Data = dataLook(s, table)
	return l, nil
}

func section(s *blocks.State, p disk.Partition) *io.SectionReader {
	return io.NewSectionReader(s, p.Offset(), p.Size())
}

// slot reads the slot that firmware boots: the first EFI system partition.
func (e *Eye) slot(s *blocks.State, table *disk.GPT, l *Look) error {
	for _, p := range table.Partitions {
		if p.Type != disk.TypeESP {
			continue
		}
		id := s.Identity(p.Offset(), p.Size()) ^ p.First
		seen, ok := e.slots[id]
		if !ok {
			seen = readSlot(s, p)
			e.slots[id] = seen
		}
		l.Loader, l.Default, l.Entries = seen.files, seen.def, seen.entries
		if seen.err != nil {
			return fmt.Errorf("slot %s: %w", p.Name, seen.err)
		}
		return nil
	}
	return errors.New("no EFI system partition")
}

func readSlot(s *blocks.State, p disk.Partition) slotLook {
	v, err := disk.ReadFAT(section(s, p), p.Size())
	if err != nil {
		return slotLook{err: err}
	}
	look := slotLook{files: map[string]string{}, entries: map[string]Entry{}}
	var conf string
	for _, f := range v.Files {
		b := make([]byte, f.Size)
		if _, err := f.Data.ReadAt(b, 0); err != nil && err != io.EOF {
			return slotLook{err: fmt.Errorf("%s: %w", f.Path, err)}
		}
		look.files[f.Path] = digest.Of(b).Short()
		if f.Path == "loader/loader.conf" {
			conf = string(b)
		}
		if path.Dir(f.Path) == "loader/entries" {
			look.entries[path.Base(f.Path)] = parseEntry(string(b))
		}
	}
	for line := range strings.Lines(conf) {
		if rest, ok := strings.CutPrefix(line, "default "); ok {
			look.def = strings.TrimSpace(rest)
		}
	}
	if look.def == "" && len(look.entries) == 0 {
		look.err = errors.New("its loader has neither a default nor entries")
	}
	return look
}

// parseEntry reads what matters of a Boot Loader Specification entry of type 1.
func parseEntry(text string) Entry {
	var e Entry
	for line := range strings.Lines(text) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key {
		case "sort-key":
			e.Key = value
		case "linux":
			e.Image = strings.TrimPrefix(value, "/")
		}
	}
	return e
}

// store reads which systems of the store partition are whole.
func (e *Eye) store(s *blocks.State, table *disk.GPT, l *Look) error {
	p, ok := table.Find(image.StoreName)
	if !ok {
		return errors.New("no store partition")
	}
	f, err := mount(section(s, p))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	list, err := f.ReadDir("systems")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	l.Systems = map[string]string{}
	v := &volume{f: f, eye: e, state: s, at: p.Offset()}
	for _, entry := range list {
		name, err := digest.Parse(entry.Name)
		if err != nil {
			continue // not committed yet
		}
		l.Systems[name.Short()] = "whole"
		if err := v.whole(name); err != nil {
			l.Systems[name.Short()] = err.Error()
		}
	}
	return nil
}

// mount opens a partition as init does: a superblock that was torn is mended.
func mount(r *io.SectionReader) (*ext4.FS, error) {
	f, err := ext4.Open(r)
	if !errors.Is(err, ext4.ErrTorn) {
		return f, err
	}
	m := &patched{ReaderAt: r}
	if mended, failed := data.Mend(m, r.Size()); !mended || failed != nil {
		return nil, errors.Join(err, failed)
	}
	return ext4.Open(m)
}

// patched is a partition with one write over it, of a sector.
type patched struct {
	io.ReaderAt
	at int64
	b  []byte
}

// ReadAt implements io.ReaderAt.
func (m *patched) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.ReaderAt.ReadAt(p, off)
	if from, to := max(off, m.at), min(off+int64(n), m.at+int64(len(m.b))); from < to {
		copy(p[from-off:to-off], m.b[from-m.at:])
	}
	return n, err
}

// WriteAt implements io.WriterAt.
func (m *patched) WriteAt(p []byte, off int64) (int, error) {
	m.at, m.b = off, bytes.Clone(p)
	return len(p), nil
}

// Sync does nothing.
func (m *patched) Sync() error { return nil }

// volume is the store partition of one state.
type volume struct {
	f     *ext4.FS
	eye   *Eye
	state *blocks.State
	at    int64 // of the partition, bytes
}

// holds checks that a file has the content that its name promises.
func (v *volume) holds(name string, want digest.Digest) error {
	x, err := v.f.Open(name)
	if err != nil {
		return err
	}
	id := uint64(x.Size)
	for _, e := range x.Extents {
		off, size := int64(e.Block)*x.BlockSize, int64(e.Count)*x.BlockSize
		id = id*1099511628211 ^ v.state.Identity(v.at+off, size) ^ uint64(off)<<1 ^ uint64(e.Logical)<<40
		if e.Hole {
			id++
		}
	}
	got, ok := v.eye.files[id]
	if !ok {
		if got, _, err = digest.FromReader(io.NewSectionReader(x, 0, x.Size)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		v.eye.files[id] = got
	}
	if got != want {
		return fmt.Errorf("%s has another content", name)
	}
	return nil
}

// whole checks a system's manifest, its images and all objects of theirs.
func (v *volume) whole(name digest.Digest) error {
	p := "systems/" + name.String()
	if err := v.holds(p, name); err != nil {
		return err
	}
	b, err := v.f.ReadFile(p, system.MaxSize)
	if err != nil {
		return err
	}
	m, err := system.Decode(b)
	if err != nil {
		return err
	}
	for _, o := range m.Images() {
		if err := v.image(o.Digest); err != nil {
			return err
		}
	}
	for _, c := range m.Configurations {
		for _, o := range c.Containers {
			if err := v.holds("objects/"+o.Launch.Digest.Path(), o.Launch.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

const maxImage = 64 << 20

func (v *volume) image(name digest.Digest) error {
	p := "images/" + name.String()
	if err := v.holds(p, name); err != nil {
		return err
	}
	objects, ok := v.eye.images[name]
	if !ok {
		b, err := v.f.ReadFile(p, maxImage)
		if err != nil {
			return err
		}
		root, err := erofs.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return err
		}
		objects = objectsOf(root, nil)
		v.eye.images[name] = objects
	}
	for _, d := range objects {
		if err := v.holds("objects/"+d.Path(), d); err != nil {
			return err
		}
	}
	return nil
}

func objectsOf(n *erofs.Node, all []digest.Digest) []digest.Digest {
	if n.Type() == erofs.TypeFile && n.Size > 0 && n.Data == nil {
		all = append(all, n.Digest)
	}
	for _, c := range n.Children {
		all = objectsOf(c.Node, all)
	}
	return all
}

func recordLook(s *blocks.State, table *disk.GPT) string {
	p, ok := table.Find(record.Partition)
	if !ok {
		return "no partition"
	}
	b, err := record.Open(readOnly{section(s, p)}, p.Size())
	switch {
	case err != nil:
		return "error: " + err.Error()
	case b.Damaged != nil:
		return "damaged: " + b.Damaged.Error()
	}
	r := b.Record()
	text := "current " + r.Current.Short()
	if r.Trial != nil {
		text += fmt.Sprintf(", trial of %s, %d tries, %v", r.Trial.System.Short(), r.Trial.Tries, r.Trial.Phase)
	}
	for _, v := range r.Verdicts {
		text += fmt.Sprintf(", %s good %v: %v", v.System.Short(), v.Good, v.Reason)
	}
	return text
}

// readOnly is a record.Device that nobody writes to.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.New("a state is only read") }
func (readOnly) Sync() error                        { return nil }

// dataLook says whether the data partition is a file system that can be read.
func dataLook(s *blocks.State, table *disk.GPT) string {
	p, ok := table.Find(image.DataName)
	if !ok {
		return "none"
	}
	f, err := mount(section(s, p))
	if err != nil {
		return err.Error()
	}
	if _, err := f.ReadDir("."); err != nil {
		return err.Error()
	}
	return "whole"
}
