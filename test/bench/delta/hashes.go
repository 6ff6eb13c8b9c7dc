package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/bindiff/field"
)

// A store is a tree whose packages stand below paths with a hash, refer to
// each other by these paths, and take the hash of all they refer to, as in Nix.
// That is reUpNix's case: one library is built anew, and everything that refers
// to it changes in nothing but references.
type storeTree struct {
	names []string
	needs [][]int
	hash  []string
}

// newStore gives packages what they need: each some of those before it, the
// first being needed by many, as a C library is.
func newStore(names []string) *storeTree {
	s := &storeTree{names: names, needs: make([][]int, len(names)), hash: make([]string, len(names))}
	for i := range names {
		x := sha256.Sum256([]byte(names[i]))
		for k := range 4 {
			if n := int(x[k]) * int(x[k+4]) * i >> 16; n < i && !slices.Contains(s.needs[i], n) {
				s.needs[i] = append(s.needs[i], n)
			}
		}
	}
	return s
}

// rehash computes all hashes; those of packages that salted says are other ones.
func (s *storeTree) rehash(salted func(i int) bool) (changed int) {
	for i, name := range s.names {
		text := name
		if salted(i) {
			text += " built anew"
		}
		for _, n := range s.needs[i] {
			text += s.hash[n]
		}
		x := sha256.Sum256([]byte(text))
		h := make([]byte, field.HashSize)
		for k := range h {
			h[k] = field.HashLetter(int(x[k]))
		}
		if s.hash[i] != string(h) {
			changed++
		}
		s.hash[i] = string(h)
	}
	return changed
}

func (s *storeTree) path(i int) string { return "/nix/store/" + s.hash[i] + "-" + s.names[i] }

// references is what each file of a package holds: the paths of what it needs
// and its own.
func (s *storeTree) references(i int) string {
	var all []string
	for _, n := range append([]int{i}, s.needs[i]...) {
		all = append(all, s.path(n)+"/lib")
	}
	return strings.Join(all, ":")
}

// write makes the tree below to out of the packages below from. References
// stand where a text has its first line end, and behind everything else.
func (s *storeTree) write(from, to string) error {
	for i, name := range s.names {
		err := filepath.WalkDir(filepath.Join(from, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(filepath.Join(from, name), path)
			if err != nil {
				return err
			}
			at := len(b)
			if bytes.IndexByte(b, 0) < 0 {
				at = bytes.IndexByte(b, '\n') + 1
			}
			b = slices.Concat(b[:at], []byte(s.references(i)+"\n"), b[at:])
			file := filepath.Join(to, s.path(i), rel)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			return os.WriteFile(file, b, 0o644)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hashTrees makes old and new below dir out of a list's packages: with all
// hashes changed, or those that a library's changes.
func hashTrees(cache, dir, list string, all bool) error {
	packs, err := readList(list)
	if err != nil {
		return err
	}
	packs = slices.DeleteFunc(packs, func(p pack) bool { _, err := fetch(cache, p); return err != nil })
	plain := filepath.Join(dir, "packages")
	if err := unpack(cache, plain, packs, true); err != nil {
		return err
	}
	entries, err := os.ReadDir(plain)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	s := newStore(names)
	s.rehash(func(int) bool { return false })
	if err := s.write(plain, filepath.Join(dir, "old")); err != nil {
		return err
	}
	n := s.rehash(func(i int) bool { return all || i == 4 })
	fmt.Fprintf(os.Stderr, "%d of %d packages have another hash\n", n, len(names))
	if err := s.write(plain, filepath.Join(dir, "new")); err != nil {
		return err
	}
	return os.RemoveAll(plain)
}
