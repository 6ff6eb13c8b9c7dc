package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/instar-os/instar/internal/wire"
)

func execCommand(a *app) *cobra.Command {
	var control string
	var env []string
	var tty, noInput bool
	cmd := &cobra.Command{
		Use:   "exec CONTAINER -- COMMAND [ARGUMENT…]",
		Short: "Run a command in a running container",
		Long: `Runs a further command as the container's user, with its limits and its
system call filter, and ends with the command's exit code (128+n for signal n).
A command without a slash is looked for along the container's PATH. With
--tty it gets a terminal, which follows the size of this one.`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeContainer(&control),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := wire.ExecRequest{Container: args[0], Args: args[1:], Env: env, TTY: tty}
			return a.exec(cmd.Context(), control, r, !noInput)
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().StringArrayVarP(&env, "env", "e", nil, "KEY=VALUE for its environment (repeatable)")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give it a terminal")
	cmd.Flags().BoolVarP(&noInput, "no-stdin", "n", false, "give it no input")
	return cmd
}

func shellCommand(a *app) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use:               "shell CONTAINER",
		Short:             "Open a shell in a running container",
		Long:              "Runs the container's bash, sh or busybox with a terminal, and ends with its exit code.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeContainer(&control),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exec(cmd.Context(), control, wire.ExecRequest{Container: args[0], TTY: true}, true)
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

// exec runs a command with this process's streams as its own.
func (a *app) exec(ctx context.Context, control string, r wire.ExecRequest, input bool) error {
	c, err := a.connect(ctx, control)
	if err != nil {
		return err
	}
	defer c.Close()
	t := wire.Terminal{Stdout: a.out, Stderr: a.err}
	if input {
		t.Stdin = a.in
	}
	if fd, ok := terminal(a.in); r.TTY && ok && input {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return err
		}
		defer term.Restore(fd, old)
		events, stop := follow(fd)
		defer stop()
		t.Events, r.Size = events, size(fd)
	}
	if name := os.Getenv("TERM"); r.TTY && name != "" {
		r.Env = append([]string{"TERM=" + name}, r.Env...)
	}
	result, err := c.Exec(ctx, r, t)
	switch {
	case errors.Is(err, context.Canceled):
		return exitCode(130) // as after an interrupt
	case err != nil:
		return err
	case result.Code != 0:
		return exitCode(result.Code)
	}
	return nil
}

// terminal returns the descriptor of a stream that is a terminal.
func terminal(stream any) (int, bool) {
	f, ok := stream.(*os.File)
	return fdOf(f), ok && term.IsTerminal(fdOf(f))
}

func fdOf(f *os.File) int {
	if f == nil {
		return -1
	}
	return int(f.Fd())
}

func size(fd int) wire.TermSize {
	cols, rows, err := term.GetSize(fd)
	if err != nil || rows > 0xffff || cols > 0xffff {
		return wire.TermSize{}
	}
	return wire.TermSize{Rows: uint16(rows), Cols: uint16(cols)}
}

// follow tells every change of a terminal's size, until stop is called.
func follow(fd int) (events <-chan wire.Event, stop func()) {
	changed, out, done := make(chan os.Signal, 1), make(chan wire.Event), make(chan struct{})
	signal.Notify(changed, unix.SIGWINCH)
	go func() {
		for {
			select {
			case <-changed:
			case <-done:
				return
			}
			select {
			case out <- wire.Event{Size: size(fd)}:
			case <-done:
				return
			}
		}
	}()
	return out, func() { signal.Stop(changed); close(done) }
}
