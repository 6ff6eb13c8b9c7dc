package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/provenance"
	"github.com/instar-os/instar/internal/trust"
)

func provenanceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provenance",
		Short: "Say, signed, how systems were built, and check what others say",
	}
	cmd.AddCommand(provenanceMakeCommand(a), provenanceVerifyCommand(a))
	return cmd
}

// proving is what provenance make was asked for.
type proving struct {
	keys              []string
	arch, builder, to string
}

func provenanceMakeCommand(a *app) *cobra.Command {
	var f proving
	cmd := &cobra.Command{
		Use:   "make [FILE...]",
		Short: "Sign a statement of what was built out of what",
		Long: `Builds the system of the definition and writes an in-toto statement with SLSA's
provenance in a DSSE envelope: what was made (the system, and each FILE, as a disk
image or an update), out of what (definition, lock, every package, image, closure
and download with its digest, and the trees beside the definition), and by whom.
It is signed by the keys that sign updates. The same lock gives the same bytes.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.makeProvenance(cmd.Context(), f, args)
		},
	}
	keyFlag(cmd, &f.keys)
	cmd.Flags().StringVar(&f.arch, "arch", "", "architecture (default: the definition's first)")
	cmd.Flags().StringVar(&f.builder, "builder", "https://github.com/instar-os/instar", "URI of whoever builds, which others are to believe")
	cmd.Flags().StringVar(&f.to, "to", "", "file to write (default: named after the system, with .intoto.json)")
	return cmd
}

func (a *app) makeProvenance(ctx context.Context, f proving, files []string) error {
	keys, err := readKeys(f.keys)
	if err != nil {
		return err
	}
	def, lk, err := a.locked()
	if err != nil {
		return err
	}
	arches, err := chosenArches(def, pick(f.arch))
	if err != nil {
		return err
	}
	st, err := a.openStore()
	if err != nil {
		return err
	}
	defer st.Close()
	bill, made, trees, err := a.builder(st).Provenance(ctx, def, lk, arches[0], version)
	if err != nil {
		return err
	}
	o := provenance.Options{Subjects: []provenance.Resource{made}, Definition: filepath.Base(a.file), Builder: f.builder}
	for _, name := range files {
		r, err := fileResource(name)
		if err != nil {
			return err
		}
		o.Subjects = append(o.Subjects, r)
	}
	if o.Inputs, err = a.inputFiles(); err != nil {
		return err
	}
	o.Inputs = append(o.Inputs, trees...)
	text, err := provenance.Make(bill, o)
	if err != nil {
		return err
	}
	envelope, err := trust.Seal(keys, provenance.PayloadType, text)
	if err != nil {
		return err
	}
	if f.to == "" {
		f.to = made.Name + ".intoto.json"
	}
	if err := durable.WriteFile(f.to, 0o644, envelope); err != nil {
		return err
	}
	s, err := provenance.Read(text)
	if err != nil {
		return err
	}
	return a.print(s, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %d subjects out of %d inputs, signed by %s\n", f.to, len(s.Subject), len(s.Predicate.BuildDefinition.ResolvedDependencies), keys[0].Public().ID())
		return err
	})
}

// inputFiles are the files of the definition and its lock.
func (a *app) inputFiles() ([]provenance.Resource, error) {
	file, err := a.definitionFile()
	if err != nil {
		return nil, err
	}
	var out []provenance.Resource
	for _, name := range append(file.Files, filepath.Base(a.lockPath())) {
		r, err := fileResource(filepath.Join(a.dir(), name))
		if err != nil {
			return nil, err
		}
		r.Name = name
		out = append(out, r)
	}
	return out, nil
}

// fileResource hashes a file.
func fileResource(name string) (provenance.Resource, error) {
	f, err := os.Open(name)
	if err != nil {
		return provenance.Resource{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return provenance.Resource{}, fmt.Errorf("%s: %w", name, err)
	}
	return provenance.Resource{Name: filepath.Base(name), Digest: map[string]string{"sha256": hex.EncodeToString(h.Sum(nil))}}, nil
}

// verified is what provenance verify prints.
type verified struct {
	Key     string                `json:"key"`
	Builder string                `json:"builder"`
	About   []provenance.Resource `json:"about"` // what was named and stands in it
	*provenance.Statement
}

func provenanceVerifyCommand(a *app) *cobra.Command {
	var trusted []string
	var builder string
	var inputs bool
	cmd := &cobra.Command{
		Use:   "verify STATEMENT [WHAT...]",
		Short: "Check a signed statement, and that it is about something",
		Long: `Checks that a trusted key has signed STATEMENT and that it is about each WHAT: a
file, or a system of the store. --inputs checks that the definition and the lock
that are here are those that it was built of. Without WHAT it says what the
statement is about, which is no proof of anything that you have.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			v, err := a.verifyProvenance(args[0], args[1:], trusted, builder, inputs)
			if err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) error { return printVerified(w, v) })
		},
	}
	cmd.Flags().StringArrayVar(&trusted, "trust", nil, "file of a public key that is trusted (repeatable)")
	cmd.Flags().StringVar(&builder, "builder", "", "URI that the builder must have")
	cmd.Flags().BoolVar(&inputs, "inputs", false, "compare the definition and the lock that are here")
	return cmd
}

func (a *app) verifyProvenance(name string, what, trusted []string, builder string, inputs bool) (*verified, error) {
	keys, err := readTrusted(trusted)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("no key is trusted; name one: --trust FILE")
	}
	text, err := readLimited(name, trust.MaxEnvelope)
	if err != nil {
		return nil, err
	}
	payload, id, err := keys.OpenEnvelope(text, provenance.PayloadType)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s, err := provenance.Read(payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v := &verified{id.String(), s.Predicate.RunDetails.Builder.ID, []provenance.Resource{}, s}
	if builder != "" && builder != v.Builder {
		return nil, fmt.Errorf("%s: it is of builder %s, not %s", name, v.Builder, builder)
	}
	for _, w := range what {
		r, err := a.subject(s, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		v.About = append(v.About, r)
	}
	if !inputs {
		return v, nil
	}
	files, err := a.inputFiles()
	if err != nil {
		return nil, err
	}
	if missing := s.Missing(files); len(missing) > 0 {
		return nil, fmt.Errorf("%s: it was built of another %s", name, strings.Join(missing, " and another "))
	}
	return v, nil
}

// subject finds a file or a system among the subjects.
func (a *app) subject(s *provenance.Statement, what string) (provenance.Resource, error) {
	path := what
	if _, err := os.Stat(what); err != nil {
		st, err := a.openStore()
		if err != nil {
			return provenance.Resource{}, err
		}
		defer st.Close()
		d, err := findSystem(st, what)
		if err != nil {
			return provenance.Resource{}, fmt.Errorf("%s is neither a file nor a system: %w", what, err)
		}
		path = st.SystemPath(d)
	}
	r, err := fileResource(path)
	if err != nil {
		return r, err
	}
	if about, ok := s.About(r.Digest["sha256"]); ok {
		return about, nil
	}
	return r, fmt.Errorf("it is not about %s, which has SHA-256 %s", what, r.Digest["sha256"])
}

func printVerified(w io.Writer, v *verified) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "signed by\t%s\nbuilder\t%s\n", v.Key, printable(v.Builder))
	word, list := "verified", v.About
	if len(list) == 0 {
		word, list = "speaks of", v.Subject
	}
	for _, r := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", word, printable(r.Name), printable(r.Digest["sha256"]))
	}
	fmt.Fprintf(tw, "built of\t%d inputs\n", len(v.Predicate.BuildDefinition.ResolvedDependencies))
	return tw.Flush()
}
