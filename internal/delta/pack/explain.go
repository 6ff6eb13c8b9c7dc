package pack

import (
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
)

// File says what one content costs.
type File struct {
	Kind   delta.Kind    `json:"kind"`
	Path   string        `json:"path"` // in a container; a name for what is no file
	Digest digest.Digest `json:"digest"`
	Method delta.Method  `json:"method"`
	Base   string        `json:"base,omitempty"` // path of what it is made of
	Size   int64         `json:"size"`           // bytes
	Stored int64         `json:"stored"`         // bytes in the update
}

// Files says where the bytes of an update's body went, content by content, in
// the update's order. For that it is decoded and compared with its digests: the
// store must hold a base of an update that has one. Paths are those of the target
// when the store holds it, else digests.
func Files(st *store.Store, u *delta.Update, body io.ReaderAt) ([]File, error) {
	old, err := anyBase(st, u)
	if err != nil {
		return nil, err
	}
	now, _, err := contentsOf(st, u.Target)
	if err != nil && !errors.Is(err, store.ErrMissing) {
		return nil, err
	}
	p := &packer{st: st, need: &needed{bases: old}}
	var all []File
	for _, s := range u.Streams {
		costs, err := u.Costs(s, body, p.base, func(e delta.Entry, r io.Reader) error {
			if s.Form == delta.Listing {
				return nil
			}
			d, _, err := digest.FromReader(r)
			if err == nil && d != e.Digest {
				err = errors.New("it becomes something else")
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("decoding the update: %w", err)
		}
		for i, e := range u.Contents(s) {
			f := File{Kind: e.Kind, Path: now[key{e.Kind, e.Digest}].path, Digest: e.Digest, Method: s.Method, Size: e.Size, Stored: costs[i]}
			if f.Path == "" {
				f.Path = e.Digest.Short()
			}
			if !e.Base.IsZero() {
				f.Base = old[key{e.Kind, e.Base}].path
			}
			all = append(all, f)
		}
	}
	return all, nil
}

// anyBase lists the contents of a base that the store has: what an update takes
// of one, it may take of each.
func anyBase(st *store.Store, u *delta.Update) (contents, error) {
	if u.Complete() {
		return nil, nil
	}
	for _, b := range u.Bases {
		c, _, err := contentsOf(st, b)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, store.ErrMissing) {
			return nil, err
		}
	}
	return nil, errors.New("none of its bases is in the store, out of which its files are made")
}
