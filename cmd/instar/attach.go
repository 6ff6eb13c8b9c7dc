package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/instar-os/instar/internal/wire"
)

// attachFlags say how much of a container's command somebody takes over.
type attachFlags struct {
	control, keys                string
	noInput, endInput, forwarded bool
}

func attachCommand(a *app) *cobra.Command {
	var f attachFlags
	cmd := &cobra.Command{
		Use:   "attach CONTAINER",
		Short: "Join a container's command: its output, its input, its terminal",
		Long: `Prints what the container writes from now on, as it is, and ends when its
command ends, with that one's exit code. What is typed goes to a command with
"stdin: true" or "tty: true"; a terminal follows the size of this one, and the
detach keys leave it. An interrupt ends attach and leaves the command alone;
with --signals it goes to the command instead, as HUP, QUIT, TERM, USR1 and USR2
do. The end of the input ends nothing unless --end-input is given.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeContainer(&f.control),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.attach(cmd.Context(), args[0], f)
		},
	}
	controlFlag(cmd, &f.control)
	cmd.Flags().BoolVarP(&f.noInput, "no-stdin", "n", false, "give it no input")
	cmd.Flags().BoolVar(&f.endInput, "end-input", false, "the end of this input is the end of the command's")
	cmd.Flags().BoolVar(&f.forwarded, "signals", false, "pass signals on to the command")
	cmd.Flags().StringVar(&f.keys, "detach-keys", "ctrl-p,ctrl-q", "keys that leave a container with a terminal; empty for none")
	return cmd
}

func (a *app) attach(ctx context.Context, name string, f attachFlags) error {
	keys, err := detachKeys(f.keys)
	if err != nil {
		return err
	}
	c, err := a.connect(ctx, f.control)
	if err != nil {
		return err
	}
	defer c.Close()
	st, err := containerStatus(ctx, c, name)
	if err != nil {
		return err
	}
	leave := ctx
	if f.forwarded {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, detach := context.WithCancel(ctx)
	defer detach()
	t := wire.Terminal{Stdout: a.out, Stderr: a.err}
	events := make(chan wire.Event)
	t.Events = events
	r := wire.AttachRequest{Container: name, EndInput: f.endInput}
	if st.Stdin && !f.noInput {
		t.Stdin = a.in
	}
	fd, ok := terminal(a.in)
	if st.TTY && ok && t.Stdin != nil {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return err
		}
		defer term.Restore(fd, old)
		sizes, stop := follow(fd)
		defer stop()
		go pass(ctx, sizes, events)
		r.Size = size(fd)
		t.Stdin = &keyReader{from: a.in, keys: keys, leave: detach}
	}
	if f.forwarded {
		defer forward(ctx, events)()
	}
	result, err := c.Attach(ctx, r, t)
	switch {
	case errors.Is(err, context.Canceled) && (leave.Err() != nil || ctx.Err() != nil):
		return nil // left alone
	case err != nil:
		return err
	case result.Code != 0:
		return exitCode(result.Code)
	}
	return nil
}

// pass hands events on until ctx ends.
func pass(ctx context.Context, from <-chan wire.Event, to chan<- wire.Event) {
	for {
		select {
		case e := <-from:
			select {
			case to <- e:
			case <-ctx.Done():
			}
		case <-ctx.Done():
			return
		}
	}
}

// forward makes signals to this process events, until stop is called.
func forward(ctx context.Context, events chan<- wire.Event) (stop func()) {
	signals, numbers := make(chan os.Signal, 8), make(chan wire.Event)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	go pass(ctx, numbers, events)
	go func() {
		for {
			select {
			case s := <-signals:
				if n, ok := s.(syscall.Signal); ok {
					select {
					case numbers <- wire.Event{Signal: int(n)}:
					case <-ctx.Done():
						return
					}
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { signal.Stop(signals) }
}

// detachKeys reads keys as ctrl-p,ctrl-q or single characters.
func detachKeys(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	var keys []byte
	for word := range strings.SplitSeq(text, ",") {
		letter, ctrl := strings.CutPrefix(word, "ctrl-")
		switch {
		case len(letter) != 1 || letter[0] < '!' || letter[0] > '~':
			return nil, fmt.Errorf("--detach-keys %q: want characters and ctrl-CHARACTER, separated by commas", text)
		case !ctrl:
			keys = append(keys, letter[0])
		case !strings.Contains("@abcdefghijklmnopqrstuvwxyz[\\]^_", letter):
			return nil, fmt.Errorf("--detach-keys %q: no key ctrl-%s", text, letter)
		default:
			keys = append(keys, letter[0]&0x1f)
		}
	}
	return keys, nil
}

// A keyReader reads input up to a sequence of keys, which calls leave. The
// beginning of one that turns out to be something else is passed on.
type keyReader struct {
	from  io.Reader
	keys  []byte
	leave func()
	have  int    // keys of the sequence that have come
	ready []byte // read and not yet returned
	left  bool
}

// Read implements io.Reader.
func (k *keyReader) Read(p []byte) (int, error) {
	for len(k.ready) == 0 && !k.left {
		buf := make([]byte, 1024)
		n, err := k.from.Read(buf)
		k.take(buf[:n])
		if err != nil && len(k.ready) == 0 && !k.left {
			return 0, err
		}
	}
	n := copy(p, k.ready)
	k.ready = k.ready[n:]
	if n == 0 && k.left {
		return 0, io.EOF
	}
	return n, nil
}

// take goes through what was typed.
func (k *keyReader) take(typed []byte) {
	for _, c := range typed {
		if len(k.keys) == 0 {
			k.ready = append(k.ready, c)
			continue
		}
		seen := append(bytes.Clone(k.keys[:k.have]), c)
		if len(seen) == len(k.keys) && bytes.Equal(seen, k.keys) {
			k.left = true
			k.leave()
			return
		}
		// The longest end of what was seen that may begin the sequence waits.
		for !bytes.HasPrefix(k.keys, seen) {
			k.ready = append(k.ready, seen[0])
			seen = seen[1:]
		}
		k.have = len(seen)
	}
}
