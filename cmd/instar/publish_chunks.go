package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/chunk/publish"
)

func publishChunksCommand(a *app) *cobra.Command {
	var keys []string
	cmd := &cobra.Command{
		Use:   "chunks DIR SYSTEM…",
		Short: "Write systems in chunks to a directory for any web server",
		Long: `Writes systems to DIR as chunks in packs, with a signed index each, SYSTEM.index,
and as MACHINE-ARCH.index the last one. A machine of which nobody knows what it has
fetches an index and the chunks that it lacks, by range, from any web server that
serves the directory: instar-agent update URL. Chunks that an index in DIR has
already are not written again.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			signers, err := readKeys(keys)
			if err != nil {
				return err
			}
			st, err := a.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			systems, err := chosenSystems(st, args[1:])
			if err != nil {
				return err
			}
			var all []*publish.Report
			for _, sys := range systems {
				r, err := publish.Write(cmd.Context(), st, sys, args[0], publish.Options{Keys: signers, Progress: func(done, total int64) {
					a.progress.event(assemble.Event{Stage: "publish", Done: done, Total: total, Bytes: true})
				}})
				if err != nil {
					return err
				}
				all = append(all, r)
			}
			return a.print(all, func(w io.Writer) error { return printChunks(w, all) })
		},
	}
	keyFlag(cmd, &keys)
	return cmd
}

func printChunks(w io.Writer, all []*publish.Report) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range all {
		fmt.Fprintf(tw, "%s\t%s\t\n", r.Latest, r.Index)
		fmt.Fprintf(tw, "%d chunks\t%s in %d contents, the index has %s\t\n", r.Chunks, bytesText(r.Bytes), r.Contents, bytesText(r.Size))
		fmt.Fprintf(tw, "%d new\t%s in packs\t\n", r.New, bytesText(r.Stored))
	}
	return tw.Flush()
}
