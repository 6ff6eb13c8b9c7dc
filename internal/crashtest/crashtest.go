// Package crashtest cuts the power: it records what the real code does to a
// file system and to raw disks, computes what a loss of power at each moment
// may leave of it, and lets the real code read and repeat what was left.
// docs/design/crash.md describes the model, its limits, and how to read a
// report.
//
// A Scenario is recorded once. Every change makes a new version of a cell: of a
// name in a directory, of a file's attributes, length or 512-byte block, of a
// disk's sector. A sync raises the oldest version that a cut may leave. A
// crashed state is a choice of one version of each cell.
package crashtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/instar-os/instar/internal/durable"
)

// Scenario is one path by which something is made to last.
type Scenario struct {
	Name string

	// Setup makes what is there before, on Env's directory and disks. All of
	// it is durable when Run begins.
	Setup func(e *Env) error

	// Run does what is examined, through Env's FS and disks, and calls Ack
	// after each step that claims to last. It may be cut anywhere and must be
	// able to run again on whatever was left.
	Run func(e *Env) error

	// Check looks at what a cut has left with the code that would read it, and
	// returns which state it found: "old", "new", "between", "fallback". It
	// fails when something is torn or when something acknowledged is lost. It
	// may change the state. It is called from several goroutines.
	Check func(s *State) (string, error)
}

// Env is where a scenario runs.
type Env struct {
	Dir string     // of files, empty at first
	FS  durable.FS // what Run makes changes with

	rec *recorder         // of level 0
	log func(what string) // of acknowledgements; may be nil
}

// Ack says that something lasts from now on. Check finds it in State.Acked.
func (e *Env) Ack(format string, args ...any) {
	if e.log != nil {
		e.log(fmt.Sprintf(format, args...))
	}
}

// AddDisk adds a raw disk, in Setup.
func (e *Env) AddDisk(name string, content []byte) *Disk { return e.rec.addDisk(name, content) }

// Disk returns a disk that Setup has added.
func (e *Env) Disk(name string) *Disk { return e.rec.disk(name) }

// State is what a cut has left.
type State struct {
	Dir   string
	Acked []string // by what had finished before the cut, in order

	disks map[string]*Disk
}

// Has reports whether something was acknowledged before the cut.
func (s *State) Has(format string, args ...any) bool {
	return slices.Contains(s.Acked, fmt.Sprintf(format, args...))
}

// Disk returns what is left of a disk.
func (s *State) Disk(name string) *Disk { return s.disks[name] }

// Scratch makes a directory in memory, where the machine has such a place: a
// crashed state is written out there for the code that reads it. The caller
// removes it.
func Scratch() (string, error) {
	const memory = "/dev/shm"
	parent := ""
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		parent = memory
	}
	dir, err := os.MkdirTemp(parent, "crashtest-")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}
