package assemble

import (
	"context"
	"strings"

	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/source/deb/control"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// needed resolves the dependencies of packages among themselves.
type needed struct {
	byName map[string][]int // who answers to a name, by index into all
	all    []bom.Component
	fields []map[string]string
}

func (n *needed) add(c bom.Component, fields map[string]string) {
	n.byName[c.Name] = append(n.byName[c.Name], len(n.all))
	if provides, err := control.ParseRelations(fields["Provides"]); err == nil {
		for _, g := range provides {
			for _, r := range g {
				n.byName[r.Name] = append(n.byName[r.Name], len(n.all))
			}
		}
	}
	n.all, n.fields = append(n.all, c), append(n.fields, fields)
}

// resolve writes what each package needs into the bill: of the alternatives all
// that are there. What is not there was dropped on purpose, and is no part.
func (n *needed) resolve(b *bom.Bill) error {
	depends := map[string][]string{}
	for i, c := range n.all {
		for _, field := range []string{"Pre-Depends", "Depends"} {
			groups, err := control.ParseRelations(n.fields[i][field])
			if err != nil {
				return err
			}
			for _, g := range groups {
				depends[c.ID] = append(depends[c.ID], n.answers(i, g)...)
			}
		}
	}
	for i := range b.Components {
		b.Components[i].Depends = append(b.Components[i].Depends, depends[b.Components[i].ID]...)
	}
	return nil
}

func (n *needed) answers(of int, g control.Group) (ids []string) {
	for _, r := range g {
		for _, i := range n.byName[r.Name] {
			if i != of && (n.all[i].Name != r.Name || r.Accepts(n.all[i].Version)) {
				ids = append(ids, n.all[i].ID)
			}
		}
	}
	return ids
}

// files lists the files of all groups, each with the component that brought it.
func (g *gathering) files(ctx context.Context) error {
	seen := map[bom.Held]bool{}
	add := func(component, p string, o system.Object) {
		h := bom.Held{Component: component, Path: p, Size: o.Size, Object: o.Digest}
		if !seen[h] {
			seen[h] = true
			g.bill.Files = append(g.bill.Files, h)
		}
	}
	for _, group := range g.bill.Groups {
		if group.Image.IsZero() {
			continue
		}
		t, err := g.b.Store.Image(group.Image)
		if err != nil {
			return err
		}
		for p, e := range t.All() {
			if e.Kind == tree.File {
				add(g.componentOf(group, p), "/"+p, system.Object{Digest: e.Digest, Size: e.Size})
			}
		}
	}
	if k := g.res.Manifest.Kernel; g.o.Container == "" {
		add(g.holder("kernel", "linux-"), "/boot/vmlinuz", k.Image)
		add(instarID, "/boot/initrd", k.Initrd)
		add(instarID, "/boot/instar-init", k.Init)
		if !k.Stub.Digest.IsZero() {
			add(g.holder("boot", "systemd-boot"), "/boot/stub", k.Stub)
			add(g.holder("boot", "systemd-boot"), "/boot/loader", k.Loader)
		}
	}
	return g.bill.Sum(ctx, g.b.Store.Verified)
}

// componentOf is what brought a path of a group: the last of its trees that has
// it. What no tree has, the build has made.
func (g *gathering) componentOf(group bom.Group, p string) string {
	trees := g.trees[group.Kind+" "+group.Name]
	for i := len(trees) - 1; i >= 0; i-- {
		e, ok := g.res.Trees[trees[i]].Get(p)
		if !ok || e.Kind == tree.Dir {
			continue
		}
		if id, ok := g.owners[e.Owner]; ok {
			return id
		}
		return g.treeComponent(trees[i], p)
	}
	return instarID
}

// treeComponent is what brought a path of a tree that is no packages: its
// image, or the store path that it is below.
func (g *gathering) treeComponent(name, p string) string {
	switch g.def.Trees[name].From {
	case "nix":
		if rest, ok := strings.CutPrefix(p, "nix/store/"); ok {
			path, _, _ := strings.Cut(rest, "/")
			return nixID(path)
		}
	case "oci":
		for _, id := range g.inTree[name] {
			if strings.HasPrefix(id, "oci-") {
				return id
			}
		}
	}
	return instarID
}

// holder is the component of a tree whose name begins so.
func (g *gathering) holder(tree, name string) string {
	for _, id := range g.inTree[tree] {
		if strings.HasPrefix(id, "deb-"+name) {
			return id
		}
	}
	return instarID
}
