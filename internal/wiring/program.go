// Package wiring compiles the networks of a configuration to what the device
// sends: rtnetlink messages with the few holes that only the device can fill,
// and one nftables transaction. The device decides nothing and parses nothing
// but the table.
//
// That works because rtnetlink lets its user choose: interfaces get the indices
// that a hash of their names gives, so that addresses and routes can name them
// before they exist. What stays open are file descriptors of network namespaces
// and the index of a device of the machine.
package wiring

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Version is the format that this package reads and writes.
const Version = 1

// Limits of a Program.
const (
	MaxSize     = 4 << 20 // bytes, encoded
	MaxSpaces   = 1024
	MaxNetworks = 256
	MaxSteps    = 4096 // of a network
	MaxMessage  = 4096 // bytes
	MaxRules    = 1 << 20
)

// Table is the nftables table that belongs to instar.
const Table = "instar"

// Program is what makes the networks of a configuration.
type Program struct {
	Version  int       `json:"version"`
	Spaces   []Space   `json:"spaces"`          // of the members, in order of container
	Settings []Setting `json:"settings"`        // of the machine
	Networks []Network `json:"networks"`        // in order of name
	Rules    []byte    `json:"rules,omitempty"` // nftables transaction; none: there is no table
}

// Space is the network namespace of a container. It is made before the
// container's first start and lasts as long as its configuration.
type Space struct {
	Container string    `json:"container"`
	Settings  []Setting `json:"settings"`
}

// Setting is a value below /proc/sys.
type Setting struct {
	Path  string `json:"path"` // as net/ipv4/ip_forward
	Value string `json:"value"`
}

// Network is one network; it is whole or not there.
type Network struct {
	Name   string `json:"name"`
	Device Device `json:"device,omitzero"` // that its steps need
	Steps  []Step `json:"steps"`
	Undo   []Step `json:"undo"` // take it down; each may find nothing left
}

// Device is a device of the machine: by Interface, the name that the machine's
// declaration gives it, or by attributes as in system.Match.
type Device struct {
	Interface string `json:"interface,omitempty"`
	Driver    string `json:"driver,omitempty"`
	MAC       string `json:"mac,omitempty"`
	Path      string `json:"path,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Step is one rtnetlink request, acknowledged. Steps of two programs that are
// equal do the same, so that going from one to the other leaves them alone.
type Step struct {
	Label   string `json:"label"`           // what it does, as "making bridge field"
	Space   string `json:"space,omitempty"` // the container in whose namespace; "" in the machine's
	Message []byte `json:"message"`
	Holes   []Hole `json:"holes,omitempty"`
}

// Hole is four bytes of a message that the device fills in.
type Hole struct {
	At   uint32 `json:"at"`
	Kind Kind   `json:"kind"`
	// Space is the container whose namespace's descriptor is meant.
	Space string `json:"space,omitempty"`
}

// Kind says what goes into a hole.
type Kind string

// The kinds of holes.
const (
	Namespace Kind = "namespace" // the descriptor of a namespace
	Index     Kind = "index"     // the index of the network's Device
)

// Encode returns the canonical encoding.
func (p *Program) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encoding a network program: %w", err)
	}
	return b.Bytes(), nil
}

// Decode reads a program and checks it. It accepts nothing but the canonical
// encoding.
func Decode(b []byte) (*Program, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("network program of %d bytes, more than %d", len(b), MaxSize)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	p := new(Program)
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("decoding a network program: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decoding a network program: more than one JSON value")
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	back, err := p.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(back, b) {
		return nil, errors.New("decoding a network program: not in canonical form")
	}
	return p, nil
}

// Check reports what could not be executed.
func (p *Program) Check() error {
	switch {
	case p.Version != Version:
		return fmt.Errorf("network program of version %d; this instar reads version %d", p.Version, Version)
	case len(p.Spaces) > MaxSpaces || len(p.Networks) > MaxNetworks || len(p.Rules) > MaxRules:
		return fmt.Errorf("network program with %d namespaces, %d networks and %d bytes of rules is too large", len(p.Spaces), len(p.Networks), len(p.Rules))
	}
	spaces := map[string]bool{}
	for _, s := range append([]Space{{Settings: p.Settings}}, p.Spaces...) {
		if spaces[s.Container] {
			return fmt.Errorf("network program with two namespaces of %q", s.Container)
		}
		spaces[s.Container] = true
		for _, v := range s.Settings {
			if !strings.HasPrefix(v.Path, "net/") || path.Clean(v.Path) != v.Path {
				return fmt.Errorf("network program sets %q, which is no setting of the network", v.Path)
			}
		}
	}
	for _, n := range p.Networks {
		if len(n.Steps) > MaxSteps || len(n.Undo) > MaxSteps {
			return fmt.Errorf("network %s has %d steps, more than %d", n.Name, max(len(n.Steps), len(n.Undo)), MaxSteps)
		}
		for _, s := range append(n.Steps[:len(n.Steps):len(n.Steps)], n.Undo...) {
			if err := checkStep(spaces, &n, &s); err != nil {
				return fmt.Errorf("network %s: %s: %w", n.Name, s.Label, err)
			}
		}
	}
	return nil
}

func checkStep(spaces map[string]bool, n *Network, s *Step) error {
	if !spaces[s.Space] {
		return fmt.Errorf("in the namespace of %s, which has none", s.Space)
	}
	size := len(s.Message)
	if size < 16 || size > MaxMessage || binary.LittleEndian.Uint32(s.Message) != uint32(size) {
		return fmt.Errorf("a message of %d bytes whose header says otherwise", size)
	}
	for _, h := range s.Holes {
		switch {
		case h.At < 16 || uint64(h.At)+4 > uint64(size):
			return fmt.Errorf("a hole at byte %d of %d", h.At, size)
		case h.Kind == Namespace && (h.Space == "" || !spaces[h.Space]):
			return fmt.Errorf("a hole for the namespace of %q, which has none", h.Space)
		case h.Kind == Index && n.Device == (Device{}):
			return errors.New("a hole for a device that the network does not name")
		case h.Kind != Index && h.Kind != Namespace:
			return fmt.Errorf("a hole of unknown kind %q", h.Kind)
		}
	}
	return nil
}
