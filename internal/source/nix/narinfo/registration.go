package narinfo

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxRegistration is the largest registration file in bytes: 100,000 paths.
const maxRegistration = 64 << 20

// Registration writes what `nix-store --load-db` reads, for each path: path,
// SHA-256 of its archive in base 16, size of the archive, deriver, the number
// of references, the references, each on a line.
func Registration(all []Info) []byte {
	var b bytes.Buffer
	for _, in := range all {
		deriver := ""
		if in.Deriver != "" {
			deriver = StoreDir + "/" + in.Deriver
		}
		fmt.Fprintf(&b, "%s\n%s\n%d\n%s\n%d\n", in.Name.Path(), in.NarHash.Hex(), in.NarSize, deriver, len(in.References))
		for _, r := range in.References {
			b.WriteString(r.Path() + "\n")
		}
	}
	return b.Bytes()
}

// ParseRegistration reads such a file.
func ParseRegistration(text []byte) ([]Info, error) {
	if len(text) > maxRegistration {
		return nil, fmt.Errorf("registration: more than %d bytes", maxRegistration)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(text) == 0 {
		return nil, nil
	}
	var out []Info
	for at := 0; at < len(lines); {
		in, n, err := registered(lines[at:])
		if err != nil {
			return nil, fmt.Errorf("registration: line %d: %w", at+1, err)
		}
		out = append(out, in)
		at += n
	}
	return out, nil
}

// registered reads one path and returns how many lines it took.
func registered(lines []string) (in Info, n int, err error) {
	if len(lines) < 5 {
		return in, 0, fmt.Errorf("the path has no five lines")
	}
	if in.Name, err = ParsePath(lines[0]); err != nil {
		return in, 0, err
	}
	if in.NarHash, err = ParseHash(lines[1]); err != nil {
		return in, 0, err
	}
	if in.NarSize, err = size(lines[2]); err != nil {
		return in, 0, err
	}
	in.Deriver = strings.TrimPrefix(lines[3], StoreDir+"/")
	count, err := strconv.Atoi(lines[4])
	if err != nil || count < 0 || count > len(lines)-5 {
		return in, 0, fmt.Errorf("%.40q is no number of references that follow", lines[4])
	}
	in.References, err = names(lines[5 : 5+count])
	return in, 5 + count, err
}
