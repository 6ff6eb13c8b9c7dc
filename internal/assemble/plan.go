package assemble

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/system"
)

// FetchPlan lists pinned files that are neither in the cache nor vendored.
type FetchPlan struct {
	Files []fetch.Request `json:"files"`
	Bytes int64           `json:"bytes"`
}

// PlanFetch tells what building the given architectures would download.
func (b *Builder) PlanFetch(def *config.Definition, lk *lock.Lock, arches []string) (*FetchPlan, error) {
	plan := &FetchPlan{Files: []fetch.Request{}}
	for _, arch := range arches {
		in, ok := lk.Arches[arch]
		if !ok {
			return nil, fmt.Errorf("the lock has no inputs for %s", arch)
		}
		all, err := b.requests(def, in.Packages)
		if err != nil {
			return nil, err
		}
		for _, pin := range lk.Images {
			if pin.Arch != arch {
				continue
			}
			more, err := imageRequests(def, pin)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		for _, r := range all {
			if !b.Fetch.Has(r.SHA256) && !slices.Contains(plan.Files, r) {
				plan.Files = append(plan.Files, r)
				plan.Bytes += r.Size
			}
		}
		b.planClosures(lk, arch, plan)
	}
	return plan, nil
}

// VendorPlan lists all pinned files and where they go.
type VendorPlan struct {
	Dir      string          `json:"dir"`
	Files    []fetch.Request `json:"files"`
	Bytes    int64           `json:"bytes"`
	NewFiles int             `json:"newFiles"` // not yet in Dir
	NewBytes int64           `json:"newBytes"`

	archives map[string]archive // of Nix store paths, by hash
}

// PlanVendor lists every file of the lock: packages of all architectures and
// tools, and downloaded files.
func (b *Builder) PlanVendor(def *config.Definition, lk *lock.Lock, dir string) (*VendorPlan, error) {
	plan := &VendorPlan{Dir: dir}
	if err := b.reach(def); err != nil {
		return nil, err
	}
	var pkgs []lock.Package
	for _, set := range []map[string]*lock.Inputs{lk.Arches, lk.Tools} {
		for _, in := range set {
			pkgs = append(pkgs, in.Packages...)
		}
	}
	all, err := b.requests(def, pkgs)
	if err != nil {
		return nil, err
	}
	for _, f := range lk.Files {
		all = append(all, fetch.Request{URL: f.URL, SHA256: f.SHA256, Size: f.Size, What: "tree " + f.Tree})
	}
	all = append(all, plan.closures(def, lk)...)
	for _, pin := range lk.Images {
		more, err := imageRequests(def, pin)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	slices.SortFunc(all, func(x, y fetch.Request) int { return strings.Compare(x.SHA256, y.SHA256) })
	all = slices.CompactFunc(all, func(x, y fetch.Request) bool { return x.SHA256 == y.SHA256 })
	for _, r := range all {
		plan.Files = append(plan.Files, r)
		plan.Bytes += r.Size
		if st, err := os.Stat(vendored(dir, r)); err != nil || st.Size() != r.Size {
			plan.NewFiles++
			plan.NewBytes += r.Size
		}
	}
	return plan, nil
}

// vendored is where a pinned file lies in a vendor directory.
func vendored(dir string, r fetch.Request) string {
	return filepath.Join(dir, "files", r.SHA256[:2], r.SHA256)
}

// ExecuteVendor fetches and copies what is not there. It may run again.
func (b *Builder) ExecuteVendor(ctx context.Context, plan *VendorPlan) error {
	for i, r := range plan.Files {
		b.report(Event{Stage: "vendor", Item: r.What, Done: int64(i), Total: int64(len(plan.Files))})
		to := vendored(plan.Dir, r)
		if st, err := os.Stat(to); err == nil && st.Size() == r.Size {
			continue
		}
		if a, ok := plan.archives[r.SHA256]; ok {
			if err := b.vendorArchive(ctx, a, to); err != nil {
				return fmt.Errorf("vendoring %s: %w", r.What, err)
			}
			continue
		}
		from, err := b.Fetch.Get(ctx, r)
		if err != nil {
			return err
		}
		if err := copyFile(from, to); err != nil {
			return fmt.Errorf("vendoring %s: %w", r.What, err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	dst, err := durable.Create(filepath.Dir(to), 0o644)
	if err != nil {
		return err
	}
	defer dst.Abort()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Commit(to)
}

// Difference names the parts of two manifests that differ, a line each, by
// their path in the encoding.
func Difference(a, b *system.Manifest) string {
	x, errX := a.Encode()
	y, errY := b.Encode()
	if errX != nil || errY != nil {
		return ""
	}
	left, right := strings.Split(string(x), "\n"), strings.Split(string(y), "\n")
	var out []string
	for i := 0; i < max(len(left), len(right)) && len(out) < 20; i++ {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		if l != r {
			out = append(out, fmt.Sprintf("line %d: %s | %s", i+1, strings.TrimSpace(l), strings.TrimSpace(r)))
		}
	}
	return strings.Join(out, "\n")
}
