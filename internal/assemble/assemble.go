// Package assemble turns a definition and its lock into trees, containers and
// a system in the store. It is the build verb: everything decidable is decided
// here, so that the device has almost nothing left to do.
package assemble

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/nix/s3"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// Event is a step of progress: Done of Total units of Stage, now at Item.
type Event struct {
	Stage string
	Item  string
	Done  int64
	Total int64 // 0 when unknown
	Bytes bool  // Done and Total count bytes
}

// Builder builds one machine. All fields but Progress, Registries and Keyrings must be set.
type Builder struct {
	Store      *store.Store
	Fetch      *fetch.Client
	Cache      string                            // directory of unpacked packages and tool trees
	Dir        string                            // directory of the definition; local trees are below it
	Host       deb.HostConfig                    // where the build host takes archives from
	HostArch   string                            // GOARCH of the build host
	Init       func(arch string) ([]byte, error) // instar-init for an architecture
	Agent      func(arch string) ([]byte, error) // instar-agent for an architecture
	S3         s3.Credentials                    // for binary caches of Nix in S3; zero: requests are not signed
	Parallel   int                               // packages unpacked at a time; 0: one for each CPU
	Progress   func(Event)                       // called by any goroutine
	Unrecorded bool                              // leave recordings out of account, to make them anew
	Registries *oci.Registries                   // that Fetch's transport knows; nil: no images from registries

	epoch    int64          // of the lock at hand, seconds since 1970
	closures []lock.Closure // of the lock and architecture at hand

	prunings map[string]*pruning   // of the trees at hand, by name
	removed  map[string]prune.Gone // by container
	notes    []string
	facts    *facts
}

func (b *Builder) report(e Event) {
	if b.Progress != nil {
		b.Progress(e)
	}
}

// Result is a built system.
type Result struct {
	Digest   digest.Digest
	Manifest *system.Manifest
	// Owners says which package or local tree brought an object.
	Owners map[digest.Digest][]string
	// Trees are the trees of the definition as they were built, by name.
	Trees map[string]*tree.Tree
	// Removed is what pruning has left out, by container.
	Removed map[string]prune.Gone
	// Notes are what the author of the definition should know.
	Notes []string
}

// System builds the system of one architecture and puts it, with all that it
// names, into the store. It may run again at any time: what is there is used.
func (b *Builder) System(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string) (*Result, error) {
	inputs, ok := lk.Arches[arch]
	if !ok {
		return nil, fmt.Errorf("the lock has no inputs for %s; it has %v", arch, slices.Sorted(maps.Keys(lk.Arches)))
	}
	b.epoch, b.notes, b.removed = lk.Epoch, nil, nil
	if _, err := b.timing(def, ""); err != nil { // before anything is fetched
		return nil, err
	}
	trees, err := b.Trees(ctx, def, lk, arch, usedTrees(def))
	if err != nil {
		return nil, err
	}
	if err := b.machineRules(def, arch); err != nil {
		return nil, err
	}
	if def, _, err = b.withImages(ctx, def, lk, arch, trees); err != nil {
		return nil, err
	}
	if def, err = b.nixos(def, arch, trees); err != nil {
		return nil, err
	}
	b.report(Event{Stage: "containers"})
	resolved, err := b.containers(ctx, def, arch, trees)
	if err != nil {
		return nil, err
	}
	confs, err := configurations(def, resolved)
	if err != nil {
		return nil, err
	}
	if err := b.hosts(ctx, def, arch, trees, confs); err != nil {
		return nil, err
	}
	if err := b.networks(def, confs); err != nil {
		return nil, err
	}
	if err := b.launches(def, confs, arch); err != nil {
		return nil, err
	}
	b.report(Event{Stage: "kernel"})
	kernel, err := b.kernel(ctx, def, lk, arch)
	if err != nil {
		return nil, err
	}
	if err := b.realtime(def, confs, kernel.Release); err != nil {
		return nil, err
	}
	dataFS, err := b.dataTemplate(ctx, def, lk)
	if err != nil {
		return nil, err
	}
	boot, err := b.boot(ctx, def, trees)
	if err != nil {
		return nil, err
	}
	boot.DataFS = dataFS
	if slot.IsBoard(boot) { // which has a loader of its own
		kernel.Stub, kernel.Loader = system.Object{}, system.Object{}
	}
	m := &system.Manifest{
		Version: system.Version, Machine: def.Machine, Arch: arch, Epoch: lk.Epoch,
		Kernel: kernel,
		Boot:   boot,
		Update: update(def), Hostname: hostname(def), Interfaces: interfaces(def.Network),
		Default: def.Default, Configurations: confs,
		Packages: append(packages(inputs, usedTrees(def)), nixPackages(b.closures, arch, usedTrees(def))...),
	}
	return b.finish(ctx, m, trees)
}

// boot is how slots are laid out, and what is in them beside the kernel.
func (b *Builder) boot(ctx context.Context, def *config.Definition, trees map[string]*tree.Tree) (system.Boot, error) {
	d := def.Boot
	out := system.Boot{
		Firmware: unless(d.Firmware, slot.FirmwareUEFI), Slots: d.Slots, SlotSize: int64(d.SlotSize),
		Watchdog: int64(d.Watchdog), WatchdogHealth: int64(d.WatchdogHealth), Confirm: confirm(d.Confirm),
	}
	if out.Firmware == "" {
		out.Switch, out.Trial = unless(d.Switch, slot.ByTable), unless(d.Trial, slot.TrialOnce)
	}
	if d.Firmware == slot.FirmwareUBoot {
		out.Environment = &system.Environment{Device: ubootDevice(d.Environment.Device), Offset: int64(d.Environment.Offset), Size: int64(d.Environment.Size)}
	}
	if d.Files == "" {
		return out, nil
	}
	var err error
	if out.Files, err = b.Store.PutImage(ctx, trees[d.Files]); err != nil {
		return out, fmt.Errorf("boot.files: tree %s: %w", d.Files, err)
	}
	return out, nil
}

// ubootDevice is a disk as U-Boot's commands want it: "mmc0" is "mmc 0".
func ubootDevice(name string) string {
	kind := strings.TrimRight(name, "0123456789")
	return kind + " " + name[len(kind):]
}

// unless leaves out a value that goes without saying.
func unless(value, byDefault string) string {
	if value == byDefault {
		return ""
	}
	return value
}

func (b *Builder) finish(_ context.Context, m *system.Manifest, trees map[string]*tree.Tree) (*Result, error) {
	d, err := b.Store.PutSystem(m)
	if err != nil {
		return nil, err
	}
	if err := b.Store.Commit(); err != nil {
		return nil, err
	}
	return &Result{Digest: d, Manifest: m, Owners: owners(trees), Trees: trees, Removed: b.removed, Notes: b.notes}, nil
}

// owners inverts the trees: which owners brought an object.
func owners(trees map[string]*tree.Tree) map[digest.Digest][]string {
	out := map[digest.Digest][]string{}
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		for _, e := range trees[name].All() {
			if e.Kind == tree.File && e.Size > 0 && !slices.Contains(out[e.Digest], e.Owner) {
				out[e.Digest] = append(out[e.Digest], e.Owner)
			}
		}
	}
	return out
}

func hostname(def *config.Definition) string {
	if def.Hostname != "" {
		return def.Hostname
	}
	return def.Machine
}

func interfaces(network map[string]config.Interface) []system.Interface {
	var out []system.Interface
	for _, name := range slices.Sorted(maps.Keys(network)) {
		n := network[name]
		out = append(out, system.Interface{
			Name:  name,
			Match: system.Match{Driver: n.Match.Driver, MAC: n.Match.MAC, Path: n.Match.Path, Name: n.Match.Name},
			DHCP:  n.DHCP, Addresses: n.Addresses, Gateway: n.Gateway, DNS: n.DNS, MTU: n.MTU, Optional: n.Optional,
		})
	}
	return out
}

// origin is the source package of p, as far as it is not p itself.
func origin(p lock.Package) string {
	name, version := p.SourcePackage()
	plain := p
	plain.Origin = ""
	if _, same := plain.SourcePackage(); same != version {
		return name + " " + version
	}
	if name != p.Name {
		return name
	}
	return ""
}

// packages lists what the system is made of, with the trees that hold each.
func packages(in *lock.Inputs, used []string) []system.Package {
	holders := map[string][]string{}
	add := func(holder string, refs []string) {
		for _, ref := range refs {
			if p, ok := in.Find(ref); ok {
				key := p.Name + "=" + p.Version
				holders[key] = append(holders[key], holder)
			}
		}
	}
	add("boot", in.Boot)
	add("kernel", in.Kernel)
	for _, name := range used {
		add(name, in.Trees[name])
	}
	var out []system.Package
	for _, p := range in.Packages {
		if trees := holders[p.Name+"="+p.Version]; len(trees) > 0 {
			slices.Sort(trees)
			out = append(out, system.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Source: p.Source, Trees: trees, Origin: origin(p)})
		}
	}
	return out
}
