package assemble

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

const hostEpoch = 1700000000

// hostBuilder is a Builder whose programs are texts.
func hostBuilder(t *testing.T) *Builder {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	program := func(name string) func(string) ([]byte, error) {
		return func(arch string) ([]byte, error) { return []byte(name + " for " + arch), nil }
	}
	return &Builder{Store: st, Init: program("init"), Agent: program("agent"), epoch: hostEpoch}
}

// userland is a tree with some files, each with its own path as its content;
// a path that ends with "/" is a directory.
func userland(t *testing.T, b *Builder, paths ...string) *tree.Tree {
	t.Helper()
	root := tree.New()
	for _, p := range paths {
		e := tree.Entry{Kind: tree.Dir, Mode: 0o755, Owner: "package"}
		if !strings.HasSuffix(p, "/") {
			o, err := b.putObject([]byte("#!/bin/" + p))
			if err != nil {
				t.Fatal(err)
			}
			e = tree.Entry{Kind: tree.File, Mode: 0o755, Size: o.Size, Digest: o.Digest, Owner: "package"}
		}
		if err := root.Put(strings.TrimSuffix(p, "/"), e); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// layer adds everything to a tree.
func layer(t *testing.T, b *Builder, root *tree.Tree, decl *config.Host) error {
	t.Helper()
	l := hostLayer{root: root, b: b}
	l.programs(decl, "arm64")
	l.identity("bench")
	l.quiet()
	return l.err
}

func TestHostLayer(t *testing.T) {
	b := hostBuilder(t)
	root := userland(t, b, "usr/lib/systemd/systemd", "usr/sbin/agetty", "etc/hosts")
	if err := layer(t, b, root, &config.Host{Agent: "9273"}); err != nil {
		t.Fatal(err)
	}
	for p, content := range map[string]string{
		system.HostInit: "init for arm64", system.HostAgent: "agent for arm64",
		"usr/lib/systemd/system-generators/instar-generator": "init for arm64",
		"etc/hostname": "bench\n",
		"etc/hosts":    "#!/bin/etc/hosts", // the trees' own stays
	} {
		if e, ok := root.Stat(p); !ok || e.Digest != digest.Of([]byte(content)) {
			t.Errorf("/%s: %+v, %v; want %q", p, e, ok, content)
		}
	}
	for p, want := range map[string]tree.Entry{
		"proc":            {Kind: tree.Dir, Mode: 0o755},
		"tmp":             {Kind: tree.Dir, Mode: 0o1777},
		"etc/machine-id":  {Kind: tree.File, Mode: 0o444},
		"etc/resolv.conf": {Kind: tree.Symlink, Mode: 0o777, Target: "/run/instar/resolv.conf"},
		"etc/systemd/system-generators/systemd-gpt-auto-generator": {Kind: tree.Symlink, Mode: 0o777, Target: "/dev/null"},
		"etc/systemd/system/ldconfig.service":                      {Kind: tree.Symlink, Mode: 0o777, Target: "/dev/null"},
	} {
		want.MTime, want.Owner = hostEpoch, "instar"
		if e, ok := root.Get(p); !ok || !e.Equal(want) || e.Owner != want.Owner {
			t.Errorf("/%s: %+v, %v; want %+v", p, e, ok, want)
		}
	}
	if _, ok := root.Get("etc/systemd/system/getty@.service"); ok {
		t.Error("login prompts are masked though there is agetty")
	}
	if e, _ := root.Get("etc/.updated"); e.MTime <= hostEpoch {
		t.Errorf("/etc/.updated is of %d, not after /usr", e.MTime)
	}
	if err := root.Check(); err != nil {
		t.Error(err)
	}
}

func TestHostWithoutPrograms(t *testing.T) {
	b := hostBuilder(t)
	root := userland(t, b, "usr/lib/systemd/systemd", "usr/sbin/ldconfig")
	if err := layer(t, b, root, &config.Host{}); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{
		system.HostAgent:                             false,
		"etc/systemd/system/getty@.service":          true,
		"etc/systemd/system/console-getty.service":   true,
		"etc/systemd/system/ldconfig.service":        false,
		"usr/lib/systemd/system-generators/instar-x": false,
	} {
		if _, ok := root.Get(p); ok != want {
			t.Errorf("/%s: %v, want %v", p, ok, want)
		}
	}
}

func TestHostProgramInTheTrees(t *testing.T) {
	b := hostBuilder(t)
	root := userland(t, b, system.HostInit)
	if err := layer(t, b, root, &config.Host{}); err == nil || !strings.Contains(err.Error(), "package") {
		t.Errorf("a tree's own %s: %v", system.HostInit, err)
	}
}

func TestHostNeedsSystemd(t *testing.T) {
	b := hostBuilder(t)
	for _, row := range []struct {
		decl  config.Host
		paths []string
		want  string
	}{
		{config.Host{Trees: []string{"t"}, Init: "/sbin/init"}, []string{"usr/lib/systemd/systemd"}, "init /sbin/init"},
		{config.Host{Trees: []string{"t"}, Init: "/usr/lib/systemd/systemd"}, []string{"usr/bin/x"}, "/usr/lib/systemd/systemd is in none"},
	} {
		def := &config.Definition{Machine: "m"}
		_, err := b.host(t.Context(), def, &row.decl, "amd64", map[string]*tree.Tree{"t": userland(t, b, row.paths...)})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: %v, want %q", row.paths, err, row.want)
		}
	}
}
