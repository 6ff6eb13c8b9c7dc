package assemble

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb/debtest"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/store"
)

// definition is a machine on a test archive; %s are its URL and more keys of
// the tree.
const definition = `machine: test
sources:
  test: {archive: %q, suites: [stable], keyring: archive.asc}
kernel: {from: test, package: linux-image-test}
tools: {from: host}
trees:
  app: {from: test, packages: [app]%s}
containers:
  app: {trees: [app], command: [/usr/bin/app]}
configurations:
  main: {fallback: true, containers: [app]}
default: main
`

// world is an archive, a definition and a builder.
type world struct {
	t       *testing.T
	archive *debtest.Archive
	b       *Builder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return &world{t, debtest.Serve(t), &Builder{
		Store: st, Cache: dir, Dir: dir, HostArch: "amd64",
		Fetch: &fetch.Client{Dir: filepath.Join(dir, "downloads"), HTTP: http.DefaultClient},
	}}
}

// publish makes packages the archive's only suite, with a kernel and a loader.
func (w *world) publish(pkgs ...debtest.Package) {
	w.archive.Publish(debtest.Suite{Name: "stable", Packages: append(pkgs,
		debtest.Package{Name: "linux-image-test", Fields: map[string]string{"Depends": "linux-image-1-test, initramfs-tools"}},
		debtest.Package{Name: "linux-image-1-test", Files: []debtest.File{{Path: "/boot/vmlinuz-1-test", Body: "kernel"}}},
		debtest.Package{Name: "systemd-boot-efi"})})
}

func (w *world) definition(more string) *config.Definition {
	w.t.Helper()
	f, err := config.Read(fstest.MapFS{"instar.yaml": {Data: fmt.Appendf(nil, definition, w.archive.URL, more)}}, "instar.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	return f.Definition
}

func (w *world) lock(def *config.Definition, old *lock.Lock, accept ...string) (*lock.Lock, error) {
	return w.b.Lock(w.t.Context(), def, LockOptions{Old: old, Now: debtest.Now, Keys: w.archive.Keys, Accept: accept})
}

func (w *world) mustLock(def *config.Definition, old *lock.Lock, accept ...string) *lock.Lock {
	w.t.Helper()
	lk, err := w.lock(def, old, accept...)
	if err != nil {
		w.t.Fatal(err)
	}
	return lk
}

func app(version, postinst string, files ...debtest.File) debtest.Package {
	p := debtest.Package{Name: "app", Version: version, Arch: "amd64", Files: append(files, debtest.File{Path: "/usr/bin/app", Body: "x", Mode: 0o755})}
	if postinst != "" {
		p.Scripts = map[string]string{"postinst": "#!/bin/sh\nset -e\n" + postinst + "\n"}
	}
	return p
}

func TestLockPins(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", ""))
	lk := w.mustLock(w.definition(""), nil)
	in := lk.Arches["amd64"]
	if got := strings.Join(in.Kernel, " "); got != "linux-image-test linux-image-1-test" {
		t.Errorf("kernel packages: %s; initramfs-tools must not be among them", got)
	}
	if got := strings.Join(in.Boot, " "); got != "systemd-boot-efi" {
		t.Errorf("boot packages: %s", got)
	}
	if p, ok := in.Find("app"); !ok || p.Version != "1.0" || len(p.SHA256) != 64 || p.Source != "test" {
		t.Errorf("app is pinned as %+v", p)
	}
	if lk.Epoch != debtest.Date.Unix() {
		t.Errorf("epoch %d, want the suite's date %d", lk.Epoch, debtest.Date.Unix())
	}
	text, err := lk.Format()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := lock.Parse(text); err != nil || !lock.Diff(lk, back).Empty() {
		t.Errorf("the lock does not survive its file: %v\n%s", err, text)
	}
}

func TestUnexplainedScripts(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", "magic --do things"))
	_, err := w.lock(w.definition(""), nil)
	var u *Unexplained
	if !errors.As(err, &u) || len(u.Packages) != 1 || u.Packages[0].Name != "app" || !strings.Contains(err.Error(), "magic --do things") {
		t.Fatalf("an unexplained script: %v", err)
	}
	if !strings.Contains(err.Error(), u.Packages[0].Scripts[0].SHA256) {
		t.Errorf("the error does not name the script's digest: %v", err)
	}
	if _, err := w.lock(w.definition(", effects: none"), nil); err != nil {
		t.Errorf("without effects: %v", err)
	}

	accepted := w.definition(", accept: [app]")
	first := w.mustLock(accepted, nil)
	p, _ := first.Arches["amd64"].Find("app")
	if len(p.Scripts) != 1 || p.Scripts[0].Accepted != "app" {
		t.Fatalf("the accepted script is recorded as %+v", p.Scripts)
	}
	w.publish(app("1.1", "magic --do other things"))
	if _, err := w.lock(accepted, first); !errors.As(err, &u) {
		t.Errorf("another script than the accepted one: %v, want to be asked again", err)
	}
	if _, err := w.lock(accepted, first, "app"); err != nil {
		t.Errorf("with the new script accepted: %v", err)
	}
	w.publish(app("1.2", "magic --do things"))
	if _, err := w.lock(accepted, first); err != nil {
		t.Errorf("the same script in another version: %v", err)
	}
}

func TestUsersKeepTheirNumbers(t *testing.T) {
	w := newWorld(t)
	user := func(name string) debtest.File {
		return debtest.File{Path: "/usr/lib/sysusers.d/" + name + ".conf", Body: "u " + name + " - \"\" /\n"}
	}
	w.publish(app("1.0", "", user("mmm")))
	def := w.definition("")
	first := w.mustLock(def, nil)
	n, ok := first.Users.UIDs["mmm"]
	if !ok || n < 100 || n > 999 {
		t.Fatalf("users: %+v", first.Users)
	}
	w.publish(app("1.1", "", user("aaa"), user("mmm")))
	second := w.mustLock(def, first)
	if second.Users.UIDs["mmm"] != n || second.Users.UIDs["aaa"] == n {
		t.Errorf("users after aaa came: %+v; mmm had %d", second.Users, n)
	}
}

func TestAdvisories(t *testing.T) {
	changelog := func(text string) debtest.File {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return debtest.File{Path: "/usr/share/doc/app/changelog.Debian.gz", Body: b.String()}
	}
	const old = "app (1.0) stable; urgency=medium\n\n  * CVE-2020-0001 was fixed before\n\n"
	w := newWorld(t)
	w.publish(app("1.0", "", changelog(old)))
	def := w.definition("")
	first := w.mustLock(def, nil)
	w.publish(app("1.1", "", changelog("app (1.1) stable; urgency=high\n\n  * fix CVE-2026-12345, CVE-2026-0007\n\n"+old)))
	second := w.mustLock(def, first)
	got, err := w.b.Advisories(t.Context(), def, lock.Diff(first, second))
	if err != nil || len(got) != 1 || got[0].List() != "CVE-2026-0007, CVE-2026-12345" {
		t.Errorf("advisories: %+v, %v", got, err)
	}
}

func TestVendor(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", ""))
	def := w.definition("")
	lk := w.mustLock(def, nil)
	dir := t.TempDir()
	plan, err := w.b.PlanVendor(def, lk, dir)
	if err != nil || len(plan.Files) != 4 || plan.NewFiles != 4 {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	if err := w.b.ExecuteVendor(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if again, err := w.b.PlanVendor(def, lk, dir); err != nil || again.NewFiles != 0 {
		t.Errorf("a second plan: %+v, %v", again, err)
	}
	// Another builder, without network and cache, has the trees.
	w.archive.Asked()
	fresh := newWorld(t)
	fresh.b.Fetch = &fetch.Client{Dir: t.TempDir(), Vendor: dir, Offline: true}
	trees, err := fresh.b.Trees(t.Context(), def, lk, "amd64", []string{"app"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := trees["app"].Get("usr/bin/app"); !ok || len(w.archive.Asked()) > 0 {
		t.Errorf("app is missing, or the archive was asked")
	}
}

func TestPlanFetch(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", ""))
	def := w.definition("")
	lk := w.mustLock(def, nil)
	w.b.Fetch = &fetch.Client{Dir: t.TempDir()}
	plan, err := w.b.PlanFetch(def, lk, []string{"amd64"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range plan.Files {
		names = append(names, strings.Fields(f.What)[0])
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "app linux-image-1-test linux-image-test systemd-boot-efi" {
		t.Errorf("to fetch: %s", got)
	}
}

func TestCachedTreeKeepsOwners(t *testing.T) {
	w := newWorld(t)
	w.publish(app("1.0", ""))
	def := w.definition("")
	lk := w.mustLock(def, nil)
	for _, round := range []string{"built", "cached"} {
		trees, err := w.b.Trees(t.Context(), def, lk, "amd64", []string{"app"})
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := trees["app"].Get("usr/bin/app"); !ok || e.Owner != "app 1.0 amd64" {
			t.Errorf("%s: /usr/bin/app is %+v", round, e)
		}
		if err := w.b.Store.Commit(); err != nil {
			t.Fatal(err)
		}
		w.b.Fetch = &fetch.Client{Dir: t.TempDir(), Offline: true} // the cache must do
	}
}
