package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/instar-os/instar/internal/oci"
)

func exec(g *global, args []string) (int, error) {
	o := oci.ExecOptions{Input: os.Stdin, Output: os.Stdout}
	var process, cwd, user string
	fs := flags("instar oci exec [flags] CONTAINER [COMMAND ...]")
	both(fs, &process, "process", "p", "", "process.json, instead of a command")
	fs.StringVar(&o.PidFile, "pid-file", "", "file to write the process's number to")
	fs.StringVar(&o.ConsoleSocket, "console-socket", "", "unix socket to send the terminal to")
	fs.IntVar(&o.PreserveFDs, "preserve-fds", 0, "number of descriptors from 3 that the program gets")
	fs.BoolVar(&o.Detach, "detach", false, "return when the program runs")
	fs.BoolVar(&o.Detach, "d", false, "as --detach")
	fs.StringVar(&cwd, "cwd", "", "working directory")
	both(fs, &user, "user", "u", "", "UID or UID:GID")
	var env []string
	addEnv := func(s string) error { env = append(env, s); return nil }
	fs.Func("env", "NAME=VALUE for the environment (repeatable)", addEnv)
	fs.Func("e", "as --env", addEnv)
	tty := fs.Bool("tty", false, "give it a terminal")
	fs.BoolVar(tty, "t", false, "as --tty")
	for _, ignored := range []string{"apparmor", "process-label"} {
		fs.String(ignored, "", "accepted, without effect")
	}
	noNew := fs.Bool("no-new-privs", false, "forbid new privileges")
	rest, err := parseMixed(fs, args, 1)
	if err != nil {
		return 0, err
	}
	if len(rest) == 0 {
		return 0, errors.New("want the name of a container")
	}
	p, err := execProcess(g, rest, process)
	if err != nil {
		return 0, err
	}
	if *tty {
		p.Terminal = true
	}
	p.NoNewPrivileges = p.NoNewPrivileges || *noNew
	p.Env = append(p.Env, env...)
	if cwd != "" {
		p.Cwd = cwd
	}
	if user != "" {
		if p.User, err = userOf(user); err != nil {
			return 0, err
		}
	}
	code, err := g.runtime.Exec(rest[0], p, o)
	if err != nil {
		code = 255 // not a status that programs have
	}
	return code, err
}

// execProcess reads the process, or makes it of the container's own and a command.
func execProcess(g *global, rest []string, file string) (*oci.Process, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return oci.ParseProcess(b)
	}
	if len(rest) < 2 {
		return nil, errors.New("want a command or --process")
	}
	p, err := g.runtime.Like(rest[0])
	if err != nil {
		return nil, err
	}
	p.Args = rest[1:]
	return p, nil
}

func userOf(s string) (oci.User, error) {
	uid, gid, both := strings.Cut(s, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return oci.User{}, fmt.Errorf("user %q: want UID or UID:GID", s)
	}
	out := oci.User{UID: uint32(u)}
	if both {
		n, err := strconv.ParseUint(gid, 10, 32)
		if err != nil {
			return oci.User{}, fmt.Errorf("user %q: want UID or UID:GID", s)
		}
		out.GID = uint32(n)
	}
	return out, nil
}

func list(g *global, args []string) (int, error) {
	fs := flags("instar oci list [flags]")
	var format string
	both(fs, &format, "format", "f", "table", "table or json")
	quiet := fs.Bool("quiet", false, "names only")
	fs.BoolVar(quiet, "q", false, "as --quiet")
	if err := fs.Parse(args); err != nil {
		return 0, err
	}
	list, err := g.runtime.List()
	switch {
	case err != nil:
		return 0, err
	case *quiet:
		for _, s := range list {
			fmt.Println(s.ID)
		}
		return 0, nil
	case format == "json":
		return 0, printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format("2006-01-02T15:04:05Z07:00"))
	}
	return 0, w.Flush()
}

func ps(g *global, args []string) (int, error) {
	fs := flags("instar oci ps [flags] CONTAINER")
	var format string
	both(fs, &format, "format", "f", "table", "table or json")
	rest, err := parseMixed(fs, args, 1)
	if err != nil {
		return 0, err
	}
	if len(rest) == 0 {
		return 0, errors.New("want the name of a container")
	}
	pids, err := g.runtime.Processes(rest[0])
	if err != nil {
		return 0, err
	}
	if format == "json" {
		return 0, printJSON(pids)
	}
	fmt.Println("PID\tCOMMAND")
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil {
			fmt.Printf("%d\t%s\n", pid, strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")))
		}
	}
	return 0, nil
}

func update(g *global, args []string) (int, error) {
	fs := flags("instar oci update [flags] CONTAINER")
	var file string
	both(fs, &file, "resources", "r", "", "file with linux.resources; - for standard input")
	res := oci.Resources{}
	memory := func() *oci.Memory {
		if res.Memory == nil {
			res.Memory = &oci.Memory{}
		}
		return res.Memory
	}
	cpu := func() *oci.CPU {
		if res.CPU == nil {
			res.CPU = &oci.CPU{}
		}
		return res.CPU
	}
	number := func(name, usage string, set func(int64)) {
		fs.Func(name, usage, func(s string) error {
			n, err := strconv.ParseInt(s, 10, 64)
			if err == nil {
				set(n)
			}
			return err
		})
	}
	number("memory", "limit in bytes", func(n int64) { memory().Limit = &n })
	number("memory-reservation", "soft limit in bytes", func(n int64) { memory().Reservation = &n })
	number("memory-swap", "limit of memory and swap in bytes", func(n int64) { memory().Swap = &n })
	number("pids-limit", "number of processes", func(n int64) { res.Pids = &oci.Pids{Limit: n} })
	number("cpu-quota", "microseconds of CPU in a period", func(n int64) { cpu().Quota = &n })
	number("cpu-period", "length of a period in microseconds", func(n int64) { u := uint64(n); cpu().Period = &u })
	number("cpu-share", "weight", func(n int64) { u := uint64(n); cpu().Shares = &u })
	fs.Func("cpuset-cpus", "CPUs", func(s string) error { cpu().Cpus = s; return nil })
	fs.Func("cpuset-mems", "memory nodes", func(s string) error { cpu().Mems = s; return nil })
	id, err := containerID(fs, args)
	if err != nil {
		return 0, err
	}
	b, err := json.Marshal(res)
	switch file {
	case "":
	case "-":
		b, err = io.ReadAll(os.Stdin)
	default:
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return 0, err
	}
	return 0, g.runtime.Update(id, b)
}

func spec(_ *global, args []string) (int, error) {
	fs := flags("instar oci spec [flags]")
	var bundle string
	both(fs, &bundle, "bundle", "b", ".", "the bundle's directory")
	if err := fs.Parse(args); err != nil {
		return 0, err
	}
	b, err := json.MarshalIndent(oci.DefaultConfig(), "", "  ")
	if err != nil {
		return 0, err
	}
	f, err := os.OpenFile(filepath.Join(bundle, "config.json"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	_, err = f.Write(append(b, '\n'))
	return 0, errors.Join(err, f.Close())
}
