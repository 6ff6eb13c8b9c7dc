package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/bom/advisory"
)

// checking is what vulnerabilities was asked for.
type checking struct {
	data, ignore, release, arch string
	fixable, all                bool
}

// checked is the report of one place.
type checked struct {
	Where string `json:"where"`
	*advisory.Report
}

func vulnerabilitiesCommand(a *app) *cobra.Command {
	var f checking
	cmd := &cobra.Command{
		Use:   "vulnerabilities --data FILE [WHERE...]",
		Short: "Tell which known vulnerabilities systems have",
		Long: `Compares packages with what FILE knows of vulnerabilities. Nothing is asked of the
network. FILE is the JSON of Debian's security tracker (plain or gzip), or records of
OSV: one, a directory of them, or a zip archive of them.

` + placesHelp + `
Default: the system of the definition, which is built.

The file of --ignore has lines of ID, source package or *, the last day that it holds
on, and the reason:

  CVE-2025-1234 openssl 2027-01-31 the server is not started

Exits with 0 when nothing is open, with 3 when something is, and with 1 when that
could not be found out. What Debian calls unimportant, what nobody has determined
yet and what is ignored is not open; --all lists it too.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.data == "" {
				return errors.New("--data FILE is missing: instar asks nobody; bring the data here first")
			}
			return a.vulnerabilities(cmd.Context(), f, args)
		},
	}
	cmd.Flags().StringVar(&f.data, "data", "", "file or directory of what is known")
	cmd.Flags().StringVar(&f.ignore, "ignore", "", "file of what does not matter here")
	cmd.Flags().StringVar(&f.release, "release", "", "codename of the release that packages are of, as trixie, where WHERE does not tell")
	cmd.Flags().StringVar(&f.arch, "arch", "", "architecture of the definition (default: its first)")
	cmd.Flags().BoolVar(&f.fixable, "fixable", false, "count only what a newer version mends")
	cmd.Flags().BoolVar(&f.all, "all", false, "list what is not open too")
	return cmd
}

func (a *app) vulnerabilities(ctx context.Context, f checking, names []string) error {
	var ignores []advisory.Ignore
	if f.ignore != "" {
		text, err := readLimited(f.ignore, 16<<20)
		if err != nil {
			return err
		}
		if ignores, err = advisory.ParseIgnores(string(text)); err != nil {
			return fmt.Errorf("%s: %w", f.ignore, err)
		}
	}
	all, err := a.suspects(ctx, f, names)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, p := range all {
		for name := range advisory.Names(p.subjects) {
			want[name] = true
		}
	}
	data, err := readAdvisories(f.data, want)
	if err != nil {
		return fmt.Errorf("%s: %w", f.data, err)
	}
	open := 0
	out := []checked{}
	for _, p := range all {
		r := advisory.Check(p.subjects, data, ignores, time.Now())
		r.Findings = slices.DeleteFunc(r.Findings, func(x advisory.Finding) bool {
			return !f.all && x.Status != advisory.Open || f.fixable && x.Status == advisory.Open && x.Fixed == ""
		})
		open += r.Open()
		out = append(out, checked{p.name, r})
	}
	if err := a.print(out, func(w io.Writer) error { return printChecked(w, out) }); err != nil {
		return err
	}
	if open > 0 {
		return exitCode(codeOther)
	}
	return nil
}

// suspects are the packages to compare, each with the release that it is of.
func (a *app) suspects(ctx context.Context, f checking, names []string) ([]place, error) {
	var all []place
	if len(names) == 0 {
		bill, err := a.bill(ctx, billing{arch: f.arch})
		if err != nil {
			return nil, err
		}
		all = []place{{name: bill.Machine + "-" + bill.Arch, system: bill.System.String(), subjects: bill.Subjects()}}
	} else {
		var err error
		if all, err = a.places(ctx, names); err != nil {
			return nil, err
		}
	}
	for _, p := range all {
		for i := range p.subjects {
			s := &p.subjects[i]
			if s.Release == "" {
				s.Release = f.release
			}
			if s.Kind == bom.Deb && s.Release == "" {
				return nil, fmt.Errorf("%s does not tell which release of Debian %s %s is of; name it, as --release trixie", p.name, s.Name, s.Version)
			}
		}
	}
	return all, nil
}

// readAdvisories finds out what a file is, and reads it.
func readAdvisories(name string, want map[string]bool) (*advisory.Data, error) {
	if isDir(name) {
		return advisory.ReadOSV(os.DirFS(name), want)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	head, _ := r.Peek(4096)
	switch {
	case bytes.HasPrefix(head, []byte("PK")):
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		z, err := zip.NewReader(f, info.Size())
		if err != nil {
			return nil, err
		}
		return advisory.ReadOSV(z, want)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return advisory.ReadTracker(z, want)
	case advisory.IsOSV(head):
		return advisory.ReadOSVFile(r, want)
	}
	return advisory.ReadTracker(r, want)
}

func printChecked(w io.Writer, all []checked) error {
	for _, c := range all {
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		for _, f := range c.Findings {
			mend := "no fix yet"
			if f.Fixed != "" {
				mend = "fixed in " + f.Fixed
			}
			words := []string{f.Urgency, f.Note}
			if f.Status == advisory.Ignored {
				words = []string{"until " + f.Until + ": " + f.Reason}
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s %s\t%s\t%s\t%s\n", c.Where, f.Status, f.ID, f.Source, f.Version, mend, strings.Join(f.In, " "),
				strings.Trim(strings.Join(words, ", "), ", "))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s: %d packages checked, %d open\n", c.Where, c.Checked, c.Open())
		if len(c.Left) > 0 {
			fmt.Fprintf(w, "not checked, since the data does not speak of them: %s\n", strings.Join(c.Left, ", "))
		}
		for _, l := range c.Expired {
			fmt.Fprintf(w, "ignored no longer: %s\n", l)
		}
		for _, l := range c.Unused {
			fmt.Fprintf(w, "ignored for nothing: %s\n", l)
		}
	}
	return nil
}
