package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/wire"
)

// subcommands are what the agent does beside reporting.
var subcommands = map[string]func(ctx context.Context, args []string) error{
	"control": passOn,
	"update":  pull,
}

// passOn connects the standard streams with the supervisor's socket, until one
// of the two ends.
func passOn(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("instar-agent control", flag.ContinueOnError)
	control := f.String("control", defaultControl, "the supervisor's socket")
	if err := f.Parse(args); err != nil {
		return err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", *control)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	go func() {
		io.Copy(conn, os.Stdin)
		conn.Close() // who asked has gone; what runs for them ends
	}()
	if _, err := io.Copy(os.Stdout, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// pull gives the machine an update, or what it lacks of a system in chunks, from a
// web server, a file, or the standard input ("-").
func pull(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("instar-agent update", flag.ContinueOnError)
	control := f.String("control", defaultControl, "the supervisor's socket")
	force := f.Bool("force", false, "in spite of problems that can be overruled")
	reboot := f.Bool("reboot", false, "start the machine again, so that it tries the system")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("update needs the address of an update, a file, or -")
	}
	u, err := (&remote.Client{HTTP: http.DefaultClient}).Parcel(ctx, f.Arg(0), os.Stdin)
	if err != nil {
		return err
	}
	defer u.Close()
	c, err := wire.Dial(ctx, *control)
	if err != nil {
		return err
	}
	defer c.Close()
	staged, err := c.Send(ctx, wire.UpdateRequest{Force: *force}, u.Outgoing, nil)
	if err != nil {
		return err
	}
	fmt.Printf("system %s is in slot %c\n", staged.System, 'a'+rune(staged.Slot))
	if *reboot {
		return c.Reboot(ctx)
	}
	return nil
}
