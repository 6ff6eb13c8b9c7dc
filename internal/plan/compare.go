package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// union gives the keys of two maps once, sorted.
func union[V any](a, b map[string]V) iter.Seq[string] {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Values(slices.Compact(all))
}

func join(list []string) string { return strings.Join(list, ", ") }

// containers says what becomes of each container of each configuration.
func containers(a, b *system.Manifest) []Container {
	all := []Container{}
	for _, c := range b.Configurations {
		old, had := a.Configuration(c.Name)
		if !had {
			old = &system.Configuration{}
		}
		for i := range c.Containers {
			ct := Container{Configuration: c.Name, Name: c.Containers[i].Name, Act: Added}
			if o := find(old, ct.Name); o != nil {
				if ct.Act, ct.Why = Kept, differing(o, &c.Containers[i]); len(ct.Why) > 0 {
					ct.Act = Changed
				}
			}
			all = append(all, ct)
		}
	}
	for _, c := range a.Configurations {
		now, _ := b.Configuration(c.Name)
		for _, ct := range c.Containers {
			if now == nil || find(now, ct.Name) == nil {
				all = append(all, Container{Configuration: c.Name, Name: ct.Name, Act: Removed})
			}
		}
	}
	return all
}

func find(c *system.Configuration, name string) *system.Container {
	if i := slices.IndexFunc(c.Containers, func(x system.Container) bool { return x.Name == name }); i >= 0 {
		return &c.Containers[i]
	}
	return nil
}

// differing returns the names of the fields in which two containers differ, in
// their canonical encoding. The launch program follows from the others.
func differing(a, b *system.Container) []string {
	x, y := fields(a), fields(b)
	var names []string
	launch := false
	for name := range union(x, y) {
		switch {
		case name == "source" || bytes.Equal(x[name], y[name]):
		case name == "launch":
			launch = true
		default:
			names = append(names, name)
		}
	}
	if launch && names == nil {
		names = []string{"launch"}
	}
	return names
}

func fields(v any) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	if text, err := json.Marshal(v); err == nil {
		_ = json.Unmarshal(text, &m) // what was just encoded
	}
	return m
}

// data lists data whose version changes.
func data(a, b *system.Manifest) []Data {
	out := []Data{}
	for _, c := range b.Configurations {
		old, ok := a.Configuration(c.Name)
		if !ok {
			continue
		}
		for _, ct := range c.Containers {
			was := find(old, ct.Name)
			if was == nil {
				continue
			}
			for _, d := range ct.Data {
				i := slices.IndexFunc(was.Data, func(o system.Data) bool { return o.Path == d.Path })
				if i >= 0 && was.Data[i].Version != d.Version {
					out = append(out, Data{c.Name, ct.Name, d.Path, was.Data[i].Version, d.Version})
				}
			}
		}
	}
	return out
}

// verdicts answers what the two systems alone answer.
func verdicts(a, b *system.Manifest) []Verdict {
	age := Verdict{What: "age", OK: b.Epoch >= a.Epoch}
	if !age.OK {
		age.Text = "its inputs are older than those of what is there: it is taken by force alone"
	}
	versions := Verdict{What: "data versions", OK: true}
	for _, d := range data(a, b) {
		if d.To < d.From {
			versions.OK = false
			versions.Text = fmt.Sprintf("data %s of container %s goes back from version %d to %d", d.Path, d.Container, d.From, d.To)
		}
	}
	modules := Verdict{What: "modules", OK: true}
	if gone := without(a.Kernel.Modules, b.Kernel.Modules); len(gone) > 0 {
		modules.Text = "no longer there: " + join(gone) + "; only the machine knows whether it uses them"
	}
	keys := Verdict{What: "keys", OK: a.Update == nil || b.Update != nil && len(without(b.Update.Keys, a.Update.Keys)) < len(b.Update.Keys)}
	if !keys.OK {
		keys.Text = "the machine will trust none of the keys that it trusts now"
	}
	return []Verdict{age, versions, modules, keys}
}

// without returns what of list is not in other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// compareFiles compares the trees of containers of the same name.
func compareFiles(st *store.Store, a, b *system.Manifest, list bool) (Files, error) {
	x, y := images(a), images(b)
	var out Files
	for name := range union(x, y) {
		if x[name] == y[name] {
			continue
		}
		old, err := filesOf(st, x[name])
		if err != nil {
			return out, err
		}
		now, err := filesOf(st, y[name])
		if err != nil {
			return out, err
		}
		for p := range union(old, now) {
			act, e := change(old, now, p)
			count := map[Act]*store.Amount{Added: &out.Added, Changed: &out.Changed, Removed: &out.Removed}[act]
			if count == nil {
				continue
			}
			count.Files++
			count.Bytes += e.Size
			if list {
				out.List = append(out.List, File{name, path.Join("/", p), act, e.Size})
			}
		}
	}
	return out, nil
}

// change compares a path; times do not count. The entry is the one that is,
// else the one that was.
func change(old, now map[string]tree.Entry, p string) (Act, tree.Entry) {
	o, was := old[p]
	n, is := now[p]
	switch o.MTime = n.MTime; {
	case !was:
		return Added, n
	case !is:
		return Removed, o
	case !o.Equal(n):
		return Changed, n
	}
	return Kept, n
}

// images are the images of all containers by name; of two of one name in
// different configurations the last counts.
func images(m *system.Manifest) map[string]system.Object {
	all := map[string]system.Object{}
	for _, c := range m.Configurations {
		for _, ct := range c.Containers {
			all[ct.Name] = ct.Image
		}
		if c.Host != nil {
			all["host of "+c.Name] = c.Host.Image
		}
	}
	return all
}

func filesOf(st *store.Store, image system.Object) (map[string]tree.Entry, error) {
	all := map[string]tree.Entry{}
	if image.Digest.IsZero() {
		return all, nil
	}
	t, err := st.Image(image.Digest)
	if err != nil {
		return nil, err
	}
	for p, e := range t.All() {
		if e.Kind != tree.Dir {
			all[p] = e
		}
	}
	return all, nil
}
