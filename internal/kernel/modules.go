// Package kernel finds the modules that a machine needs in the tree of its
// kernel package, and packs them with init into the initrd.
package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/xz"
)

// MaxModule is the largest module in bytes, packed or not. The largest of
// Debian 13 (amdgpu) has 30 MB.
const MaxModule = 128 << 20

// maxList is the largest modules.builtin in bytes.
const maxList = 4 << 20

// Objects gives the contents of files by digest: a store.
type Objects interface {
	Bytes(d digest.Digest, limit int64) ([]byte, error)
}

// Set is the modules of one kernel.
type Set struct {
	Release string // uname -r

	objects Objects
	files   map[string]file // by module name
	builtin map[string]bool
	read    map[string]*Module
}

type file struct {
	path  string
	entry tree.Entry
}

// Module is one kernel module, unpacked.
type Module struct {
	Name string // as lsmod shows it, with underscores
	Path string // in the tree
	Data []byte // the ELF file, with its signature if it has one
	Info
}

// ReadModules lists the modules of release in a tree of kernel packages, below
// usr/lib/modules or lib/modules. Contents are read when they are needed.
func ReadModules(objects Objects, t *tree.Tree, release string) (*Set, error) {
	s := &Set{Release: release, objects: objects, files: map[string]file{}, builtin: map[string]bool{}, read: map[string]*Module{}}
	for _, dir := range []string{path.Join("usr/lib/modules", release), path.Join("lib/modules", release)} {
		if err := s.list(t, dir); err != nil {
			return nil, fmt.Errorf("modules of kernel %s: %w", release, err)
		}
	}
	if len(s.files) == 0 {
		return nil, fmt.Errorf("modules of kernel %s: none in the kernel's packages", release)
	}
	return s, nil
}

func (s *Set) list(t *tree.Tree, dir string) error {
	for p := range t.All() {
		rest, ok := strings.CutPrefix(p, dir+"/")
		if !ok {
			continue
		}
		e, ok := t.Inode(p)
		if !ok || e.Kind != tree.File {
			continue
		}
		if rest == "modules.builtin" {
			b, err := s.objects.Bytes(e.Digest, maxList)
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			for line := range strings.Lines(string(b)) {
				s.builtin[moduleName(strings.TrimSpace(line))] = true
			}
			continue
		}
		name := moduleName(rest)
		if name == "" {
			continue
		}
		if other, ok := s.files[name]; ok {
			return fmt.Errorf("%s and %s are both module %s", other.path, p, name)
		}
		s.files[name] = file{p, e}
	}
	return nil
}

// moduleName returns the name of the module in a file, "" for other files.
func moduleName(p string) string {
	base, ext, _ := strings.Cut(path.Base(p), ".ko")
	if base == path.Base(p) || !slices.Contains([]string{"", ".xz", ".zst"}, ext) {
		return ""
	}
	return normal(base)
}

// normal writes a module's name as the kernel does.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Names returns the names of all modules, sorted; those built into the kernel
// are not among them.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.files)) }

// Builtin reports whether the kernel has the module built in.
func (s *Set) Builtin(name string) bool { return s.builtin[normal(name)] }

// Has reports whether a module is there or built in.
func (s *Set) Has(name string) bool {
	_, ok := s.files[normal(name)]
	return ok || s.Builtin(name)
}

// Module reads one module.
func (s *Set) Module(name string) (*Module, error) {
	name = normal(name)
	if m, ok := s.read[name]; ok {
		return m, nil
	}
	f, ok := s.files[name]
	if !ok {
		return nil, s.unknown(name)
	}
	m, err := s.load(name, f)
	if err != nil {
		return nil, fmt.Errorf("module %s: %s: %w", name, f.path, err)
	}
	s.read[name] = m
	return m, nil
}

func (s *Set) load(name string, f file) (*Module, error) {
	packed, err := s.objects.Bytes(f.entry.Digest, MaxModule)
	if err != nil {
		return nil, err
	}
	data, err := unpack(f.path, packed)
	if err != nil {
		return nil, err
	}
	info, err := ReadInfo(data)
	if err != nil {
		return nil, err
	}
	if release, _, _ := strings.Cut(info.VerMagic, " "); release != s.Release {
		return nil, fmt.Errorf("made for kernel %q", release)
	}
	return &Module{Name: name, Path: f.path, Data: data, Info: info}, nil
}

// unpack decompresses a module by the end of its file's name.
func unpack(name string, b []byte) ([]byte, error) {
	var r io.Reader
	switch path.Ext(name) {
	case ".xz":
		z, err := xz.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		r = z
	case ".zst":
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxModule))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	default:
		return b, nil
	}
	out, err := io.ReadAll(io.LimitReader(r, MaxModule+1))
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if len(out) > MaxModule {
		return nil, errors.New("decompressing: more than the limit of 128 MiB")
	}
	return out, nil
}
