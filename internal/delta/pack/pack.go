// Package pack makes updates: what one system needs and others have not, in
// the format of package delta. Every stream is decoded again and compared
// before it counts.
package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/trust"
)

// defaultPiece is the logarithm of a piece's size: 256 KiB, of which a transfer
// that is cut loses one at most.
const defaultPiece = 18

// Options of an update. Keys must be given.
type Options struct {
	Bases    []digest.Digest // systems that it begins at; none: it is complete
	Keys     []trust.Private // that sign it
	Piece    int             // logarithm of a piece's size in bytes; 0: 18
	Solid    int64           // bytes of contents without a base that one stream holds; 0: 16 MiB
	Scratch  string          // directory for the body while it is made; "": the system's
	Progress func(done, total int64)
}

// Part says where bytes of an update went.
type Part struct {
	Kind     delta.Kind   `json:"kind"`
	Class    delta.Class  `json:"class,omitempty"`
	Method   delta.Method `json:"method"`
	Contents int          `json:"contents"`
	Size     int64        `json:"size"`   // bytes of the contents
	Stored   int64        `json:"stored"` // bytes in the update
}

// Report is what was written.
type Report struct {
	Target digest.Digest   `json:"target"`
	Bases  []digest.Digest `json:"bases"`
	Size   int64           `json:"size"`   // bytes of the file
	Front  int64           `json:"front"`  // of these, before the body
	Shared int             `json:"shared"` // contents that every base has
	Parts  []Part          `json:"parts"`
}

// Write makes the update to a target system and writes it. Store must hold the
// target and the bases whole.
func Write(ctx context.Context, st *store.Store, target digest.Digest, o Options, w io.Writer) (*Report, error) {
	r, err := write(ctx, st, target, o, w)
	if err != nil {
		return nil, fmt.Errorf("making the update to %s: %w", target.Short(), err)
	}
	return r, nil
}

func write(ctx context.Context, st *store.Store, target digest.Digest, o Options, w io.Writer) (*Report, error) {
	if len(o.Keys) == 0 {
		return nil, errors.New("no key to sign it with")
	}
	need, err := compare(st, target, o.Bases)
	if err != nil {
		return nil, err
	}
	body, err := os.CreateTemp(o.Scratch, "instar-update-")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if err := os.Remove(body.Name()); err != nil {
		return nil, err
	}
	p := &packer{st: st, need: need, body: body, solid: o.Solid, progress: o.Progress}
	if p.solid == 0 {
		p.solid = defaultSolid
	}
	if err := p.streams(ctx); err != nil {
		return nil, err
	}
	return p.finish(o, w)
}

func (p *packer) finish(o Options, w io.Writer) (*Report, error) {
	h := &p.need.head
	piece := o.Piece
	if piece == 0 {
		piece = defaultPiece
	}
	front, err := delta.Front(h, piece, io.NewSectionReader(p.body, 0, p.size), p.size, o.Keys)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, io.MultiReader(bytes.NewReader(front), io.NewSectionReader(p.body, 0, p.size))); err != nil {
		return nil, err
	}
	r := &Report{Target: h.Target, Bases: slices.Clone(h.Bases), Front: int64(len(front)), Size: int64(len(front)) + p.size, Shared: p.need.shared}
	r.Parts = Parts(h)
	return r, nil
}

// Parts sums up where the bytes of an update's body are.
func Parts(h *delta.Head) []Part {
	var all []Part
	for _, s := range h.Streams {
		list := h.Contents(s)
		key := Part{Kind: list[0].Kind, Class: s.Class, Method: s.Method}
		i := slices.IndexFunc(all, func(q Part) bool { return q.Kind == key.Kind && q.Class == key.Class && q.Method == key.Method })
		if i < 0 {
			all, i = append(all, key), len(all)
		}
		all[i].Stored += s.Stored
		all[i].Contents += len(list)
		for _, e := range list {
			all[i].Size += e.Size
		}
	}
	return all
}
