package assemble

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"strings"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// maxProgram is the largest executable that is checked, in bytes.
const maxProgram = 1 << 30

// machines is each architecture's ELF machine.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkPrograms makes sure that what a container starts is in its trees, can be
// executed, is of the right architecture, and finds its interpreter and the
// shared libraries it names.
func (b *Builder) checkPrograms(root *tree.Tree, c *system.Container, arch string) error {
	commands := append([][]string{c.Args}, c.Prepare...)
	if c.Health != nil && len(c.Health.Exec) > 0 {
		commands = append(commands, c.Health.Exec)
	}
	for _, args := range commands {
		if err := b.checkProgram(root, args[0], arch, 0); err != nil {
			return fmt.Errorf("command %s: %w", args[0], err)
		}
	}
	return nil
}

// maxInterpreters is how many "#!" lines may follow each other, as in Linux.
const maxInterpreters = 4

func (b *Builder) checkProgram(root *tree.Tree, program, arch string, depth int) error {
	at, ok := root.Resolve(program)
	if !ok {
		return fmt.Errorf("/%s is in none of its trees%s", at, similarProgram(root, program))
	}
	e, _ := root.Inode(at)
	switch {
	case e.Kind != tree.File:
		return fmt.Errorf("/%s is a %v", at, e.Kind)
	case e.Mode&0o111 == 0:
		return fmt.Errorf("/%s (of %s) is not executable: mode %04o", at, e.Owner, e.Mode)
	case e.Size == 0:
		return fmt.Errorf("/%s (of %s) is empty", at, e.Owner)
	}
	content, err := b.Store.Bytes(e.Digest, maxProgram)
	if err != nil {
		return err
	}
	if script, ok := bytes.CutPrefix(content, []byte("#!")); ok {
		line, _, _ := bytes.Cut(script, []byte("\n"))
		words := strings.Fields(string(line))
		if len(words) == 0 || depth == maxInterpreters {
			return fmt.Errorf("/%s: no usable interpreter in its first line", at)
		}
		if err := b.checkProgram(root, words[0], arch, depth+1); err != nil {
			return fmt.Errorf("interpreter of /%s: %w", at, err)
		}
		return nil
	}
	return checkELF(root, at, content, arch)
}

func similarProgram(root *tree.Tree, program string) string {
	base := path.Base(program)
	for p, e := range root.All() {
		if path.Base(p) == base && (e.Kind == tree.File || e.Kind == tree.Symlink || e.Kind == tree.Hardlink) {
			return fmt.Sprintf("; there is /%s (of %s)", p, e.Owner)
		}
	}
	return ""
}

func checkELF(root *tree.Tree, at string, content []byte, arch string) error {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("/%s is neither a script nor an ELF executable: %w", at, err)
	}
	if f.Machine != machines[arch] {
		return fmt.Errorf("/%s is built for %v, the machine is %s", at, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > tree.MaxPath {
			continue
		}
		interp := make([]byte, p.Filesz)
		if _, err := p.ReadAt(interp, 0); err != nil {
			return fmt.Errorf("/%s: reading its interpreter's name: %w", at, err)
		}
		name := string(bytes.TrimRight(interp, "\x00"))
		if _, ok := root.Stat(name); !ok {
			return fmt.Errorf("/%s: its interpreter %s is in none of its trees", at, name)
		}
	}
	return checkLibraries(root, at, f)
}

// checkLibraries looks for each needed library by name anywhere in the tree,
// so that private directories (RUNPATH, ld.so.conf) need no model here.
func checkLibraries(root *tree.Tree, at string, f *elf.File) error {
	needed, err := f.ImportedLibraries()
	if err != nil || len(needed) == 0 {
		return nil // static, or without a dynamic section
	}
	missing := map[string]bool{}
	for _, n := range needed {
		missing[n] = true
	}
	for _, p := range root.Paths() {
		delete(missing, path.Base(p))
	}
	for _, n := range needed {
		if missing[n] {
			return fmt.Errorf("/%s needs the library %s, which is in none of its trees", at, n)
		}
	}
	return nil
}
