package dpkg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of an archive's outer shape.
const (
	arMagic   = "!<arch>\n"
	arHeader  = 60 // bytes
	maxMember = 64 // members; a package has three
)

// member is one file within an ar archive.
type member struct {
	name   string
	offset int64
	size   int64
}

// readAr lists the members of an ar archive of the given size in bytes. Nothing
// but the headers is read. Long names (GNU, BSD) are refused: deb(5) has none.
//
// Source of the format: deb(5) and ar(5).
func readAr(r io.ReaderAt, size int64) ([]member, error) {
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != arMagic {
		return nil, fmt.Errorf("no ar archive: it starts with %q", magic)
	}
	var all []member
	var head [arHeader]byte
	for at := int64(len(arMagic)); at < size; {
		if n, err := r.ReadAt(head[:], at); n < len(head) {
			return nil, fmt.Errorf("ar: header at %d: %w", at, short(err))
		}
		m, err := parseMember(head[:], at+arHeader)
		if err != nil {
			return nil, fmt.Errorf("ar: header at %d: %w", at, err)
		}
		if m.size > size-m.offset {
			return nil, fmt.Errorf("ar: %s claims %d bytes, the archive ends after %d", m.name, m.size, size-m.offset)
		}
		if all = append(all, m); len(all) > maxMember {
			return nil, fmt.Errorf("ar: more than %d members", maxMember)
		}
		at = m.offset + m.size + m.size&1
	}
	return all, nil
}

func parseMember(head []byte, offset int64) (member, error) {
	if !bytes.Equal(head[58:], []byte("`\n")) {
		return member{}, errors.New("bad magic of a member")
	}
	name := strings.TrimRight(string(head[:16]), " ")
	name = strings.TrimSuffix(name, "/")
	if name == "" || strings.ContainsAny(name, "/#") {
		return member{}, fmt.Errorf("member name %q", head[:16])
	}
	field := strings.TrimRight(string(head[48:58]), " ")
	n, err := strconv.ParseUint(field, 10, 40)
	if err != nil {
		return member{}, fmt.Errorf("size of %s is %q", name, field)
	}
	return member{name, offset, int64(n)}, nil
}

func short(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
