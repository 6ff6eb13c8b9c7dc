package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/graph"
)

func graphCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw what the definition declares",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(graphLinksCommand(a))
	return cmd
}

func graphLinksCommand(a *app) *cobra.Command {
	var configuration, file string
	cmd := &cobra.Command{
		Use:   "links",
		Short: "Draw the links between containers as SVG",
		Long:  "Prints an SVG image of the containers of a configuration, of its links and of the world outside. It follows the reader's light or dark theme.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			def, err := a.definition()
			if err != nil {
				return err
			}
			if configuration == "" {
				configuration = def.Default
			}
			c, ok := def.Configurations[configuration]
			if !ok {
				names := slices.Sorted(maps.Keys(def.Configurations))
				return fmt.Errorf("there is no configuration %q; the definition has %s", configuration, strings.Join(names, ", "))
			}
			svg := graph.Links(def.Machine, configuration, c)
			if file == "" {
				_, err := os.Stdout.Write(svg)
				return err
			}
			return os.WriteFile(file, svg, 0o644)
		},
	}
	cmd.Flags().StringVar(&configuration, "configuration", "", "configuration to draw (default: the definition's default)")
	cmd.Flags().StringVar(&file, "file", "", "file to write (default: standard output)")
	return cmd
}
