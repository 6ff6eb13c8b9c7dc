// Package command is the command line of the OCI runtime, for the binary
// instar-oci and for instar oci.
package command

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/oci"
	"golang.org/x/sys/unix"
)

// name begins messages.
const name = "instar-oci"

// global are the flags before the command.
type global struct {
	root, log, format string
	runtime           *oci.Runtime
}

// Main runs a command. It returns the exit code. Nothing is done before the
// command is known: a container's start is short.
func Main(args []string, version string) int {
	g := &global{}
	fs := flags("instar oci [flags] COMMAND")
	fs.StringVar(&g.root, "root", "/run/instar-oci", "directory of the containers' state")
	fs.StringVar(&g.log, "log", "", "file for messages (default: standard error)")
	fs.StringVar(&g.format, "log-format", "text", "format of messages: text or json")
	fs.Bool("debug", false, "accepted, without effect")
	fs.Bool("systemd-cgroup", false, "cgroup paths have the form slice:prefix:name; systemd is not asked")
	fs.String("rootless", "", "accepted, without effect")
	show := fs.Bool("version", false, "print the version")
	if err := fs.Parse(args); err != nil {
		return usage(err)
	}
	if *show {
		fmt.Printf("%s version %s\nspec: %s\n", name, version, oci.Version)
		return 0
	}
	g.runtime = &oci.Runtime{Root: g.root, Now: time.Now, Warn: func(f string, a ...any) { g.say("warning", fmt.Sprintf(f, a...)) }}
	if fs.NArg() == 0 {
		fs.Usage()
		return 1
	}
	run, ok := commands[fs.Arg(0)]
	if !ok {
		g.say("error", fmt.Sprintf("unknown command %q", fs.Arg(0)))
		return 1
	}
	code, err := run(g, fs.Args()[1:])
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		g.say("error", err.Error())
		if code == 0 {
			code = 1
		}
	}
	return code
}

func usage(err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	return 2
}

// say writes a message to the log, and errors to standard error too.
func (g *global) say(level, text string) {
	line := fmt.Sprintf("%s: %s: %s\n", name, level, text)
	if g.log != "" {
		entry := line
		if g.format == "json" {
			b, err := json.Marshal(map[string]string{"level": level, "msg": text, "time": g.runtime.Now().UTC().Format(time.RFC3339Nano)})
			if err == nil {
				entry = string(b) + "\n"
			}
		}
		if f, err := os.OpenFile(g.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
			_, _ = io.WriteString(f, entry)
			f.Close()
		}
	}
	if g.log == "" || level == "error" {
		_, _ = io.WriteString(os.Stderr, line)
	}
}

func flags(usage string) *flag.FlagSet {
	fs := flag.NewFlagSet(usage, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "usage: %s\n", usage)
		fs.PrintDefaults()
	}
	return fs
}

// both defines a flag with a short name.
func both(fs *flag.FlagSet, p *string, long, short, value, usage string) {
	fs.StringVar(p, long, value, usage)
	fs.StringVar(p, short, value, "as --"+long)
}

// parseMixed parses flags that stand before, between and behind the first n
// arguments; what follows those is left alone.
func parseMixed(fs *flag.FlagSet, args []string, n int) ([]string, error) {
	var out []string
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		args = fs.Args()
		if len(args) == 0 || len(out) >= n {
			return append(out, args...), nil
		}
		out, args = append(out, args[0]), args[1:]
	}
}

// containerID parses the arguments of a command whose only one is a container.
func containerID(fs *flag.FlagSet, args []string) (string, error) {
	rest, err := parseMixed(fs, args, 8)
	if err != nil {
		return "", err
	}
	if len(rest) != 1 {
		return "", fmt.Errorf("want the name of one container, got %d arguments", len(rest))
	}
	return rest[0], nil
}

// commands are the commands; each returns an exit code.
var commands = map[string]func(*global, []string) (int, error){
	"create": create, "run": run, "start": start, "state": state, "kill": kill, "delete": remove,
	"exec": exec, "list": list, "ps": ps, "pause": pause, "resume": resume, "update": update,
	"features": features, "spec": spec,
}

// createFlags are the flags of create and run.
func createFlags(fs *flag.FlagSet, o *oci.CreateOptions) {
	both(fs, &o.Bundle, "bundle", "b", ".", "the bundle's directory")
	fs.StringVar(&o.PidFile, "pid-file", "", "file to write the process's number to")
	fs.StringVar(&o.ConsoleSocket, "console-socket", "", "unix socket to send the terminal to")
	fs.IntVar(&o.PreserveFDs, "preserve-fds", 0, "number of descriptors from 3 that the program gets")
	fs.Bool("no-pivot", false, "refused: the root is always entered with pivot_root")
	fs.Bool("no-new-keyring", false, "accepted; each container gets a keyring of its own")
}

// listenFDs adds the descriptors that the caller passes as sd_listen_fds(3) has it.
func listenFDs(n int) int {
	if l, err := strconv.Atoi(os.Getenv("LISTEN_FDS")); err == nil && l > 0 {
		return n + l
	}
	return n
}

func refusePivot(fs *flag.FlagSet) error {
	if fs.Lookup("no-pivot").Value.String() == "true" {
		return errors.New("--no-pivot is not supported: the root is always entered with pivot_root")
	}
	return nil
}

func create(g *global, args []string) (int, error) {
	var o oci.CreateOptions
	fs := flags("instar oci create [flags] CONTAINER")
	createFlags(fs, &o)
	id, err := containerID(fs, args)
	if err = errors.Join(err, refusePivot(fs)); err != nil {
		return 0, err
	}
	o.PreserveFDs = listenFDs(o.PreserveFDs)
	return 0, g.runtime.Create(id, o)
}

func run(g *global, args []string) (int, error) {
	o := oci.RunOptions{Input: os.Stdin, Output: os.Stdout}
	fs := flags("instar oci run [flags] CONTAINER")
	createFlags(fs, &o.CreateOptions)
	fs.BoolVar(&o.Detach, "detach", false, "return when the program runs")
	fs.BoolVar(&o.Detach, "d", false, "as --detach")
	fs.BoolVar(&o.Keep, "keep", false, "do not delete the container at its end")
	id, err := containerID(fs, args)
	if err = errors.Join(err, refusePivot(fs)); err != nil {
		return 0, err
	}
	o.PreserveFDs = listenFDs(o.PreserveFDs)
	if !o.Detach {
		go func() { // also to begin with: it takes a fraction of a millisecond
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
			for s := range signals {
				_ = g.runtime.Kill(id, s.(syscall.Signal), false)
			}
		}()
	}
	return g.runtime.Run(id, o)
}

func start(g *global, args []string) (int, error) {
	id, err := containerID(flags("instar oci start CONTAINER"), args)
	if err != nil {
		return 0, err
	}
	return 0, g.runtime.Start(id)
}

func state(g *global, args []string) (int, error) {
	id, err := containerID(flags("instar oci state CONTAINER"), args)
	if err != nil {
		return 0, err
	}
	s, err := g.runtime.State(id)
	if err != nil {
		return 0, err
	}
	return 0, printJSON(s)
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func kill(g *global, args []string) (int, error) {
	fs := flags("instar oci kill [flags] CONTAINER [SIGNAL]")
	all := fs.Bool("all", false, "send it to all processes of the container")
	fs.BoolVar(all, "a", false, "as --all")
	rest, err := parseMixed(fs, args, 8)
	if err != nil {
		return 0, err
	}
	if len(rest) == 0 || len(rest) > 2 {
		return 0, fmt.Errorf("want the name of one container and a signal, got %d arguments", len(rest))
	}
	sig := unix.SIGTERM
	if len(rest) == 2 {
		if sig, err = signalOf(rest[1]); err != nil {
			return 0, err
		}
	}
	return 0, g.runtime.Kill(rest[0], sig, *all)
}

// signalOf reads a signal: a number or a name, with or without SIG.
func signalOf(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("there is no signal %d", n)
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("there is no signal %q", s)
}

func remove(g *global, args []string) (int, error) {
	fs := flags("instar oci delete [flags] CONTAINER")
	force := fs.Bool("force", false, "kill the container when it runs")
	fs.BoolVar(force, "f", false, "as --force")
	id, err := containerID(fs, args)
	if err != nil {
		return 0, err
	}
	return 0, g.runtime.Delete(id, *force)
}

func pause(g *global, args []string) (int, error) {
	id, err := containerID(flags("instar oci pause CONTAINER"), args)
	if err != nil {
		return 0, err
	}
	return 0, g.runtime.Pause(id)
}

func resume(g *global, args []string) (int, error) {
	id, err := containerID(flags("instar oci resume CONTAINER"), args)
	if err != nil {
		return 0, err
	}
	return 0, g.runtime.Resume(id)
}

func features(_ *global, args []string) (int, error) {
	if err := flags("instar oci features").Parse(args); err != nil {
		return 0, err
	}
	return 0, printJSON(oci.Features())
}
