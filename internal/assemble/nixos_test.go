package assemble

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// Store paths of a system like those of NixOS: a toplevel with an init that is
// a script, a systemd, a shell, and one specialisation.
const (
	nixosTop     narinfo.Name = "00000000000000000000000000000aaa-nixos-system-bench"
	nixosSpecial narinfo.Name = "00000000000000000000000000000bbb-nixos-system-bench-quiet"
	nixosSystemd narinfo.Name = "00000000000000000000000000000ccc-systemd-257"
	nixosShell   narinfo.Name = "00000000000000000000000000000ddd-bash-5"
)

func bootJSON(top narinfo.Name, more, beside string) string {
	p := top.Path()
	return fmt.Sprintf(`{"org.nixos.bootspec.v1":{"init":"%s/init","initrd":"%s/initrd","kernel":"%s/kernel","label":"NixOS %s",
"kernelParams":["loglevel=4","root=fstab","init=/x","quiet"],"system":"x86_64-linux","toplevel":"%s"%s},"org.example.v1":{"kept":true}%s}`, p, p, p, top.Rest(), p, more, beside)
}

// nixosStore writes the paths; bootspec is the toplevel's boot.json.
func nixosStore(t *testing.T, bootspec string) string {
	t.Helper()
	root := t.TempDir()
	put := func(n narinfo.Name, name, content string) {
		at := filepath.Join(root, "nix/store", string(n), name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []narinfo.Name{nixosTop, nixosSpecial} {
		put(n, "init", "#! "+nixosShell.Path()+"/bin/bash -e\nexec "+nixosSystemd.Path()+"/lib/systemd/systemd\n")
		put(n, "systemd", "->"+nixosSystemd.Path())
	}
	put(nixosTop, "boot.json", bootspec)
	put(nixosTop, "specialisation/quiet", "->"+nixosSpecial.Path())
	put(nixosSystemd, "lib/systemd/systemd", tiny(elf.EM_X86_64))
	put(nixosShell, "bin/bash", tiny(elf.EM_X86_64))
	return root
}

// nixosMachine builds the trees of a machine with such a host.
func nixosMachine(t *testing.T, bootspec string) (*world, *config.Definition, map[string]*tree.Tree) {
	t.Helper()
	w := newWorld(t)
	w.publish(app("1.0", ""))
	text := fmt.Sprintf(`}
  nixos: {from: nix, closure: %s, caches: ["store:%s"]`, nixosTop.Path(), nixosStore(t, bootspec))
	def := w.definition(text)
	def.Configurations["rescue"] = config.Configuration{Fallback: true, Containers: []string{"app"}}
	def.Configurations["main"] = config.Configuration{Containers: []string{"app"}, Command: []string{"quiet"}, Host: &config.Host{Trees: []string{"nixos"}, Init: defaultHostInit}}
	lk := w.mustLock(def, nil)
	trees, err := w.b.Trees(t.Context(), def, lk, "amd64", []string{"nixos"})
	if err != nil {
		t.Fatal(err)
	}
	program := func(string) ([]byte, error) { return []byte("program"), nil }
	w.b.Init, w.b.Agent = program, program
	return w, def, trees
}

func TestNixOS(t *testing.T) {
	special := `,"org.nixos.specialisation.v1":{"quiet":` + bootJSON(nixosSpecial, "", "") + `}`
	w, def, trees := nixosMachine(t, bootJSON(nixosTop, "", special))
	got, err := w.b.nixos(def, "amd64", trees)
	if err != nil {
		t.Fatal(err)
	}
	if len(def.Configurations) != 2 || def.Configurations["main"].Host.Init != defaultHostInit {
		t.Error("the definition was changed")
	}
	for name, top := range map[string]narinfo.Name{"main": nixosTop, "main-quiet": nixosSpecial} {
		c, ok := got.Configurations[name]
		if !ok || c.Host.Init != top.Path()+"/init" || c.Fallback || strings.Join(c.Containers, " ") != "app" {
			t.Errorf("%s: %+v %+v", name, c, c.Host)
		}
		if args := strings.Join(c.Command, " "); args != "quiet loglevel=4 systemd.gpt_auto=0" {
			t.Errorf("%s: kernel arguments %q", name, args)
		}
	}
	if len(got.Configurations) != 3 {
		t.Errorf("%d configurations", len(got.Configurations))
	}

	for _, name := range []string{"main", "main-quiet"} {
		h, err := w.b.host(t.Context(), got, got.Configurations[name].Host, "amd64", trees)
		if err != nil || h.Init != got.Configurations[name].Host.Init {
			t.Fatalf("%s: %+v %v", name, h, err)
		}
	}
	root := tree.New()
	l := hostLayer{root: root, b: w.b}
	l.nixos(&config.Host{}, "amd64")
	for _, p := range []string{"run", "etc/machine-id", system.HostInit, localGenerators + "/instar-generator"} {
		if _, ok := root.Stat(p); !ok || l.err != nil {
			t.Errorf("/%s is not there: %v", p, l.err)
		}
	}
	// What activation writes or links is not in its way.
	if i := slices.IndexFunc(root.Paths(), func(p string) bool { return strings.HasPrefix(p, "etc/systemd") || p == "etc/hosts" }); i >= 0 {
		t.Errorf("/%s is in the way of activation", root.Paths()[i])
	}
}

func TestNixOSRefused(t *testing.T) {
	for name, c := range map[string]struct{ more, beside, want string }{
		"secrets":        {`,"initrdSecrets":"` + nixosTop.Path() + `/append-initrd-secrets"`, "", "set boot.initrd.secrets = {} in NixOS"},
		"secrets within": {"", `,"org.nixos.specialisation.v1":{"quiet":` + bootJSON(nixosSpecial, `,"initrdSecrets":"/x"`, "") + `}`, "specialisation quiet: NixOS nixos-system-bench-quiet adds secrets"},
		"name":           {"", `,"org.nixos.specialisation.v1":{"Loud One":` + bootJSON(nixosSpecial, "", "") + `}`, `"Loud One" cannot be the configuration "main-Loud One"`},
		"system":         {`,"system":"aarch64-linux"`, "", "is a system for aarch64-linux, the machine is amd64"},
		"nonsense":       {`,"toplevel":"/x"`, "", "boot.json of tree nixos: bootspec"},
	} {
		t.Run(name, func(t *testing.T) {
			w, def, trees := nixosMachine(t, bootJSON(nixosTop, c.more, c.beside))
			if _, err := w.b.nixos(def, "amd64", trees); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	w, def, trees := nixosMachine(t, bootJSON(nixosTop, "", `,"org.nixos.specialisation.v1":{"b":`+bootJSON(nixosSpecial, "", "")+`}`))
	def.Configurations["main-b"] = config.Configuration{Containers: []string{"app"}}
	if _, err := w.b.nixos(def, "amd64", trees); err == nil || !strings.Contains(err.Error(), "which there is already") {
		t.Errorf("a configuration of that name: %v", err)
	}
}
