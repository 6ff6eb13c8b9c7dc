// Package lock holds a machine's lock file: every input pinned by digest. The
// same lock and the same instar give the same bytes.
package lock

// Version is the format this package reads and writes.
const Version = 1

// Lock pins the inputs of one machine.
type Lock struct {
	Version int                `yaml:"version"`
	Machine string             `yaml:"machine"`
	Request string             `yaml:"request"` // SHA-256 of the part of the definition that the lock answers
	Epoch   int64              `yaml:"epoch"`   // seconds since 1970: the newest date among the suites
	Suites  []Suite            `yaml:"suites"`
	Arches  map[string]*Inputs `yaml:"arches"`          // by GOARCH of the machine
	Tools   map[string]*Inputs `yaml:"tools,omitempty"` // by GOARCH of the build host
	Users   Users              `yaml:"users"`
	Files   []File             `yaml:"files,omitempty"` // downloaded files of tarball and file trees
	Images  []Image            `yaml:"images,omitempty"`
	Nix     []Closure          `yaml:"nix,omitempty"` // closures of nix trees
}

// Image is one OCI image for one architecture, pinned by digests.
type Image struct {
	Tree     string `yaml:"tree"`
	Arch     string `yaml:"arch"`
	Name     string `yaml:"image"`              // as the definition names it
	Index    string `yaml:"index,omitempty"`    // SHA-256 of the index that it was chosen from
	Manifest Blob   `yaml:"manifest,omitempty"` // absent for archives of docker save, which have none
	Config   Blob   `yaml:"config"`             // of the image's configuration, which docker calls its ID
	Layers   []Blob `yaml:"layers"`             // the lowest first
}

// Blob is content of an image.
type Blob struct {
	SHA256 string `yaml:"sha256"`
	Size   int64  `yaml:"size"`
}

// Suite is one signed release of an archive.
type Suite struct {
	Source    string `yaml:"source"` // name in the definition
	Suite     string `yaml:"suite"`
	Date      string `yaml:"date"`      // RFC 3339, UTC
	InRelease string `yaml:"inrelease"` // SHA-256 of the signed file
	SignedBy  string `yaml:"signedBy"`  // fingerprint of the primary key
}

// Inputs are the packages of one architecture: of the machine, or of a build
// host, whose Trees are the tool trees (filesystem, vm-amd64, vm-arm64).
type Inputs struct {
	Packages []Package           `yaml:"packages"`         // by name, then architecture
	Kernel   []string            `yaml:"kernel,omitempty"` // names of packages
	Boot     []string            `yaml:"boot,omitempty"`
	Trees    map[string][]string `yaml:"trees"` // tree to names of packages, sorted
}

// Package is one pinned archive file.
type Package struct {
	Name    string   `yaml:"name"`
	Version string   `yaml:"version"`
	Arch    string   `yaml:"arch"` // Debian's name: amd64, arm64, all
	Source  string   `yaml:"source"`
	SHA256  string   `yaml:"sha256"`
	Size    int64    `yaml:"size"`              // bytes of the archive file
	Path    string   `yaml:"path"`              // below the archive's address
	Scripts []Script `yaml:"scripts,omitempty"` // maintainer scripts no rule explains
	// Origin is the source package and its version, "util-linux 2.41-5", where they
	// do not follow from path and version.
	Origin string `yaml:"origin,omitempty" json:",omitempty"`
}

// Script is a maintainer script that no rule explains. Accepted ones are bound
// to their content: another script asks again.
type Script struct {
	Name     string   `yaml:"name"` // preinst, postinst, triggers
	SHA256   string   `yaml:"sha256"`
	Effects  []string `yaml:"effects"`            // the commands that no rule explains
	Accepted string   `yaml:"accepted,omitempty"` // where the definition accepts it
}

// Users fixes the numbers of users and groups that packages create.
type Users struct {
	UIDs map[string]uint32 `yaml:"uids,omitempty"`
	GIDs map[string]uint32 `yaml:"gids,omitempty"`
}

// File is one downloaded file.
type File struct {
	Tree   string `yaml:"tree"`
	Arch   string `yaml:"arch,omitempty"`
	URL    string `yaml:"url"`
	SHA256 string `yaml:"sha256"`
	Size   int64  `yaml:"size"`
}
