package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxFiles is how many files one definition may consist of.
const maxFiles = 256

// A composer puts a definition together from its files.
type composer struct {
	*collector
	fsys fs.FS
	read map[string]bool
}

// compose reads the definition name with what it includes, and lays its
// patches and the further ones over it, in order.
func (c *composer) compose(name string, patches []string) (*value, error) {
	text, err := readFile(c.fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	c.read[name] = true
	root := c.load(name, text)
	if !c.isMap(root) {
		return nil, nil
	}
	own := c.references(root, name, "patches")
	c.include(root, name, []string{name})
	for _, ref := range own {
		if text, ok := c.referred(ref, "patches"); ok {
			c.patch(root, ref.file, text)
		}
	}
	for _, name := range patches {
		text, err := readFile(c.fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read patch: %w", err)
		}
		c.patch(root, name, text)
	}
	return root, nil
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// isMap reports whether a file's value is a map, and adds an error otherwise.
func (c *composer) isMap(v *value) bool {
	if v == nil || v.kind == brokenKind {
		return false
	}
	if v.kind != mapKind {
		c.add(v.at, "", "a definition is a map of keys, not "+string(v.kind), "begin with machine: NAME")
		return false
	}
	return true
}

// A reference is a file that another one names.
type reference struct {
	file string
	at   Position
	path string
}

// references returns the files that the list at key names, relative to the
// file that holds it. What is no list of strings is left to the decoder.
func (c *composer) references(root *value, file, key string) []reference {
	i := root.find(key)
	if i < 0 || root.entries[i].value.kind != listKind {
		return nil
	}
	var all []reference
	for j, item := range root.entries[i].value.items {
		if item.kind != stringKind || item.text == "" || path.IsAbs(item.text) {
			continue
		}
		all = append(all, reference{path.Join(path.Dir(file), item.text), item.at, index(key, j)})
	}
	return all
}

// referred reads a file that the definition names.
func (c *composer) referred(ref reference, key string) ([]byte, bool) {
	if len(c.files) >= maxFiles {
		c.add(ref.at, ref.path, fmt.Sprintf("the definition has more than %d files", maxFiles), "")
		return nil, false
	}
	text, err := readFile(c.fsys, ref.file)
	if err != nil {
		c.add(ref.at, ref.path, "cannot read "+ref.file+": "+cause(err), key+" are relative to the file that names them")
		return nil, false
	}
	return text, true
}

// cause is an error's last words: a system's message without the path.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// include adds the keys of the files that dst's file names. stack is the way
// from the definition to that file.
func (c *composer) include(dst *value, file string, stack []string) {
	for _, ref := range c.references(dst, file, "include") {
		if slices.Contains(stack, ref.file) {
			way := strings.Join(append(slices.Clone(stack), ref.file), " -> ")
			c.add(ref.at, ref.path, "files include each other: "+way, "remove one of the includes")
			continue
		}
		if c.read[ref.file] {
			continue
		}
		text, ok := c.referred(ref, "includes")
		if !ok {
			continue
		}
		c.read[ref.file] = true
		src := c.load(ref.file, text)
		if !c.isMap(src) {
			continue
		}
		c.include(src, ref.file, append(slices.Clone(stack), ref.file))
		c.refuse(src, "patches", "an included file has no patches of its own", "name all patches in the definition itself")
		c.drop(src, "include")
		c.merge(dst, src, "")
	}
}

// refuse reports a key that may not stand in this kind of file, and drops it.
func (c *composer) refuse(v *value, key, reason, hint string) {
	if i := v.find(key); i >= 0 {
		c.add(v.entries[i].at, key, reason, hint)
		c.drop(v, key)
	}
}

// drop removes a key that has served. A value that the decoder would have
// refused is reported here.
func (c *composer) drop(v *value, key string) {
	i := v.find(key)
	if i < 0 {
		return
	}
	newDecoder(c.collector).key(v.entries[i], key)
	v.entries = slices.Delete(v.entries, i, i+1)
}

// merge adds the keys of src to dst. Maps are merged; any other key that both
// have is an error.
func (c *composer) merge(dst, src *value, at string) {
	for _, e := range src.entries {
		below := join(at, e.key)
		i := dst.find(e.key)
		switch {
		case i < 0:
			dst.entries = append(dst.entries, e)
		case dst.entries[i].value.kind == mapKind && e.value.kind == mapKind:
			c.merge(dst.entries[i].value, e.value, below)
		default:
			first := dst.entries[i].at
			c.add(e.at, below, "is set here and at "+first.String(), "set it in one file, or name this file under patches to lay it over")
		}
	}
}

// patch lays a file over the definition.
func (c *composer) patch(root *value, name string, text []byte) {
	src := c.load(name, text)
	if !c.isMap(src) {
		return
	}
	c.refuse(src, "patches", "a patch has no patches of its own", "name all patches in the definition itself")
	c.refuse(src, "include", "a patch includes nothing", "include the file in the definition, or name it as a patch")
	c.overlay(root, src, "")
}

// overlay merges maps, replaces everything else, and removes what is null.
func (c *composer) overlay(dst, src *value, at string) {
	for _, e := range src.entries {
		below := join(at, e.key)
		i := dst.find(e.key)
		switch {
		case e.value.kind == brokenKind:
		case e.value.kind == nullKind && i < 0:
			c.add(e.at, below, "there is nothing to remove", oneOf(e.key, dst.keys()))
		case e.value.kind == nullKind:
			dst.entries = slices.Delete(dst.entries, i, i+1)
		case i < 0:
			dst.entries = append(dst.entries, e)
		case dst.entries[i].value.kind == mapKind && e.value.kind == mapKind:
			c.overlay(dst.entries[i].value, e.value, below)
		default:
			dst.entries[i] = e
		}
	}
}
