package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
	"github.com/instar-os/instar/internal/wiring"
)

// printNetworks writes each network with its members and published ports.
func printNetworks(w io.Writer, all []wire.NetworkStatus) {
	for _, n := range all {
		what := n.Type
		if len(n.Gateway) > 0 {
			what += ", machine " + strings.Join(n.Gateway, " ")
		}
		fmt.Fprintf(w, "network\t%s %s %s %s\n", n.Name, n.State, what, n.Detail)
		for _, m := range n.Members {
			fmt.Fprintf(w, "\t  %s %s %s %s\n", m.Container, m.Interface, strings.Join(m.Addresses, " "), m.MAC)
		}
		for _, p := range n.Published {
			on := ""
			if p.On != "" {
				on = " on " + p.On
			}
			fmt.Fprintf(w, "\t  port %d/%s%s is %s:%d\n", p.MachinePort, p.Protocol, on, p.Container, p.Port)
		}
	}
}

// showNetworks prints what makes the networks of a configuration.
func (a *app) showNetworks(st *store.Store, m *system.Manifest, name string) error {
	if name == "" {
		name = m.Default
	}
	c, ok := m.Configuration(name)
	if !ok {
		return fmt.Errorf("the system has no configuration %s", name)
	}
	if c.Networks == nil {
		return fmt.Errorf("configuration %s has no networks", name)
	}
	b, err := st.Bytes(c.Networks.Program.Digest, c.Networks.Program.Size)
	if err != nil {
		return fmt.Errorf("reading the networks of %s: %w", name, err)
	}
	p, err := wiring.Decode(b)
	if err != nil {
		return fmt.Errorf("reading the networks of %s: %w", name, err)
	}
	return a.print(p, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "configuration %s, networks %s, %d bytes\n%s", name, c.Networks.Program.Digest, c.Networks.Program.Size, p)
		return err
	})
}
