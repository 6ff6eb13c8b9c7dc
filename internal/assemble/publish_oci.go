package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/ociimage"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// OCIOptions say what becomes an OCI image.
type OCIOptions struct {
	Container   string // "": the whole system
	Layers      int    // largest number; 0: ociimage.DefaultLayers
	Bootable    bool   // with what only a device needs: kernel, initrd, boot loader
	Annotations map[string]string
}

// OCIImage builds the system of one architecture and makes an image of it, or of
// one of its containers. What an image cannot say about the container is
// listed.
func (b *Builder) OCIImage(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string, o OCIOptions) (*ociimage.Image, *Result, []string, error) {
	res, err := b.System(ctx, def, lk, arch)
	if err != nil {
		return nil, nil, nil, err
	}
	img := &ociimage.Image{Arch: arch, Created: lk.Epoch, Annotations: map[string]string{
		"org.opencontainers.image.title": def.Machine, "os.instar.system": res.Digest.String(), "os.instar.machine": def.Machine,
	}}
	var group func(string, tree.Entry) ociimage.Group
	var left []string
	if o.Container != "" {
		group, left, err = b.containerImage(img, def, res, o.Container)
	} else {
		group, err = b.systemImage(img, res, o.Bootable)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	maps.Copy(img.Annotations, o.Annotations)
	img.Layers, err = ociimage.Plan(img.Tree, group, o.Layers)
	return img, res, left, err
}

// groupName is an owner without its version: "mosquitto 2.0.21-1 amd64" is mosquitto.
func groupName(owner string) string {
	if words := strings.Fields(owner); len(words) == 3 && words[0] != "tree" && words[0] != "image" {
		return words[0]
	}
	return owner
}

// uses counts the trees of the definition in which an owner has something.
func uses(trees map[string]*tree.Tree) map[string]int {
	out := map[string]int{}
	for _, t := range trees {
		seen := map[string]bool{}
		for _, e := range t.All() {
			if name := groupName(e.Owner); !seen[name] {
				seen[name] = true
				out[name]++
			}
		}
	}
	return out
}

// containerImage makes the image of what one container sees and starts.
func (b *Builder) containerImage(img *ociimage.Image, def *config.Definition, res *Result, name string) (func(string, tree.Entry) ociimage.Group, []string, error) {
	c, err := findContainer(res.Manifest, name)
	if err != nil {
		return nil, nil, err
	}
	if img.Tree, err = b.Store.Image(c.Image.Digest); err != nil {
		return nil, nil, err
	}
	owners := tree.New()
	for _, t := range def.Containers[name].Trees {
		if err := owners.Merge(res.Trees[t], tree.LastWins); err != nil {
			return nil, nil, err
		}
	}
	img.Open = b.openObject
	img.Process = process(c)
	img.Annotations["org.opencontainers.image.title"] = name
	count := uses(res.Trees)
	return func(p string, _ tree.Entry) ociimage.Group {
		e, ok := owners.Get(p)
		if g := groupName(e.Owner); ok && g != "" {
			return ociimage.Group{Name: g, Uses: count[g]}
		}
		return ociimage.Last
	}, unsaid(c), nil
}

func findContainer(m *system.Manifest, name string) (*system.Container, error) {
	var have []string
	for _, conf := range m.Configurations {
		for i := range conf.Containers {
			if conf.Containers[i].Name == name {
				return &conf.Containers[i], nil
			}
			have = append(have, conf.Containers[i].Name)
		}
	}
	slices.Sort(have)
	return nil, fmt.Errorf("no configuration has a container %q; there are %s", name, strings.Join(slices.Compact(have), ", "))
}

func (b *Builder) openObject(_ string, e tree.Entry) (io.ReadCloser, error) {
	return b.Store.Verified(e.Digest)
}

// process is what an image can say of a container.
func process(c *system.Container) oci.Process {
	p := oci.Process{
		User: fmt.Sprintf("%d:%d", c.UID, c.GID), Env: c.Env, Entrypoint: c.Args, WorkingDir: c.Dir,
		StopSignal: strconv.Itoa(c.Stop.Signal),
	}
	if s := c.Stop.Timeout / int64(time.Second); s > 0 {
		p.StopTimeout = &s
	}
	for _, d := range c.Data {
		if p.Volumes == nil {
			p.Volumes = map[string]struct{}{}
		}
		p.Volumes[d.Path] = struct{}{}
	}
	if h := c.Health; h != nil && len(h.Exec) > 0 {
		p.Healthcheck = &oci.Healthcheck{Test: append([]string{"CMD"}, h.Exec...), Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.Within, Retries: h.Retries}
	}
	return p
}

// unsaid lists what is declared and an image has no words for: whoever runs it decides.
func unsaid(c *system.Container) []string {
	var out []string
	for what, is := range map[string]bool{
		"prepare": len(c.Prepare) > 0, "capabilities": len(c.Capabilities) > 0, "groups": len(c.Groups) > 0,
		"tmpfs": len(c.Tmpfs) > 0, "devices": len(c.Devices) > 0, "links": len(c.Descriptors) > 0, "limits": c.Limits.Memory > 0,
		"health by address": c.Health != nil && len(c.Health.Exec) == 0, "networks": len(c.Interfaces) > 0, "control": c.Control,
	} {
		if is {
			out = append(out, what)
		}
	}
	slices.Sort(out)
	return out
}

// Where things lie in the image of a system.
const (
	initPath  = "instar-init"
	storePath = "store"
	// CurrentRoot is the root of a store that a system in a container starts.
	CurrentRoot = "current"
)

// systemImage makes the image of a whole system: its store and its init, which
// becomes process 1 of the container that it runs in.
func (b *Builder) systemImage(img *ociimage.Image, res *Result, bootable bool) (func(string, tree.Entry) ociimage.Group, error) {
	closure, err := b.containedClosure(res, bootable)
	if err != nil {
		return nil, err
	}
	t := tree.New()
	places := map[string]string{} // of files that are no objects of the builder's store
	put := func(p string, o system.Object, mode uint16) error {
		return t.Put(p, tree.Entry{Kind: tree.File, Mode: mode, MTime: b.epoch, Size: o.Size, Digest: o.Digest})
	}
	var errs []error
	for _, o := range closure.Objects {
		errs = append(errs, put(storePath+"/objects/"+o.Digest.Path(), o, 0o555))
	}
	for _, o := range closure.Images {
		p := storePath + "/images/" + o.Digest.String()
		places[p] = b.Store.ImagePath(o.Digest)
		errs = append(errs, put(p, o, 0o444))
	}
	for _, o := range closure.Systems {
		p := storePath + "/systems/" + o.Digest.String()
		places[p] = b.Store.SystemPath(o.Digest)
		errs = append(errs, put(p, o, 0o444))
	}
	root := []byte(res.Digest.String() + "\n")
	d, err := b.Store.PutBytes(root)
	errs = append(errs, err, put(storePath+"/roots/"+CurrentRoot, system.Object{Digest: d, Size: int64(len(root))}, 0o644))
	errs = append(errs, t.Put(initPath, tree.Entry{Kind: tree.Hardlink, Target: storePath + "/objects/" + res.Manifest.Kernel.Init.Digest.Path()}))
	for _, dir := range []string{"data", "dev", "proc", "run", "sys", "tmp", storePath + "/tmp"} {
		errs = append(errs, t.Put(dir, tree.Entry{Kind: tree.Dir, Mode: 0o755, MTime: b.epoch}))
	}
	if err := errors.Join(append(errs, b.Store.Commit())...); err != nil {
		return nil, err
	}
	img.Tree = t
	img.Open = func(p string, e tree.Entry) (io.ReadCloser, error) {
		if file, ok := places[p]; ok {
			return store.OpenVerified(file, e.Digest)
		}
		return b.Store.Verified(e.Digest)
	}
	img.Process = oci.Process{
		Entrypoint: []string{"/" + initPath, "run", "--store", "/" + storePath, "--system", CurrentRoot, "--state", "/run/instar",
			"--control", "/run/control.sock", "--data", "/data"},
		Labels:  map[string]string{"os.instar.machine": res.Manifest.Machine, "os.instar.system": res.Digest.String()},
		Volumes: map[string]struct{}{"/data": {}}, StopSignal: "SIGTERM", WorkingDir: "/",
	}
	return b.objectGroups(res), nil
}

// objectGroups tells the package that brought an object. Objects of which
// nothing knows the origin are init, launch programs and the like.
func (b *Builder) objectGroups(res *Result) func(string, tree.Entry) ociimage.Group {
	count := uses(res.Trees)
	return func(p string, e tree.Entry) ociimage.Group {
		switch owners := slices.Sorted(slices.Values(res.Owners[e.Digest])); {
		case !strings.HasPrefix(p, storePath+"/objects/"):
			return ociimage.Last
		case e.Digest == res.Manifest.Kernel.Init.Digest:
			return ociimage.Group{Name: "instar-init", Uses: len(res.Trees) + 1}
		case len(owners) > 0 && owners[0] != "":
			g := groupName(owners[0])
			return ociimage.Group{Name: g, Uses: count[g]}
		}
		return ociimage.Last
	}
}

// containedClosure is what a system needs that runs in a container: everything
// but what is in boot slots and empty file systems.
func (b *Builder) containedClosure(res *Result, bootable bool) (store.Closure, error) {
	c, err := b.Store.Closure(res.Digest)
	if err != nil || bootable {
		return c, err
	}
	k := res.Manifest.Kernel
	needless := map[digest.Digest]bool{}
	for _, o := range append(k.Parts(), k.Image, k.Initrd, k.Stub, k.Loader, res.Manifest.Boot.DataFS) {
		needless[o.Digest] = true
	}
	c.Objects = slices.DeleteFunc(c.Objects, func(o system.Object) bool { return needless[o.Digest] })
	return c, nil
}

// PublishStore brings a system into another store and makes it the one that a
// container with that store starts next. What runs from it goes on as it is.
func (b *Builder) PublishStore(ctx context.Context, res *Result, to *store.Store, bootable bool) (store.Amount, error) {
	c, err := b.containedClosure(res, bootable)
	if err != nil {
		return store.Amount{}, err
	}
	did, err := to.CopyFrom(ctx, b.Store, c)
	if err != nil {
		return did, err
	}
	return did, to.SetRoot(CurrentRoot, res.Digest)
}
