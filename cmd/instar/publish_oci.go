package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/ociimage"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/store"
)

// ociFlags are the flags of publish oci.
type ociFlags struct {
	assemble.OCIOptions
	tag, compression string
	arches           []string
	annotations      map[string]string
	dryRun           bool
}

// publishedOCI is what publish oci prints.
type publishedOCI struct {
	*ociimage.Written
	To     string           `json:"to"`
	Pushed *ociimage.Pushed `json:"pushed,omitempty"`
	Unsaid []string         `json:"unsaid,omitempty"` // declared, and nothing that an image can say
}

func publishOCICommand(a *app) *cobra.Command {
	var f ociFlags
	cmd := &cobra.Command{
		Use:   "oci TO",
		Short: "Write the system, or one container, as an OCI image",
		Long: `TO is a name in a registry, as registry.example.org/panel:1.0, a directory, which
becomes an OCI layout or gets a further image, or a file ending in .tar, which
becomes an OCI archive. A directory or file begins with . or /.

With --container the image is that container: its files, its command, user,
environment, directory, stop signal, data as volumes, and its health check when it
is a command. Without, it is the whole system: its store and its init, which
becomes process 1 of a privileged container and starts the configuration's
containers within.

Every package has its own layer, as far as --layers allows, the ones that most trees
share at the bottom, so that a new version shares what did not change. The same
lock gives the same bytes. Several architectures become one index.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := a.publishOCI(cmd.Context(), args[0], f)
			if err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) error { return printOCI(w, out) })
		},
	}
	cmd.Flags().StringVar(&f.Container, "container", "", "container to publish (default: the whole system)")
	cmd.Flags().StringVar(&f.tag, "tag", "", "name of the image in a layout or archive")
	cmd.Flags().StringSliceVar(&f.arches, "arch", nil, "architectures (default: those of the definition)")
	cmd.Flags().IntVar(&f.Layers, "layers", ociimage.DefaultLayers, "largest number of layers")
	cmd.Flags().StringVar(&f.compression, "compression", "gzip", "of layers: gzip, zstd or none")
	cmd.Flags().StringToStringVar(&f.annotations, "annotation", nil, "annotation of the manifest, KEY=VALUE (repeatable)")
	cmd.Flags().BoolVar(&f.Bootable, "bootable", false, "of a system: kernel, initrd and boot loader too, which a container does not need")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say which layers there would be")
	return cmd
}

func (a *app) publishOCI(ctx context.Context, to string, f ociFlags) (*publishedOCI, error) {
	def, lk, err := a.locked()
	if err != nil {
		return nil, err
	}
	arches, err := chosenArches(def, f.arches)
	if err != nil {
		return nil, err
	}
	local := strings.HasPrefix(to, ".") || filepath.IsAbs(to)
	var ref oci.Reference
	if !local {
		if ref, err = oci.ParseReference(to); err != nil {
			return nil, fmt.Errorf("%w; a directory or file begins with . or /", err)
		}
		if f.tag != "" || ref.SHA256 != "" {
			return nil, fmt.Errorf("%s: write the tag, and no digest, as registry.example.org/panel:1.0", to)
		}
	}
	st, err := a.openStore()
	if err != nil {
		return nil, err
	}
	defer st.Close()
	b := a.builder(st)
	f.OCIOptions.Annotations = f.annotations
	out := &publishedOCI{To: to}
	var images []ociimage.Image
	for _, arch := range arches {
		img, _, unsaid, err := b.OCIImage(ctx, def, lk, arch, f.OCIOptions)
		if err != nil {
			return nil, err
		}
		images, out.Unsaid = append(images, *img), unsaid
	}
	if f.dryRun {
		out.Written = &ociimage.Written{}
		for _, img := range images {
			out.Images = append(out.Images, ociimage.Part{Arch: img.Arch, Layers: img.Layers})
		}
		return out, nil
	}
	a.progress.event(assemble.Event{Stage: "image", Item: to})
	return out, a.writeOCI(ctx, b, images, to, local, ref, f, out)
}

// writeOCI writes a layout, in a directory of its own where something else is
// made of it.
func (a *app) writeOCI(ctx context.Context, b *assemble.Builder, images []ociimage.Image, to string, local bool, ref oci.Reference, f ociFlags, out *publishedOCI) error {
	dir := to
	archive := local && filepath.Ext(to) == ".tar"
	if archive || !local {
		tmp, err := os.MkdirTemp(a.cacheDir, "publish-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	var err error
	if out.Written, err = ociimage.Write(ctx, dir, images, ociimage.Options{Name: f.tag, Compression: f.compression}); err != nil {
		return err
	}
	switch {
	case archive:
		return ociimage.Archive(ctx, dir, to)
	case !local:
		out.Pushed, err = ociimage.Push(ctx, b.Fetch.HTTP, dir, out.Written, ref)
		return err
	}
	return nil
}

func printOCI(w io.Writer, p *publishedOCI) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, part := range p.Images {
		fmt.Fprintf(tw, "linux/%s\t%d layers\t%s\t%s\n", part.Arch, len(part.Layers), bytesText(part.Bytes), part.Digest)
		if p.Digest != "" {
			continue
		}
		for _, l := range part.Layers {
			name := strings.Join(l.Groups, ", ")
			if name == "" {
				name = "what belongs to no package"
			}
			fmt.Fprintf(tw, "\t%s\t%d files\t%s\n", bytesText(l.Bytes), l.Files, name)
		}
	}
	if p.Digest != "" {
		fmt.Fprintf(tw, "%s\t\t\t%s\n", p.To, p.Digest)
	}
	if p.Pushed != nil {
		fmt.Fprintf(tw, "sent %d blobs, %s; %d were there\n", p.Pushed.Blobs, bytesText(p.Pushed.Bytes), p.Pushed.Present)
	}
	if len(p.Unsaid) > 0 {
		fmt.Fprintf(tw, "left to who runs it: %s\n", strings.Join(p.Unsaid, ", "))
	}
	return tw.Flush()
}

func publishStoreCommand(a *app) *cobra.Command {
	var arch string
	var bootable bool
	cmd := &cobra.Command{
		Use:   "store DIR",
		Short: "Bring the system into the store of a container",
		Long: `Copies what is missing into the store in DIR, which is made when it is not there, and
makes this system the one that a container with that store starts next: the
update of a system that runs in a container, while that one is stopped. What DIR
had before stays; instar --store DIR store gc removes what no root needs.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			def, lk, err := a.locked()
			if err != nil {
				return err
			}
			arches, err := chosenArches(def, pick(arch))
			if err != nil {
				return err
			}
			res, st, err := a.system(cmd.Context(), def, lk, arches[0])
			if err != nil {
				return err
			}
			defer st.Close()
			to, err := store.Open(args[0], store.Options{})
			if err != nil {
				return err
			}
			defer to.Close()
			did, err := a.builder(st).PublishStore(cmd.Context(), res, to, bootable)
			if err != nil {
				return err
			}
			return a.print(struct {
				System string       `json:"system"`
				Copied store.Amount `json:"copied"`
			}{res.Digest.String(), did}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s: %s; %d files copied, %s\n", args[0], res.Digest, did.Files, bytesText(did.Bytes))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&arch, "arch", "", "architecture (default: the first of the definition)")
	cmd.Flags().BoolVar(&bootable, "bootable", false, "kernel, initrd and boot loader too")
	return cmd
}
