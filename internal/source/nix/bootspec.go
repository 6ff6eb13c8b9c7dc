package nix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"

	"github.com/instar-os/instar/internal/source/nix/narinfo"
)

// BootspecFile is where a NixOS system says how it is booted, below its
// toplevel. Source: NixOS RFC 0125, "Bootspec".
const BootspecFile = "boot.json"

// Limits of a bootspec.
const (
	MaxBootspec        = 4 << 20 // bytes
	maxSpecialisations = 100
	maxKernelParams    = 1000
)

// The namespaces that are understood. All others are kept as they are.
const (
	bootspecNamespace       = "org.nixos.bootspec.v1"
	specialisationNamespace = "org.nixos.specialisation.v1"
)

// Bootspec is one bootable system of NixOS.
type Bootspec struct {
	Label           string
	System          string // x86_64-linux, aarch64-linux, …
	Toplevel        string
	Kernel          string
	KernelParams    []string
	Init            string
	Initrd          string
	InitrdSecrets   string // a program that adds secrets to the initrd; "" for none
	Specialisations map[string]*Bootspec
	Extensions      map[string]json.RawMessage // of other namespaces, by their names
}

type bootspecV1 struct {
	Init          string   `json:"init"`
	Initrd        string   `json:"initrd,omitempty"`
	InitrdSecrets string   `json:"initrdSecrets,omitempty"`
	Kernel        string   `json:"kernel"`
	KernelParams  []string `json:"kernelParams"`
	Label         string   `json:"label"`
	System        string   `json:"system"`
	Toplevel      string   `json:"toplevel"`

	// Where the first drafts of the document had them.
	Specialisation map[string]json.RawMessage `json:"specialisation,omitempty"`
}

// ParseBootspec reads a boot.json.
func ParseBootspec(text []byte) (*Bootspec, error) {
	if len(text) > MaxBootspec {
		return nil, fmt.Errorf("bootspec: more than %d bytes", MaxBootspec)
	}
	b, err := parseBootspec(text, false)
	if err != nil {
		return nil, fmt.Errorf("bootspec: %w", err)
	}
	return b, nil
}

// parseBootspec reads a document, or a specialisation in one, which has none of
// its own.
func parseBootspec(text []byte, within bool) (*Bootspec, error) {
	var all map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the document")
	}
	raw, ok := all[bootspecNamespace]
	if !ok {
		return nil, fmt.Errorf("it has no %s, but %q", bootspecNamespace, slices.Sorted(maps.Keys(all)))
	}
	var v bootspecV1
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", bootspecNamespace, err)
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", bootspecNamespace, err)
	}
	b := &Bootspec{Label: v.Label, System: v.System, Toplevel: v.Toplevel, Kernel: v.Kernel, KernelParams: v.KernelParams,
		Init: v.Init, Initrd: v.Initrd, InitrdSecrets: v.InitrdSecrets, Extensions: map[string]json.RawMessage{}}
	special := v.Specialisation
	if raw, ok := all[specialisationNamespace]; ok {
		special = nil
		if err := json.Unmarshal(raw, &special); err != nil {
			return nil, fmt.Errorf("%s: %w", specialisationNamespace, err)
		}
	}
	for name, raw := range all {
		if name != bootspecNamespace && name != specialisationNamespace {
			b.Extensions[name] = raw
		}
	}
	return b, b.specialise(special, within)
}

func (b *Bootspec) specialise(all map[string]json.RawMessage, within bool) error {
	if within {
		return nil // NixOS leaves an empty map there
	}
	if len(all) > maxSpecialisations {
		return fmt.Errorf("more than %d specialisations", maxSpecialisations)
	}
	b.Specialisations = map[string]*Bootspec{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s, err := parseBootspec(all[name], true)
		if err != nil {
			return fmt.Errorf("specialisation %.80q: %w", name, err)
		}
		b.Specialisations[name] = s
	}
	return nil
}

// param is a kernel argument that a boot entry can hold.
var param = regexp.MustCompile(`^[^\s\x00-\x1f"]([^\s\x00-\x1f"]|"[^\x00-\x1f"]*")*$`)

func (v *bootspecV1) check() error {
	for what, p := range map[string]string{"toplevel": v.Toplevel, "init": v.Init, "kernel": v.Kernel} {
		if _, _, err := narinfo.Within(p); err != nil || path.Clean(p) != p {
			return fmt.Errorf("%s: %.120q is no path in %s", what, p, narinfo.StoreDir)
		}
	}
	if len(v.KernelParams) > maxKernelParams {
		return fmt.Errorf("more than %d kernelParams", maxKernelParams)
	}
	for _, p := range v.KernelParams {
		if !param.MatchString(p) {
			return fmt.Errorf("kernelParams: %.120q is no argument", p)
		}
	}
	return nil
}

// Format writes the document again, with all namespaces that it had.
func (b *Bootspec) Format() ([]byte, error) {
	all, err := b.document()
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(all, "", "  ")
}

func (b *Bootspec) document() (map[string]any, error) {
	all := map[string]any{bootspecNamespace: bootspecV1{Init: b.Init, Initrd: b.Initrd, InitrdSecrets: b.InitrdSecrets, Kernel: b.Kernel,
		KernelParams: b.KernelParams, Label: b.Label, System: b.System, Toplevel: b.Toplevel}}
	for name, raw := range b.Extensions {
		all[name] = raw
	}
	special := map[string]any{}
	for name, s := range b.Specialisations {
		doc, err := s.document()
		if err != nil {
			return nil, err
		}
		special[name] = doc
	}
	if len(special) > 0 {
		all[specialisationNamespace] = special
	}
	return all, nil
}
