package crashtest

import (
	"fmt"
	"path"
	"sort"
)

// blockSize is what a cut leaves whole: a sector of a disk, and of a file's
// data. Files are torn at sectors, which is finer than any page cache writes.
const blockSize = 512

// A cell is the smallest thing that is old or new after a cut.
type cell struct {
	id       int
	key      string // for people
	group    int    // what is written back together: a file's content, one write to a disk
	versions []version
	floors   []floor
	garbage  bool // a block that had no content: a cut may leave anything in it
}

// version is what a cell holds from an event on.
type version struct {
	at   int
	val  value
	need *need
}

// need says that a version never lasts without one of another cell: a name is
// not lost by a rename.
type need struct {
	cell  *cell
	index int
}

// floor says that from an event on, versions below index are gone for good.
type floor struct{ at, index int }

// value is what a version holds; which field counts depends on the cell.
type value struct {
	n    int64 // inode of a name, length of a file
	attr attr
	b    []byte // of a block; nil: zeros
}

type attr struct{ mode, uid, gid uint32 }

// latest returns the index of the version that is current at an event.
func (c *cell) latest(at int) int {
	return sort.Search(len(c.versions), func(i int) bool { return c.versions[i].at > at }) - 1
}

// floor returns the lowest index that a cut at an event may leave.
func (c *cell) floor(at int) int {
	i := sort.Search(len(c.floors), func(i int) bool { return c.floors[i].at > at })
	if i == 0 {
		return 0
	}
	return c.floors[i-1].index
}

// kinds of inodes
const (
	kindFile = iota
	kindDir
	kindLink
	kindPipe
)

// inode is a file, directory, link or pipe of the recording.
type inode struct {
	id     int64
	kind   int
	target string
	data   int // group of blocks
	attr   *cell
	size   *cell
	blocks []*cell
	names  map[string]*cell
	order  []string // of names, as they came
}

// model is the history of a directory and of disks.
type model struct {
	now    int // number of the last event
	trace  []string
	cells  []*cell
	groups []string
	inodes map[int64]*inode
	root   int64
	disks  map[string]*diskModel
	acks   []ackAt
}

type ackAt struct {
	at   int
	what string
}

type diskModel struct {
	base    layers
	size    int64
	sectors map[int64]*cell
	order   []int64
}

func newModel() *model {
	return &model{inodes: map[int64]*inode{}, disks: map[string]*diskModel{}}
}

// event begins one more change and returns its number.
func (m *model) event(format string, args ...any) int {
	m.now++
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
	return m.now
}

func (m *model) group(format string, args ...any) int {
	m.groups = append(m.groups, fmt.Sprintf(format, args...))
	return len(m.groups) - 1
}

func (m *model) cell(group int, first value, format string, args ...any) *cell {
	c := &cell{id: len(m.cells), key: fmt.Sprintf(format, args...), group: group, versions: []version{{at: m.now, val: first}}}
	m.cells = append(m.cells, c)
	return c
}

func (m *model) set(c *cell, v value, n *need) { c.versions = append(c.versions, version{m.now, v, n}) }

// sync makes the current versions of cells the oldest that can be left, and
// nothing else: that the old name of a renamed file is gone for good does not
// say that the new one is there.
func (m *model) sync(cells ...*cell) {
	for _, c := range cells {
		if index := len(c.versions) - 1; index > c.floor(m.now) {
			c.floors = append(c.floors, floor{m.now, index})
		}
	}
}

// contentCells are what fsync of a file makes durable.
func (n *inode) contentCells() []*cell {
	out := []*cell{n.attr}
	if n.size != nil {
		out = append(out, n.size)
	}
	return append(out, n.blocks...)
}

// nameCells are what fsync of a directory makes durable, with its attributes.
func (n *inode) nameCells() []*cell {
	out := []*cell{n.attr}
	for _, name := range n.order {
		out = append(out, n.names[name])
	}
	return out
}

// name returns the cell of a name in a directory.
func (m *model) name(dir *inode, at, name string) *cell {
	c, ok := dir.names[name]
	if !ok {
		full := path.Join(at, name)
		c = m.cell(m.group("the name %s", full), value{}, "name %s", full)
		dir.names[name] = c
		dir.order = append(dir.order, name)
	}
	return c
}
