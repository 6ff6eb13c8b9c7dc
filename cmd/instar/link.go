package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/wire"
	"github.com/instar-os/instar/port"
)

func linkCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "link",
		Short: "Look into the links of a running machine, read and write them",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(linkListCommand(a), linkReadCommand(a), linkWriteCommand(a))
	return cmd
}

func linkListCommand(a *app) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List links with what went through them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Links(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(list.Links, func(w io.Writer) error { return printLinks(w, list.Links) })
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

func printLinks(w io.Writer, links []wire.LinkStatus) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "LINK\tTYPE\tFROM\tTO\tWRITTEN\tSTATE")
	for _, l := range links {
		written := ""
		if l.Size > 0 {
			written = fmt.Sprint(l.Written)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, l.Type, l.From, strings.Join(l.To, " "), written, linkState(l))
	}
	return tw.Flush()
}

// linkState says in words how a link is.
func linkState(l wire.LinkStatus) string {
	switch {
	case l.Address != "":
		return l.Address
	case l.Size == 0:
		return ""
	case l.Depth > 0:
		return fmt.Sprintf("%d of %d queued, %d rejected, %d lost", l.Queued, l.Depth, l.Rejected, l.Lost)
	case l.Written == 0:
		return "empty"
	case l.Valid:
		return "valid, " + l.Age.Round(time.Millisecond).String() + " old"
	}
	return "not valid, " + l.Age.Round(time.Millisecond).String() + " old"
}

func linkReadCommand(a *app) *cobra.Command {
	var control string
	var raw bool
	cmd := &cobra.Command{
		Use:   "read LINK",
		Short: "Print the last value of a sampling link, or take a message from a queue that leads outside",
		Long:  "Prints the message as text, or in hexadecimal when it is none. Exits with 3 when there is no message.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			v, err := c.ReadLink(cmd.Context(), args[0])
			if err != nil {
				if errors.Is(err, wire.ErrRemote) && strings.HasSuffix(err.Error(), port.ErrEmpty.Error()) {
					fmt.Fprintf(os.Stderr, "link %s has no message\n", args[0])
					return exitCode(3)
				}
				return err
			}
			if raw {
				_, err := os.Stdout.Write(v.Data)
				return err
			}
			return a.print(v, func(w io.Writer) error { return printValue(w, v) })
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().BoolVar(&raw, "raw", false, "write the message's bytes and nothing else")
	return cmd
}

func printValue(w io.Writer, v wire.LinkValue) error {
	state := "valid"
	if !v.Valid {
		state = "not valid"
	}
	_, err := fmt.Fprintf(w, "%s\nsequence %d, %s old, %s", messageText(v.Data), v.Sequence, v.Age.Round(time.Microsecond), state)
	if v.Lost > 0 && err == nil {
		_, err = fmt.Fprintf(w, ", %d lost before", v.Lost)
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// messageText shows a message that is printable text as it is.
func messageText(b []byte) string {
	text := strings.TrimRight(string(b), "\x00\n")
	for _, r := range text {
		if r < ' ' && r != '\t' || r == 0x7f || r == '\ufffd' {
			return hex.EncodeToString(b)
		}
	}
	return text
}

func linkWriteCommand(a *app) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use:   "write LINK [MESSAGE]",
		Short: "Write to a link that comes from outside",
		Long:  "The message is the argument, or all of standard input.",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var data []byte
			if len(args) == 2 {
				data = []byte(args[1])
			} else {
				var err error
				if data, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), port.MaxSize+1)); err != nil {
					return err
				}
			}
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			return c.WriteLink(cmd.Context(), args[0], data)
		},
	}
	controlFlag(cmd, &control)
	return cmd
}
