package wire

import (
	"context"
	"errors"
	"time"

	"github.com/instar-os/instar/internal/reason"
)

// The methods of the control protocol that look into boots.
const (
	MethodBoots = "boots" // no parameters; Result is a BootList
	MethodBoot  = "boot"  // BootRequest; Result is a BootRecord
)

// EntryKind says what an entry of a boot's record is about.
type EntryKind string

// The kinds of entries.
const (
	EntryBegin     EntryKind = "begin"     // the first of a boot: Boot, and Reason, why it was booted
	EntryStage     EntryKind = "stage"     // what ran before init: Name is firmware, loader or kernel; At may be negative
	EntryStep      EntryKind = "step"      // of init: Name, At its begin, Took; Text when it failed
	EntryLine      EntryKind = "line"      // Text is a line of init's own log
	EntryKernel    EntryKind = "kernel"    // Text is a message of the kernel, Level its urgency
	EntryContainer EntryKind = "container" // Name has come to State; Text says why
	EntryWrong     EntryKind = "wrong"     // something failed: Reason, Name the step, Text the detail
	EntryAlive     EntryKind = "alive"     // the machine ran at that time
	EntryDropped   EntryKind = "dropped"   // Count entries are missing here
	EntryCrash     EntryKind = "crash"     // Text is what a dying kernel left; found by the boot after it
	EntryEnd       EntryKind = "end"       // Reason; without one of its own the boot after it writes it
)

// BootEntry is one entry of a boot's record.
type BootEntry struct {
	At     time.Duration `json:"at"`               // since the kernel's start, nanoseconds
	Time   time.Time     `json:"time,omitzero"`    // of the clock, when that was set
	Kind   EntryKind     `json:"kind"`             // what it is about, and which fields it has
	Name   string        `json:"name,omitempty"`   // of a stage, step or container
	Took   time.Duration `json:"took,omitempty"`   // nanoseconds
	State  State         `json:"state,omitempty"`  // of a container
	Level  int           `json:"level,omitempty"`  // of the kernel's message, as in syslog: 0 emergency to 4 warning
	Count  int           `json:"count,omitempty"`  // of missing entries
	Reason reason.Code   `json:"reason,omitempty"` // how the boot began or ended, or what went wrong
	Text   string        `json:"text,omitempty"`   // for people
	Boot   *BootIdentity `json:"boot,omitempty"`   // of the first entry
}

// BootIdentity is what a boot is.
type BootIdentity struct {
	Number        int64  `json:"number"`                  // counts the boots that were recorded, from 1
	ID            string `json:"id"`                      // the kernel's boot ID
	System        string `json:"system,omitempty"`        // digest; "" when the boot did not come so far
	Configuration string `json:"configuration,omitempty"` // that was to be started
	Kernel        string `json:"kernel,omitempty"`        // release
}

// BootInfo is a boot in a line.
type BootInfo struct {
	BootIdentity
	Began   time.Time     `json:"began,omitzero"`         // when the clock was set; else boots are told apart by number
	Lasted  time.Duration `json:"lasted"`                 // until the last entry, nanoseconds since the kernel's start
	Start   reason.Code   `json:"start"`                  // how it began
	Wrong   reason.Code   `json:"wrong,omitempty"`        // the first thing that went wrong
	End     reason.Code   `json:"end,omitempty"`          // how it ended; "": it runs, or nobody knows yet
	Detail  string        `json:"detail,omitempty"`       // of the end, or of what went wrong
	Current bool          `json:"current,omitempty"`      // the machine runs in it
	Healthy time.Duration `json:"healthyAfter,omitempty"` // since the kernel's start, nanoseconds; 0: never
}

// BootList is what a machine remembers of its boots, the oldest first.
type BootList struct {
	Boots []BootInfo `json:"boots"`
	Kept  bool       `json:"kept"` // the boots last; else only this one is known, in memory
}

// BootRequest names a boot.
type BootRequest struct {
	Number int64 `json:"number,omitempty"` // 0: the one that runs; negative: so many boots before it
}

// BootRecord is all that is known of a boot.
type BootRecord struct {
	BootInfo
	Entries []BootEntry `json:"entries"` // in the order they were written
}

// Historian is the part of Control that knows former boots.
type Historian interface {
	Boots() (BootList, error)
	Boot(BootRequest) (BootRecord, error)
}

// errNoBoots says that a Control keeps no record of boots.
var errNoBoots = errors.New("this machine keeps no record of its boots")

// dispatchBoots calls a Historian's method; ok is false when req is for none.
func dispatchBoots(c any, req Request) (result any, ok bool, err error) {
	if req.Method != MethodBoots && req.Method != MethodBoot {
		return nil, false, nil
	}
	h, is := c.(Historian)
	if !is {
		return nil, true, errNoBoots
	}
	if req.Method == MethodBoots {
		result, err = h.Boots()
		return result, true, err
	}
	var p BootRequest
	if err = parameters(req, &p); err == nil {
		result, err = h.Boot(p)
	}
	return result, true, err
}

// Boots lists the boots that the machine remembers.
func (c *Client) Boots(ctx context.Context) (BootList, error) {
	var list BootList
	err := c.Call(ctx, MethodBoots, nil, &list)
	return list, err
}

// Boot returns the record of a boot.
func (c *Client) Boot(ctx context.Context, r BootRequest) (BootRecord, error) {
	var b BootRecord
	err := c.Call(ctx, MethodBoot, r, &b)
	return b, err
}
