package nix_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/source/nix"
)

const top = "/nix/store/00000000000000000000000000000aaa-nixos-system-bench-25.05"

// spec is a document with more keys in its first namespace, and more namespaces.
func spec(within, beside string) string {
	return `{"org.nixos.bootspec.v1":{"init":"` + top + `/init","initrd":"` + top + `/initrd","kernel":"` + top + `/kernel",
"kernelParams":["loglevel=4","dyndbg=\"file drivers/usb/* +p\""],"label":"NixOS 25.05","system":"x86_64-linux","toplevel":"` + top + `"` + within + `}` + beside + `}`
}

func TestBootspec(t *testing.T) {
	one := spec("", `,"org.nixos.specialisation.v1":{}`)
	b, err := nix.ParseBootspec([]byte(spec("", `,"org.nixos.specialisation.v1":{"quiet":`+one+`},"org.example.keys.v2":{"a":[1,2.50]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if b.Init != top+"/init" || len(b.KernelParams) != 2 || b.Specialisations["quiet"] == nil || b.Specialisations["quiet"].Label != "NixOS 25.05" {
		t.Errorf("%+v", b)
	}
	if got := string(b.Extensions["org.example.keys.v2"]); got != `{"a":[1,2.50]}` {
		t.Errorf("an unknown namespace is kept as %s", got)
	}
	text, err := b.Format()
	if err != nil {
		t.Fatal(err)
	}
	again, err := nix.ParseBootspec(text)
	if err != nil || !equal(t, again, b) {
		t.Errorf("written and read again: %+v %v", again, err)
	}

	old, err := nix.ParseBootspec([]byte(spec(`,"specialisation":{"s":`+one+`}`, "") + "\n"))
	if err != nil || old.Specialisations["s"] == nil {
		t.Errorf("a specialisation within: %+v %v", old, err)
	}
}

func equal(t *testing.T, a, b *nix.Bootspec) bool {
	t.Helper()
	var x, y any
	for _, p := range []struct {
		b  *nix.Bootspec
		to *any
	}{{a, &x}, {b, &y}} {
		text, err := p.b.Format()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, p.to); err != nil {
			t.Fatal(err)
		}
	}
	return reflect.DeepEqual(x, y)
}

func TestBootspecRefused(t *testing.T) {
	good := spec("", "")
	if _, err := nix.ParseBootspec([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":       "",
		"no namespace":  `{"org.nixos.bootspec.v2":{}}`,
		"two documents": good + good,
		"list":          "[" + good + "]",
		"init":          strings.Replace(good, top+"/init\"", "/bin/init\"", 1),
		"out of it":     strings.Replace(good, top+"/init\"", top+"/../../../etc\"", 1),
		"no toplevel":   strings.Replace(good, `"toplevel"`, `"toplevels"`, 1),
		"argument":      strings.Replace(good, "loglevel=4", "loglevel=4 init=/x", 1),
		"line":          strings.Replace(good, "loglevel=4", `loglevel\n=4`, 1),
		"special":       spec("", `,"org.nixos.specialisation.v1":{"x":{}}`),
	} {
		if _, err := nix.ParseBootspec([]byte(text)); err == nil {
			t.Errorf("%s is accepted: %s", name, text)
		}
	}
}

func FuzzBootspec(f *testing.F) {
	f.Add([]byte(spec("", "")))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := nix.ParseBootspec(text)
		if err != nil {
			return
		}
		out, err := b.Format()
		if err != nil {
			t.Fatal(err)
		}
		again, err := nix.ParseBootspec(out)
		if err != nil || !equal(t, again, b) {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}
