package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// CopyFrom brings what of the closure is not here from another store, verified,
// and makes it durable: objects and images first, then the systems. It returns
// what was copied. If it stops half way it may be run again.
func (s *Store) CopyFrom(ctx context.Context, src *Store, c Closure) (Amount, error) {
	var did Amount
	if s.readOnly {
		return did, s.errReadOnly("copying")
	}
	for _, part := range []struct {
		kind Kind
		list []system.Object
	}{{ObjectKind, c.Objects}, {ImageKind, c.Images}, {SystemKind, c.Systems}} {
		for _, o := range part.list {
			if err := ctx.Err(); err != nil {
				return did, err
			}
			if info, err := os.Stat(s.pathOf(part.kind, o.Digest)); err == nil && info.Size() == o.Size {
				continue
			}
			n, err := s.take(src, part.kind, o.Digest)
			if err != nil {
				return did, fmt.Errorf("copying %s %s: %w", part.kind, o.Digest, err)
			}
			did.Files++
			did.Bytes += n
		}
		if part.kind == ObjectKind {
			continue // images and objects are made durable together
		}
		if err := s.staging.settle(); err != nil {
			return did, fmt.Errorf("committing to store %s: %w", s.dir, err)
		}
	}
	return did, nil
}

// Repair replaces what the report lists as damaged or missing with what the
// other store has, verified, and makes it durable. What the other store does
// not have either is named in the error; the rest is repaired.
func (s *Store) Repair(ctx context.Context, src *Store, r *Report) (Amount, error) {
	var did Amount
	if s.readOnly {
		return did, s.errReadOnly("repairing")
	}
	var errs []error
	for _, list := range [][]Finding{r.Damaged, r.Missing} {
		for _, f := range list {
			if err := ctx.Err(); err != nil {
				return did, err
			}
			n, err := s.take(src, f.Kind, f.Digest)
			if err != nil {
				errs = append(errs, fmt.Errorf("repairing %s %s: %w", f.Kind, f.Digest, err))
				continue
			}
			did.Files++
			did.Bytes += n
		}
	}
	return did, errors.Join(append(errs, s.Commit())...)
}

// take stages a file of another store, verified, whether it is here or not.
func (s *Store) take(src *Store, k Kind, d digest.Digest) (int64, error) {
	from, err := os.Open(src.pathOf(k, d))
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("store %s: %w", src.dir, ErrMissing)
	}
	if err != nil {
		return 0, err
	}
	defer from.Close()
	f, err := s.staging.create()
	if err != nil {
		return 0, err
	}
	h := digest.New()
	n, err := io.CopyBuffer(io.MultiWriter(h, f), onlyReader{from}, make([]byte, inMemory))
	if got := h.Sum(); err == nil && got != d {
		err = &DamageError{from.Name(), d, got}
	}
	key, mode := string(k)+"-"+d.String(), os.FileMode(0o444)
	if k == ObjectKind {
		key, mode = d.String(), objectMode
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.staging.add(f.Name(), key, s.pathOf(k, d))
	}
	if err != nil {
		return n, errors.Join(err, s.fs.Unlink(f.Name()))
	}
	if k == ObjectKind {
		s.learn(d, n)
	}
	return n, nil
}
