package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/trust"
)

func keyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make the keys that sign updates",
	}
	cmd.AddCommand(keyNewCommand(a), keyShowCommand(a), keyNixCommand(a))
	return cmd
}

// keyText is a key as it is printed.
type keyText struct {
	ID     string `json:"id"`
	Public string `json:"public"`
}

func (a *app) printKey(k trust.Private) error {
	t := keyText{k.Public().ID().String(), k.Public().String()}
	return a.print(t, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, t.Public)
		return err
	})
}

func keyNewCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "new FILE",
		Short: "Make a key, keep its private half in a file and print the public half",
		Long: `Makes an Ed25519 key. FILE, which must not be there yet, gets the private half;
whoever has it can make updates for machines that trust the key. The public
half, which is printed, belongs into the definition: update: {keys: [...]}.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[0]); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; a key is not overwritten", args[0])
			}
			k, err := trust.NewKey(rand.Reader)
			if err != nil {
				return err
			}
			if err := durable.WriteFile(args[0], 0o600, k.File()); err != nil {
				return err
			}
			return a.printKey(k)
		},
	}
}

func keyShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Print the public half of a key",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := readKey(args[0])
			if err != nil {
				return err
			}
			return a.printKey(k)
		},
	}
}

func readKey(path string) (trust.Private, error) {
	f, err := os.Open(path)
	if err != nil {
		return trust.Private{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, trust.MaxFile+1))
	if err != nil {
		return trust.Private{}, err
	}
	k, err := trust.ParsePrivate(string(b))
	if err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// readKeys reads the keys that shall sign; INSTAR_KEY names one when no flag does.
func readKeys(paths []string) ([]trust.Private, error) {
	if len(paths) == 0 {
		if path := os.Getenv("INSTAR_KEY"); path != "" {
			paths = []string{path}
		}
	}
	if len(paths) == 0 {
		return nil, errNoKey
	}
	var keys []trust.Private
	for _, p := range paths {
		k, err := readKey(p)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// errNoKey says that an update needs a key to sign it.
var errNoKey = errors.New("no key to sign the update with")

// keyFlag adds the flag that names the keys that sign.
func keyFlag(cmd *cobra.Command, keys *[]string) {
	cmd.Flags().StringArrayVarP(keys, "key", "k", nil, "file of a private key that signs (INSTAR_KEY; repeatable)")
}
