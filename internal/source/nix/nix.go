// Package nix turns closures of Nix store paths into trees. They come from
// binary caches (HTTP, files, S3) or from store directories, with the nix
// command or without it. What a lock pins of a path is the hash of its archive
// (NarHash), never that of a compressed file.
//
// Sources: the Nix manual, "Binary Cache" and "Store Object"; nix 2.8:
// src/libstore/binary-cache-store.cc, references.cc.
package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/instar-os/instar/internal/source/nix/narinfo"
)

// A Place has store paths. Its methods may be called by several goroutines.
type Place interface {
	// Info says what the place knows of a path; ErrNotHere when it has none.
	Info(ctx context.Context, n narinfo.Name) (*narinfo.Info, error)
	// Open reads the archive of a path, plain. What it yields is not verified.
	Open(ctx context.Context, in *narinfo.Info) (io.ReadCloser, error)
	// Trusted reports whether what the place says needs no signature.
	Trusted() bool
	String() string
}

// ErrNotHere says that a place does not have a path.
var ErrNotHere = errors.New("it does not have the path")

// maxPaths bounds a closure. That of a desktop has some 5,000.
const maxPaths = 200_000

// asked is how many questions a cache is asked at a time.
const asked = 32

// Trust says which caches are believed.
type Trust struct {
	Keys     []narinfo.Key
	Unsigned bool // believe what nobody signed
}

// Unsigned says that a cache's path has no signature by a key that is trusted.
type Unsigned struct {
	Path  string
	Place string
	By    []string // names of keys that have signed it
}

// Error names the path, the cache and whose signatures there are.
func (e *Unsigned) Error() string {
	by := "nobody has signed it"
	if len(e.By) > 0 {
		by = "it is signed by " + strings.Join(e.By, ", ")
	}
	return fmt.Sprintf("%s of %s: no key of the definition has signed it (%s)", e.Path, e.Place, by)
}

// Resolve finds all that a store path refers to, directly or not, in the first
// place that has each path. The result is sorted by name. What caches say is
// verified against their signatures.
func Resolve(ctx context.Context, places []Place, root narinfo.Name, trust Trust) ([]narinfo.Info, error) {
	r := &resolver{places: places, trust: trust, seen: map[narinfo.Name]*narinfo.Info{}}
	next := []narinfo.Name{root}
	for len(next) > 0 {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(asked)
		found := make([]*narinfo.Info, len(next))
		for i, n := range next {
			g.Go(func() (err error) {
				found[i], err = r.info(gctx, n)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		next = r.follow(next, found)
		if len(r.seen)+len(next) > maxPaths {
			return nil, fmt.Errorf("closure of %s: more than %d paths", root.Path(), maxPaths)
		}
	}
	out := make([]narinfo.Info, 0, len(r.seen))
	for _, in := range r.seen {
		out = append(out, *in)
	}
	slices.SortFunc(out, func(a, b narinfo.Info) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out, nil
}

type resolver struct {
	places []Place
	trust  Trust
	seen   map[narinfo.Name]*narinfo.Info
}

// follow remembers what was found and returns what it refers to that is new.
func (r *resolver) follow(names []narinfo.Name, found []*narinfo.Info) []narinfo.Name {
	for i, n := range names {
		r.seen[n] = found[i]
	}
	var next []narinfo.Name
	for _, in := range found {
		for _, ref := range in.References {
			if r.seen[ref] == nil {
				next = append(next, ref)
			}
		}
	}
	slices.Sort(next)
	return slices.Compact(next)
}

func (r *resolver) info(ctx context.Context, n narinfo.Name) (*narinfo.Info, error) {
	for _, p := range r.places {
		in, err := p.Info(ctx, n)
		if errors.Is(err, ErrNotHere) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", n.Path(), p, err)
		}
		if in.Name != n {
			return nil, fmt.Errorf("%s of %s: the answer is about %s", n.Path(), p, in.Name.Path())
		}
		return in, r.trust.check(p, in)
	}
	return nil, missing(n, r.places)
}

func missing(n narinfo.Name, places []Place) error {
	var all []string
	for _, p := range places {
		all = append(all, p.String())
	}
	return fmt.Errorf("%s: none of %s has it: %w", n.Path(), strings.Join(all, ", "), ErrNotHere)
}

func (t Trust) check(p Place, in *narinfo.Info) error {
	if p.Trusted() || t.Unsigned {
		return nil
	}
	if _, ok := in.SignedBy(t.Keys); ok {
		return nil
	}
	e := &Unsigned{Path: in.Name.Path(), Place: p.String()}
	for _, s := range in.Signatures {
		e.By = append(e.By, s.Name)
	}
	return e
}

// once remembers answers that are slow to find.
type once[T any] struct {
	sync.Once
	value T
	err   error
}

func (o *once[T]) get(f func() (T, error)) (T, error) {
	o.Do(func() { o.value, o.err = f() })
	return o.value, o.err
}
