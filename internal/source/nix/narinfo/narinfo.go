package narinfo

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of one .narinfo and of what it describes.
const (
	MaxSize       = 4 << 20  // bytes of the file; NixOS' largest is some 20 KB
	MaxNarSize    = 64 << 30 // bytes of an archive
	maxReferences = 20_000
	maxSignatures = 100
)

// Info is what is known of a store path. The zero values of File*, Deriver,
// System, CA and Signatures mean that nothing is said.
type Info struct {
	Name        Name
	URL         string // of the archive, relative to the cache
	Compression string // none, xz, zstd, bzip2, gzip, …
	FileHash    *Hash  // of the archive as it is compressed
	FileSize    int64
	NarHash     Hash
	NarSize     int64
	References  []Name // sorted
	Deriver     string // a name of a .drv; for people
	System      string
	CA          string // how the name follows from the content
	Signatures  []Signature
}

// Parse reads a .narinfo file. Keys that are not known are left out, as Nix
// does; a key that stands twice, except Sig, is an error.
func Parse(text []byte) (*Info, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("narinfo: more than %d bytes", MaxSize)
	}
	in := &Info{Compression: "bzip2"} // Nix' default of old
	seen := map[string]bool{}
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		key, val, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("narinfo: line %d has no colon", i+1)
		}
		if seen[key] && key != "Sig" {
			return nil, fmt.Errorf("narinfo: line %d: %s stands twice", i+1, key)
		}
		seen[key] = true
		if err := in.set(key, strings.TrimPrefix(val, " ")); err != nil {
			return nil, fmt.Errorf("narinfo: line %d: %s: %w", i+1, key, err)
		}
	}
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize"} {
		if !seen[key] {
			return nil, fmt.Errorf("narinfo: %s is missing", key)
		}
	}
	return in, nil
}

func (in *Info) set(key, val string) (err error) {
	switch key {
	case "StorePath":
		in.Name, err = ParsePath(val)
	case "URL":
		if val == "" {
			return errors.New("is empty")
		}
		in.URL = val
	case "Compression":
		if val != "" {
			in.Compression = val
		}
	case "FileHash":
		var h Hash
		h, err = ParseHash(val)
		in.FileHash = &h
	case "FileSize":
		in.FileSize, err = size(val)
	case "NarHash":
		in.NarHash, err = ParseHash(val)
	case "NarSize":
		in.NarSize, err = size(val)
	case "References":
		in.References, err = names(strings.Fields(val))
	case "Deriver":
		if val != "unknown-deriver" {
			in.Deriver = val
		}
	case "System":
		in.System = val
	case "CA":
		in.CA = val
	case "Sig":
		err = in.sign(val)
	}
	return err
}

func (in *Info) sign(val string) error {
	s, err := ParseSignature(val)
	if err == nil && len(in.Signatures) == maxSignatures {
		err = fmt.Errorf("more than %d", maxSignatures)
	}
	in.Signatures = append(in.Signatures, s)
	return err
}

func size(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > MaxNarSize {
		return 0, fmt.Errorf("%.40q is no size", s)
	}
	return n, nil
}

// names reads references; the result is sorted and has none twice.
func names(words []string) ([]Name, error) {
	if len(words) > maxReferences {
		return nil, fmt.Errorf("more than %d", maxReferences)
	}
	var out []Name
	for _, w := range words {
		n, err := ParseName(strings.TrimPrefix(w, StoreDir+"/"))
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Format writes a .narinfo file as Nix does.
func (in *Info) Format() []byte {
	var b strings.Builder
	line := func(key, val string) { b.WriteString(key + ": " + val + "\n") }
	line("StorePath", in.Name.Path())
	line("URL", in.URL)
	line("Compression", in.Compression)
	if in.FileHash != nil {
		line("FileHash", in.FileHash.String())
		line("FileSize", strconv.FormatInt(in.FileSize, 10))
	}
	line("NarHash", in.NarHash.String())
	line("NarSize", strconv.FormatInt(in.NarSize, 10))
	refs := make([]string, len(in.References))
	for i, r := range in.References {
		refs[i] = string(r)
	}
	line("References", strings.Join(refs, " "))
	if in.Deriver != "" {
		line("Deriver", in.Deriver)
	}
	if in.System != "" {
		line("System", in.System)
	}
	for _, s := range in.Signatures {
		line("Sig", s.String())
	}
	if in.CA != "" {
		line("CA", in.CA)
	}
	return []byte(b.String())
}
