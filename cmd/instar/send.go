package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/delta/pack"
	origin "github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/wire"
)

// sending is what send was asked to do.
type sending struct {
	device string
	file   string // "-" for standard input; "": made for the device
	system string // that is wanted, when there is no file
	keys   []string
	force  bool
	reboot bool
}

func sendCommand(a *app) *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use:   "send DEVICE [FILE]",
		Short: "Send an update to a running machine",
		Long: `Sends FILE, an update that instar delta make wrote ("-" is standard input, and
an address of a web server will do), or what the machine lacks of a system that
instar publish chunks wrote, when FILE is an index. With --to it makes the update itself, from what the machine runs to that system. The
machine verifies what comes, keeps it when the transfer is cut, and goes on there
the next time. What it received, it tries at its next boot.

DEVICE is the path of a control socket, the name of a machine that instar vm runs
here, or ssh:HOST or ssh://USER@HOST:PORT, where instar-agent passes on to the
machine's socket.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.device = args[0]
			if len(args) > 1 {
				s.file = args[1]
			}
			if (s.file == "") == (s.system == "") {
				return errors.New("give a FILE, or the system that is wanted with --to")
			}
			return a.send(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&s.system, "to", "", "make the update: the system that the machine shall have")
	keyFlag(cmd, &s.keys)
	cmd.Flags().BoolVar(&s.force, "force", false, "in spite of problems that can be overruled, such as an older system")
	cmd.Flags().BoolVar(&s.reboot, "reboot", false, "start the machine again at once, so that it tries the system")
	return cmd
}

func (a *app) send(ctx context.Context, s sending) error {
	c, err := a.dial(ctx, s.device)
	if err != nil {
		return err
	}
	defer c.Close()
	if s.file == "" {
		file, err := a.deltaFor(ctx, c, s)
		if err != nil {
			return err
		}
		defer os.Remove(file)
		s.file = file
	}
	u, err := (&origin.Client{HTTP: &http.Client{}}).Parcel(ctx, s.file, a.in)
	if err != nil {
		return err
	}
	defer u.Close()
	staged, err := c.Send(ctx, wire.UpdateRequest{Force: s.force}, u.Outgoing, func(e wire.UpdateEvent) {
		if e.Want != nil && *e.Want > 0 && !a.json() {
			a.progress.done()
			fmt.Fprintf(a.out, "goes on after %s of %s, which are there\n", bytesText(*e.Want), bytesText(u.Body))
		}
		if e.Total > 0 {
			a.progress.event(assemble.Event{Stage: "send", Done: e.Received, Total: e.Total, Bytes: true})
		}
	})
	if err != nil {
		return err
	}
	if s.reboot {
		if err := c.Reboot(ctx); err != nil {
			return err
		}
	}
	return a.print(staged, func(w io.Writer) error {
		when := "the next boot tries it"
		if s.reboot {
			when = "the machine starts again and tries it"
		}
		_, err := fmt.Fprintf(w, "system %.12s is in slot %c; %s\n", staged.System, 'a'+rune(staged.Slot), when)
		return err
	})
}

// dial connects to a machine.
func (a *app) dial(ctx context.Context, device string) (*wire.Client, error) {
	if host, ok := strings.CutPrefix(device, "ssh:"); ok {
		args, err := sshArgs(host)
		if err != nil {
			return nil, err
		}
		return dialSSH(ctx, args)
	}
	if !strings.Contains(device, "/") {
		device = filepath.Join(a.runDir(device), "control.sock")
	}
	return a.connect(ctx, device)
}

// sshArgs are the arguments of ssh for HOST, as ssh itself takes it, or for
// //[USER@]HOST[:PORT].
func sshArgs(host string) ([]string, error) {
	var port []string
	if rest, ok := strings.CutPrefix(host, "//"); ok {
		u, err := url.Parse("ssh://" + rest)
		if err != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
			return nil, fmt.Errorf("ssh:%s: want ssh://[USER@]HOST[:PORT]", host)
		}
		if host = u.Hostname(); u.User != nil {
			host = u.User.Username() + "@" + host
		}
		if u.Port() != "" {
			port = []string{"-p", u.Port()}
		}
	}
	if host == "" || strings.HasPrefix(host, "-") {
		return nil, fmt.Errorf("ssh:%s names no host", host)
	}
	return append(port, host), nil
}

// dialSSH has instar-agent pass the control protocol on. ssh itself asks for
// what it needs on the terminal.
func dialSSH(ctx context.Context, args []string) (*wire.Client, error) {
	cmd := exec.CommandContext(ctx, "ssh", append(args, "instar-agent", "control")...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", args[len(args)-1], err)
	}
	return wire.NewClient(&piped{out, in, cmd}), nil
}

// piped is a stream to a command.
type piped struct {
	io.Reader
	io.WriteCloser
	cmd *exec.Cmd
}

// Close ends the command. How it ended tells nothing that its streams have not.
func (p *piped) Close() error {
	err := p.WriteCloser.Close()
	p.cmd.Wait()
	return err
}

// openUpdate opens an update to be sent: a file, an address, or "-".
func (a *app) openUpdate(ctx context.Context, name string) (*origin.Update, error) {
	switch {
	case name == "-":
		return origin.Stream(a.in)
	case origin.IsURL(name):
		return (&origin.Client{HTTP: &http.Client{}}).Open(ctx, name)
	}
	return origin.File(name)
}

// deltaFor makes the update for what a machine runs.
func (a *app) deltaFor(ctx context.Context, c *wire.Client, s sending) (string, error) {
	st, err := a.openStore()
	if err != nil {
		return "", err
	}
	defer st.Close()
	target, err := findSystem(st, s.system)
	if err != nil {
		return "", err
	}
	keys, err := readKeys(s.keys)
	if err != nil {
		return "", err
	}
	base, err := running(ctx, c)
	if err != nil {
		return "", err
	}
	o := pack.Options{Keys: keys}
	if _, err := st.System(base); err == nil {
		o.Bases = []digest.Digest{base}
	} else {
		fmt.Fprintf(a.err, "this host has no system %s, which the machine runs: the update is complete\n", base.Short())
	}
	f, err := os.CreateTemp("", "instar-send-")
	if err != nil {
		return "", err
	}
	f.Close()
	if _, err := a.writeDelta(ctx, st, target, o, f.Name()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// running asks a machine which system it runs; one that is busy, more than once.
func running(ctx context.Context, c *wire.Client) (digest.Digest, error) {
	for tries := 0; ; tries++ {
		st, err := c.Status(ctx)
		switch {
		case err != nil:
			return digest.Digest{}, err
		case st.System != "":
			return digest.Parse(st.System)
		case tries == 5:
			return digest.Digest{}, fmt.Errorf("the machine does not say what it runs: %s", strings.Join(st.Warnings, "; "))
		}
	}
}
