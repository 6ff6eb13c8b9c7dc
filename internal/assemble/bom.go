package assemble

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/bom/licence"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/deb/control"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// BOMOptions say what a bill of material is of.
type BOMOptions struct {
	Container string // "": the whole system
	Files     bool   // with each file and its digests
	Tool      string // version of instar
}

// BOM builds the system of one architecture and says what it, or one of its
// containers, is made of.
func (b *Builder) BOM(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string, o BOMOptions) (*bom.Bill, *Result, error) {
	res, err := b.System(ctx, def, lk, arch)
	if err != nil {
		return nil, nil, err
	}
	g := &gathering{b: b, def: def, lk: lk, arch: arch, res: res, o: o, owners: map[string]string{}, inTree: map[string][]string{}}
	g.bill = &bom.Bill{Machine: def.Machine, Arch: arch, Container: o.Container, System: res.Digest, Epoch: lk.Epoch, Tool: o.Tool}
	if text, err := lk.Format(); err == nil {
		sum := sha256.Sum256(text)
		g.bill.Lock = hex.EncodeToString(sum[:])
	}
	if err := g.groups(); err != nil {
		return nil, nil, err
	}
	for _, step := range []func(context.Context) error{g.packages, g.images, g.closures, g.downloads, g.program} {
		if err := step(ctx); err != nil {
			return nil, nil, fmt.Errorf("bill of material of %s: %w", def.Machine, err)
		}
	}
	g.contents()
	if o.Files {
		if err := g.files(ctx); err != nil {
			return nil, nil, fmt.Errorf("bill of material of %s: %w", def.Machine, err)
		}
	}
	g.bill.Sort()
	return g.bill, res, nil
}

// gathering is a bill in the making.
type gathering struct {
	b      *Builder
	def    *config.Definition
	lk     *lock.Lock
	arch   string
	res    *Result
	o      BOMOptions
	bill   *bom.Bill
	trees  map[string][]string // of groups, by kind and name
	used   []string            // names of all of them
	owners map[string]string   // IDs of components by the owners of entries
	inTree map[string][]string // IDs by tree; "kernel" and "boot" as well
}

// groups lists what is started together, and the trees that each is made of.
func (g *gathering) groups() error {
	found := map[string]*bom.Group{}
	g.trees = map[string][]string{}
	add := func(kind, name string, image system.Object, conf string, trees []string) {
		key := kind + " " + name
		if found[key] == nil {
			found[key] = &bom.Group{Kind: kind, Name: name, Image: image.Digest}
			g.trees[key] = trees
		}
		found[key].Configurations = append(found[key].Configurations, conf)
	}
	for _, c := range g.res.Manifest.Configurations {
		for _, ct := range c.Containers {
			if g.o.Container == "" || g.o.Container == ct.Name {
				add("container", ct.Name, ct.Image, c.Name, g.def.Containers[ct.Name].Trees)
			}
		}
		if c.Host != nil && g.o.Container == "" {
			add("host", c.Name, c.Host.Image, c.Name, g.hostTrees(c.Name))
		}
	}
	if g.o.Container == "" {
		found["boot"] = &bom.Group{Kind: "boot", Name: "boot"}
		g.trees["boot boot"] = []string{"kernel", "boot"}
		if g.def.Boot.Files != "" {
			g.trees["boot boot"] = append(g.trees["boot boot"], g.def.Boot.Files)
		}
	} else if len(found) == 0 {
		_, err := findContainer(g.res.Manifest, g.o.Container)
		return err
	}
	for _, group := range found {
		g.bill.Groups = append(g.bill.Groups, *group)
	}
	for _, trees := range g.trees {
		g.used = append(g.used, trees...)
	}
	slices.Sort(g.used)
	g.used = slices.Compact(g.used)
	return nil
}

// hostTrees are the trees of a configuration's host. One that a NixOS system
// brought has those of the configuration that it came from.
func (g *gathering) hostTrees(conf string) []string {
	if c, ok := g.def.Configurations[conf]; ok && c.Host != nil {
		return c.Host.Trees
	}
	return usedHostTrees(g.def)
}

// put adds a component, held by trees. A second of the same ID adds its trees.
func (g *gathering) put(c bom.Component, trees ...string) string {
	for _, t := range trees {
		g.inTree[t] = append(g.inTree[t], c.ID)
	}
	for i := range g.bill.Components {
		if old := &g.bill.Components[i]; old.ID == c.ID {
			old.Trees = append(old.Trees, trees...)
			return c.ID
		}
	}
	c.Trees = append(c.Trees, trees...)
	g.bill.Components = append(g.bill.Components, c)
	return c.ID
}

// contents says which components each group has.
func (g *gathering) contents() {
	for i := range g.bill.Groups {
		group := &g.bill.Groups[i]
		for _, t := range g.trees[group.Kind+" "+group.Name] {
			group.Components = append(group.Components, g.inTree[t]...)
		}
	}
}

// packages adds the Debian packages of the used trees, of the kernel and of what boots.
func (g *gathering) packages(ctx context.Context) error {
	in := g.lk.Arches[g.arch]
	holders := map[string][]string{}
	bySum := map[string]lock.Package{}
	take := func(holder string, all []lock.Package) {
		for _, p := range all {
			holders[p.SHA256] = append(holders[p.SHA256], holder)
			bySum[p.SHA256] = p
		}
	}
	for _, t := range g.used {
		switch t {
		case "kernel":
			take(t, pinnedOf(in, in.Kernel))
		case "boot":
			take(t, pinnedOf(in, in.Boot))
		default:
			take(t, in.Tree(t))
		}
	}
	var want []lock.Package
	for _, sum := range slices.Sorted(maps.Keys(bySum)) {
		want = append(want, bySum[sum])
	}
	slices.SortFunc(want, func(x, y lock.Package) int { return strings.Compare(x.String(), y.String()) })
	unpacked, err := g.b.unpack(ctx, g.def, want)
	if err != nil {
		return err
	}
	paths, err := g.b.fetchPackages(ctx, g.def, want)
	if err != nil {
		return err
	}
	needs := needed{byName: map[string][]int{}}
	for i, p := range want {
		c, fields, err := g.debComponent(ctx, p, paths[i])
		if err != nil {
			return err
		}
		if c.Licence, err = g.licence(unpacked[p.SHA256], unpacked); err != nil {
			return err
		}
		g.owners[unpacked[p.SHA256].String()] = c.ID
		needs.add(c, fields)
		g.put(c, holders[p.SHA256]...)
	}
	return needs.resolve(g.bill)
}

func pinnedOf(in *lock.Inputs, refs []string) []lock.Package {
	var out []lock.Package
	for _, ref := range refs {
		if p, ok := in.Find(ref); ok {
			out = append(out, p)
		}
	}
	return out
}

// debComponent reads what a package's archive says of it.
func (g *gathering) debComponent(ctx context.Context, p lock.Package, file string) (c bom.Component, fields map[string]string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return c, nil, err
	}
	defer f.Close()
	text, err := dpkg.ReadControl(ctx, f, p.Size)
	if err != nil {
		return c, nil, fmt.Errorf("package %s: %w", p, err)
	}
	para, err := control.NewReader(bytes.NewReader(text)).Next()
	if err == nil {
		c, err = bom.DebComponent(para)
	}
	if err != nil {
		return c, nil, fmt.Errorf("package %s: %w", p, err)
	}
	fields = map[string]string{}
	for _, name := range []string{"Pre-Depends", "Depends", "Provides"} {
		fields[name] = para.Get(name)
	}
	src := g.def.Sources[p.Source]
	namespace, base, err := archiveName(p.Source, src.Archive)
	if err != nil {
		return c, nil, err
	}
	c.ID = bom.NewID("deb", c.Name, c.Version, c.Arch)
	c.Release, _, _ = strings.Cut(first(src.Suites), "-")
	c.SHA256, c.Location = p.SHA256, base+"/"+p.Path
	c.PURL = bom.DebPURL(namespace, &c)
	return c, fields, nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// archiveName is the distribution of an archive and the address that everybody
// has it at, wherever this host takes it from.
func archiveName(source, archive string) (namespace, base string, err error) {
	base, err = deb.Address(archive, deb.HostConfig{})
	if archive == "debian" || archive == "debian-security" {
		source = "debian"
	}
	return source, strings.TrimSuffix(base, "/"), err
}

// licence reads the copyright file of a package, which may stand in another
// package that its documentation is a link to.
func (g *gathering) licence(p *dpkg.Package, all map[string]*dpkg.Package) (licence.Licence, error) {
	name := p.Control.Name
	e, ok := p.Tree.Stat(path.Join("usr/share/doc", name, "copyright"))
	if !ok {
		if link, is := p.Tree.Get(path.Join("usr/share/doc", name)); is && link.Kind == tree.Symlink {
			for _, other := range all {
				if other.Control.Name == path.Base(link.Target) {
					e, ok = other.Tree.Stat(path.Join("usr/share/doc", other.Control.Name, "copyright"))
				}
			}
		}
	}
	if !ok || e.Kind != tree.File || e.Size == 0 || e.Size > licence.MaxSize {
		return licence.Licence{}, nil
	}
	text, err := g.b.Store.Bytes(e.Digest, licence.MaxSize)
	if err != nil {
		return licence.Licence{}, err
	}
	return licence.Parse(text), nil
}

// images adds OCI images, and the packages that their own lists name.
func (g *gathering) images(context.Context) error {
	for _, t := range g.used {
		pin, ok := g.lk.Image(t, g.arch)
		if !ok {
			continue
		}
		sum := pin.Manifest.SHA256
		if sum == "" {
			sum = pin.Config.SHA256
		}
		c := bom.Component{Kind: bom.Image, Name: path.Base(pin.Name), Version: "sha256:" + sum, Arch: g.arch, SHA256: sum}
		c.ID = bom.NewID("oci", t, sum[:16])
		qualifiers := map[string]string{"arch": g.arch}
		if ref, err := oci.ParseReference(pin.Name); err == nil && g.def.Trees[t].Path.For(g.arch) == "" {
			c.Name, c.Location = path.Base(ref.Path), "https://"+ref.Host+"/"+ref.Path
			qualifiers["repository_url"], qualifiers["tag"] = ref.Host+"/"+ref.Path, ref.Tag
		}
		c.Name, _, _ = strings.Cut(c.Name, ":")
		c.PURL = bom.PURL("oci", "", strings.ToLower(c.Name), c.Version, qualifiers)
		found, known, err := bom.Found(g.res.Trees[t], g.read)
		if err != nil {
			return fmt.Errorf("image of tree %s: %w", t, err)
		}
		c.Opaque = !known
		id := g.put(c, t)
		for _, f := range found {
			f.ID, f.Within = bom.NewID(id, f.Name, f.Version, f.Arch), id
			g.put(f, t)
		}
	}
	return nil
}

func (g *gathering) read(e tree.Entry, limit int64) ([]byte, error) {
	return g.b.Store.Bytes(e.Digest, limit)
}

// closures adds the paths of Nix closures.
func (g *gathering) closures(context.Context) error {
	for _, c := range g.b.closures {
		if !slices.Contains(g.used, c.Tree) || c.Arch != g.arch {
			continue
		}
		for _, p := range c.Paths {
			name, version := nixVersion(narinfo.Name(p.Name).Rest())
			out := bom.Component{ID: nixID(p.Name), Kind: bom.Nix, Name: name, Version: version, Arch: g.arch, Digest: p.NarHash,
				PURL: bom.PURL("nix", "", name, version, map[string]string{"path": narinfo.Name(p.Name).Path(), "narhash": "sha256:" + p.NarHash})}
			for _, ref := range p.References {
				if ref != p.Name {
					out.Depends = append(out.Depends, nixID(ref))
				}
			}
			g.put(out, c.Tree)
		}
	}
	return nil
}

func nixID(name string) string { return bom.NewID("nix", name) }

// downloads adds trees that are files: downloaded ones with their digest, those
// beside the definition by name.
func (g *gathering) downloads(context.Context) error {
	for _, t := range g.used {
		decl, ok := g.def.Trees[t]
		if !ok || isPackages(decl) || decl.From == "oci" || decl.From == "nix" {
			continue
		}
		c := bom.Component{ID: bom.NewID("tree", t), Kind: bom.Local, Name: t}
		for _, f := range g.lk.Files {
			if f.Tree == t && (f.Arch == "" || f.Arch == g.arch) {
				c.Kind, c.SHA256, c.Location = bom.File, f.SHA256, f.URL
				c.PURL = bom.PURL("generic", "", t, "", map[string]string{"download_url": f.URL, "checksum": "sha256:" + f.SHA256})
			}
		}
		g.owners["tree "+t] = g.put(c, t)
	}
	return nil
}

// instarID is the component that everything is of which the build made itself.
const instarID = "instar"

// program adds instar: its init, and what the build wrote into images.
func (g *gathering) program(context.Context) error {
	c := bom.Component{ID: instarID, Kind: bom.Program, Name: "instar", Version: g.o.Tool, Arch: g.arch, Licence: licence.Declared("Apache-2.0"),
		PURL: bom.PURL("golang", "github.com/instar-os", "instar", g.o.Tool, nil)}
	g.put(c, g.used...)
	return nil
}
