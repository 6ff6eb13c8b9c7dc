package main

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/config"
)

//go:embed all:template
var template embed.FS

// machineName is what `machine:` accepts.
var machineName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func initCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "init NAME",
		Short: "Make a directory with a first machine",
		Long: `Makes the directory NAME with a machine definition that builds and boots as it
is: a web server from Debian packages in the configuration main, and a rescue
fallback. Existing files are never replaced.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := args[0]
			name := strings.ToLower(filepath.Base(filepath.Clean(dir)))
			if !machineName.MatchString(name) {
				return fmt.Errorf("%q cannot name a machine: lower-case letters, digits and dashes, beginning with a letter", name)
			}
			files, err := templateFiles(name)
			if err != nil {
				return err
			}
			return a.writeNew(dir, files, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be written")
	return cmd
}

type newFile struct {
	path string
	text []byte
}

func templateFiles(name string) ([]newFile, error) {
	var out []newFile
	err := fs.WalkDir(template, "template", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(template, p)
		if err != nil {
			return err
		}
		out = append(out, newFile{
			path: strings.TrimPrefix(p, "template/"),
			text: []byte(strings.ReplaceAll(string(text), "@MACHINE@", name)),
		})
		return nil
	})
	return out, err
}

// writeNew writes files below dir, none of which may exist.
func (a *app) writeNew(dir string, files []newFile, dryRun bool) error {
	for _, f := range files {
		p := filepath.Join(dir, filepath.FromSlash(f.path))
		if _, err := os.Lstat(p); err == nil {
			return fmt.Errorf("%s exists already; nothing was written", p)
		}
	}
	for _, f := range files {
		p := filepath.Join(dir, filepath.FromSlash(f.path))
		fmt.Fprintln(a.out, p)
		if dryRun {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, f.text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func validateCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE...]",
		Short: "Check machine definitions",
		Long:  "Reads the definitions and reports every error at once, each with its line, the reason and a hint.",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{a.file}
			}
			bad := false
			for _, name := range args {
				a.file = name
				def, err := a.definition()
				var errs *config.Errors
				switch {
				case errors.As(err, &errs):
					bad = true
					if err := a.reportErrors(errs); err != nil {
						return err
					}
				case err != nil:
					return err
				case !a.json():
					fmt.Fprintf(a.out, "%s: machine %s is valid: %d containers in %d configurations\n",
						name, def.Machine, len(def.Containers), len(def.Configurations))
					a.notes(def)
				}
			}
			if bad {
				return exitCode(1)
			}
			return nil
		},
	}
}

// notes tells what a definition gives up.
func (a *app) notes(def *config.Definition) {
	for _, n := range def.Notes() {
		fmt.Fprintf(a.err, "note: %s\n", n)
	}
}

func (a *app) reportErrors(errs *config.Errors) error {
	return a.print(errs, func(io.Writer) error {
		_, err := fmt.Fprintln(a.err, errs.Error())
		return err
	})
}

func explainCommand(a *app) *cobra.Command {
	var image bool
	cmd := &cobra.Command{
		Use:   "explain [PATH]",
		Short: "Explain a key of the definition",
		Long: `Explains the key at PATH, as in

  instar explain containers.broker.health
  instar explain boot.slotSize

Names of your own (broker) and * both stand for any name.

With --image PATH is a container of this definition, as containers.panel, and
what is printed is what its OCI image says of it, and whether the definition says
otherwise.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if image {
				return a.explainImage(cmd, args)
			}
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			e, err := config.Explain(path)
			if err != nil {
				return err
			}
			return a.print(e, func(w io.Writer) error { return printExplanation(w, e) })
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var paths []string
			for _, f := range config.Fields() {
				paths = append(paths, f.Path)
			}
			return paths, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVar(&image, "image", false, "what the OCI image of a container says of it")
	return cmd
}

func printExplanation(w io.Writer, e config.Explanation) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if e.Path != "" {
		fmt.Fprintf(tw, "%s\t%s\n", e.Path, e.Type)
	}
	fmt.Fprintf(tw, "\t%s\n", e.Doc)
	for _, row := range [][2]string{
		{"default", e.Default}, {"allowed", strings.Join(e.Allowed, ", ")}, {"least", e.Min}, {"most", e.Max},
		{"form", e.Form}, {"names", e.Keys}, {"example", e.Example},
	} {
		if row[1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", row[0], row[1])
		}
	}
	if e.Required {
		fmt.Fprintln(tw, "required\tyes")
	}
	if len(e.Children) > 0 {
		fmt.Fprintln(tw, "\t\nKEY\tTYPE\tMEANING")
	}
	for _, c := range e.Children {
		name := c.Path[strings.LastIndexByte(c.Path, '.')+1:]
		fmt.Fprintf(tw, "%s\t%s\t%s\n", name, c.Type, c.Doc)
	}
	return tw.Flush()
}

func schemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the definition",
		Long:  "Prints the JSON Schema (2020-12) of instar.yaml, for editors.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(config.Schema())
			return err
		},
	}
}
