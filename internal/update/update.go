// Package update applies updates on a device: it takes the stream of one,
// verifies it piece by piece, puts what is new into the store, and prepares the
// boot slot. It touches nothing that runs, may be cut at any byte and any write
// and run again, and holds a few MiB whatever the update's size.
//
// The steps, and what is on disk when one of them is cut, stand in
// docs/design/update.md.
package update

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
)

// Content is a content that can be read anywhere.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Env is what an update is applied to.
type Env struct {
	Store   *store.Store  // open for writing
	Keys    trust.Keys    // of the running system's manifest
	Running digest.Digest // the system that runs, which the store holds; zero: none, in an offline store
	FS      durable.FS    // makes changes last

	// Part gives a part of the boot slots that are there (kernel, initrd,
	// loader) by its digest, unverified; nil when they have it not.
	Part func(system.Object) Content
	// Free returns the bytes that may still be written to the store's file
	// system; nil: nobody counts.
	Free func() (int64, error)
	// Preflight finds what else speaks against a system, before anything is
	// written; may be nil.
	Preflight func(m *system.Manifest, d digest.Digest) []Problem
	// Force goes on in spite of problems that are no dangers to the update
	// itself.
	Force bool
	// Progress may be nil.
	Progress func(Progress)
}

// Progress says how far an update is.
type Progress struct {
	Received int64 // bytes of the body that are verified
	Total    int64
	Resumed  int64 // of Received, what was there from before
}

// Problem is what speaks against an update. A Grave one cannot be overruled.
type Problem struct {
	Code  string `json:"code"` // one of those below
	Text  string `json:"text"`
	Grave bool   `json:"grave,omitempty"`
}

// The codes of problems.
const (
	ForAnother = "machine"  // another machine or architecture
	NoBase     = "base"     // none of its bases is here
	Older      = "older"    // than what runs
	Same       = "same"     // runs already
	NoSpace    = "space"    // in the store or a slot
	Bad        = "verdict"  // it was tried and found bad
	DataNewer  = "data"     // data of a newer version than it understands
	NoDriver   = "driver"   // for what the store's disk or the network needs
	Unhealthy  = "trial"    // another trial is under way
	NoTrial    = "firmware" // cannot try it as it was declared
	NoPart     = "boot"     // a boot part is neither in the update nor in a slot

	NoProcessor = "realtime" // its tasks were proven on processors that are not there
)

// Refused says that an update was not applied, and why. Nothing was written.
type Refused struct{ Problems []Problem }

// Error lists the reasons.
func (r *Refused) Error() string {
	var all []string
	for _, p := range r.Problems {
		all = append(all, p.Text)
	}
	return "the update is refused: " + strings.Join(all, "; ")
}

// refuse returns the problems that count as an error.
func (env *Env) refuse(problems []Problem) error {
	var count []Problem
	for _, p := range problems {
		if p.Grave || !env.Force {
			count = append(count, p)
		}
	}
	if len(count) == 0 {
		return nil
	}
	return &Refused{count}
}

// ErrCut says that the stream ended before the update did. What came is kept.
var ErrCut = errors.New("the stream was cut; send the update again to go on")

func cut(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", ErrCut, err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrCut, io.ErrUnexpectedEOF)
	}
	return err
}
