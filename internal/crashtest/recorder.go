package crashtest

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/instar-os/instar/internal/durable"
)

// recorder writes a scenario's run down. It is the Hook of Env's FS and the
// keeper of its disks.
type recorder struct {
	dir string

	mu    sync.Mutex
	model *model
	disks map[string]*Disk
	on    bool
	err   error // of the recorder itself

	blind  bool         // record nothing but acknowledgements: only what is there at the end counts
	mutant Mutant       // a call that is left out
	fault  int          // the number of the call that fails, from 1; 0: none
	with   error        // how
	lie    int          // the number of the write to a disk that is lost silently, from 1; 0: none
	writes int          // to disks
	calls  int          // that could fail
	sites  map[Site]int // calls seen
	hit    bool         // the mutant left something out, or the fault was met
}

// Site is where in the code a call is made.
type Site struct {
	Op string `json:"op"`
	At string `json:"at"` // functions and lines, the innermost first
}

func (s Site) String() string { return s.Op + " at " + s.At }

// Mutant is a call of the code that is left out, or a check that sees what it
// hopes for. The zero Mutant leaves nothing out.
type Mutant struct{ Site }

// Operations on disks, besides those of package durable.
const (
	opWrite    = "disk write"
	opFlush    = "disk flush"
	opReadBack = "disk read-back"
)

// mutable are the operations that a mutant may leave out.
var mutable = map[string]bool{
	string(durable.SyncOp): true, string(durable.SyncDirOp): true, string(durable.SyncFSOp): true,
	string(durable.RenameOp): true, opFlush: true, opReadBack: true,
}

// errSkip makes Call return nil without a call.
var errSkip = errors.New("left out")

// begin decides about a call: nil, errSkip, or the fault to be returned.
func (r *recorder) begin(op string) error {
	if !r.on {
		return nil
	}
	site := Site{op, where()}
	if op == opReadBack {
		site.At = verifier(site.At)
	}
	r.sites[site]++
	if site == r.mutant.Site {
		r.hit = true
		return errSkip
	}
	if op != opReadBack {
		if r.calls++; r.calls == r.fault {
			r.hit = true
			return r.with
		}
	}
	return nil
}

// Call implements durable.Hook.
func (r *recorder) Call(c durable.Call, do func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.capture() // what was done without the hook
	switch err := r.begin(string(c.Op)); {
	case errors.Is(err, errSkip):
		return nil
	case err != nil:
		return &pathError{c, err}
	}
	if err := do(); err != nil {
		return err
	}
	r.capture()
	if r.err == nil {
		r.synced(c)
	}
	return nil
}

type pathError struct {
	call durable.Call
	err  error
}

func (e *pathError) Error() string { return fmt.Sprintf("%s %s: %v", e.call.Op, e.call.Path, e.err) }
func (e *pathError) Unwrap() error { return e.err }

func (r *recorder) capture() {
	if !r.on || r.blind || r.err != nil {
		return
	}
	r.err = r.model.capture(r.dir)
}

// synced raises the floors of what a call has made durable.
func (r *recorder) synced(c durable.Call) {
	if !r.on || r.blind {
		return
	}
	m := r.model
	switch c.Op {
	case durable.SyncFSOp:
		m.event("syncfs")
		for _, n := range m.inodes {
			m.sync(n.contentCells()...)
			m.sync(n.nameCells()...)
		}
	case durable.SyncOp, durable.SyncDirOp:
		n, err := m.at(r.dir, c.Path)
		if err != nil {
			r.err = err
			return
		}
		m.event("%s %s", c.Op, r.rel(c.Path))
		if c.Op == durable.SyncDirOp {
			m.sync(n.nameCells()...)
		} else {
			m.sync(n.contentCells()...)
		}
	}
}

func (r *recorder) rel(p string) string {
	rel, err := filepath.Rel(r.dir, p)
	if err != nil {
		return p
	}
	return rel
}

// at finds the inode that has a path now.
func (m *model) at(dir, p string) (*inode, error) {
	rel, err := filepath.Rel(dir, p)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s is not below %s", p, dir)
	}
	n := m.inodes[m.root]
	for _, name := range strings.Split(rel, "/") {
		if name == "." {
			continue
		}
		c := n.names[name]
		if c == nil || c.versions[len(c.versions)-1].val.n == 0 {
			return nil, fmt.Errorf("the model has no %s", rel)
		}
		n = m.inodes[c.versions[len(c.versions)-1].val.n]
	}
	return n, nil
}

func (r *recorder) ack(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.capture()
	r.model.event("acknowledged: %s", what)
	r.model.acks = append(r.model.acks, ackAt{r.model.now, what})
}

// verifier drops what reads on behalf of who verifies, down to the formats of
// disks: a mutant believes all of one verification.
func verifier(at string) string {
	if i := strings.LastIndex(at, "disk."); i >= 0 && (i == 0 || at[i-1] == ' ') {
		if _, rest, ok := strings.Cut(at[i:], " < "); ok {
			return rest
		}
	}
	return at
}

// where returns the functions of the house that lead to a call, innermost
// first, without those of this package and of tests.
func where() string {
	pcs := make([]uintptr, 40)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var out []string
	last := ""
	for {
		f, more := frames.Next()
		name, ours := strings.CutPrefix(f.Function, "github.com/instar-os/instar/internal/")
		name, _, _ = strings.Cut(name, "-range")
		switch {
		case !ours || strings.HasSuffix(f.File, "_test.go"), strings.HasPrefix(name, "crashtest."):
			if len(out) > 0 && ours {
				return strings.Join(out, " < ")
			}
		case name == "durable.FS.call" || strings.Contains(name, ".func"):
		case name == last: // a recursion counts once
		default:
			out, last = append(out, fmt.Sprintf("%s:%d", name, f.Line)), name
		}
		if !more {
			return strings.Join(out, " < ")
		}
	}
}
