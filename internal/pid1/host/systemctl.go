package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// systemctl is the program that systemd is asked with.
const systemctl = "/usr/bin/systemctl"

// Run runs systemctl with arguments and returns its standard output.
type Run func(ctx context.Context, args ...string) (string, error)

// Limits of an answer.
const (
	askLimit = 10 * time.Second
	maxSaid  = 1 << 20 // bytes
)

// Systemctl is a Run on the host.
func Systemctl(ctx context.Context, args ...string) (string, error) {
	out, err := output(ctx, append([]string{systemctl}, args...))
	if err != nil {
		return out, fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// output runs a program and returns what it prints, which explains a failure.
func output(ctx context.Context, args []string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := os.StartProcess(args[0], args, &os.ProcAttr{Env: []string{"LC_ALL=C.UTF-8"}, Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() {
		p.Kill()
		r.SetReadDeadline(time.Now())
	})
	defer stop()
	text, err := io.ReadAll(io.LimitReader(r, maxSaid))
	st, waited := p.Wait()
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil || waited != nil:
		return "", errors.Join(err, waited)
	case !st.Success():
		return string(text), fmt.Errorf("%v: %s", st, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

// properties reads what systemctl show prints: a block of NAME=VALUE for each
// unit, with an empty line in between.
func properties(text string) []map[string]string {
	var all []map[string]string
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		m := map[string]string{}
		for line := range strings.Lines(block) {
			if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
				m[name] = value
			}
		}
		all = append(all, m)
	}
	return all
}

// unitProperties are what a container's state follows from.
const unitProperties = "--property=Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus,Job,StateChangeTimestamp"

// show asks for the properties of units, by name.
func (c *Control) show(ctx context.Context) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	names := units(c.Configuration)
	if len(names) == 0 {
		return out, nil
	}
	text, err := c.Run(ctx, append([]string{"show", "--timestamp=unix", unitProperties}, names...)...)
	if err != nil {
		return nil, err
	}
	for _, m := range properties(text) {
		out[m["Id"]] = m
	}
	return out, nil
}

// failed returns systemd's word for the state of the host and the units that
// have failed.
func (c *Control) failed(ctx context.Context) (state string, names []string, err error) {
	text, err := c.Run(ctx, "show", "--property=SystemState,NFailedUnits")
	if err != nil {
		return "", nil, err
	}
	m := properties(text)[0]
	if m["NFailedUnits"] == "0" {
		return m["SystemState"], nil, nil
	}
	list, err := c.Run(ctx, "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return "", nil, err
	}
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 0 {
			names = append(names, f[0])
		}
	}
	return m["SystemState"], names, nil
}
