// Package bom holds bills of material: what a system, a container or a tree is
// made of, where that comes from, under which licences, and what needs what. It
// writes them as SPDX 2.3 and CycloneDX 1.6, reads such files, and finds
// packages in them. The same bill gives the same bytes.
package bom

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/bom/licence"
	"github.com/instar-os/instar/internal/digest"
)

// Kind says what a component is.
type Kind string

// The kinds of components.
const (
	Deb     Kind = "deb"     // a Debian binary package
	Apk     Kind = "apk"     // a package of Alpine, found in an image
	Nix     Kind = "nix"     // a path of a Nix closure
	Image   Kind = "oci"     // an OCI image
	File    Kind = "file"    // a file or tarball that was downloaded
	Local   Kind = "tree"    // a directory or file beside the definition
	Program Kind = "program" // of instar itself
)

// Component is one thing that a system is made of.
type Component struct {
	ID            string // letters, digits, dots and dashes; unique in a bill
	Kind          Kind
	Name          string
	Version       string
	Arch          string
	Source        string          // source package; "" when there is no such thing
	SourceVersion string          // of the source package
	Release       string          // codename of the distribution that it is of, as trixie
	Supplier      string          // who maintains it, "NAME <ADDRESS>"
	Homepage      string          // of upstream
	PURL          string          // package URL
	SHA256        string          // of the archive, or of the image's manifest
	Digest        string          // SHA-256 of what has no archive: of the plain NAR of a Nix path
	Location      string          // URL that it can be had from
	Licence       licence.Licence // zero: nothing is known
	Trees         []string        // of the definition that hold it
	Within        string          // ID of the image that it was found in
	Depends       []string        // IDs of what it needs
	Opaque        bool            // an image of which nothing tells the packages
}

// A Group is what is started or booted together: a container, a host, or what
// boots.
type Group struct {
	Kind           string // container, host, boot
	Name           string
	Image          digest.Digest // zero of what boots
	Configurations []string      // that it stands in
	Components     []string      // IDs
}

// A Held is a file of a component, as a container sees it.
type Held struct {
	Component string // ID
	Path      string // absolute
	Size      int64  // bytes
	Object    digest.Digest
	SHA1      string // which SPDX wants
	SHA256    string
}

// Bill is a bill of material.
type Bill struct {
	Machine    string
	Arch       string // GOARCH
	Container  string // "": the whole system
	System     digest.Digest
	Epoch      int64  // seconds since 1970; of the lock
	Lock       string // SHA-256 of the lock file
	Tool       string // version of instar
	Components []Component
	Groups     []Group
	Files      []Held // empty when they were not asked for
}

// Name is how people call what the bill is of.
func (b *Bill) Name() string {
	if b.Container != "" {
		return b.Container
	}
	return b.Machine
}

// Sort brings everything into the order that it is written in.
func (b *Bill) Sort() {
	slices.SortFunc(b.Components, func(x, y Component) int { return strings.Compare(x.ID, y.ID) })
	slices.SortFunc(b.Groups, func(x, y Group) int { return strings.Compare(x.Kind+"\x00"+x.Name, y.Kind+"\x00"+y.Name) })
	slices.SortFunc(b.Files, func(x, y Held) int { return strings.Compare(x.key(), y.key()) })
	for i := range b.Components {
		tidy(&b.Components[i].Depends)
		tidy(&b.Components[i].Trees)
	}
	for i := range b.Groups {
		tidy(&b.Groups[i].Components)
		tidy(&b.Groups[i].Configurations)
	}
}

func tidy(list *[]string) {
	slices.Sort(*list)
	*list = slices.Compact(*list)
}

func (f Held) key() string { return f.Component + "\x00" + f.Path + "\x00" + f.Object.String() }

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// NewID makes an ID of words. Words that it cannot take as they are stay
// apart by the beginning of their SHA-256.
func NewID(words ...string) string {
	raw := strings.Join(words, "-")
	id := notInID.ReplaceAllString(raw, "-")
	if id != raw {
		sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
		id += "-" + hex.EncodeToString(sum[:4])
	}
	return id
}

// uuid names content: bits of its SHA-256 in the form of RFC 9562, version 8.
func uuid(content []byte) string {
	sum := sha256.Sum256(content)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	s := hex.EncodeToString(sum[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:32]
}
