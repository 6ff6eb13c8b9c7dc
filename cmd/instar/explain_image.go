package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
)

// explainImage prints what images say of containers, all or one.
func (a *app) explainImage(cmd *cobra.Command, args []string) error {
	def, lk, err := a.locked()
	if err != nil {
		return err
	}
	f, err := a.definitionFile()
	if err != nil {
		return err
	}
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	all, err := a.builder(st).ImageDefaults(cmd.Context(), def, lk, def.Arch[0])
	if err != nil {
		return err
	}
	if len(args) == 1 {
		name := strings.TrimPrefix(args[0], "containers.")
		if _, ok := all[name]; !ok {
			return fmt.Errorf("no container %q with an OCI image; there are %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
		}
		all = map[string][]assemble.Default{name: all[name]}
	}
	return a.print(all, func(w io.Writer) error {
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			for _, d := range all[name] {
				fmt.Fprintf(tw, "containers.%s.%s\t%s\t%s\n", name, d.Key, d.Value, imageOrigin(d, name, f.Why))
			}
		}
		return tw.Flush()
	})
}

// imageOrigin says whether a default is used, or what is instead.
func imageOrigin(d assemble.Default, container string, why func(string) string) string {
	switch {
	case d.Used:
		return "from image " + d.Image
	case d.Key == "ports":
		return "said by image " + d.Image + "; publish it with a network"
	case d.Key == "data":
		return "of image " + d.Image + "; the definition has its own"
	}
	return "of image " + d.Image + "; " + why("containers."+container+"."+d.Key)
}
