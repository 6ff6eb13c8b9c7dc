package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
)

// recordFlags are the flags of instar record.
type recordFlags struct {
	configuration, network string
	timeout                time.Duration
	add, check             bool
}

func recordCommand(a *app) *cobra.Command {
	var f recordFlags
	cmd := &cobra.Command{
		Use:   "record [CONTAINER...] [-- COMMAND [ARG...]]",
		Short: "Record which files containers use, and keep only those",
		Long: `Runs the machine as instar run does, from its whole trees, and writes for each
container the file that its key recorded names: what was opened until every
health check had passed, the command of its key smoke had ended with 0, and the
machine was stopped. COMMAND is run as well. Commands run on this host, in the
definition's directory and on the machine's network.

Then the system is built with the recordings and run again, with the same checks
and commands. --check does only that.

Without arguments all containers of the configuration are recorded that have the
key. --add keeps what earlier recordings have seen.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := args, []string(nil)
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				names, command = args[:n], args[n:]
			}
			return a.record(cmd.Context(), f, names, command)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.configuration, "configuration", "", "configuration to run instead of the default")
	fl.StringVar(&f.network, "network", "private", "private or host")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "time to become healthy")
	fl.BoolVar(&f.add, "add", false, "add to what the files hold already")
	fl.BoolVar(&f.check, "check", false, "only run what the recordings leave, with its checks and commands")
	return cmd
}

// recorded is one line of what record prints.
type recorded struct {
	Container string `json:"container"`
	File      string `json:"file"`
	Files     int    `json:"files"`  // that were opened
	Before    int64  `json:"before"` // bytes of its files, each content once
	After     int64  `json:"after"`
}

func (a *app) record(ctx context.Context, f recordFlags, names, command []string) error {
	if os.Getuid() != 0 {
		return errors.New("instar record runs the machine on this host and watches its files: it needs root")
	}
	def, lk, err := a.locked()
	if err != nil {
		return err
	}
	if _, err := chosenArches(def, []string{runtime.GOARCH}); err != nil {
		return fmt.Errorf("instar record needs a system for this host: %w", err)
	}
	if f.configuration == "" {
		f.configuration = def.Default
	}
	if names, err = toRecord(def, f.configuration, names); err != nil {
		return err
	}
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	s := &recordSession{app: a, flags: f, def: def, lock: lk, store: st, names: names, command: command}
	out := make([]recorded, len(names))
	if !f.check {
		if err := s.record(ctx, out); err != nil {
			return err
		}
	}
	if err := s.proveRun(ctx, out); err != nil {
		return fmt.Errorf("with the recordings: %w", err)
	}
	return a.print(out, func(w io.Writer) error { return printRecorded(w, out) })
}

// toRecord returns the containers that are to be recorded, which must name
// their files.
func toRecord(def *config.Definition, configuration string, names []string) ([]string, error) {
	c, ok := def.Configurations[configuration]
	if !ok {
		return nil, fmt.Errorf("--configuration %s: the definition has no such configuration", configuration)
	}
	if len(names) == 0 {
		for _, n := range c.Containers {
			if def.Containers[n].Recorded.For(runtime.GOARCH) != "" {
				names = append(names, n)
			}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("no container of configuration %s has the key recorded; write recorded: NAME.recorded to one", configuration)
		}
	}
	for _, n := range names {
		switch {
		case !slices.Contains(c.Containers, n):
			return nil, fmt.Errorf("configuration %s has no container %q; it has %s", configuration, n, strings.Join(c.Containers, ", "))
		case def.Containers[n].Recorded.For(runtime.GOARCH) == "":
			return nil, fmt.Errorf("%s: container %s does not say which file its recording is in; write recorded: %s.recorded to it", def.Containers[n].At, n, n)
		}
	}
	return names, nil
}

// containerBytes is the size of a container's files, each content once.
func containerBytes(st *store.Store, res *assemble.Result, name string) (int64, error) {
	u, err := st.Du([]digest.Digest{res.Digest}, nil)
	if err != nil {
		return 0, err
	}
	for _, c := range u.Systems[0].Configurations {
		for _, ct := range c.Containers {
			if ct.Name == name {
				return ct.Files.Bytes, nil
			}
		}
	}
	return 0, fmt.Errorf("the system has no container %s", name)
}

func printRecorded(w io.Writer, all []recorded) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range all {
		fmt.Fprintf(tw, "%s\t%s -> %s\t%s less\t%s\n", r.Container, bytesText(r.Before), bytesText(r.After), percent(r.Before-r.After, r.Before), r.File)
	}
	return tw.Flush()
}
