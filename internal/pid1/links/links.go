// Package links makes the links of a configuration: shared memory, sockets,
// pipes and eventfds that are there before the containers and survive their
// restarts, because the supervisor holds all ends.
package links

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/port"
)

// Table holds the links of the running configuration. The zero value has none.
// Its methods may be called from many goroutines.
type Table struct {
	mu    sync.Mutex
	links []*link
}

// A link is a link with its open files.
type link struct {
	system.Link
	id       string
	from, to map[system.Part]*os.File // ends; the listener is of to
	reader   reader                   // nil but for sampling and queueing
	writer   writer                   // for one from outside
}

// reader is a port.SamplingReader or a port.QueueReader.
type reader interface {
	Read([]byte) (port.Sample, error)
	State() port.State
	Close() error
}

type writer interface {
	Write([]byte) error
	Close() error
}

// Add makes links that are not there yet. Those that are declared alike stay as
// they are, with all that is in them; a new listener shares the socket of one
// with the same address. On an error nothing has changed.
func (t *Table) Add(want []system.Link) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var made []*link
	for _, w := range want {
		if t.find(w.ID()) != nil {
			continue
		}
		l, err := t.open(w)
		if err != nil {
			return errors.Join(fmt.Errorf("making link %s: %w", w.Name, err), closeAll(made))
		}
		made = append(made, l)
	}
	t.links = append(t.links, made...)
	return nil
}

// Keep closes all links but these, and puts these in order. Containers that
// still run keep theirs.
func (t *Table) Keep(want []system.Link) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var keep []*link
	for _, w := range want {
		if l := t.find(w.ID()); l != nil {
			keep = append(keep, l)
		}
	}
	gone := slices.DeleteFunc(t.links, func(l *link) bool { return slices.Contains(keep, l) })
	t.links = keep
	return closeAll(gone)
}

func (t *Table) find(id string) *link {
	for _, l := range t.links {
		if l.id == id {
			return l
		}
	}
	return nil
}

// named returns the link of that name, the newest when a switch is under way.
func (t *Table) named(name string) (*link, error) {
	for _, l := range slices.Backward(t.links) {
		if l.Name == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("there is no link %s", name)
}

// Close closes all links.
func (t *Table) Close() error { return t.Keep(nil) }

func closeAll(list []*link) error {
	var errs []error
	for _, l := range list {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

func (l *link) close() error {
	var errs []error
	if l.reader != nil {
		errs = append(errs, l.reader.Close())
	}
	if l.writer != nil {
		errs = append(errs, l.writer.Close())
	}
	closed := map[*os.File]bool{}
	for _, end := range []map[system.Part]*os.File{l.from, l.to} {
		for _, f := range end {
			if !closed[f] {
				closed[f] = true
				errs = append(errs, f.Close())
			}
		}
	}
	return errors.Join(errs...)
}

// Files returns the files of a container's descriptors, in their order. They
// stay the table's, and are open as long as the link is in it.
func (t *Table) Files(c *system.Container) ([]*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*os.File
	for _, d := range c.Descriptors {
		l := t.find(d.Of)
		if l == nil {
			return nil, fmt.Errorf("there is no link %s", d.Link)
		}
		end := l.to
		if l.From == c.Name {
			end = l.from
		}
		f, ok := end[d.Part]
		if !ok {
			return nil, fmt.Errorf("link %s has no %s for it", d.Link, d.Part)
		}
		out = append(out, f)
	}
	return out, nil
}
