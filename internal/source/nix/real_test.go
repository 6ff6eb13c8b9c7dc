package nix_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/source/nix"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/nix/nixtest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// built is a closure that nix itself has built, without nixpkgs: a library and
// a program that refers to it, made by a static shell.
func built(t *testing.T, run func(string, ...string) string) (root string, tool narinfo.Name) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox: scripts/test-tools installs busybox-static")
	}
	dir := t.TempDir()
	copyFile(t, busybox, filepath.Join(dir, "bb/busybox"))
	if err := os.Symlink("busybox", filepath.Join(dir, "bb/sh")); err != nil {
		t.Fatal(err)
	}
	const expr = `let make = name: script: derivation { inherit name; system = builtins.currentSystem; builder = "${./bb}/sh"; args = ["-c" script]; PATH = "${./bb}"; };
in rec {
  lib = make "lib-1.0" "busybox mkdir -p $out/lib $out/empty; echo data > $out/lib/data; : > $out/lib/nothing";
  tool = make "tool-2" "busybox mkdir -p $out/bin; busybox cp ${./bb}/busybox $out/bin/busybox; echo ${lib} $out > $out/refs; busybox ln -s ${lib}/lib/data $out/data";
}`
	if err := os.WriteFile(filepath.Join(dir, "default.nix"), []byte(expr), 0o644); err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(dir, "root")
	out := run("nix-build", "--store", root, "--no-out-link", dir, "-A", "tool")
	if tool, err = narinfo.ParsePath(out); err != nil {
		t.Fatal(err)
	}
	return root, tool
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// closure reads a closure from one place.
func closure(t *testing.T, st *store.Store, word string, root narinfo.Name, trust nix.Trust) (*tree.Tree, []narinfo.Info) {
	t.Helper()
	places := []nix.Place{open(t, word, nix.Options{})}
	infos, err := nix.Resolve(t.Context(), places, root, trust)
	if err != nil {
		t.Fatal(err)
	}
	got, err := (&nix.Job{Places: places, Objects: st, Parallel: 2}).Paths(t.Context(), infos)
	if err != nil {
		t.Fatal(err)
	}
	return got, infos
}

func prints(infos []narinfo.Info) (out []string) {
	for _, in := range infos {
		out = append(out, in.Fingerprint())
	}
	return out
}

// What nix has built comes in by four ways, all with the same result; what goes
// out, nix takes, and refuses when another key has signed it.
func TestRealNix(t *testing.T) {
	run := nixtest.Nix(t)
	root, tool := built(t, run)
	st := openStore(t)

	first, asked := closure(t, st, "store:"+root, tool, nix.Trust{})
	want := dump(first)
	if len(asked) != 2 || asked[0].Deriver == "" || !strings.Contains(want, "-lib-1.0/lib/nothing file 0444 0") {
		t.Fatalf("%v\n%s", asked, want)
	}

	plainDir := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", filepath.Join(root, "nix/store"), plainDir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cache := t.TempDir()
	secret := nixtest.Secret(t, "test-1")
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(secret.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	run("nix", "copy", "--store", root, "--to", "file://"+cache+"?secret-key="+keyFile, tool.Path())
	for _, word := range []string{"store:" + plainDir, "file://" + cache} {
		got, infos := closure(t, st, word, tool, trusted(t))
		if dump(got) != want || !slices.Equal(prints(infos), prints(asked)) {
			t.Errorf("%s: %v\n%s", word, prints(infos), dump(got))
		}
	}

	var nar bytes.Buffer
	if err := nix.Archive(&nar, st, first, "nix/store/"+string(tool)); err != nil {
		t.Fatal(err)
	}
	theirs, err := exec.Command("nix-store", "--dump", filepath.Join(root, tool.Path())).Output()
	if err != nil || !bytes.Equal(theirs, nar.Bytes()) {
		t.Errorf("the archive out of the store differs from nix-store --dump: %v", err)
	}

	published(t, run, st, first, asked, tool, secret)
	registered(t, run, root, asked, tool)
}

// published exports the closure and has nix copy it.
func published(t *testing.T, run func(string, ...string) string, st *store.Store, from *tree.Tree, infos []narinfo.Info, tool narinfo.Name, secret *narinfo.Secret) {
	t.Helper()
	var all []nix.Exported
	for _, in := range infos {
		all = append(all, nix.Exported{Info: in, Tree: from, At: "nix/store/" + string(in.Name)})
	}
	other := tree.New()
	d, err := st.PutBytes([]byte("hello\n"))
	if err != nil {
		t.Fatal(err)
	}
	for p, e := range map[string]tree.Entry{
		"etc/motd": {Kind: tree.File, Mode: 0o640, UID: 7, Size: 6, Digest: d}, "etc/link": {Kind: tree.Symlink, Target: "motd"}, "again": {Kind: tree.Hardlink, Target: "etc/motd"},
	} {
		if err := other.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	own, err := nix.Describe(st, other, "greenhouse-conf")
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, nix.Exported{Info: own, Tree: other, At: tree.Root})
	for _, compression := range []string{"zstd", "none"} {
		dir := t.TempDir()
		export := nix.Export{Dir: dir, Secret: secret, Compression: compression, Objects: st, Parallel: 2}
		w, err := export.Write(t.Context(), all)
		if err != nil || w.Paths != 3 || w.New != 3 {
			t.Fatalf("%+v %v", w, err)
		}
		before := listing(t, dir)
		if w, err = export.Write(t.Context(), all); err != nil || w.New != 0 || listing(t, dir) != before {
			t.Errorf("written again: %+v %v", w, err)
		}
		to := filepath.Join(t.TempDir(), "s")
		run("nix", "copy", "--from", "file://"+dir, "--to", to, "--option", "trusted-public-keys", secret.Key().String(), tool.Path(), own.Name.Path())
		run("nix", "store", "verify", "--store", to, "--all", "--no-trust")
		if b, err := os.ReadFile(filepath.Join(to, own.Name.Path(), "again")); err != nil || string(b) != "hello\n" {
			t.Errorf("%q %v", b, err)
		}
		refused := exec.Command("nix", "--extra-experimental-features", "nix-command", "copy", "--from", "file://"+dir, "--to", filepath.Join(t.TempDir(), "s"),
			"--option", "trusted-public-keys", "other-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=", "--option", "build-users-group", "", tool.Path())
		if out, err := refused.CombinedOutput(); err == nil || !strings.Contains(string(out), "signature") {
			t.Errorf("nix trusts a key that it does not know: %v\n%s", err, out)
		}
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-type", "f", "-printf", "%P %s\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// registered copies the paths without a database and lets nix read the
// registration: it then knows them, and finds them whole.
func registered(t *testing.T, run func(string, ...string) string, root string, infos []narinfo.Info, tool narinfo.Name) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "s")
	if err := os.MkdirAll(filepath.Join(to, "nix/store"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, in := range infos {
		if out, err := exec.Command("cp", "-a", filepath.Join(root, in.Name.Path()), filepath.Join(to, "nix/store")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	reg := filepath.Join(to, nix.RegistrationFile)
	if err := os.WriteFile(reg, narinfo.Registration(infos), 0o644); err != nil {
		t.Fatal(err)
	}
	run("sh", "-c", "nix-store --store '"+to+"' --load-db < '"+reg+"'")
	run("nix", "store", "verify", "--store", to, "--all", "--no-trust")
	got := strings.Fields(run("nix-store", "--store", to, "--query", "--requisites", tool.Path()))
	if len(got) != len(infos) {
		t.Errorf("nix knows %v", got)
	}
}
