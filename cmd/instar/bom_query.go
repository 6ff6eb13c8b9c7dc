package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
)

// codeOther is the exit code of an answer that scripts act upon, apart from 1,
// which is an error: nothing carries the package; something is vulnerable.
const codeOther = 3

// place is where packages are: a system, a machine that runs one, a bill.
type place struct {
	name     string
	system   string // digest; "" of a bill
	subjects []bom.Subject
}

const placesHelp = `WHERE are bills of material in SPDX or CycloneDX (files), systems of the store (a
digest, its beginning, or a name as greenhouse-amd64), and machines: the path of a
control socket, the name of a machine that instar vm runs here, or ssh:HOST. A
machine is asked what it runs; that system must be in the store.`

// carried is a package that answers a query.
type carried struct {
	Where  string `json:"where"`
	System string `json:"system,omitempty"`
	bom.Subject
}

func bomQueryCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "query QUERY [WHERE...]",
		Short: "Tell which systems, machines and bills carry a package",
		Long: `QUERY is the name of a package or of its source package, alone or with a version
as "openssl<3.0.16"; versions are compared as dpkg does.

` + placesHelp + `
Default: every system that is a root of the store.

Exits with 0 when something carries it, with 3 when nothing does, and with 1 when
that could not be found out.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := bom.ParseQuery(args[0])
			if err != nil {
				return err
			}
			all, err := a.places(cmd.Context(), args[1:])
			if err != nil {
				return err
			}
			found := []carried{}
			for _, p := range all {
				for _, s := range p.subjects {
					if q.Matches(s) {
						found = append(found, carried{p.name, p.system, s})
					}
				}
			}
			if err := a.print(found, func(w io.Writer) error { return printCarried(w, found) }); err != nil {
				return err
			}
			if len(found) == 0 {
				return exitCode(codeOther)
			}
			return nil
		},
	}
}

func printCarried(w io.Writer, found []carried) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range found {
		source := ""
		if c.Source != "" && (c.Source != c.Name || c.SourceVersion != c.Version) {
			source = "of " + c.Source + " " + c.SourceVersion
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", c.Where, c.Name, c.Version, source, strings.Join(c.In, " "))
	}
	return tw.Flush()
}

// places finds the packages of what was named; of the store's roots when
// nothing was.
func (a *app) places(ctx context.Context, names []string) ([]place, error) {
	st, err := a.openStore()
	if err != nil {
		return nil, err
	}
	defer st.Close()
	if len(names) == 0 {
		roots, err := st.Roots()
		if err != nil {
			return nil, err
		}
		for _, r := range roots {
			names = append(names, r.Name)
		}
	}
	var all []place
	for _, n := range names {
		p, err := a.place(ctx, st, n)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (a *app) place(ctx context.Context, st *store.Store, name string) (place, error) {
	p := place{name: name}
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		text, err := readLimited(name, bom.MaxBill)
		if err != nil {
			return p, err
		}
		if _, p.subjects, err = bom.Read(text); err != nil {
			return p, fmt.Errorf("%s: %w", name, err)
		}
		return p, nil
	}
	d, err := findSystem(st, name)
	if err != nil {
		if d, err = a.running(ctx, name, err); err != nil {
			return p, err
		}
	}
	p.system = d.String()
	m, err := st.System(d)
	if err != nil {
		return p, fmt.Errorf("%s runs system %s, which the store has not: %w", name, d.Short(), err)
	}
	p.subjects, err = bom.OfSystem(st, m)
	return p, err
}

// running asks a machine what it runs. unknown is why its name is no system's.
func (a *app) running(ctx context.Context, name string, unknown error) (digest.Digest, error) {
	c, err := a.dial(ctx, name)
	if err != nil {
		return digest.Digest{}, fmt.Errorf("%s is neither a file nor a system nor a machine: %w", name, errors.Join(unknown, err))
	}
	defer c.Close()
	return running(ctx, c)
}

// readLimited reads a file that must not be larger than limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %s", name, bytesText(limit))
	}
	return b, err
}
