// Command instar builds, shows and runs machines.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/instar-os/instar/cmd/instar-oci/command"
	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "devel"

func main() {
	if args, ok := ociArguments(os.Args); ok {
		os.Exit(command.Main(args, version))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{out: os.Stdout, err: os.Stderr, in: os.Stdin}
	err := rootCommand(a).ExecuteContext(ctx)
	a.progress.done()
	if err == nil {
		return
	}
	var code exitCode
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	fmt.Fprintf(os.Stderr, "instar: %v\n", err)
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(os.Stderr, "hint: %s\n", hint)
	}
	os.Exit(1)
}

// exitCode ends instar with a code after everything has been said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "instar",
		Short: "Build and run reproducible container machines",
		Long: `instar turns one machine definition (instar.yaml) and a lock file into a
system: kernel, static init and configurations of containers. It writes disk
images, runs them in a virtual machine or as containers on this Linux, and
shows what is in them.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.file, "file", "f", "instar.yaml", "machine definition")
	f.StringArrayVar(&a.patches, "patch", nil, "file laid over the definition (repeatable)")
	f.StringVar(&a.cacheDir, "cache", os.Getenv("INSTAR_CACHE"), "cache directory (INSTAR_CACHE; default: instar in the user's cache directory)")
	f.StringVar(&a.storeDir, "store", "", "store directory (default: store in the cache directory)")
	f.StringVarP(&a.output, "output", "o", "text", "output format: text or json")
	f.BoolVar(&a.offline, "offline", os.Getenv("INSTAR_OFFLINE") != "", "never use the network (INSTAR_OFFLINE)")
	f.StringVar(&a.vendorDir, "vendor", "", "directory made by instar vendor (default: vendor beside the definition, when there is one)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress on standard error")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.prepare() }

	root.AddGroup(
		&cobra.Group{ID: "define", Title: "Define:"},
		&cobra.Group{ID: "build", Title: "Build:"},
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "update", Title: "Update:"},
		&cobra.Group{ID: "look", Title: "Look:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("define", initCommand(a), validateCommand(a), explainCommand(a), schemaCommand(a))
	add("build", lockCommand(a), outdatedCommand(a), vendorCommand(a), buildCommand(a), imageCommand(a), installCommand(a))
	add("run", vmCommand(a), runCommand(a), recordCommand(a), ociCommand(), psCommand(a), statusCommand(a), logsCommand(a), attachCommand(a), startCommand(a), restartCommand(a),
		killCommand(a), pauseCommand(a), unpauseCommand(a), execCommand(a), shellCommand(a), topCommand(a), statsCommand(a), switchCommand(a), stopCommand(a))
	add("run", dataCommand(a), linkCommand(a), bootCommand(a))
	add("update", keyCommand(a), planCommand(a), deltaCommand(a), sendCommand(a), applyCommand(a), gcCommand(a))
	add("build", publishCommand(a))
	add("look", showCommand(a), diffCommand(a), treeCommand(a), sizeCommand(a), storeCommand(a), doctorCommand(a), supportCommand(a), graphCommand(a), rtCommand(a), bomCommand(a), vulnerabilitiesCommand(a), provenanceCommand(a))
	root.AddCommand(manCommand(a))
	return root
}
