package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/wire"
)

func logsCommand(a *app) *cobra.Command {
	var control, since string
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:   "logs [CONTAINER]",
		Short: "Print the logs of a running machine's containers",
		Long: `Prints what the containers have written, oldest first. The name init selects
the supervisor's own lines. With -o json every line is an object of its own.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeContainer(&control),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := wire.LogsRequest{Tail: tail}
			if len(args) == 1 {
				req.Container = args[0]
			}
			var err error
			if req.Since, err = sinceTime(since, time.Now()); err != nil {
				return err
			}
			c, err := a.connect(cmd.Context(), control)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.logs(cmd.Context(), c, req, follow)
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with new lines until interrupted")
	cmd.Flags().IntVar(&tail, "tail", 0, "begin with the last so many lines")
	cmd.Flags().StringVar(&since, "since", "", "nothing older: a time span, as 5m, or a time, as 2026-01-02T15:04:05Z")
	return cmd
}

// sinceTime reads a time span before now, or a time of RFC 3339.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("--since %q: want a time span, as 5m, or a time, as 2026-01-02T15:04:05Z", text)
	}
	return t, nil
}

func containerStatus(ctx context.Context, c *wire.Client, name string) (wire.ContainerStatus, error) {
	st, err := c.Status(ctx)
	if err != nil {
		return wire.ContainerStatus{}, err
	}
	for _, ct := range st.Containers {
		if ct.Name == name {
			return ct, nil
		}
	}
	return wire.ContainerStatus{}, errors.New("no container " + name)
}

func (a *app) logs(ctx context.Context, c *wire.Client, req wire.LogsRequest, follow bool) error {
	for {
		got, err := c.Logs(ctx, req)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, l := range got.Lines {
			if err := a.printLine(l); err != nil {
				return err
			}
			req.After, req.Tail = l.Seq, 0
		}
		if got.More {
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval):
		}
	}
}

// printLine prints a line, in JSON as one line as well.
func (a *app) printLine(l wire.LogLine) error {
	if a.json() {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(l)
	}
	_, err := fmt.Fprintf(a.out, "%s %s: %s\n", l.Time.Local().Format("15:04:05.000"), l.Container, l.Text)
	return err
}

// printable replaces what would move a terminal's cursor or change its modes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// printableLines is printable for a text of several lines, each a little to
// the right.
func printableLines(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, "    "+printable(strings.TrimRight(line, "\n")))
	}
	return strings.Join(out, "\n")
}
