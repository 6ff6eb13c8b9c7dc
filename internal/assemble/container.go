package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// containers resolves every container that a configuration of def names: one
// image each, users and signals as numbers, the program known to be there. The
// result is by container name. Errors of all containers are joined.
func (b *Builder) containers(ctx context.Context, def *config.Definition, arch string, trees map[string]*tree.Tree) (map[string]system.Container, error) {
	out := map[string]system.Container{}
	var errs []error
	for _, name := range usedContainers(def) {
		c, err := b.container(ctx, name, def, arch, trees)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: container %s: %w", def.Containers[name].At, name, err))
			continue
		}
		out[name] = c
	}
	return out, errors.Join(errs...)
}

// usedContainers returns the containers of all configurations, sorted.
func usedContainers(def *config.Definition) []string {
	set := map[string]bool{}
	for _, c := range def.Configurations {
		for _, n := range c.Containers {
			set[n] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// usedTrees returns the trees of those containers, of hosts and of boot slots,
// sorted.
func usedTrees(def *config.Definition) []string {
	set := map[string]bool{}
	for _, name := range usedContainers(def) {
		for _, t := range def.Containers[name].Trees {
			set[t] = true
		}
	}
	for _, t := range usedHostTrees(def) {
		set[t] = true
	}
	if t := def.Boot.Files; t != "" {
		set[t] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func (b *Builder) container(ctx context.Context, name string, def *config.Definition, arch string, trees map[string]*tree.Tree) (system.Container, error) {
	c := def.Containers[name]
	root := tree.New()
	for _, t := range c.Trees {
		if err := root.Merge(trees[t], tree.LastWins); err != nil {
			return system.Container{}, fmt.Errorf("laying tree %s over the ones before it: %w", t, err)
		}
	}
	if err := b.pruneContainer(root, name, c, arch); err != nil {
		return system.Container{}, err
	}
	if err := b.register(root, def, c.Trees); err != nil {
		return system.Container{}, err
	}
	accounts, err := readAccounts(b.Store, root)
	if err != nil {
		return system.Container{}, err
	}
	user, err := accounts.user(c.User)
	if err != nil {
		return system.Container{}, fmt.Errorf("user: %w", err)
	}
	groups, err := accounts.groups(user, c.Groups)
	if err != nil {
		return system.Container{}, fmt.Errorf("groups: %w", err)
	}
	out := system.Container{
		Name: name, Source: c.At, Args: c.Command, Prepare: c.Prepare,
		Env: environment(c.Env, user), Dir: c.Dir,
		UID: user.UID, GID: user.GID, Groups: groups,
		Root: system.RootMode(c.Root), Control: c.Control, Init: c.Init, Stdin: c.Stdin, TTY: c.TTY,
		Network: system.NetworkMode(c.Network), Hostname: name,
		Capabilities: capabilities(c.Capabilities), Limits: limits(c),
		OneShot: c.OneShot, Restart: restart(c), Health: health(c.Health), After: c.After,
	}
	for _, t := range c.Tmpfs {
		out.Tmpfs = append(out.Tmpfs, system.Tmpfs{Path: t.Path, Size: int64(t.Size), Mode: uint32(t.Mode), UID: user.UID, GID: user.GID,
			NoExec: t.NoExec, Inodes: int64(t.Inodes)})
	}
	operated(&out, c)
	for _, d := range c.Data {
		out.Data = append(out.Data, dataOf(d, user))
	}
	if out.Stop, err = stop(c.Stop); err != nil {
		return system.Container{}, err
	}
	out.IDs = idRange(def, name)
	if err := checkOwners(root, out.IDs); err != nil {
		return system.Container{}, err
	}
	if err := applyCDI(os.DirFS(b.Dir), c.CDI, c.Env, &out, root); err != nil {
		return system.Container{}, err
	}
	if err := b.checkPrograms(root, &out, arch); err != nil {
		return system.Container{}, err
	}
	if err := makeDir(root, &out, b.epoch); err != nil {
		return system.Container{}, err
	}
	points := out
	points.DNS = nameServers(def, name)
	if err := addMountPoints(root, launch.MountPoints(&points), b.epoch); err != nil {
		return system.Container{}, err
	}
	if err := checkBudget(root, name, def); err != nil {
		return system.Container{}, err
	}
	out.Image, err = b.Store.PutImage(ctx, root)
	return out, err
}

// makeDir makes the working directory where no tree has it, as docker does for
// images that name one.
func makeDir(root *tree.Tree, c *system.Container, epoch int64) error {
	at, there := root.Resolve(c.Dir)
	covered := func(p string) bool { return c.Dir == p || strings.HasPrefix(c.Dir, p+"/") }
	if there || covered("/tmp") || covered("/run") || covered("/dev") || covered("/proc") || covered("/sys") ||
		slices.ContainsFunc(c.Tmpfs, func(t system.Tmpfs) bool { return covered(t.Path) }) ||
		slices.ContainsFunc(c.Data, func(d system.Data) bool { return covered(d.Path) }) {
		return nil
	}
	return root.Put(at, tree.Entry{Kind: tree.Dir, Mode: 0o755, MTime: epoch, Owner: "working directory"})
}

// addMountPoints makes what the runtime mounts upon exist in a read-only root.
func addMountPoints(root *tree.Tree, points []launch.MountPoint, epoch int64) error {
	for _, mp := range points {
		at, there := root.Resolve(mp.Path)
		want := tree.Entry{Kind: tree.Dir, Mode: 0o755, MTime: epoch, Owner: "mount points"}
		if mp.File {
			want.Kind, want.Mode = tree.File, 0o644
		}
		if !there {
			if err := root.Put(at, want); err != nil {
				return fmt.Errorf("mount point /%s: %w", mp.Path, err)
			}
			continue
		}
		if have, _ := root.Inode(at); have.Kind != want.Kind {
			return fmt.Errorf("mount point /%s: the trees have a %v there (of %s), a %v is needed", mp.Path, have.Kind, have.Owner, want.Kind)
		}
	}
	return nil
}

// defaultPath is PATH of every container, as Debian's login has it for root.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func environment(declared map[string]string, user account) []string {
	env := map[string]string{"PATH": defaultPath, "HOME": user.Home, "USER": user.Name, "LANG": "C.UTF-8"}
	maps.Copy(env, declared)
	out := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}

func capabilities(names []string) []string {
	var out []string
	for _, n := range names {
		n = strings.ToUpper(n)
		if !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// quotaPeriod is cgroup v2's default cpu.max period in microseconds.
const quotaPeriod = 100_000

func limits(c config.Container) system.Limits {
	rlimits := c.Rlimits
	if c.Locked { // memory.max bounds what its programs may lock
		rlimits = maps.Clone(rlimits)
		if rlimits == nil {
			rlimits = map[string]int64{}
		}
		rlimits["memlock"] = -1 // no limit: address space counts, not memory
	}
	return system.Limits{
		Locked: c.Locked,
		Memory: int64(c.Memory), Swap: int64(c.Swap), OOMScore: int64(c.OOMScore), Pids: int64(c.Pids), CPUWeight: int64(c.CPU.Weight),
		CPUQuota: int64(c.CPU.Limit * quotaPeriod), Rlimits: rlimits,
		IOWeight: int64(c.IO.Weight), Disks: disks(c.IO),
	}
}

func restart(c config.Container) system.Restart {
	policy := system.RestartPolicy(c.Restart.Policy)
	if policy == "" {
		policy = system.RestartAlways
		if c.OneShot {
			policy = system.RestartOnFailure
		}
	}
	return system.Restart{Policy: policy, Min: int64(c.Restart.Min), Max: int64(c.Restart.Max)}
}

func health(h *config.Health) *system.Health {
	if h == nil {
		return nil
	}
	out := &system.Health{
		TCP: h.TCP, HTTP: h.HTTP, Exec: h.Exec, File: h.File,
		Interval: int64(h.Interval), Timeout: int64(h.Timeout), Within: int64(h.Within), Retries: h.Retries,
	}
	if h.TCP != "" && !strings.Contains(h.TCP, ":") {
		out.TCP = net.JoinHostPort("127.0.0.1", h.TCP)
	}
	return out
}

func stop(s config.Stop) (system.Stop, error) {
	n, ok := config.SignalNumber(s.Signal)
	if !ok {
		return system.Stop{}, fmt.Errorf("stop.signal: no signal %q", s.Signal)
	}
	out := system.Stop{Signal: n, Timeout: int64(s.Timeout)}
	for _, step := range s.Then {
		n, ok := config.SignalNumber(step.Signal)
		if !ok {
			return system.Stop{}, fmt.Errorf("stop.then: no signal %q", step.Signal)
		}
		out.Then = append(out.Then, system.StopStep{Signal: n, Wait: int64(step.Wait)})
	}
	return out, nil
}

// configurations puts the resolved containers into each configuration in an
// order in which every container stands after those it waits for; names break ties.
func configurations(def *config.Definition, resolved map[string]system.Container) ([]system.Configuration, error) {
	var out []system.Configuration
	for _, name := range slices.Sorted(maps.Keys(def.Configurations)) {
		c := def.Configurations[name]
		order, err := startOrder(c.Containers, resolved)
		if err != nil {
			return nil, fmt.Errorf("configuration %s: %w", name, err)
		}
		conf := system.Configuration{Name: name, Fallback: c.Fallback, Command: c.Command, Containers: []system.Container{}}
		for _, n := range order {
			conf.Containers = append(conf.Containers, resolved[n])
		}
		link(&conf, c.Links)
		conf.Checks = checks(def, c)
		if err := own(&conf, c.Devices); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", name, err)
		}
		out = append(out, conf)
	}
	return out, nil
}

func startOrder(names []string, resolved map[string]system.Container) ([]string, error) {
	rest := slices.Clone(names)
	slices.Sort(rest)
	var order []string
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(n string) bool {
			return !slices.ContainsFunc(resolved[n].After, func(a string) bool { return slices.Contains(rest, a) })
		})
		if i < 0 {
			return nil, fmt.Errorf("containers wait for each other: %s", strings.Join(rest, ", "))
		}
		order = append(order, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return order, nil
}

// number parses a UID or GID.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}
