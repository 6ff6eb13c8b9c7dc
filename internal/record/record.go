// Package record is what a device remembers of its systems across boots: which
// one is good, which one is on trial, and the verdicts over those that were
// tried. It is small, lies in a partition of its own outside of every file
// system, and is there in two copies, so that a cut at any write leaves the
// record as it was or as it was to become.
package record

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/digest"
)

// Partition is the name of the record's partition, and Size its length in bytes.
const (
	Partition = "instar-record"
	Size      = 1 << 20
)

// Record is what is remembered. Its zero value is a device that knows nothing.
type Record struct {
	Current  digest.Digest `json:"current"`            // the last good system: confirmed
	Previous digest.Digest `json:"previous"`           // good before Current
	Trial    *Trial        `json:"trial,omitempty"`    // nil: none
	Verdicts []Verdict     `json:"verdicts,omitempty"` // newest first, at most MaxVerdicts, one a system
	Boots    uint64        `json:"boots"`              // count of boots of any system

	Unsettled int `json:"unsettled,omitempty"` // boots in a row that ended before they came to rest, this one included
}

// Phase is how far a trial is.
type Phase string

// The phases of a trial.
const (
	Staged  Phase = "staged"  // its slot is written and verified; firmware does not know of it
	Armed   Phase = "armed"   // firmware tries its slot at the next boot
	Running Phase = "running" // it was booted, and has not been confirmed yet
	Failed  Phase = "failed"  // it was found bad; nothing else has been booted yet
)

// Trial is a system that has to prove itself.
type Trial struct {
	System        digest.Digest `json:"system"`          // that is tried
	Configuration string        `json:"configuration"`   // the one that is booted; "": the system's default
	Slot          int           `json:"slot"`            // it was written to, from 0
	Tries         int           `json:"tries"`           // boots left
	Booted        int           `json:"booted"`          // boots so far
	Phase         Phase         `json:"phase"`           // how far it is
	Bundle        digest.Digest `json:"bundle,omitzero"` // the update it came with; zero: none

	Same  bool `json:"same,omitempty"`  // only a configuration is tried, of the last good system, which slots know nothing of
	Home  int  `json:"home,omitempty"`  // slot that firmware started from before
	Limit int  `json:"limit,omitempty"` // boots that it was given
}

// On says whether a boot of a configuration of a system is one of the trial.
func (t *Trial) On(sys digest.Digest, configuration string) bool {
	return t != nil && t.System == sys && (!t.Same || t.Configuration == configuration)
}

// Verdict is what became of a system, or of one configuration of it. A bad one is never tried again unless
// the operator says so.
type Verdict struct {
	System digest.Digest `json:"system"`           // that was judged
	Good   bool          `json:"good"`             // it may be booted
	Reason string        `json:"reason,omitempty"` // code: health-timeout, panic, watchdog, …
	Detail string        `json:"detail,omitempty"` // for people, at most MaxDetail bytes are kept
	Time   int64         `json:"time"`             // seconds since 1970, as the device believed
	Boot   uint64        `json:"boot"`             // value of Boots at that time

	Configuration string `json:"configuration,omitempty"` // of a system that is good by itself; "": the system was judged
}

// Limits of a record.
const (
	MaxVerdicts = 64
	MaxDetail   = 1024 // bytes
	maxReason   = 64   // bytes
	maxSlots    = 8
	maxName     = 255 // bytes of a configuration's name
)

// Verdict returns the verdict over a system.
func (r *Record) Verdict(sys digest.Digest) (Verdict, bool) {
	i := slices.IndexFunc(r.Verdicts, func(v Verdict) bool { return v.System == sys && v.Configuration == "" })
	if i < 0 {
		return Verdict{}, false
	}
	return r.Verdicts[i], true
}

// Bad says whether a system was tried and found bad.
func (r *Record) Bad(sys digest.Digest) bool {
	v, ok := r.Verdict(sys)
	return ok && !v.Good
}

// Judge remembers a verdict, in place of an older one over the same system.
// When there are too many, the oldest good one is forgotten, and a bad one only
// when all are bad.
func (r *Record) Judge(v Verdict) {
	v.Reason, v.Detail = cut(v.Reason, maxReason), cut(v.Detail, MaxDetail)
	r.Verdicts = slices.DeleteFunc(slices.Clone(r.Verdicts), func(o Verdict) bool {
		return o.System == v.System && o.Configuration == v.Configuration
	})
	r.Verdicts = slices.Insert(r.Verdicts, 0, v)
	if len(r.Verdicts) <= MaxVerdicts {
		return
	}
	oldest := len(r.Verdicts) - 1
	for i := oldest; i > 0; i-- {
		if r.Verdicts[i].Good {
			oldest = i
			break
		}
	}
	r.Verdicts = slices.Delete(r.Verdicts, oldest, oldest+1)
}

// Acquit forgets the verdicts over a system and its configurations.
func (r *Record) Acquit(sys digest.Digest) {
	r.Verdicts = slices.DeleteFunc(slices.Clone(r.Verdicts), func(v Verdict) bool { return v.System == sys })
}

// cut returns at most n bytes of s that are valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	b, _ := json.Marshal(s) // replaces what is not UTF-8, as the encoding of the record will
	if json.Unmarshal(b, &s) != nil {
		return ""
	}
	for len(s) > n {
		s = s[:n-len("\ufffd")]
	}
	return s
}

// clone returns a record that shares nothing with r.
func (r *Record) clone() Record {
	c := *r
	c.Verdicts = slices.Clone(r.Verdicts)
	if r.Trial != nil {
		t := *r.Trial
		c.Trial = &t
	}
	return c
}

// check refuses what no device may act upon.
func (r *Record) check() error {
	if len(r.Verdicts) > MaxVerdicts {
		return fmt.Errorf("%d verdicts; at most %d are kept", len(r.Verdicts), MaxVerdicts)
	}
	type judged struct {
		system        digest.Digest
		configuration string
	}
	seen := map[judged]bool{}
	for _, v := range r.Verdicts {
		j := judged{v.System, v.Configuration}
		if seen[j] || v.System.IsZero() {
			return fmt.Errorf("two verdicts over system %s, or one over none", v.System.Short())
		}
		seen[j] = true
		if len(v.Configuration) > maxName || len(v.Reason) > maxReason || len(v.Detail) > MaxDetail {
			return fmt.Errorf("the verdict over system %s is too long", v.System.Short())
		}
	}
	return r.Trial.check()
}

func (t *Trial) check() error {
	switch {
	case t == nil:
		return nil
	case t.System.IsZero():
		return fmt.Errorf("a trial of no system")
	case t.Phase != Staged && t.Phase != Armed && t.Phase != Running && t.Phase != Failed:
		return fmt.Errorf("a trial in phase %q", t.Phase)
	case t.Slot < 0 || t.Slot >= maxSlots || t.Home < 0 || t.Home >= maxSlots || t.Tries < 0 || t.Limit < 0 || t.Booted < 0 || len(t.Configuration) > maxName:
		return fmt.Errorf("a trial in slot %d with %d tries left after %d boots", t.Slot, t.Tries, t.Booted)
	}
	return nil
}
