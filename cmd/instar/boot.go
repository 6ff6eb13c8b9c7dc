package main

import "github.com/spf13/cobra"

// bootCommand is the parent of what concerns the boots of a device.
func bootCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "boot",
		Short: "Look into the boots of a device, and decide about systems on trial",
	}
	return cmd
}
