package oci

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/source/oci/layer"
)

// Local is an image store in files: an OCI layout directory, an OCI archive, or
// what docker save wrote. Close it.
type Local struct {
	name   string
	files  members
	closer io.Closer
	docker []dockerImage     // of manifest.json, when there is no layout
	blobs  map[string]string // digest to member, of docker archives
}

// members are the files of a directory or archive by their clean names.
type members interface {
	open(name string) (io.ReadCloser, error) // errors wrap fs.ErrNotExist
}

// dockerImage is one image of manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// OpenLocal opens a layout directory or an archive, plain or compressed with
// gzip or zstd. A compressed archive is unpacked into a file in tmp, which is
// removed at once and gone with Close.
func OpenLocal(name, tmp string) (*Local, error) {
	l := &Local{name: name}
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if st.IsDir() {
		l.files = directory(name)
	} else if err := l.archive(tmp); err != nil {
		return nil, fmt.Errorf("image archive %s: %w", name, err)
	}
	if err := l.kind(); err != nil {
		return nil, errors.Join(fmt.Errorf("image %s: %w", name, err), l.Close())
	}
	return l, nil
}

// Close gives the files up.
func (l *Local) Close() error {
	if l.closer == nil {
		return nil
	}
	return l.closer.Close()
}

// kind finds out what it is. A layout goes first: docker 25 writes both, and
// the layout has manifests.
func (l *Local) kind() error {
	marker, err := l.read("oci-layout", maxManifest)
	if err == nil {
		var v struct {
			Version string `json:"imageLayoutVersion"`
		}
		if err := json.Unmarshal(marker, &v); err != nil {
			return fmt.Errorf("oci-layout: %w", err)
		}
		if !strings.HasPrefix(v.Version, "1.") {
			return fmt.Errorf("oci-layout: version %q is not known", v.Version)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := l.read("manifest.json", maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it has neither oci-layout nor manifest.json: it is no OCI layout, no OCI archive and nothing that docker save wrote")
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &l.docker); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	if len(l.docker) == 0 {
		return errors.New("manifest.json names no image")
	}
	return nil
}

func (l *Local) read(name string, limit int64) ([]byte, error) {
	rc, err := l.files.open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := readLimited(rc, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// Find returns the image that a name means, for an architecture. The name is a
// tag or what stands in the annotation org.opencontainers.image.ref.name; ""
// is the only image there is.
func (l *Local) Find(ctx context.Context, name, arch string) (*Image, error) {
	img, err := l.find(ctx, name, arch)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", l.name, err)
	}
	return img, nil
}

func (l *Local) find(ctx context.Context, name, arch string) (*Image, error) {
	if l.docker != nil {
		return l.findDocker(ctx, name, arch)
	}
	text, err := l.read("index.json", maxManifest)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var fit []Descriptor
	var names []string
	for _, d := range doc.Manifests {
		ref := d.Annotations[refName]
		full := d.Annotations[imageName]
		names = append(names, strings.Trim(ref+" "+full, " "))
		if name == "" || name == ref || name == full || name == d.Digest || full != "" && sameTag(full, name) {
			fit = append(fit, d)
		}
	}
	switch {
	case len(fit) == 1:
		return Choose(ctx, l, fit[0], arch)
	case len(fit) == 0:
		return nil, fmt.Errorf("it has no image %q; it has %s", name, listed(names))
	}
	if d, err := pick(fit, arch); err == nil && platforms(fit) {
		return Choose(ctx, l, d, arch)
	}
	return nil, fmt.Errorf("it has %d images, %s; name one of them", len(fit), listed(names))
}

// The annotations that name an image in a layout: the specification's, and containerd's.
const (
	refName   = "org.opencontainers.image.ref.name"
	imageName = "io.containerd.image.name"
)

// platforms reports whether manifests differ by platform: one image of several.
func platforms(all []Descriptor) bool {
	return !slices.ContainsFunc(all, func(d Descriptor) bool { return d.Platform == nil })
}

func listed(names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "" })
	if len(names) == 0 {
		return "none with a name"
	}
	return strings.Join(names, ", ")
}

// sameTag compares a full name with one that leaves out what goes without saying.
func sameTag(full, name string) bool {
	if !strings.Contains(path.Base(name), ":") {
		name += ":latest"
	}
	return full == name || strings.HasSuffix(full, "/"+name)
}

// Open implements Place.
func (l *Local) Open(_ context.Context, d Descriptor) (io.ReadCloser, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	name := "blobs/sha256/" + d.SHA256()
	if member, ok := l.blobs[d.Digest]; ok {
		name = member
	}
	return l.files.open(name)
}

// findDocker gives an image of manifest.json the digests that its files have.
func (l *Local) findDocker(ctx context.Context, name, arch string) (*Image, error) {
	var fit []dockerImage
	var names []string
	for _, d := range l.docker {
		names = append(names, d.RepoTags...)
		if name == "" || slices.ContainsFunc(d.RepoTags, func(tag string) bool { return sameTag(tag, name) }) {
			fit = append(fit, d)
		}
	}
	switch {
	case len(fit) == 0:
		return nil, fmt.Errorf("it has no image %q; it has %s", name, listed(names))
	case len(fit) > 1:
		return nil, fmt.Errorf("it has %d images, %s; name one of them", len(fit), listed(names))
	}
	config, err := l.read(path.Clean(fit[0].Config), maxConfig)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	if len(c.RootFS.DiffIDs) != len(fit[0].Layers) {
		return nil, fmt.Errorf("the configuration has %d layers, manifest.json %d", len(c.RootFS.DiffIDs), len(fit[0].Layers))
	}
	sum := sha256.Sum256(config)
	img := &Image{Config: Descriptor{MediaType: "application/vnd.docker.container.image.v1+json",
		Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(config))}}
	l.blobs = map[string]string{img.Config.Digest: path.Clean(fit[0].Config)}
	for i, member := range fit[0].Layers {
		d, err := l.describe(path.Clean(member), c.RootFS.DiffIDs[i])
		if err != nil {
			return nil, err
		}
		l.blobs[d.Digest] = path.Clean(member)
		img.Layers = append(img.Layers, d)
	}
	return img, img.fits(ctx, l, arch)
}

// describe finds the digest of a layer's file. A plain one is what the
// configuration says, which is verified when it is read; others are hashed.
func (l *Local) describe(member, diffID string) (Descriptor, error) {
	rc, err := l.files.open(member)
	if err != nil {
		return Descriptor{}, err
	}
	defer rc.Close()
	in := bufio.NewReader(rc)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return Descriptor{}, err
	}
	plain := layer.Compression(head) == ""
	h := sha256.New()
	w := io.Writer(h)
	if plain {
		w = io.Discard
	}
	n, err := io.Copy(w, in)
	if err != nil {
		return Descriptor{}, fmt.Errorf("%s: %w", member, err)
	}
	d := Descriptor{MediaType: "application/vnd.docker.image.rootfs.diff.tar", Digest: diffID, Size: n}
	if !plain {
		d.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	}
	return d, nil
}

// directory is a layout directory. Names of members come from the format, or
// are clean and checked to stay below it.
type directory string

func (d directory) open(name string) (io.ReadCloser, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%q is no name within an image", name)
	}
	return os.OpenInRoot(string(d), name)
}

// archived is a tar file, whose members are read where they lie.
type archived struct {
	f       *os.File
	members map[string]member
}

type member struct {
	offset, size int64
	link         string // of a symlink, clean
}

// maxMembers is how many files an archive of images may have.
const maxMembers = 100_000

// archive indexes the tar file, unpacking it first when it is compressed.
func (l *Local) archive(tmp string) error {
	f, err := os.Open(l.name)
	if err != nil {
		return err
	}
	f, err = plainFile(f, tmp)
	if err != nil {
		return err
	}
	a := &archived{f, map[string]member{}}
	l.files, l.closer = a, f
	if err := a.index(); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// plainFile returns f, or a nameless file with what f holds compressed.
func plainFile(f *os.File, tmp string) (*os.File, error) {
	head := make([]byte, 6)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, errors.Join(err, f.Close())
	}
	if layer.Compression(head[:n]) == "" {
		return f, nil
	}
	defer f.Close()
	out, err := os.CreateTemp(tmp, "image-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(out.Name()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	plain, err := layer.Decompress(f, nil)
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	_, err = io.Copy(out, io.LimitReader(plain, maxArchive))
	if err = errors.Join(err, plain.Close()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// maxArchive bounds what a compressed archive is unpacked to, in bytes.
const maxArchive = 64 << 30

func (a *archived) index() error {
	if _, err := a.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := tar.NewReader(a.f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if len(a.members) == maxMembers {
			return fmt.Errorf("more than %d files", maxMembers)
		}
		name := path.Clean(h.Name)
		at, err := a.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			a.members[name] = member{offset: at, size: h.Size}
		case tar.TypeSymlink: // old docker save links equal layers
			a.members[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean(h.Linkname)}
		}
	}
}

// part is a member of an archive, which stays open.
type part struct{ *io.SectionReader }

func (part) Close() error { return nil }

func (a *archived) open(name string) (io.ReadCloser, error) {
	for range 8 {
		m, ok := a.members[name]
		if !ok {
			break
		}
		if m.link == "" {
			return part{io.NewSectionReader(a.f, m.offset, m.size)}, nil
		}
		name = m.link
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
