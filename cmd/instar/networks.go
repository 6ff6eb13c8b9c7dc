package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/instar-os/instar/internal/wire"
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
