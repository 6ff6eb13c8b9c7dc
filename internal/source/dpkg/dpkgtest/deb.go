package dpkgtest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/instar-os/instar/internal/lock"
)

// Item is one entry of an archive made for a test. Zero Kind is a regular file.
type Item struct {
	Name, Body, Link string
	Kind             byte
	Mode             int64 // zero: 0644
	UID, GID         int
}

// Tar returns an uncompressed tar archive.
func Tar(items ...Item) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		h := &tar.Header{Name: it.Name, Typeflag: it.Kind, Linkname: it.Link, Mode: it.Mode,
			Uid: it.UID, Gid: it.GID, Size: int64(len(it.Body))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err) // the test's own items
		}
		_, _ = w.Write([]byte(it.Body))
	}
	_ = w.Close() // into memory
	return b.Bytes()
}

// Member is one file of an ar archive.
type Member struct {
	Name string
	Body []byte
}

// Ar returns an ar archive.
func Ar(members ...Member) []byte {
	b := []byte("!<arch>\n")
	for _, m := range members {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.Name, 0, 0, 0, 0o100644, len(m.Body))
		b = append(b, m.Body...)
		if len(m.Body)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

// Deb returns a package with the given control fields (without Architecture:
// amd64), control members and content.
func Deb(control string, scripts []Item, data ...Item) []byte {
	members := append([]Item{{Name: "./control", Body: control + "\nArchitecture: amd64\n"}}, scripts...)
	return Ar(Member{"debian-binary", []byte("2.0\n")}, Member{"control.tar", Tar(members...)}, Member{"data.tar", Tar(data...)})
}

// Pin returns what a lock would say of an archive.
func Pin(name, version string, deb []byte) lock.Package {
	sum := sha256.Sum256(deb)
	return lock.Package{Name: name, Version: version, Arch: "amd64", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(deb))}
}
