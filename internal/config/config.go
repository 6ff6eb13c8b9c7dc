// Package config reads the definition of a machine. The struct tags of
// Definition are followed by the parser, the JSON Schema, the explanations and
// the reference alike; what is wrong between keys is found by the checks of
// check*.go. Nothing here touches anything but the file system it is given.
package config

import (
	"fmt"
	"io/fs"
)

// A File is a definition with the places its values come from.
type File struct {
	Definition *Definition
	Name       string
	Files      []string // every file read, the definition first

	places map[string]place
}

// Read reads the definition name and all it includes, lays its patches and
// then the further patches over it, checks everything and fills in what absent
// keys mean. Names are paths in fsys; includes and patches that a file names
// are relative to that file.
//
// What is wrong with the definition is returned as *Errors, all of it at once.
// Any other error means that name or a further patch could not be read.
func Read(fsys fs.FS, name string, patches ...string) (*File, error) {
	c := newCollector()
	root, err := (&composer{collector: c, fsys: fsys, read: map[string]bool{}}).compose(name, patches)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, c.result()
	}
	d := newDecoder(c)
	def := d.definition(root)
	(&checker{decoder: d, def: def}).definition()
	if err := c.result(); err != nil {
		return nil, err
	}
	complete(def, d.places)
	return &File{Definition: def, Name: name, Files: c.files, places: d.places}, nil
}

// Set returns where a key or element was set: the place of the key, or of the
// element. It is false for what no file sets.
func (f *File) Set(path string) (Position, bool) {
	p, ok := f.places[path]
	return p.key, ok
}

// Paths returns every path that a file sets, sorted.
func (f *File) Paths() []string {
	var all []string
	for _, p := range sorted(f.places) {
		if p != "" {
			all = append(all, p)
		}
	}
	return all
}

// Why says in words where a value comes from: "set at site.yaml:12:3", or that
// it is a default.
func (f *File) Why(path string) string {
	if p, ok := f.Set(path); ok {
		return "set at " + p.String()
	}
	return "a default"
}

// complete fills in defaults that depend on other keys, and where containers
// stand.
func complete(def *Definition, places map[string]place) {
	or := func(dst *string, s string) {
		if *dst == "" {
			*dst = s
		}
	}
	or(&def.Hostname, def.Machine)
	or(&def.Boot.From, def.Kernel.From)
	or(&def.Tools.From, def.Kernel.From)
	if def.Budget.Slot == 0 {
		def.Budget.Slot = def.Boot.SlotSize
	}
	located(def, places)
	locatedRules(def, places)
	for name, ct := range def.Containers {
		or(&ct.Restart.Policy, map[bool]string{true: "on-failure", false: "always"}[ct.OneShot])
		ct.At = places[fmt.Sprintf("containers.%s", name)].key.Short()
		for _, key := range []string{"command", "dir", "user", "stop.signal", "stop.timeout", "health"} {
			if _, ok := places[fmt.Sprintf("containers.%s.%s", name, key)]; ok {
				ct.Given = append(ct.Given, key)
			}
		}
		def.Containers[name] = ct
	}
}
