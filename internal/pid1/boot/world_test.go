package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// build compiles a program of this module statically.
func build(t testing.TB, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, b)
	}
	return out
}

// world is a store with one system.
type world struct {
	dir      string
	system   digest.Digest
	manifest *system.Manifest
}

// guest returns a container that runs the guest program.
func guest(image system.Object, name string, args ...string) system.Container {
	return system.Container{
		Name: name, Source: "machine.yaml:1", Image: image, Args: append([]string{"/bin/guest"}, args...),
		Env: []string{"PATH=/bin"}, Dir: "/", UID: 1000, GID: 1000, Root: system.ReadOnly, Network: system.NoNetwork, Hostname: name, IDs: system.IDRange{Base: 0x40000, Count: 0x10000},
		Restart: system.Restart{Policy: system.RestartAlways, Min: int64(50 * time.Millisecond), Max: int64(time.Second)},
		Stop:    system.Stop{Signal: 15, Timeout: int64(5 * time.Second)},
	}
}

// compile stores a container's launch programs, as a build does.
func compile(t testing.TB, st *store.Store, c *system.Container) {
	t.Helper()
	l, err := launch.Compile(&launch.Spec{Arch: runtime.GOARCH, Container: c})
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c.Launch.Size = int64(len(b))
	if c.Launch.Digest, err = st.PutBytes(b); err != nil {
		t.Fatal(err)
	}
}

func (w *world) fill(t testing.TB, extra func(*store.Store, *system.Manifest), configure func(image system.Object) []system.Configuration) {
	t.Helper()
	st, err := store.Open(w.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	program, size, err := st.PutFile(build(t, "./testdata/guest"))
	if err != nil {
		t.Fatal(err)
	}
	tr := tree.New()
	for _, dir := range []string{"bin", "tmp", "run", "proc", "dev", "sys", "etc", "data"} {
		if err := tr.Put(dir, tree.Entry{Kind: tree.Dir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]tree.Entry{
		"bin/guest":       {Kind: tree.File, Mode: 0o755, Size: size, Digest: program},
		"etc/resolv.conf": {Kind: tree.File, Mode: 0o644},
		"etc/hosts":       {Kind: tree.File, Mode: 0o644},
		"etc/hostname":    {Kind: tree.File, Mode: 0o644},
	}
	for name, e := range files {
		if err := tr.Put(name, e); err != nil {
			t.Fatal(err)
		}
	}
	image, err := st.PutImage(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	none, err := st.PutBytes([]byte("none"))
	if err != nil {
		t.Fatal(err)
	}
	o := system.Object{Digest: none, Size: 4}
	w.manifest = &system.Manifest{
		Version: system.Version, Machine: "greenhouse", Arch: "amd64", Hostname: "greenhouse", Default: "day",
		Kernel:         system.Kernel{Image: o, Initrd: o, Stub: o, Loader: o, Init: o, Command: []string{}, Modules: []string{}},
		Boot:           system.Boot{Slots: 2, SlotSize: 256 << 20, DataFS: o},
		Configurations: configure(image),
	}
	for i := range w.manifest.Configurations {
		for j := range w.manifest.Configurations[i].Containers {
			compile(t, st, &w.manifest.Configurations[i].Containers[j])
		}
	}
	if extra != nil {
		extra(st, w.manifest)
	}
	if w.system, err = st.PutSystem(w.manifest); err != nil {
		t.Fatal(err)
	}
}
