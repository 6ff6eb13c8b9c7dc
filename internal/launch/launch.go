package launch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Launch is a container's start. All of it is for one architecture.
//
// Spaces runs in a child with its Clone flags, which shares the file
// descriptors; it leaves namespaces in the slots UTSNS, IPCNS, and NetNS for one
// without the machine's network. Whoever runs it takes the user namespace of a
// container with its own range of IDs from the child, and maps the IDs. Root
// runs in another such child, at the same time, and leaves the mounts in
// MountNS. Both run on the same slots. Root waits where it needs the users, if they
// are the container's own, and where it needs the namespaces: Spaces lets it go
// on itself, unless the network is not its. Drop, a third one on the same slots,
// takes the machine's mounts away from the container's. Start runs for each first
// process with these and the slots Stdin to Argv set. Join runs for a further
// process of a running container: MountNS holds the pidfd of the first one, and
// the caller has to be in its PID namespace for children.
type Launch struct {
	Spaces, Root, Drop, Start, Join *Program
}

// launchMagic begins an encoded launch; its last byte is the version.
const launchMagic = "instarS\x03"

// parts names the programs in the order in which they are encoded.
func (l *Launch) parts() []struct {
	name string
	p    **Program
} {
	return []struct {
		name string
		p    **Program
	}{{"spaces", &l.Spaces}, {"root", &l.Root}, {"drop", &l.Drop}, {"start", &l.Start}, {"join", &l.Join}}
}

// Encode returns the only encoding: the magic, then each program's length as
// an unsigned varint and its encoding.
func (l *Launch) Encode() ([]byte, error) {
	b := []byte(launchMagic)
	for _, part := range l.parts() {
		p, err := (*part.p).Encode()
		if err != nil {
			return nil, fmt.Errorf("encoding a launch: %s: %w", part.name, err)
		}
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b, nil
}

// DecodeLaunch reads what Launch.Encode has written, and nothing else; each
// program is checked.
func DecodeLaunch(b []byte) (*Launch, error) {
	rest, ok := bytes.CutPrefix(b, []byte(launchMagic))
	if !ok {
		return nil, errors.New("not a launch of version 3")
	}
	r := &reader{rest: rest}
	l := new(Launch)
	arch := ""
	for i, part := range l.parts() {
		text := r.text(part.name, MaxEncoded)
		if r.err != nil {
			return nil, fmt.Errorf("decoding a launch: %w", r.err)
		}
		p, err := Decode([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("decoding a launch: %s: %w", part.name, err)
		}
		if i > 0 && p.Arch != arch {
			return nil, fmt.Errorf("decoding a launch: %s is for %s, the others for %s", part.name, p.Arch, arch)
		}
		arch, *part.p = p.Arch, p
	}
	if len(r.rest) > 0 {
		return nil, fmt.Errorf("decoding a launch: %d bytes after its end", len(r.rest))
	}
	if back, err := l.Encode(); err != nil || !bytes.Equal(back, b) {
		return nil, errors.Join(errors.New("decoding a launch: not in canonical form"), err)
	}
	return l, nil
}

// String returns the programs for people, each under its name.
func (l *Launch) String() string {
	var b strings.Builder
	for _, part := range l.parts() {
		fmt.Fprintf(&b, "%s: %s\n", part.name, *part.p)
	}
	return b.String()
}
