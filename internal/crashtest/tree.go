package crashtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
)

// seen is a file, directory, link or pipe as it is now.
type seen struct {
	kind    int
	attr    attr
	content []byte
	target  string
	path    string           // one of its paths
	entries map[string]int64 // of a directory
}

// look reads a directory tree.
func look(dir string) (map[int64]*seen, int64, error) {
	all := map[int64]*seen{}
	var walk func(rel string) (int64, error)
	walk = func(rel string) (int64, error) {
		full := filepath.Join(dir, rel)
		info, err := os.Lstat(full)
		if err != nil {
			return 0, err
		}
		st := info.Sys().(*syscall.Stat_t)
		id := int64(st.Ino)
		if all[id] != nil {
			return id, nil
		}
		s := &seen{attr: attr{st.Mode & 0o7777, st.Uid, st.Gid}, path: rel}
		all[id] = s
		switch info.Mode().Type() {
		case 0:
			s.content, err = os.ReadFile(full)
		case fs.ModeSymlink:
			s.kind = kindLink
			s.target, err = os.Readlink(full)
		case fs.ModeNamedPipe:
			s.kind = kindPipe
		case fs.ModeDir:
			s.kind, s.entries = kindDir, map[string]int64{}
			list, err := os.ReadDir(full)
			if err != nil {
				return 0, err
			}
			for _, e := range list {
				child, err := walk(path.Join(rel, e.Name()))
				if err != nil {
					return 0, err
				}
				s.entries[e.Name()] = child
			}
		default:
			return 0, fmt.Errorf("%s: a file of type %v", full, info.Mode().Type())
		}
		return id, err
	}
	root, err := walk(".")
	return all, root, err
}

// capture compares a directory with the model and records what has changed as
// events: first new files and names, then contents, then names that are gone.
func (m *model) capture(dir string) error {
	now, root, err := look(dir)
	if err != nil {
		return err
	}
	m.root = root
	d := &differ{m: m, now: now, gained: map[int64]need{}}
	d.dir(root)
	d.lost()
	return nil
}

type differ struct {
	m      *model
	now    map[int64]*seen
	gained map[int64]need // inodes that have a name which they had not: where
	gone   []func()
}

// inode returns the model of an inode, making it.
func (d *differ) inode(id int64) *inode {
	n, ok := d.m.inodes[id]
	if ok {
		return n
	}
	s := d.now[id]
	n = &inode{id: id, kind: s.kind, target: s.target}
	group := d.m.group("length and attributes of %s", s.path)
	n.attr = d.m.cell(group, value{attr: s.attr}, "attributes of %s", s.path)
	switch s.kind {
	case kindFile:
		n.size = d.m.cell(group, value{}, "length of %s", s.path)
	case kindDir:
		n.names = map[string]*cell{}
	}
	d.m.inodes[id] = n
	return n
}

// dir records a directory's new names, contents below it, and its attributes.
func (d *differ) dir(id int64) {
	n, s := d.inode(id), d.now[id]
	for _, name := range slices.Sorted(maps.Keys(s.entries)) {
		child := s.entries[name]
		_, known := d.m.inodes[child]
		in := d.inode(child)
		c := d.m.name(n, s.path, name)
		if was := c.versions[len(c.versions)-1].val.n; was != child {
			what := "name"
			if !known {
				what = "make"
			}
			d.m.event("%s %s", what, path.Join(s.path, name))
			d.m.set(c, value{n: child}, nil)
			d.gained[child] = need{c, len(c.versions) - 1}
		}
		if in.kind == kindDir {
			d.dir(child)
		} else {
			d.content(in, d.now[child])
		}
	}
	d.attributes(n, s)
	for _, name := range n.order {
		c := n.names[name]
		was := c.versions[len(c.versions)-1].val.n
		if _, there := s.entries[name]; !there && was != 0 {
			d.gone = append(d.gone, func() { d.lose(c, was, path.Join(s.path, name)) })
		}
	}
}

func (d *differ) attributes(n *inode, s *seen) {
	if n.attr.versions[len(n.attr.versions)-1].val.attr != s.attr {
		d.m.event("attributes of %s: %o", s.path, s.attr.mode)
		d.m.set(n.attr, value{attr: s.attr}, nil)
	}
}

// content records what has changed of a file.
func (d *differ) content(n *inode, s *seen) {
	d.attributes(n, s)
	if n.kind != kindFile {
		return
	}
	said := false
	say := func() {
		if !said {
			d.m.event("write %s: %d bytes", s.path, len(s.content))
		}
		said = true
	}
	if size := int64(len(s.content)); n.size.versions[len(n.size.versions)-1].val.n != size {
		say()
		d.m.set(n.size, value{n: size}, nil)
	}
	for i := 0; i*blockSize < len(s.content) || i < len(n.blocks); i++ {
		var b []byte
		if i*blockSize < len(s.content) {
			b = s.content[i*blockSize : min((i+1)*blockSize, len(s.content))]
		}
		if i == len(n.blocks) {
			if i == 0 {
				// Apart from the length: that one lasts without the other is
				// what a delayed allocation leaves.
				n.data = d.m.group("the content of %s", s.path)
			}
			c := d.m.cell(n.data, value{}, "block %d of %s", i, s.path)
			c.garbage = true
			n.blocks = append(n.blocks, c)
		}
		c := n.blocks[i]
		if was := c.versions[len(c.versions)-1].val.b; !bytes.Equal(was, b) {
			say()
			d.m.set(c, value{b: bytes.Clone(b)}, nil)
		}
	}
}

// lost records the names that are gone. A file that has another name now was
// renamed: it does not lose the old one before it has the new one.
func (d *differ) lost() {
	for _, f := range d.gone {
		f()
	}
}

func (d *differ) lose(c *cell, was int64, at string) {
	if to, ok := d.gained[was]; ok {
		d.m.event("rename %s to %s", at, to.cell.key)
		d.m.set(c, value{}, &to)
		return
	}
	d.m.event("remove %s", at)
	d.m.set(c, value{}, nil)
}
