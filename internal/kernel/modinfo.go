package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// maxModinfo is the largest .modinfo section in bytes; those of drivers with
// thousands of aliases stay below 300 KiB.
const maxModinfo = 4 << 20

// Info is what a module says of itself in its .modinfo section.
type Info struct {
	VerMagic string   // "RELEASE SMP preempt …"
	Depends  []string // modules whose symbols it uses
	Pre      []string // soft dependencies that should be loaded before it
	Post     []string // and after it; names of modules or aliases
	Aliases  []string
}

// ReadInfo reads the .modinfo section of an ELF module.
func ReadInfo(module []byte) (Info, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return Info{}, fmt.Errorf("no ELF file: %w", err)
	}
	sec := f.Section(".modinfo")
	if f.Type != elf.ET_REL || sec == nil || sec.Type == elf.SHT_NOBITS {
		return Info{}, errors.New("no kernel module: it has no .modinfo")
	}
	if sec.Size > maxModinfo || sec.FileSize > maxModinfo {
		return Info{}, fmt.Errorf(".modinfo of %d bytes, more than %d", sec.Size, maxModinfo)
	}
	b, err := sec.Data()
	if err != nil {
		return Info{}, fmt.Errorf(".modinfo: %w", err)
	}
	return parseInfo(b), nil
}

// parseInfo reads NUL-terminated "key=value" strings.
func parseInfo(b []byte) Info {
	var in Info
	for field := range strings.SplitSeq(string(b), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "vermagic":
			in.VerMagic = value
		case "alias":
			in.Aliases = append(in.Aliases, value)
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					in.Depends = append(in.Depends, normal(name))
				}
			}
		case "softdep":
			in.softdep(value)
		}
	}
	return in
}

// softdep reads "pre: a b post: c".
func (in *Info) softdep(s string) {
	var to *[]string
	for _, word := range strings.Fields(s) {
		switch {
		case word == "pre:":
			to = &in.Pre
		case word == "post:":
			to = &in.Post
		case to != nil:
			*to = append(*to, normal(word))
		}
	}
}
