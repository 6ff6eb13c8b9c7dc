package prune

import (
	"bufio"
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/needs"
	"github.com/instar-os/instar/internal/tree"
)

// Files reads what is in the files of trees.
type Files interface {
	Needs(d digest.Digest) (needs.File, error)
	Bytes(d digest.Digest, limit int64) ([]byte, error)
}

// Environment is what a container's programs find things by.
type Environment struct {
	Path        []string // PATH
	LibraryPath []string // LD_LIBRARY_PATH
}

// A searcher finds libraries and programs in a tree as the loader and env do.
type searcher struct {
	t     *tree.Tree
	files Files
	env   Environment
	dirs  []string // that ld.so searches after all that is named
}

// trusted are where loaders look without being told: glibc's and musl's own
// directories. Those of architectures are added when the tree has them.
var trusted = []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}

func newSearcher(t *tree.Tree, files Files, env Environment) *searcher {
	s := &searcher{t: t, files: files, env: env}
	s.configured("/etc/ld.so.conf", 0)
	for p, e := range t.All() {
		if base := path.Base(p); e.Kind == tree.Dir && strings.Contains(base, "-linux-") && slices.Contains([]string{"lib", "usr/lib", "usr/local/lib"}, tree.Parent(p)) {
			s.dirs = append(s.dirs, "/"+p)
		}
	}
	s.dirs = append(s.dirs, trusted...)
	return s
}

// Limits of ld.so.conf.
const (
	maxConf    = 64 << 10
	maxInclude = 4
)

// configured reads ld.so.conf(5) and what it includes.
func (s *searcher) configured(name string, depth int) {
	e, ok := s.t.Stat(name)
	if !ok || e.Kind != tree.File || e.Size == 0 || depth > maxInclude {
		return
	}
	b, err := s.files.Bytes(e.Digest, maxConf)
	if err != nil {
		return // not what glibc would read either
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 2 && words[0] == "include" {
			s.include(path.Join(path.Dir(name), words[1]), words[1], depth)
		} else if len(words) > 0 && strings.HasPrefix(words[0], "/") {
			s.dirs = append(s.dirs, words[0])
		}
	}
}

func (s *searcher) include(relative, name string, depth int) {
	if path.IsAbs(name) {
		relative = name
	}
	g, err := tree.ParsePattern(strings.TrimPrefix(relative, "/"))
	if err != nil {
		return
	}
	for p := range s.t.All() {
		if g.Match(p) {
			s.configured("/"+p, depth+1)
		}
	}
}

// library returns where the loader finds a library for the file at a path.
func (s *searcher) library(from string, e *needs.ELF, name string) (string, bool) {
	if strings.Contains(name, "/") {
		return s.file(name, e.Kind)
	}
	for _, list := range [][]string{e.RPath, s.env.LibraryPath, e.RunPath, s.dirs} {
		for _, dir := range list {
			if at, ok := s.file(path.Join(expand(dir, from), name), e.Kind); ok {
				return at, true
			}
		}
	}
	return "", false
}

// expand puts in what ld.so(8) calls dynamic string tokens.
func expand(dir, from string) string {
	return strings.NewReplacer("$ORIGIN", "/"+path.Dir(from), "${ORIGIN}", "/"+path.Dir(from), "$LIB", "lib", "${LIB}", "lib").Replace(dir)
}

// file returns a path as it was asked for when an ELF file of the kind is there.
func (s *searcher) file(p string, kind needs.Kind) (string, bool) {
	e, ok := s.t.Stat(p)
	if !ok || e.Kind != tree.File || e.Size == 0 {
		return "", false
	}
	f, err := s.files.Needs(e.Digest)
	if err != nil || f.ELF == nil || f.ELF.Kind != kind {
		return "", false
	}
	return p, true
}

// program returns where a program is, by its path or along PATH.
func (s *searcher) program(name string) (string, bool) {
	if strings.Contains(name, "/") {
		e, ok := s.t.Stat(name)
		return name, ok && e.Kind == tree.File
	}
	for _, dir := range s.env.Path {
		p := path.Join("/", dir, name)
		if e, ok := s.t.Stat(p); ok && e.Kind == tree.File && e.Mode&0o111 != 0 {
			return p, true
		}
	}
	return name, false
}
