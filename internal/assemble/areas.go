package assemble

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/graph"
	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// Areas says what the files of a system's containers take, each content once: a
// part for what only one container has, one for what several share, and within
// each who brought it. Configuration "" is all of them.
func (b *Builder) Areas(res *Result, configuration string) (graph.Area, error) {
	users, sizes := map[digest.Digest][]string{}, map[digest.Digest]int64{}
	for _, conf := range res.Manifest.Configurations {
		if configuration != "" && conf.Name != configuration {
			continue
		}
		for _, c := range conf.Containers {
			t, err := b.Store.Image(c.Image.Digest)
			if err != nil {
				return graph.Area{}, err
			}
			for _, e := range t.All() {
				if e.Kind == tree.File && e.Size > 0 && !slices.Contains(users[e.Digest], c.Name) {
					users[e.Digest], sizes[e.Digest] = append(users[e.Digest], c.Name), e.Size
				}
			}
		}
	}
	parts := map[string]map[string]int64{}
	for d, names := range users {
		name := names[0]
		if len(names) > 1 {
			name = "shared"
		}
		if parts[name] == nil {
			parts[name] = map[string]int64{}
		}
		owner := "made by instar"
		if o := res.Owners[d]; len(o) > 0 {
			owner = groupName(o[0])
		}
		parts[name][owner] += sizes[d]
	}
	whole := graph.Area{Name: res.Manifest.Machine}
	for name, owners := range parts {
		a := graph.Area{Name: name}
		for owner, n := range owners {
			a.Parts = append(a.Parts, graph.Area{Name: owner, Bytes: n})
		}
		whole.Parts = append(whole.Parts, a)
	}
	whole.Sum()
	return whole, nil
}

// maxOwners is how many who bring most an error lists.
const maxOwners = 4

// checkBudget refuses a container whose files take more than its budget.
func checkBudget(root *tree.Tree, name string, def *config.Definition) error {
	limit, ok := def.Budget.Containers[name]
	if !ok {
		return nil
	}
	var total int64
	seen, owners := map[digest.Digest]bool{}, map[string]int64{}
	for _, e := range root.All() {
		if e.Kind == tree.File && !seen[e.Digest] {
			seen[e.Digest] = true
			total += e.Size
			owners[cmp.Or(groupName(e.Owner), "instar")] += e.Size
		}
	}
	if total <= int64(limit) {
		return nil
	}
	names := slices.SortedFunc(maps.Keys(owners), func(x, y string) int {
		return cmp.Or(cmp.Compare(owners[y], owners[x]), cmp.Compare(x, y))
	})
	var most []string
	for _, n := range names[:min(len(names), maxOwners)] {
		most = append(most, fmt.Sprintf("%s %s", n, mebibytes(owners[n])))
	}
	return fmt.Errorf("its files take %s, more than budget.containers.%s of %s; most of it: %s; leave something out with prune or recorded, or raise the budget",
		mebibytes(total), name, limit, strings.Join(most, ", "))
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// Reason says why a file is in a container, or why it is not.
type Reason struct {
	Container      string   `json:"container"`
	Configurations []string `json:"configurations"`
	Path           string   `json:"path"`             // with symlinks followed
	Bytes          int64    `json:"bytes"`            // of the file, or of all below a directory
	Owner          string   `json:"owner"`            // who brought it: package, image or tree
	Trees          []string `json:"trees,omitempty"`  // of the container, that have it
	Needed         []string `json:"needed,omitempty"` // way from a command of the container, each needing the next
	Rule           string   `json:"rule,omitempty"`   // that left it out; then it is not there
}

// Why says of each container that has a path, or had it before something was
// left out, who brought it and what needs it.
func (b *Builder) Why(def *config.Definition, res *Result, name string) ([]Reason, error) {
	clean, err := tree.Clean(name)
	if err != nil {
		return nil, err
	}
	var out []Reason
	for _, cname := range usedContainers(def) {
		c := findIn(res.Manifest, cname)
		if c == nil {
			continue
		}
		t, err := b.Store.Image(c.Image.Digest)
		if err != nil {
			return nil, err
		}
		r := Reason{Container: cname, Configurations: having(def, cname), Path: "/" + clean}
		if gone, ok := res.Removed[cname][clean]; ok {
			r.Owner, r.Rule, r.Bytes = gone.Entry.Owner, gone.Rule.String(), gone.Entry.Size
			out = append(out, r)
			continue
		}
		at, ok := t.Resolve(clean)
		if !ok {
			continue
		}
		r.Path = "/" + at
		for p, e := range t.All() {
			if e.Kind == tree.File && (p == at || strings.HasPrefix(p, at+"/")) {
				r.Bytes += e.Size
			}
		}
		b.whoBrought(&r, def.Containers[cname].Trees, res, at)
		r.Needed = slashed(prune.Chain(t, commands(c), at, b.files(), searchPaths(def.Containers[cname].Env)))
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, errors.New("no container has or had /" + clean)
	}
	return out, nil
}

// whoBrought fills in the trees that have a path; the last of them is what is seen.
func (b *Builder) whoBrought(r *Reason, trees []string, res *Result, at string) {
	for _, name := range trees {
		if e, ok := res.Trees[name].Get(at); ok {
			r.Trees, r.Owner = append(r.Trees, name), e.Owner
		}
	}
	r.Owner = cmp.Or(r.Owner, "made by instar")
}

func findIn(m *system.Manifest, name string) *system.Container {
	c, err := findContainer(m, name)
	if err != nil {
		return nil
	}
	return c
}

func having(def *config.Definition, container string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(def.Configurations)) {
		if slices.Contains(def.Configurations[name].Containers, container) {
			out = append(out, name)
		}
	}
	return out
}

// commands are the programs that a container starts.
func commands(c *system.Container) []string {
	all := append([][]string{c.Args}, c.Prepare...)
	if c.Health != nil {
		all = append(all, c.Health.Exec)
	}
	var out []string
	for _, words := range all {
		if len(words) > 0 {
			out = append(out, path.Clean(strings.TrimPrefix(words[0], "/")))
		}
	}
	return out
}

func slashed(paths []string) []string {
	for i := range paths {
		paths[i] = "/" + paths[i]
	}
	return paths
}
