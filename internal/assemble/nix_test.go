package assemble

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/nix"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/nix/nixtest"
	"github.com/instar-os/instar/internal/tree"
)

// twoClosures are trees of the definition: a closure by a symlink, out of a
// signed cache, and a smaller one from the store itself.
func twoClosures(t *testing.T, w *world) (more, root string) {
	root = nixtest.Store(t)
	secret := nixtest.Secret(t, "test-1")
	cache := nixtest.Cache(t, root, "zstd", secret, nixtest.Infos(t, root))
	w.b.Dir = t.TempDir()
	if err := os.Symlink(nixtest.Tool.Path(), filepath.Join(w.b.Dir, "result")); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`}
  tool: {from: nix, closure: result, caches: ["file:%s"], keys: ["%s"], to: /opt/tool}
  lib: {from: nix, closure: %s, caches: ["store:%s"]}
  small: {from: nix, closure: %s, caches: ["store:%s"], prune: [/nix/store/*/lib/**]`, cache, secret.Key(), nixtest.Lib.Path(), root, nixtest.Lib.Path(), root), root
}

func TestNixTrees(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", ""))
	more, root := twoClosures(t, w)
	def := w.definition(more)
	lk := w.mustLock(def, nil)
	text, err := lk.Format()
	if err != nil {
		t.Fatal(err)
	}
	if lk, err = lock.Parse(text); err != nil {
		t.Fatal(err)
	}
	if len(lk.Nix) != 3 || len(lk.Nix[2].Paths) != 3 || lk.Nix[2].Root != string(nixtest.Tool) {
		t.Fatalf("%+v", lk.Nix)
	}
	trees, err := w.b.Trees(t.Context(), def, lk, "amd64", []string{"tool", "lib", "small"})
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := trees["tool"].Get("opt/tool"); !ok || e.Kind != tree.Symlink || e.Target != nixtest.Tool.Path() {
		t.Errorf("/opt/tool is %+v", e)
	}
	if _, ok := trees["tool"].Stat("opt/tool/bin/alias"); !ok {
		t.Error("nothing is at /opt/tool/bin/alias")
	}
	if _, ok := trees["small"].Get(nix.RegistrationFile); ok {
		t.Error("a pruned closure is registered: nix would find it damaged")
	}
	if got := registeredIn(t, w, trees["lib"]); got != "bbb-lib-3 ccc-data" {
		t.Errorf("registered are %s", got)
	}

	// Both in one root: one registration of all.
	both := tree.New()
	for _, name := range []string{"tool", "lib"} {
		if err := both.Merge(trees[name], tree.LastWins); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.b.register(both, def, []string{"tool", "lib"}); err != nil {
		t.Fatal(err)
	}
	if got := registeredIn(t, w, both); got != "aaa-tool-1.2 bbb-lib-3 ccc-data" {
		t.Errorf("registered are %s", got)
	}
	pkgs := nixPackages(w.b.closures, "amd64", []string{"tool", "lib"})
	if len(pkgs) != 3 || pkgs[0].Name != "tool" || pkgs[0].Version != "1.2" || strings.Join(pkgs[1].Trees, " ") != "lib tool" || pkgs[2].Version != "" {
		t.Errorf("%+v", pkgs)
	}

	// What is pinned decides: a store that has something else is no source.
	if err := os.WriteFile(filepath.Join(root, "nix/store", string(nixtest.Data)), []byte("other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.b.Cache = t.TempDir()
	if _, err := w.b.Trees(t.Context(), def, lk, "amd64", []string{"lib"}); err == nil || !strings.Contains(err.Error(), "tree lib: "+nixtest.Data.Path()) {
		t.Errorf("with another content: %v", err)
	}
	moved := w.mustLock(def, lk)
	if d := lock.Diff(lk, moved).String(); !strings.Contains(d, "nix closure of tree lib (amd64): "+string(nixtest.Lib)+", 1 paths added, 0 removed") {
		t.Errorf("the difference is\n%s", d)
	}
}

// registeredIn returns the ends of the names in a tree's registration.
func registeredIn(t *testing.T, w *world, in *tree.Tree) string {
	t.Helper()
	e, ok := in.Get(nix.RegistrationFile)
	if !ok {
		t.Fatal("no registration")
	}
	b, err := w.b.Store.Bytes(e.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	all, err := narinfo.ParseRegistration(b)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, in := range all {
		names = append(names, string(in.Name[29:]))
	}
	return strings.Join(names, " ")
}

// A vendor directory has all archives, plain; a build with nothing else takes them.
func TestNixVendor(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", ""))
	more, root := twoClosures(t, w)
	def := w.definition(more)
	lk := w.mustLock(def, nil)
	missing, err := w.b.PlanFetch(def, lk, []string{"amd64"})
	if err != nil || !strings.Contains(fmt.Sprint(missing.Files), "tool-1.2") {
		t.Errorf("to fetch: %v %v", missing, err)
	}
	dir := t.TempDir()
	plan, err := w.b.PlanVendor(def, lk, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.b.ExecuteVendor(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if again, err := w.b.PlanVendor(def, lk, dir); err != nil || again.NewFiles != 0 {
		t.Errorf("%d files are still to be vendored: %v", again.NewFiles, err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	w.b.Cache = t.TempDir()
	w.b.Fetch = &fetch.Client{Dir: t.TempDir(), Vendor: dir, Offline: true}
	if _, err := w.b.Trees(t.Context(), def, lk, "amd64", []string{"tool", "lib"}); err != nil {
		t.Error(err)
	}
}

// A closure that a definition names by what is none says so with its tree.
func TestNixClosureRefused(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", ""))
	w.b.Dir = t.TempDir()
	for word, want := range map[string]string{
		"result":            "tree tool: closure: result is no symlink to a store path",
		"away":              "tree tool: closure: symlink away: \"/etc\" is not below /nix/store",
		nixtest.Tool.Path(): "tree tool: " + nixtest.Tool.Path() + ": none of store:none has it",
	} {
		if word == "away" {
			if err := os.Symlink("/etc", filepath.Join(w.b.Dir, word)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(w.b.Dir, "none/nix/store"), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := w.lock(w.definition("}\n  tool: {from: nix, closure: "+word+", caches: [\"store:none\"]"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", word, err, want)
		}
	}
}
