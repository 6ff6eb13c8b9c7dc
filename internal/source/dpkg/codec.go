package dpkg

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
)

// codecMagic names the format and its version; a change of either field order
// or meaning takes a new number.
const codecMagic = "instar package 1\n"

// encode writes a package as: magic; control; scripts; entries; SHA-256 of all
// before it. Integers are uvarints, strings have their length before them. An
// entry's path is the number of bytes it shares with the path before, then the
// rest. The owner is not kept: it is the package.
func encode(p *Package) []byte {
	w := &writer{b: []byte(codecMagic)}
	c := p.Control
	w.strings(c.Name, c.Version, c.Arch, c.Source, c.MultiArch)
	w.bool(c.Essential)
	w.relations(c.Replaces)
	w.relations(c.Breaks)
	w.uint(uint64(len(c.Provides)))
	w.strings(c.Provides...)
	w.pairs(p.Scripts)
	w.uint(uint64(p.Tree.Len()))
	prev := ""
	for name, e := range p.Tree.All() {
		n := shared(prev, name)
		w.uint(uint64(n))
		w.strings(name[n:])
		w.entry(e)
		prev = name
	}
	sum := sha256.Sum256(w.b)
	return append(w.b, sum[:]...)
}

func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

type writer struct{ b []byte }

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *writer) strings(all ...string) {
	for _, s := range all {
		w.uint(uint64(len(s)))
		w.b = append(w.b, s...)
	}
}

func (w *writer) bool(v bool) {
	if v {
		w.uint(1)
		return
	}
	w.uint(0)
}

func (w *writer) relations(all []Relation) {
	w.uint(uint64(len(all)))
	for _, r := range all {
		w.strings(r.Name, r.Op, r.Version)
	}
}

func (w *writer) pairs(m map[string]string) {
	w.uint(uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.strings(k, m[k])
	}
}

func (w *writer) entry(e tree.Entry) {
	w.uint(uint64(e.Kind))
	w.uint(uint64(e.Mode))
	w.uint(uint64(e.UID))
	w.uint(uint64(e.GID))
	w.b = binary.AppendVarint(w.b, e.MTime)
	w.pairs(e.Xattrs)
	switch e.Kind {
	case tree.File:
		w.uint(uint64(e.Size))
		if e.Size > 0 {
			w.b = append(w.b, e.Digest[:]...)
		}
	case tree.Symlink, tree.Hardlink:
		w.strings(e.Target)
	}
}

// errDamaged is the reason for every failure of decode; the caller only needs
// to know that the package must be unpacked.
var errDamaged = errors.New("damaged record of a package")

// decode reads what encode wrote. Anything else is an error.
func decode(b []byte) (*Package, error) {
	n := len(b) - sha256.Size
	if n < len(codecMagic) || string(b[:len(codecMagic)]) != codecMagic {
		return nil, errDamaged
	}
	if sum := sha256.Sum256(b[:n]); string(sum[:]) != string(b[n:]) {
		return nil, errDamaged
	}
	return decodeBody(string(b[len(codecMagic):n]))
}

func decodeBody(body string) (*Package, error) {
	r := &decoder{s: body}
	c := Control{Name: r.string(), Version: r.string(), Arch: r.string(), Source: r.string(), MultiArch: r.string()}
	c.Essential = r.uint() == 1
	c.Replaces, c.Breaks = r.relations(), r.relations()
	for range r.count() {
		c.Provides = append(c.Provides, r.string())
	}
	p := &Package{Control: c, Scripts: r.pairs(), Tree: tree.New()}
	if p.Scripts == nil {
		p.Scripts = map[string]string{}
	}
	prev, owner := "", c.String()
	for range r.count() {
		n := r.uint()
		if n > uint64(len(prev)) {
			return nil, errDamaged
		}
		name := prev[:n] + r.string()
		e := r.entry()
		if r.bad || prev != "" && tree.ComparePaths(prev, name) >= 0 {
			return nil, errDamaged
		}
		e.Owner = owner
		if err := p.Tree.Put(name, e); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		prev = name
	}
	if r.bad || r.s != "" {
		return nil, errDamaged
	}
	if err := p.Tree.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return p, nil
}

// decoder reads from the front of s; after the first fault it yields zeros.
type decoder struct {
	s   string
	bad bool
}

func (r *decoder) uint() uint64 {
	v, n := binary.Uvarint([]byte(r.s[:min(len(r.s), binary.MaxVarintLen64)]))
	if n <= 0 {
		r.bad, r.s = true, ""
		return 0
	}
	r.s = r.s[n:]
	return v
}

func (r *decoder) int() int64 {
	u := r.uint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads a number of items; each takes at least one byte.
func (r *decoder) count() uint64 {
	n := r.uint()
	if n > uint64(len(r.s)) {
		r.bad, r.s = true, ""
		return 0
	}
	return n
}

func (r *decoder) string() string {
	n := r.count()
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *decoder) relations() []Relation {
	var all []Relation
	for range r.count() {
		all = append(all, Relation{r.string(), r.string(), r.string()})
	}
	return all
}

func (r *decoder) pairs() map[string]string {
	n := r.count()
	if n == 0 {
		return nil
	}
	m := map[string]string{}
	for range n {
		k := r.string()
		m[k] = r.string()
	}
	return m
}

func (r *decoder) entry() tree.Entry {
	e := tree.Entry{Kind: tree.Kind(r.uint()), Mode: uint16(r.uint() & 0o7777), UID: uint32(r.uint()), GID: uint32(r.uint())}
	e.MTime, e.Xattrs = r.int(), r.pairs()
	switch e.Kind {
	case tree.File:
		e.Size = int64(r.uint())
		if e.Size > 0 {
			if len(r.s) < digest.Size {
				r.bad, r.s = true, ""
				return e
			}
			e.Digest = digest.Digest([]byte(r.s[:digest.Size]))
			r.s = r.s[digest.Size:]
		}
	case tree.Symlink, tree.Hardlink:
		e.Target = r.string()
	}
	return e
}
