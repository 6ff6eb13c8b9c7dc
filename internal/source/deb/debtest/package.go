// Package debtest makes small Debian archives for tests: .deb files, indices
// and signed suites, served over loopback.
package debtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Date is when suites are dated and files modified unless a test says otherwise.
var Date = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Now is a time at which suites of Date are valid.
var Now = Date.Add(24 * time.Hour)

// File is an entry of a package's data.
type File struct {
	Path     string // absolute; missing parents are added as directories
	Dir      bool
	Body     string
	Symlink  string // target; the entry is a symbolic link
	Hardlink string // path of an earlier entry
	Mode     int64  // bits 07777; 0: 0755 for directories, else 0644
	UID, GID int
}

// Package is a binary package.
type Package struct {
	Name      string
	Version   string            // "": 1.0
	Arch      string            // "": all
	Fields    map[string]string // further fields of control: Depends, Priority, …
	Files     []File
	Scripts   map[string]string // preinst, postinst, prerm, postrm, triggers, conffiles, … by name
	Compress  string            // of data.tar: "" (gz), "none" or "zst"
	RawData   []byte            // data.tar, compressed as Compress says, instead of Files
	Component string            // "": main
}

func (p Package) version() string { return or(p.Version, "1.0") }
func (p Package) arch() string    { return or(p.Arch, "all") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Path returns the file's place in an archive.
func (p Package) Path() string {
	_, v, ok := strings.Cut(p.version(), ":")
	if !ok {
		v = p.version()
	}
	return fmt.Sprintf("pool/%s/%s/%s/%s_%s_%s.deb", or(p.Component, "main"), p.Name[:1], p.Name, p.Name, v, p.arch())
}

// Control returns the control paragraph.
func (p Package) Control() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Nobody <nobody@example.org>\n", p.Name, p.version(), p.arch())
	for _, k := range slices.Sorted(maps.Keys(p.Fields)) {
		fmt.Fprintf(&s, "%s: %s\n", k, p.Fields[k])
	}
	if p.Fields["Description"] == "" {
		fmt.Fprintf(&s, "Description: made by a test\n")
	}
	return s.String()
}

// Deb returns the .deb file, the same bytes for the same package (deb(5)).
func (p Package) Deb() []byte {
	data := p.RawData
	if data == nil {
		data = tarball(p.entries())
	}
	suffix := ".gz"
	switch p.Compress {
	case "none":
		suffix = ""
	case "zst":
		suffix, data = ".zst", zst(data)
	default:
		data = gz(data)
	}
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	member(&out, "debian-binary", []byte("2.0\n"))
	member(&out, "control.tar.gz", gz(tarball(p.control())))
	member(&out, "data.tar"+suffix, data)
	return out.Bytes()
}

// member writes an ar member in the common format.
func member(out *bytes.Buffer, name string, data []byte) {
	fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, Date.Unix(), 0, 0, "100644", len(data))
	out.Write(data)
	if len(data)%2 == 1 {
		out.WriteByte('\n')
	}
}

// entry is a header with its body.
type entry struct {
	header tar.Header
	body   string
}

func (p Package) control() []entry {
	out := []entry{{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, ""}}
	file := func(name, body string, mode int64) {
		out = append(out, entry{tar.Header{Name: "./" + name, Typeflag: tar.TypeReg, Mode: mode}, body})
	}
	file("control", p.Control(), 0o644)
	var sums strings.Builder
	for _, f := range p.Files {
		if !f.Dir && f.Symlink == "" && f.Hardlink == "" {
			sum := md5.Sum([]byte(f.Body))
			fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), strings.TrimPrefix(f.Path, "/"))
		}
	}
	if sums.Len() > 0 {
		file("md5sums", sums.String(), 0o644)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Scripts)) {
		mode := int64(0o755)
		if name == "triggers" || name == "conffiles" || name == "shlibs" || name == "symbols" || name == "templates" {
			mode = 0o644
		}
		file(name, p.Scripts[name], mode)
	}
	return out
}

// entries are the data's, parents before what is in them.
func (p Package) entries() []entry {
	out := []entry{{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, ""}}
	seen := map[string]bool{"/": true}
	for _, f := range p.Files {
		if f.Dir {
			seen[path.Clean(f.Path)] = true
		}
	}
	var parents func(dir string)
	parents = func(dir string) {
		if !seen[dir] {
			seen[dir] = true
			parents(path.Dir(dir))
			out = append(out, entry{tar.Header{Name: "." + dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, ""})
		}
	}
	for _, f := range p.Files {
		parents(path.Dir(path.Clean(f.Path)))
		out = append(out, f.entry())
	}
	return out
}

func (f File) entry() entry {
	h := tar.Header{Name: "." + path.Clean(f.Path), Typeflag: tar.TypeReg, Mode: f.Mode, Uid: f.UID, Gid: f.GID}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	switch {
	case f.Dir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
		if f.Mode == 0 {
			h.Mode = 0o755
		}
	case f.Symlink != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Symlink, 0o777
	case f.Hardlink != "":
		h.Typeflag, h.Linkname = tar.TypeLink, "."+path.Clean(f.Hardlink)
	}
	return entry{h, f.Body}
}

// tarball writes entries; a header that tar cannot express is a mistake of the
// test.
func tarball(entries []entry) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.header.ModTime, e.header.Size, e.header.Format = Date, int64(len(e.body)), tar.FormatGNU
		must(w.WriteHeader(&e.header))
		_, err := w.Write([]byte(e.body))
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

func gz(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return out.Bytes()
}

func zst(data []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(err)
	return w.EncodeAll(data, nil)
}

// must panics: what a test declares cannot be built.
func must(err error) {
	if err != nil {
		panic("debtest: " + err.Error())
	}
}
