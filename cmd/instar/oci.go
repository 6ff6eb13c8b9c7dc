package main

import (
	"github.com/instar-os/instar/cmd/instar-oci/command"
	"github.com/spf13/cobra"
)

// ociArguments returns the arguments for the OCI runtime, when it is meant. It
// is asked before anything else, for a container's start is short.
func ociArguments(args []string) ([]string, bool) {
	if len(args) > 1 && args[1] == "oci" {
		return args[2:], true
	}
	return nil, false
}

// ociCommand stands in the help; main has dispatched before.
func ociCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "oci COMMAND",
		Short: "Run OCI bundles, with the command line of an OCI runtime",
		Long: `instar oci is an OCI runtime: create, start, state, kill, delete, run, exec, list,
ps, pause, resume, update, features and spec, with the flags that podman and
containerd use. Each command explains its own: instar oci run --help.

The binary instar-oci is the same without the rest of instar, and starts faster:
podman --runtime /PATH/instar-oci.`,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			return exitCode(command.Main(args, version))
		},
	}
}
