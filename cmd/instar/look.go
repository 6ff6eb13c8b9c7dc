package main

import (
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// findSystem resolves what a user calls a system: a digest or the beginning of
// one, or a root's name as greenhouse-amd64.
func findSystem(st *store.Store, name string) (digest.Digest, error) {
	roots, err := st.Roots()
	if err != nil {
		return digest.Digest{}, err
	}
	var names []string
	for _, r := range roots {
		if r.Name == name {
			return r.System, nil
		}
		names = append(names, r.Name)
	}
	all, err := st.Systems()
	if err != nil {
		return digest.Digest{}, err
	}
	var found []digest.Digest
	for _, d := range all {
		if len(name) >= 6 && strings.HasPrefix(d.String(), name) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return digest.Digest{}, fmt.Errorf("the store has no system %q; it has %s", name, strings.Join(names, ", "))
	}
	return digest.Digest{}, fmt.Errorf("%q begins the digests of %d systems", name, len(found))
}

// namedSystem reads the system of an argument, or the one last built from the
// definition for its first architecture.
func (a *app) namedSystem(args []string, arch string) (*store.Store, digest.Digest, *system.Manifest, error) {
	st, err := a.openStore()
	if err != nil {
		return nil, digest.Digest{}, nil, err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	} else {
		def, err := a.definition()
		if err != nil {
			return nil, digest.Digest{}, nil, err
		}
		if arch == "" {
			arch = def.Arch[0]
		}
		name = rootName(def.Machine, arch)
	}
	d, err := findSystem(st, name)
	if err != nil {
		return nil, digest.Digest{}, nil, err
	}
	m, err := st.System(d)
	return st, d, m, err
}

func showCommand(a *app) *cobra.Command {
	var packages bool
	var program launchFlags
	cmd := &cobra.Command{
		Use:   "show [SYSTEM]",
		Short: "Show what a built system consists of",
		Long:  "SYSTEM is a digest, the beginning of one, or a name as greenhouse-amd64. Default: what was last built from the definition. -o json prints the manifest.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			st, d, m, err := a.namedSystem(args, "")
			if err != nil {
				return err
			}
			if program.container != "" {
				return a.showLaunch(st, m, program)
			}
			if program.networks {
				return a.showNetworks(st, m, program.configuration)
			}
			return a.print(m, func(w io.Writer) error { return printSystem(w, d, m, packages) })
		},
	}
	program.add(cmd)
	cmd.Flags().BoolVar(&packages, "packages", false, "list the packages with their versions and the trees that hold them")
	return cmd
}

func printSystem(w io.Writer, d digest.Digest, m *system.Manifest, packages bool) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "system\t%s\n", d)
	fmt.Fprintf(tw, "machine\t%s, %s\n", m.Machine, m.Arch)
	fmt.Fprintf(tw, "kernel\t%s, %s; initrd %s with %d modules\n", m.Kernel.Release,
		bytesText(m.Kernel.Image.Size), bytesText(m.Kernel.Initrd.Size), len(m.Kernel.Modules))
	fmt.Fprintf(tw, "packages\t%d\n", len(m.Packages))
	for _, i := range m.Interfaces {
		how := strings.Join(i.Addresses, " ")
		if i.DHCP {
			how = "DHCP"
		}
		fmt.Fprintf(tw, "interface\t%s %s\n", i.Name, how)
	}
	for _, c := range m.Configurations {
		fmt.Fprintf(tw, "configuration\t%s%s\n", c.Name, marks(m, c))
		if c.Host != nil {
			fmt.Fprintf(tw, "\t  host\t%s\t\t\t%s\n", path.Base(c.Host.Init), c.Host.Image.Digest.Short())
		}
		for _, ct := range c.Containers {
			fmt.Fprintf(tw, "\t  %s\t%s\t%d:%d\t%s\t%s\n", ct.Name, path.Base(ct.Args[0]), ct.UID, ct.GID, ct.Network, ct.Image.Digest.Short())
		}
	}
	if packages {
		for _, p := range m.Packages {
			fmt.Fprintf(tw, "package\t%s\t%s\t%s\t%s\n", p.Name, p.Version, p.Arch, strings.Join(p.Trees, " "))
		}
	}
	return tw.Flush()
}

func marks(m *system.Manifest, c system.Configuration) string {
	var out []string
	if c.Name == m.Default {
		out = append(out, "default")
	}
	if c.Fallback {
		out = append(out, "fallback")
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}
