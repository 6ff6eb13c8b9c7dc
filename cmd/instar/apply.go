package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/chunk"
	origin "github.com/instar-os/instar/internal/delta/remote"
	device "github.com/instar-os/instar/internal/pid1/receive"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
)

// applying is what apply was asked to do.
type applying struct {
	file, target string
	trusted      []string
	force        bool
}

// applied is what apply prints.
type applied struct {
	System string `json:"system"`
	Slot   *int   `json:"slot,omitempty"` // of a disk, from 0
	Root   string `json:"root,omitempty"` // of a store
}

func applyCommand(a *app) *cobra.Command {
	var o applying
	cmd := &cobra.Command{
		Use:   "apply FILE TARGET",
		Short: "Apply an update to a disk or a store that nothing runs from",
		Long: `Applies FILE, an update or an index of chunks, as instar send takes it, to
TARGET: a disk or the image of one, whose next boot then tries the system (this
needs root), or the directory of a store, as instar install --prefix makes it,
where the system is put and made the machine's root. The keys are those that the
last good system of the disk trusts, or any system of the store; --trust FILE names
others for a store. It may be cut anywhere and repeated.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file, o.target = args[0], args[1]
			done, err := a.apply(cmd.Context(), o)
			if err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) error {
				if done.Slot == nil {
					_, err := fmt.Fprintf(w, "system %.12s is in the store, as %s\n", done.System, done.Root)
					return err
				}
				_, err := fmt.Fprintf(w, "system %.12s is in slot %c; the next boot tries it\n", done.System, 'a'+rune(*done.Slot))
				return err
			})
		},
	}
	cmd.Flags().StringArrayVar(&o.trusted, "trust", nil, "file with the public half of a key that is trusted, for a store (repeatable)")
	cmd.Flags().BoolVar(&o.force, "force", false, "in spite of problems that can be overruled, such as an older system")
	return cmd
}

func (a *app) apply(ctx context.Context, o applying) (*applied, error) {
	u, err := (&origin.Client{HTTP: &http.Client{}}).Parcel(ctx, o.file, a.in)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	take := func(env *update.Env) (*update.Received, error) {
		env.Force = o.force
		env.Progress = func(p update.Progress) {
			a.progress.event(assemble.Event{Stage: "apply", Done: p.Received, Total: p.Total, Bytes: true})
		}
		return receiveParcel(ctx, u, env)
	}
	info, err := os.Stat(o.target)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return applyToStore(ctx, o, u, take)
	}
	if len(o.trusted) > 0 {
		return nil, errors.New("--trust is for stores: a disk trusts what its system trusts")
	}
	staged, err := device.Offline(o.target, o.force, take)
	if err != nil {
		return nil, err
	}
	return &applied{System: staged.System, Slot: &staged.Slot}, nil
}

// receiveParcel receives an update or chunks.
func receiveParcel(ctx context.Context, u *origin.Parcel, env *update.Env) (*update.Received, error) {
	if u.Ranges == nil {
		return update.Receive(ctx, update.Source{Front: u.Front, Body: u.Outgoing.Body}, env)
	}
	return update.Pull(ctx, update.Packs{Index: u.Front, Ranges: func(list []chunk.Range) (io.Reader, error) {
		var all [][3]int64
		for _, r := range list {
			all = append(all, [3]int64{int64(r.Pack), r.Offset, r.Length})
		}
		return u.Ranges(all)
	}}, env)
}

// applyToStore takes what the machine's root names for what runs: another
// machine's system and an older one are refused.
func applyToStore(ctx context.Context, o applying, u *origin.Parcel, take func(*update.Env) (*update.Received, error)) (done *applied, err error) {
	keys, err := readTrusted(o.trusted)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(o.target, store.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	env, err := update.Offline(st, keys)
	if err != nil {
		return nil, err
	}
	done = &applied{System: u.Target.String(), Root: rootName(u.Machine, u.Arch)}
	roots, err := st.Roots()
	if err != nil {
		return nil, err
	}
	for _, r := range roots {
		if r.Name == done.Root {
			env.Running = r.System
		}
	}
	r, err := take(env)
	if err != nil {
		return nil, err
	}
	if err := r.Keep(ctx); err != nil {
		return nil, err
	}
	return done, st.SetRoot(done.Root, r.System)
}

func readTrusted(files []string) (trust.Keys, error) {
	var lines []string
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		lines = append(lines, string(b))
	}
	if lines == nil {
		return nil, nil
	}
	return trust.ParseKeys(lines)
}
