// Package plan says what becomes of a machine that goes from one system to
// another, before anything is made or sent.
package plan

import (
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// Plan is what changes from one system to another.
type Plan struct {
	Machine    string        `json:"machine"`
	Arch       string        `json:"arch"`
	From       digest.Digest `json:"from,omitzero"` // zero: what is there is not known here
	To         digest.Digest `json:"to"`
	Packages   []Package     `json:"packages"`   // that differ, by name
	Files      Files         `json:"files"`      // of the containers' trees
	Containers []Container   `json:"containers"` // of all configurations
	Data       []Data        `json:"data"`       // whose version changes
	Reboot     []string      `json:"reboot"`     // why it takes a boot; never empty
	Update     *Update       `json:"update,omitempty"`
	Verdicts   []Verdict     `json:"verdicts"`
}

// Package is a package whose version changes. From or To are "" for one that
// comes or goes; several versions are separated by commas.
type Package struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Files are the files of containers that come, change and go, and their bytes:
// of those that go as they were, of the others as they will be.
type Files struct {
	Added   store.Amount `json:"added"`
	Changed store.Amount `json:"changed"`
	Removed store.Amount `json:"removed"`
	List    []File       `json:"list,omitempty"` // when asked for
}

// File is a file that differs.
type File struct {
	Container string `json:"container"`
	Path      string `json:"path"`
	Act       Act    `json:"act"`
	Size      int64  `json:"size"`
}

// Act says what becomes of something.
type Act string

// What becomes of something.
const (
	Kept    Act = "kept"
	Changed Act = "changed"
	Added   Act = "added"
	Removed Act = "removed"
)

// Container is a container of a configuration.
type Container struct {
	Configuration string   `json:"configuration"`
	Name          string   `json:"name"`
	Act           Act      `json:"act"`
	Why           []string `json:"why,omitempty"` // fields that change
}

// Data is data whose format gets another version.
type Data struct {
	Configuration string `json:"configuration"`
	Container     string `json:"container"`
	Path          string `json:"path"`
	From          int    `json:"from"`
	To            int    `json:"to"`
}

// Update is what is sent.
type Update struct {
	Size  int64       `json:"size"` // bytes of the file
	Front int64       `json:"front"`
	Parts []pack.Part `json:"parts"`
	Times []Time      `json:"times"`
}

// Time is how long sending takes.
type Time struct {
	Rate    int64   `json:"rate"` // bits a second
	Seconds float64 `json:"seconds"`
}

// Verdict is the answer to one question before the start.
type Verdict struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"`
}

// Compare finds what changes from one system of a store to another. With files
// it lists each file.
func Compare(st *store.Store, from, to digest.Digest, files bool) (*Plan, error) {
	p, err := compare(st, from, to, files)
	if err != nil {
		return nil, fmt.Errorf("comparing systems %s and %s: %w", from.Short(), to.Short(), err)
	}
	return p, nil
}

func compare(st *store.Store, from, to digest.Digest, files bool) (*Plan, error) {
	a, err := st.System(from)
	if err != nil {
		return nil, err
	}
	b, err := st.System(to)
	if err != nil {
		return nil, err
	}
	if a.Machine != b.Machine || a.Arch != b.Arch {
		return nil, fmt.Errorf("the one is of %s on %s, the other of %s on %s", a.Machine, a.Arch, b.Machine, b.Arch)
	}
	p := &Plan{Machine: b.Machine, Arch: b.Arch, From: from, To: to, Packages: packages(a.Packages, b.Packages),
		Containers: containers(a, b), Data: data(a, b), Verdicts: append(verdicts(a, b), InTime(st, a, b))}
	p.Reboot = reboot(a, b, p)
	p.Files, err = compareFiles(st, a, b, files)
	return p, err
}

// Only is the plan to a system when what is there is not known.
func Only(m *system.Manifest, to digest.Digest) *Plan {
	return &Plan{Machine: m.Machine, Arch: m.Arch, To: to, Packages: []Package{}, Containers: []Container{}, Data: []Data{},
		Reboot: []string{tried}, Verdicts: []Verdict{}}
}

// packages lists those whose versions differ.
func packages(a, b []system.Package) []Package {
	versions := func(list []system.Package) map[string][]string {
		m := map[string][]string{}
		for _, p := range list {
			if !slices.Contains(m[p.Name], p.Version) {
				m[p.Name] = append(m[p.Name], p.Version)
			}
		}
		for _, v := range m {
			slices.Sort(v)
		}
		return m
	}
	x, y := versions(a), versions(b)
	out := []Package{}
	for name := range union(x, y) {
		if !slices.Equal(x[name], y[name]) {
			out = append(out, Package{name, join(x[name]), join(y[name])})
		}
	}
	return out
}

// tried is why an update always takes a boot.
const tried = "a system is tried by booting it: so the machine comes back from one that does not work"

// reboot says what a boot is needed for, beside that it is how a system is tried.
func reboot(a, b *system.Manifest, p *Plan) []string {
	var why []string
	k, l := a.Kernel, b.Kernel
	if k.Image != l.Image {
		why = append(why, "another kernel")
	}
	if k.Init != l.Init {
		why = append(why, "another init")
	}
	if k.Initrd != l.Initrd && k.Init == l.Init {
		why = append(why, "other kernel modules")
	}
	if k.Loader != l.Loader || k.Stub != l.Stub {
		why = append(why, "another boot loader")
	}
	if !slices.Equal(k.Command, l.Command) {
		why = append(why, "another kernel command line")
	}
	return append(why, tried)
}
