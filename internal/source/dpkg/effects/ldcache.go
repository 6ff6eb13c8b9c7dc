package effects

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

// abi says how libraries of an architecture are told apart in ld.so.cache.
type abi struct {
	machine elf.Machine
	class   elf.Class
	flags   uint32 // FLAG_ELF_LIBC6 with the architecture's, sysdeps/generic/ldconfig.h
}

// abis by Debian's name of the architecture.
var abis = map[string]abi{
	"amd64":   {elf.EM_X86_64, elf.ELFCLASS64, 0x0303},
	"arm64":   {elf.EM_AARCH64, elf.ELFCLASS64, 0x0a03},
	"armhf":   {elf.EM_ARM, elf.ELFCLASS32, 0x0903},
	"i386":    {elf.EM_386, elf.ELFCLASS32, 0x0003},
	"riscv64": {elf.EM_RISCV, elf.ELFCLASS64, 0x1003},
}

// maxLibrary is the size in bytes up to which a library's SONAME is read.
const maxLibrary = 512 << 20

// library is one line of the cache: a name that programs ask for, and its path.
type library struct{ name, path string }

// ldCache makes /etc/ld.so.cache for the tree's architecture, with the entries
// that the C library's own ldconfig would write. It differs from that file in
// two ways: there is no extension (who generated it), and strings are not shared.
func ldCache(w *world, arch string) error {
	a, ok := abis[arch]
	if !ok || !w.has("etc/ld.so.conf") {
		return nil
	}
	var all []library
	seen := map[string]bool{}
	for _, dir := range append(w.ldConf("etc/ld.so.conf", 0), "/lib", "/usr/lib") {
		at, ok := w.tree.Resolve(dir)
		if !ok || seen[at] {
			continue
		}
		seen[at] = true
		libs, err := w.libraries(dir, at, a)
		if err != nil {
			return err
		}
		all = append(all, libs...)
	}
	w.owner = "ld.so.cache"
	w.report.done("%d libraries in ld.so.cache", len(all))
	return w.write("etc/ld.so.cache", encodeLdCache(all, a.flags), 0o644)
}

// ldConf reads the directories of an ld.so.conf with what it includes.
func (w *world) ldConf(p string, depth int) []string {
	text, err := w.read(p)
	if err != nil || depth > 5 {
		return nil
	}
	var dirs []string
	for line := range strings.SplitSeq(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "hwcap":
		case f[0] == "include":
			for _, pattern := range f[1:] {
				dirs = append(dirs, w.include(path.Join("/etc", pattern), pattern, depth)...)
			}
		default:
			for _, d := range f {
				dirs = append(dirs, path.Clean("/"+strings.TrimSuffix(d, "/")))
			}
		}
	}
	return dirs
}

func (w *world) include(relative, pattern string, depth int) []string {
	if strings.HasPrefix(pattern, "/") {
		relative = pattern
	}
	var dirs []string
	for _, name := range w.children(path.Dir(relative)) {
		if ok, _ := path.Match(path.Base(relative), name); ok {
			dirs = append(dirs, w.ldConf(path.Join(path.Dir(relative), name), depth+1)...)
		}
	}
	return dirs
}

// libraries lists the libraries of one directory, which stands at a path of the tree.
func (w *world) libraries(dir, at string, a abi) ([]library, error) {
	found := map[string]bool{}
	for _, name := range w.tree.Children(at) {
		if !strings.HasPrefix(name, "lib") && !strings.HasPrefix(name, "ld-") || !strings.Contains(name, ".so") {
			continue
		}
		own, _ := w.tree.Get(path.Join(at, name))
		e, ok := w.tree.Stat(path.Join(at, name))
		if !ok || e.Kind != tree.File || e.Size == 0 {
			continue
		}
		soname, ok, err := w.soname(e, a)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		link := own.Kind == tree.Symlink && (name == soname || strings.HasSuffix(name, ".so") && strings.HasPrefix(soname, name))
		switch {
		case soname == "" || link:
			found[name] = true
		case w.has(path.Join(at, soname)):
			found[soname] = true
		}
	}
	var all []library
	for _, name := range sortedKeys(found) {
		all = append(all, library{name, path.Join(dir, name)})
	}
	return all, nil
}

// soname reads the name that a library of the architecture gives itself.
func (w *world) soname(e tree.Entry, a abi) (name string, ok bool, err error) {
	if w.sonames == nil {
		w.sonames = sonames{}
	}
	if s, ok := w.sonames[e.Digest]; ok {
		return s.name, s.ok, nil
	}
	b, err := w.objects.Bytes(e.Digest, maxLibrary)
	if err != nil {
		return "", false, err
	}
	s := readSoname(b, a)
	w.sonames[e.Digest] = s
	return s.name, s.ok, nil
}

type soname struct {
	name string
	ok   bool
}

func readSoname(b []byte, a abi) soname {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil || f.Machine != a.machine || f.Class != a.class || f.Type != elf.ET_DYN {
		return soname{}
	}
	names, err := f.DynString(elf.DT_SONAME)
	if err != nil || len(names) == 0 {
		return soname{ok: err == nil}
	}
	return soname{names[0], !strings.Contains(names[0], "/")}
}

// encodeLdCache writes the format "glibc-ld.so.cache1.1", little endian.
//
// Source: elf/cache.c and sysdeps/generic/dl-cache.h of the GNU C Library.
func encodeLdCache(all []library, flags uint32) []byte {
	slices.SortStableFunc(all, func(a, b library) int { return compareLibraries(b.name, a.name) })
	const header, entry = 48, 24
	var strs []byte
	at := func(s string) uint32 {
		n := uint32(header + entry*len(all) + len(strs))
		strs = append(append(strs, s...), 0)
		return n
	}
	var entries []byte
	for _, l := range all {
		entries = binary.LittleEndian.AppendUint32(entries, flags)
		entries = binary.LittleEndian.AppendUint32(entries, at(l.name))
		entries = binary.LittleEndian.AppendUint32(entries, at(l.path))
		entries = append(entries, make([]byte, 12)...) // no OS version, no hardware capabilities
	}
	out := []byte("glibc-ld.so.cache1.1")
	out = binary.LittleEndian.AppendUint32(out, uint32(len(all)))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(strs)))
	out = append(out, 2, 0, 0, 0)             // little endian
	out = append(out, make([]byte, 4+3*4)...) // no extension
	return append(append(out, entries...), strs...)
}

// compareLibraries orders names with their numbers as numbers, as the search in
// ld.so needs it (_dl_cache_libcmp).
func compareLibraries(a, b string) int {
	for a != "" && b != "" {
		da, db := digitRun(a), digitRun(b)
		switch {
		case da > 0 && db > 0:
			x, y := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if c := strings.Compare(x, y); c != 0 {
				return c
			}
			a, b = a[da:], b[db:]
		case da > 0:
			return 1
		case db > 0:
			return -1
		case a[0] != b[0]:
			return int(a[0]) - int(b[0])
		default:
			a, b = a[1:], b[1:]
		}
	}
	return len(a) - len(b)
}

func digitRun(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
