package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/wire"
)

// dataFlags name the machine and the volume that a command is about.
type dataFlags struct{ control, configuration string }

func (d *dataFlags) add(cmd *cobra.Command) {
	controlFlag(cmd, &d.control)
	cmd.Flags().StringVarP(&d.configuration, "configuration", "C", "", "configuration whose data it is (needed only when several have it)")
}

func dataCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "List, save and restore what the containers of a running machine keep",
		Long: `The data of a container is named CONTAINER, or CONTAINER:PATH when it has more
than one. What takes the place of data never destroys it: it becomes a snapshot,
as far as snapshots are kept.`,
	}
	cmd.AddCommand(dataListCommand(a), dataExportCommand(a), dataImportCommand(a), dataSnapshotsCommand(a), dataRestoreCommand(a))
	return cmd
}

// withData calls f with the machine's data. A list of volumes bounds nothing
// else: archives take as long as they take.
func (a *app) withData(ctx context.Context, flags dataFlags, f func(c wire.DataClient, all []wire.Volume) error) error {
	conn, err := a.connect(ctx, flags.control)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := wire.DataClient{Client: conn}
	bounded, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	all, err := c.Volumes(bounded)
	if err != nil {
		return err
	}
	return f(c, all)
}

// findVolume returns the one volume that an argument names.
func findVolume(all []wire.Volume, configuration, arg string) (wire.Volume, error) {
	container, at, _ := strings.Cut(arg, ":")
	var found []wire.Volume
	var names []string
	for _, v := range all {
		names = append(names, v.Container+":"+v.Path+" ("+v.Configuration+")")
		if v.Container == container && (at == "" || v.Path == at) && (configuration == "" || v.Configuration == configuration) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if len(names) == 0 {
			return wire.Volume{}, fmt.Errorf("the machine keeps no data %s; it keeps none at all", arg)
		}
		return wire.Volume{}, fmt.Errorf("the machine keeps no data %s; it keeps %s", arg, strings.Join(names, ", "))
	}
	return wire.Volume{}, fmt.Errorf("%d data are named by %s; say CONTAINER:PATH and --configuration", len(found), arg)
}

func dataListCommand(a *app) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the data with versions and sizes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withData(cmd.Context(), flags, func(_ wire.DataClient, all []wire.Volume) error {
				return a.print(all, func(w io.Writer) error { return printVolumes(w, all) })
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func printVolumes(w io.Writer, all []wire.Volume) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "CONTAINER\tPATH\tCONFIGURATION\tVERSION\tUSED\tLIMIT\tSNAPSHOTS\tSTATE")
	for _, v := range all {
		limit, state := "", "free"
		if v.Limit > 0 {
			limit = bytesText(v.Limit)
			if !v.Limited {
				limit += " (not enforced)"
			}
		}
		if v.InUse {
			state = "in use"
		}
		var snapshots int64
		for _, s := range v.Snapshots {
			snapshots += s.Bytes
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%d, %s\t%s\n", v.Container, v.Path, v.Configuration, v.Version,
			bytesText(v.Bytes), limit, len(v.Snapshots), bytesText(snapshots), state)
	}
	return tw.Flush()
}

func dataSnapshotsCommand(a *app) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use:   "snapshots CONTAINER[:PATH]",
		Short: "List the former states of data",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withData(cmd.Context(), flags, func(_ wire.DataClient, all []wire.Volume) error {
				v, err := findVolume(all, flags.configuration, args[0])
				if err != nil {
					return err
				}
				return a.print(v.Snapshots, func(w io.Writer) error { return printSnapshots(w, v) })
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func printSnapshots(w io.Writer, v wire.Volume) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "SNAPSHOT\tVERSION\tSIZE\tMADE\tWHY")
	for _, s := range v.Snapshots {
		fmt.Fprintf(tw, "%d\t%d\t%s\t%s\t%s\n", s.Number, s.Version, bytesText(s.Bytes), s.Made.UTC().Format(time.DateTime), s.Reason)
	}
	return tw.Flush()
}

func dataRestoreCommand(a *app) *cobra.Command {
	var flags dataFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "restore CONTAINER[:PATH] SNAPSHOT",
		Short: "Put a snapshot in the place of data",
		Long:  "The container must be stopped. What is there becomes a snapshot.",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withData(cmd.Context(), flags, func(c wire.DataClient, all []wire.Volume) error {
				v, err := findVolume(all, flags.configuration, args[0])
				if err != nil {
					return err
				}
				for _, s := range v.Snapshots {
					if fmt.Sprint(s.Number) != args[1] {
						continue
					}
					fmt.Fprintf(a.err, "snapshot %d of version %d takes the place of %s of %s, version %d\n", s.Number, s.Version, v.Path, v.Container, v.Version)
					if dryRun {
						return nil
					}
					return c.Restore(cmd.Context(), wire.RestoreRequest{VolumeName: v.VolumeName, Snapshot: s.Number})
				}
				return fmt.Errorf("%s of %s has no snapshot %s", v.Path, v.Container, args[1])
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done")
	return cmd
}

func dataExportCommand(a *app) *cobra.Command {
	var flags dataFlags
	var snapshot int
	var to string
	cmd := &cobra.Command{
		Use:   "export CONTAINER[:PATH]",
		Short: "Write data as a tar archive",
		Long:  "Writes owners, modes, times, links and extended attributes. A container that runs may change files meanwhile; stop it for a consistent archive.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withData(cmd.Context(), flags, func(c wire.DataClient, all []wire.Volume) error {
				v, err := findVolume(all, flags.configuration, args[0])
				if err != nil {
					return err
				}
				return a.export(cmd.Context(), c, wire.ExportRequest{VolumeName: v.VolumeName, Snapshot: snapshot}, to)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVar(&snapshot, "snapshot", 0, "this snapshot instead of the current state")
	cmd.Flags().StringVar(&to, "to", "", "file to write (default: standard output)")
	return cmd
}

// export writes an archive to a file, whole or not at all, or to the output.
func (a *app) export(ctx context.Context, c wire.DataClient, q wire.ExportRequest, to string) error {
	if to == "" {
		return receive(ctx, c, q, a.out)
	}
	f, err := durable.Create(filepath.Dir(to), 0o600)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := receive(ctx, c, q, f); err != nil {
		return err
	}
	return f.Commit(to)
}

// receive reads an archive piece by piece.
func receive(ctx context.Context, c wire.DataClient, q wire.ExportRequest, w io.Writer) error {
	t, err := c.Export(ctx, q)
	if err != nil {
		return err
	}
	for offset := int64(0); ; {
		p, err := c.Read(ctx, wire.ReadRequest{ID: t.ID, Offset: offset})
		if err != nil {
			return errors.Join(err, abort(c, t, err))
		}
		if _, err := w.Write(p.Data); err != nil {
			return errors.Join(err, abort(c, t, nil))
		}
		offset += int64(len(p.Data))
		if p.End {
			return nil
		}
	}
}

// abort gives a transfer up; one that the machine has ended by itself is gone.
func abort(c wire.DataClient, t wire.Transfer, why error) error {
	if errors.Is(why, wire.ErrRemote) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	return c.Abort(ctx, t)
}

func dataImportCommand(a *app) *cobra.Command {
	var flags dataFlags
	var version int
	var from string
	cmd := &cobra.Command{
		Use:   "import CONTAINER[:PATH]",
		Short: "Replace data by the content of a tar archive",
		Long:  "The container must be stopped and have run once. What is there becomes a snapshot.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withData(cmd.Context(), flags, func(c wire.DataClient, all []wire.Volume) error {
				v, err := findVolume(all, flags.configuration, args[0])
				if err != nil {
					return err
				}
				in := a.in
				if from != "" {
					f, err := os.Open(from)
					if err != nil {
						return err
					}
					defer f.Close()
					in = f
				}
				return transmit(cmd.Context(), c, wire.ImportRequest{VolumeName: v.VolumeName, Version: version}, in)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVar(&version, "version", 0, "version of the archive's content (default: the data's)")
	cmd.Flags().StringVar(&from, "from", "", "file to read (default: standard input)")
	return cmd
}

// transmit sends an archive piece by piece. The machine changes nothing before
// it has the last one.
func transmit(ctx context.Context, c wire.DataClient, q wire.ImportRequest, r io.Reader) error {
	t, err := c.Import(ctx, q)
	if err != nil {
		return err
	}
	buf := make([]byte, wire.MaxWritePiece)
	for offset := int64(0); ; {
		n, err := io.ReadFull(r, buf)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return errors.Join(err, abort(c, t, nil))
		}
		if err := c.Write(ctx, wire.Piece{ID: t.ID, Offset: offset, Data: buf[:n], End: end}); err != nil {
			return errors.Join(err, abort(c, t, err))
		}
		offset += int64(n)
		if end {
			return nil
		}
	}
}
