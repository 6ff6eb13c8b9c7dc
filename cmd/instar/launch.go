package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// launchFlags select the container whose start is shown.
type launchFlags struct {
	container, configuration string
	networks                 bool
}

func (f *launchFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.container, "launch", "", "show how a container is started: its launch programs, system call by system call")
	cmd.Flags().StringVar(&f.configuration, "configuration", "", "with --launch or --networks, the configuration; default: the first that has it, or the machine's default")
	cmd.Flags().BoolVar(&f.networks, "networks", false, "show how the networks of a configuration are made: namespaces, requests and rules")
}

// showLaunch prints the launch programs of a container.
func (a *app) showLaunch(st *store.Store, m *system.Manifest, f launchFlags) error {
	c, err := findContainer(m, f)
	if err != nil {
		return err
	}
	b, err := st.Bytes(c.Launch.Digest, c.Launch.Size)
	if err != nil {
		return fmt.Errorf("reading the launch programs of %s: %w", c.Name, err)
	}
	l, err := launch.DecodeLaunch(b)
	if err != nil {
		return fmt.Errorf("reading the launch programs of %s: %w", c.Name, err)
	}
	return a.print(l, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "container %s of %s, launch %s, %d bytes\n%s", c.Name, c.Source, c.Launch.Digest, c.Launch.Size, l)
		return err
	})
}

func findContainer(m *system.Manifest, f launchFlags) (*system.Container, error) {
	for i := range m.Configurations {
		conf := &m.Configurations[i]
		if f.configuration != "" && conf.Name != f.configuration {
			continue
		}
		for j := range conf.Containers {
			if conf.Containers[j].Name == f.container {
				return &conf.Containers[j], nil
			}
		}
	}
	return nil, fmt.Errorf("the system has no container %s", f.container)
}
