package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/oci"
	"github.com/instar-os/instar/internal/tree"
)

// Default is what an image says of one key of a container.
type Default struct {
	Key   string `json:"key"`   // as in the definition: command, env.PATH, stop.signal
	Value string `json:"value"` // as the container gets it, or would get it
	Image string `json:"image"`
	Used  bool   `json:"used"` // false: the definition says otherwise
}

// withImages returns the definition with the defaults of images filled into its
// containers, and lists them by container.
func (b *Builder) withImages(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string, trees map[string]*tree.Tree) (*config.Definition, map[string][]Default, error) {
	out := *def
	out.Containers = maps.Clone(def.Containers)
	notes := map[string][]Default{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(def.Containers)) {
		c := def.Containers[name]
		from := imageTreeOf(def, c)
		if from == "" || trees[from] == nil {
			continue
		}
		filled, note, err := b.withImage(ctx, def.Trees[from], lk, arch, from, c, trees)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: container %s: %w", c.At, name, err))
			continue
		}
		out.Containers[name], notes[name] = filled, note
	}
	return &out, notes, errors.Join(errs...)
}

// ImageDefaults lists what images say of the definition's containers.
func (b *Builder) ImageDefaults(ctx context.Context, def *config.Definition, lk *lock.Lock, arch string) (map[string][]Default, error) {
	trees, err := b.Trees(ctx, def, lk, arch, usedTrees(def))
	if err != nil {
		return nil, err
	}
	_, notes, err := b.withImages(ctx, def, lk, arch, trees)
	return notes, err
}

// imageTreeOf returns the tree whose image gives a container its defaults: the
// last that is one, because later trees lie over earlier ones.
func imageTreeOf(def *config.Definition, c config.Container) string {
	for _, t := range slices.Backward(c.Trees) {
		if def.Trees[t].From == "oci" {
			return t
		}
	}
	return ""
}

func (b *Builder) withImage(ctx context.Context, decl config.Tree, lk *lock.Lock, arch, name string, c config.Container, trees map[string]*tree.Tree) (config.Container, []Default, error) {
	pin, ok := lk.Image(name, arch)
	if !ok {
		return c, nil, fmt.Errorf("the lock has no image for tree %s on %s; run instar lock --update", name, arch)
	}
	place, img, err := b.openImage(ctx, decl, pin, arch)
	if err != nil {
		return c, nil, err
	}
	defer place.Close()
	cfg, err := img.ReadConfig(ctx, place)
	if err != nil {
		return c, nil, err
	}
	root := tree.New()
	for _, t := range c.Trees {
		if err := root.Merge(trees[t], tree.LastWins); err != nil {
			return c, nil, fmt.Errorf("laying tree %s over the ones before it: %w", t, err)
		}
	}
	own, err := readAccounts(b.Store, trees[name])
	if err != nil {
		return c, nil, err
	}
	f := &filler{c: c, image: pin.Name, process: cfg.Config, root: root, accounts: own}
	err = f.fill()
	return f.c, f.notes, err
}

// A filler gives a container the defaults of its image.
type filler struct {
	c        config.Container
	image    string
	process  oci.Process
	root     *tree.Tree // of the container
	accounts accounts   // of the image
	notes    []Default
}

// note remembers a default and reports whether it is to be used.
func (f *filler) note(key, value string) bool {
	used := !slices.Contains(f.c.Given, key)
	f.notes = append(f.notes, Default{key, value, f.image, used})
	return used
}

func (f *filler) fill() error {
	f.env()
	f.dir()
	var errs []error
	for _, step := range []func() error{f.command, f.user, f.stop, f.health, f.volumes} {
		errs = append(errs, step())
	}
	for _, p := range slices.Sorted(maps.Keys(f.process.ExposedPorts)) {
		f.notes = append(f.notes, Default{"ports", p, f.image, false})
	}
	return errors.Join(errs...)
}

// env gives what the image sets and the definition does not.
func (f *filler) env() {
	env := map[string]string{}
	for _, word := range f.process.Env {
		key, value, _ := strings.Cut(word, "=")
		_, declared := f.c.Env[key]
		f.notes = append(f.notes, Default{"env." + key, value, f.image, !declared})
		if key != "" {
			env[key] = value
		}
	}
	maps.Copy(env, f.c.Env)
	if len(env) > 0 {
		f.c.Env = env
	}
}

func (f *filler) dir() {
	if d := f.process.WorkingDir; d != "" {
		if d = path.Join("/", d); f.note("dir", d) {
			f.c.Dir = d
		}
	}
}

// command is the image's entrypoint with the definition's args or the image's
// cmd, unless the definition has a command.
func (f *filler) command() error {
	words := slices.Concat([]string(f.process.Entrypoint), []string(f.process.Cmd))
	if f.c.Args != nil {
		words = slices.Concat([]string(f.process.Entrypoint), f.c.Args)
	}
	if len(words) == 0 {
		if len(f.c.Command) == 0 {
			return fmt.Errorf("image %s has neither entrypoint nor cmd; add command to the container", f.image)
		}
		return nil
	}
	program, err := f.program(words[0])
	if err != nil && len(f.c.Command) == 0 {
		return err
	}
	words = append([]string{program}, words[1:]...)
	if f.note("command", strings.Join(words, " ")) {
		f.c.Command = words
	}
	return nil
}

// program finds a program as execvp(3) would: with a slash it is a path,
// without one it is looked for along PATH.
func (f *filler) program(word string) (string, error) {
	if strings.Contains(word, "/") {
		if !path.IsAbs(word) {
			word = path.Join("/", f.c.Dir, word)
		}
		return path.Clean(word), nil
	}
	search := f.c.Env["PATH"]
	if search == "" {
		search = defaultPath
	}
	for _, dir := range strings.Split(search, ":") {
		p := path.Join("/", dir, word)
		if e, ok := f.root.Stat(p); ok && e.Kind == tree.File && e.Mode&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("image %s: %q is in no directory of PATH=%s; add command to the container", f.image, word, search)
}

// user resolves NAME, UID, NAME:GROUP and so on in the image's own files. As
// with docker, a number that they do not know has the group 0.
func (f *filler) user() error {
	spec := f.process.User
	if spec == "" {
		return nil
	}
	first, second, both := strings.Cut(spec, ":")
	u, err := f.accounts.user(first)
	if err != nil {
		if slices.Contains(f.c.Given, "user") {
			return nil
		}
		return fmt.Errorf("user of image %s: %w", f.image, err)
	}
	if _, known := f.accounts.users[u.Name]; !known {
		u.GID = 0
	}
	if both {
		gid, ok := number(second)
		if g, known := f.accounts.names[second]; !ok && known {
			gid, ok = g.gid, true
		}
		if !ok {
			return fmt.Errorf("user of image %s: its /etc/group has no %q", f.image, second)
		}
		u.GID = gid
	}
	if f.note("user", fmt.Sprintf("%d:%d", u.UID, u.GID)) {
		f.c.User = fmt.Sprintf("%d:%d", u.UID, u.GID)
	}
	return nil
}

func (f *filler) stop() error {
	if s := f.process.StopSignal; s != "" {
		name, ok := config.SignalName(s)
		if !ok {
			return fmt.Errorf("image %s stops with the signal %q, which is none; add stop: {signal: TERM}", f.image, s)
		}
		if f.note("stop.signal", name) {
			f.c.Stop.Signal = name
		}
	}
	if s := f.process.StopTimeout; s != nil && *s >= 0 && *s <= 3600 {
		if d := time.Duration(*s) * time.Second; f.note("stop.timeout", d.String()) {
			f.c.Stop.Timeout = d
		}
	}
	return nil
}

// Docker's own defaults of a health check.
const (
	checkInterval = 30 * time.Second
	checkTimeout  = 30 * time.Second
	checkRetries  = 3
)

func (f *filler) health() error {
	h := f.process.Healthcheck
	if h == nil || len(h.Test) < 2 || f.c.OneShot {
		return nil // none, inherited from nothing, or NONE
	}
	var words []string
	switch h.Test[0] {
	case "CMD":
		program, err := f.program(h.Test[1])
		if err != nil {
			return fmt.Errorf("health check: %w", err)
		}
		words = append([]string{program}, h.Test[2:]...)
	case "CMD-SHELL":
		words = []string{"/bin/sh", "-c", h.Test[1]}
	default:
		return nil
	}
	if !f.note("health", strings.Join(words, " ")) {
		return nil
	}
	or := func(n int64, d time.Duration) time.Duration {
		if n > 0 {
			return time.Duration(n)
		}
		return d
	}
	f.c.Health = &config.Health{Exec: words, Interval: or(h.Interval, checkInterval), Timeout: or(h.Timeout, checkTimeout),
		Within: or(h.StartPeriod, 0), Retries: checkRetries}
	if h.Retries > 0 {
		f.c.Health.Retries = min(h.Retries, 100)
	}
	return nil
}

// volumes become data, which lasts. The files that an image has there would be
// hidden by it, which must not go unnoticed.
func (f *filler) volumes() error {
	for _, v := range slices.Sorted(maps.Keys(f.process.Volumes)) {
		p := path.Join("/", v)
		if f.mounted(p) {
			f.notes = append(f.notes, Default{"data", p, f.image, false})
			continue
		}
		mode := config.Mode(0o755)
		if e, ok := f.root.Stat(p); ok && e.Kind == tree.Dir {
			mode = config.Mode(e.Mode)
		}
		if at, ok := f.root.Resolve(p); ok {
			for q := range f.root.All() {
				if strings.HasPrefix(q, at+"/") {
					return fmt.Errorf("image %s has a volume at %s with files in it, as %s, which data would hide; add data or tmpfs with that path, and prepare to copy what is needed", f.image, p, q)
				}
			}
		}
		f.notes = append(f.notes, Default{"data", p, f.image, true})
		f.c.Data = append(slices.Clone(f.c.Data), config.Data{Path: p, Version: 1, Mode: mode, Scope: "configuration", OnOlder: "refuse", Snapshots: config.Snapshots{Keep: 2}})
	}
	return nil
}

// mounted reports whether the container has something of its own at a path.
func (f *filler) mounted(p string) bool {
	covers := func(q string) bool { return q == p || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/") }
	for _, q := range []string{"/tmp", "/run", "/dev", "/proc", "/sys"} {
		if p == q || strings.HasPrefix(p, q+"/") {
			return true
		}
	}
	return slices.ContainsFunc(f.c.Tmpfs, func(t config.Tmpfs) bool { return covers(t.Path) }) ||
		slices.ContainsFunc(f.c.Data, func(d config.Data) bool { return covers(d.Path) })
}
