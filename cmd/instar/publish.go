package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/nix/s3"
)

func publishCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Give what was built to others, in their own formats or in chunks",
	}
	cmd.AddCommand(publishOCICommand(a), publishStoreCommand(a), publishNixCommand(a), publishChunksCommand(a))
	return cmd
}

func publishNixCommand(a *app) *cobra.Command {
	var arches, trees []string
	var key, compression string
	var unsigned bool
	cmd := &cobra.Command{
		Use:   "nix-cache DIR",
		Short: "Write a binary cache for Nix out of the store",
		Long: `Writes the closures of the definition's nix trees into DIR, or adds them to the
binary cache that is there: the archives and the signed descriptions that Nix
downloads. DIR can be served by any web server, or be used as file://DIR.
--tree adds a tree of another kind as a store path of its own, which its
content names; owners, times and all modes but execution are left out, as in
every store of Nix.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			def, lk, err := a.locked()
			if err != nil {
				return err
			}
			o := assemble.NixCache{Dir: args[0], Compression: compression, Trees: trees}
			if o.Arches, err = chosenArches(def, arches); err != nil {
				return err
			}
			for _, t := range trees {
				if decl, ok := def.Trees[t]; !ok || decl.From == "nix" {
					return fmt.Errorf("--tree %s: the definition has no such tree that is not from nix", t)
				}
			}
			if o.Secret, err = nixSecret(key, unsigned); err != nil {
				return err
			}
			st, err := a.openStore()
			if err != nil {
				return err
			}
			defer st.Close()
			p, err := a.builder(st).PublishNix(cmd.Context(), def, lk, o)
			if err != nil {
				return err
			}
			return a.print(p, func(w io.Writer) error { return printPublished(w, args[0], p, o.Secret) })
		},
	}
	cmd.Flags().StringVarP(&key, "key", "k", "", "file of the secret key that signs, as instar key nix or nix-store makes it")
	cmd.Flags().BoolVar(&unsigned, "unsigned", false, "sign nothing")
	cmd.Flags().StringVar(&compression, "compression", "zstd", "zstd or none")
	cmd.Flags().StringSliceVar(&arches, "arch", nil, "architectures (default: those of the definition)")
	cmd.Flags().StringSliceVar(&trees, "tree", nil, "further tree, as a store path of its own (repeatable)")
	return cmd
}

func nixSecret(path string, unsigned bool) (*narinfo.Secret, error) {
	switch {
	case path == "" && !unsigned:
		return nil, errors.New("--key FILE is needed: Nix takes nothing unsigned; instar key nix makes a key, --unsigned does without")
	case path == "":
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := narinfo.ParseSecret(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &s, nil
}

func printPublished(w io.Writer, dir string, p *assemble.Published, s *narinfo.Secret) error {
	b := bufio.NewWriter(w)
	for _, r := range p.Roots {
		fmt.Fprintln(b, r)
	}
	fmt.Fprintf(b, "%s: %d paths; %d of them new, %s\n", dir, p.Paths, p.New, bytesText(p.Bytes))
	if s != nil {
		fmt.Fprintf(b, "signed by %s\n", s.Key())
	}
	return b.Flush()
}

func keyNixCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "nix NAME FILE",
		Short: "Make a key that signs a binary cache for Nix",
		Long: `Makes an Ed25519 key in Nix' own form. FILE, which must not be there yet, gets
the secret half. The public half, which is printed, belongs into
trusted-public-keys of nix.conf and into "keys" of nix trees. NAME is usually
the cache's host name and a number, as cache.example.org-1.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[1]); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; a key is not overwritten", args[1])
			}
			seed := make([]byte, 32)
			if _, err := rand.Read(seed); err != nil {
				return err
			}
			s, err := narinfo.NewSecret(args[0], seed)
			if err != nil {
				return err
			}
			if err := durable.WriteFile(args[1], 0o600, []byte(s.Text())); err != nil {
				return err
			}
			k := s.Key().String()
			return a.print(keyText{args[0], k}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, k)
				return err
			})
		},
	}
}

// s3Credentials are those that other programs for S3 use: of the environment,
// else of the file ~/.aws/credentials. A file that cannot be read gives none,
// and a server that wants some says so.
func s3Credentials() s3.Credentials {
	c := s3.Credentials{Key: os.Getenv("AWS_ACCESS_KEY_ID"), Secret: os.Getenv("AWS_SECRET_ACCESS_KEY"), Session: os.Getenv("AWS_SESSION_TOKEN")}
	name := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	if home, err := os.UserHomeDir(); name == "" && err == nil {
		name = filepath.Join(home, ".aws/credentials")
	}
	if text, err := os.ReadFile(name); err == nil {
		c.Profiles, _ = s3.ParseProfiles(string(text))
	}
	return c
}
