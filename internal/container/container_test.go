package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/volume"
	"golang.org/x/sys/unix"
)

// world is a store with containers of the probe, and a Runtime for it.
type world struct {
	*Runtime
	store *store.Store
}

// probe builds testdata/probe, once for all tests.
var probe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/probe", "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return os.ReadFile(dir + "/probe")
})

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making containers needs root")
	}
	dir := t.TempDir()
	for _, d := range []string{"data", "state"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	st, err := store.Open(filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{&Runtime{Store: st.Dir(), Data: &volume.Store{Dir: filepath.Join(dir, "data"), Now: time.Now}, State: filepath.Join(dir, "state")}, st}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// container returns a container with the probe at /bin/probe and the default
// system call filter, changed by edit.
func (w *world) container(t testing.TB, edit func(*system.Container)) *system.Container {
	t.Helper()
	c := &system.Container{Name: "probe", Source: "instar.yaml:3", Dir: "/", Root: system.ReadOnly, Network: system.NoNetwork,
		Hostname: "greenhouse", IDs: system.IDRange{Base: 0x50000, Count: 0x10000}, Env: []string{"PATH=/bin", "HOME=/"}}
	if edit != nil {
		edit(c)
	}
	c.Image = w.image(t, c)
	w.compile(t, c)
	return c
}

// compile stores the container's launch programs, as a build does.
func (w *world) compile(t testing.TB, c *system.Container) {
	t.Helper()
	filter, err := launch.DefaultSeccomp(runtime.GOARCH, c.Capabilities)
	if err != nil {
		t.Fatal(err)
	}
	l, err := launch.Compile(&launch.Spec{Arch: runtime.GOARCH, Container: c, Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c.Launch.Size = int64(len(b))
	if c.Launch.Digest, err = w.store.PutBytes(b); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Commit(); err != nil {
		t.Fatal(err)
	}
}

// image stores a tree with the probe, a program that does nothing, and the
// container's mount points.
func (w *world) image(t testing.TB, c *system.Container) system.Object {
	t.Helper()
	binary, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	tr := tree.New()
	put := func(p string, e tree.Entry) {
		if err := tr.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string][]byte{"bin/probe": binary, "bin/true": exitZero()} {
		d, err := w.store.PutBytes(content)
		if err != nil {
			t.Fatal(err)
		}
		put(name, tree.Entry{Kind: tree.File, Mode: 0o755, Size: int64(len(content)), Digest: d})
	}
	for _, m := range launch.MountPoints(c) {
		e := tree.Entry{Kind: tree.Dir, Mode: 0o755}
		if m.File {
			e = tree.Entry{Kind: tree.File, Mode: 0o644}
		}
		put(m.Path, e)
	}
	o, err := w.store.PutImage(context.Background(), tr)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Commit(); err != nil {
		t.Fatal(err)
	}
	return o
}

// sandbox prepares a container for the duration of the test.
func (w *world) sandbox(t testing.TB, c *system.Container) *Sandbox {
	t.Helper()
	s, err := w.Prepare(c, "day")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A starter is Start or Exec of a sandbox.
type starter func(args []string, stdin, stdout, stderr *os.File) (*Process, error)

// output runs the probe to its end and returns standard output, error and exit.
func output(t testing.TB, start starter, args ...string) (string, string, Exit) {
	t.Helper()
	var text [2]bytes.Buffer
	var ends [2]*os.File
	var readers sync.WaitGroup
	for i := range ends {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = w
		readers.Go(func() {
			defer r.Close()
			io.Copy(&text[i], r)
		})
	}
	p, err := start(append([]string{"/bin/probe"}, args...), nil, ends[0], ends[1])
	for _, w := range ends {
		w.Close()
	}
	readers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return text[0].String(), text[1].String(), e
}

// succeed runs the probe, which must end with 0.
func succeed(t testing.TB, start starter, args ...string) string {
	t.Helper()
	out, stderr, e := output(t, start, args...)
	if e != (Exit{}) {
		t.Fatalf("probe %v: %v: %s", args, e, stderr)
	}
	return out
}

// Report mirrors the probe's.
type Report struct {
	PID, PPID, UID, GID int
	Groups              []int
	Status              map[string]string
	Hostname, Dir       string
	Env                 []string
	Interfaces          map[string]bool
	Mounts              map[string]string
	Limits              map[int][2]uint64
	OOM, Cgroup         string
	Processes           []string
	FDs                 []string
	Files               map[string]string
	Umask               int
	Devices             []string
	Owners              map[string]string
}

func look(t testing.TB, start starter, files ...string) Report {
	t.Helper()
	var r Report
	if err := json.Unmarshal([]byte(succeed(t, start, append([]string{"report"}, files...)...)), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// expect compares what is seen with what should be.
func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestNothingUndeclared(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	secret, err := unix.Open(filepath.Join(w.Store, "lock"), unix.O_RDONLY, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(secret)
	r := look(t, s.Start, "/etc/hostname", "/etc/hosts", "/proc/keys", "/proc/kcore", "/proc/acpi", "/sys/firmware", "/dev/null", "/sys/fs/cgroup")
	expect(t, "pid", r.PID, 1)
	expect(t, "parent", r.PPID, 0)
	expect(t, "processes", strings.Join(r.Processes, " "), "1")
	expect(t, "user", r.UID, 0)
	expect(t, "groups", len(r.Groups), 0)
	expect(t, "host name", r.Hostname, "greenhouse")
	expect(t, "directory", r.Dir, "/")
	expect(t, "environment", strings.Join(r.Env, " "), "PATH=/bin HOME=/")
	expect(t, "umask", r.Umask, 0o022)
	expect(t, "interfaces", len(r.Interfaces), 1)
	expect(t, "lo is up", r.Interfaces["lo"], true)
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	expect(t, "open files", r.Limits[unix.RLIMIT_NOFILE][1], min(hardNofile, own.Max))
	expect(t, "OOM score", r.OOM, "0")
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		expect(t, set, r.Status[set], "0000000000000000")
	}
	expect(t, "NoNewPrivs", r.Status["NoNewPrivs"], "1")
	expect(t, "Seccomp", r.Status["Seccomp"], "2")
	expect(t, "blocked signals", r.Status["SigBlk"], "0000000000000000")
	expect(t, "session", r.Status["NSsid"], "1")
	expect(t, "/etc/hostname", r.Files["/etc/hostname"], "greenhouse\n")
	expect(t, "/etc/hosts names it", strings.Contains(r.Files["/etc/hosts"], "greenhouse"), true)
	expect(t, "/proc/keys", r.Files["/proc/keys"], "")
	expect(t, "/sys/firmware", r.Files["/sys/firmware"], "0 entries <nil>")
	expect(t, "/sys/fs/cgroup", r.Files["/sys/fs/cgroup"], "0 entries <nil>")
	for _, fd := range r.FDs { // the probe's own: epoll and the directory it reads
		if n := strings.Fields(fd); n[0] > "2" && !strings.Contains(fd, "anon_inode") && !strings.Contains(fd, "/proc/") {
			t.Errorf("descriptor %s", fd)
		}
	}
}

func TestMounts(t *testing.T) {
	w := newWorld(t)
	c := w.container(t, func(c *system.Container) {
		c.Tmpfs = []system.Tmpfs{{Path: "/run/deep/down", Size: 1 << 20, Mode: 0o1750, UID: 7, GID: 8}}
		c.Data = []system.Data{{Path: "/var/lib/x", Version: 1, Mode: 0o750}}
	})
	r := look(t, w.sandbox(t, c).Start)
	for at, want := range map[string][]string{
		"/":              {"ro", "nodev", "overlay", "metacopy=on"},
		"/proc":          {"nosuid", "nodev", "noexec", "proc"},
		"/proc/sys":      {"ro", "nosuid", "nodev", "noexec"},
		"/proc/irq":      {"ro"},
		"/sys":           {"ro", "nosuid", "nodev", "noexec", "sysfs"},
		"/dev":           {"ro", "nosuid", "noexec", "tmpfs", "size=64k"},
		"/dev/pts":       {"nosuid", "noexec", "devpts", "ptmxmode=666"},
		"/dev/shm":       {"nosuid", "nodev", "noexec", "tmpfs"},
		"/dev/mqueue":    {"nosuid", "nodev", "noexec", "mqueue"},
		"/tmp":           {"rw", "nosuid", "nodev", "tmpfs"},
		"/run":           {"rw", "nosuid", "nodev", "tmpfs", "mode=755"},
		"/run/deep/down": {"rw", "size=1024k", "mode=1750", "uid=327687", "gid=327688"},
		"/var/lib/x":     {"rw", "nosuid", "nodev"},
		"/etc/hosts":     {"ro", "nosuid", "nodev"},
		"/etc/hostname":  {"ro"},
	} {
		have := strings.FieldsFunc(r.Mounts[at], func(c rune) bool { return c == ' ' || c == ',' })
		for _, option := range want {
			if !slices.Contains(have, option) {
				t.Errorf("%s: %q lacks %q", at, r.Mounts[at], option)
			}
		}
	}
	for at := range r.Mounts {
		if strings.HasPrefix(at, w.State) || strings.HasPrefix(at, w.Store) || at == "/etc/resolv.conf" {
			t.Errorf("the container sees a mount at %s", at)
		}
	}
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(own, []byte(w.State)) {
		t.Errorf("the supervisor sees the container's mounts (%v)", err)
	}
}

func TestUserAndCapabilities(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		uid        uint32
		inh, other string
	}{
		"root":   {0, "0000000000000000", "0000000000000400"},
		"nobody": {65534, "0000000000000400", "0000000000000400"},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.sandbox(t, w.container(t, func(c *system.Container) {
				c.UID, c.GID, c.Groups = row.uid, 7, []uint32{8, 9}
				c.Capabilities = []string{"CAP_NET_BIND_SERVICE"}
				c.Limits.Rlimits = map[string]int64{"nofile": 128, "core": 0}
				c.Dir = "/tmp"
			}))
			r := look(t, s.Start)
			expect(t, "user", r.UID, int(row.uid))
			expect(t, "group", r.GID, 7)
			expect(t, "groups", len(r.Groups), 2)
			expect(t, "CapInh", r.Status["CapInh"], row.inh)
			expect(t, "CapAmb", r.Status["CapAmb"], row.inh)
			for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
				expect(t, set, r.Status[set], row.other)
			}
			expect(t, "directory", r.Dir, "/tmp")
			expect(t, "open files", r.Limits[unix.RLIMIT_NOFILE], [2]uint64{128, 128})
			expect(t, "core", r.Limits[unix.RLIMIT_CORE], [2]uint64{})
			succeed(t, s.Start, "listen", "127.0.0.1:80")
		})
	}
}

func TestSeccomp(t *testing.T) {
	w := newWorld(t)
	var got map[string]int
	out := succeed(t, w.sandbox(t, w.container(t, nil)).Start, "calls")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]unix.Errno{"unshare user": unix.EPERM, "AF_ALG": unix.EPERM, "AF_UNIX": 0,
		"clone3": unix.ENOSYS, "mount": unix.EPERM, "future": unix.ENOSYS, "personality": 0, "keyctl": unix.EPERM} {
		expect(t, call, unix.Errno(got[call]), want)
	}
}

func TestOutputAndExit(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	out, stderr, e := output(t, s.Start, "print", "/etc/hostname")
	expect(t, "stdout", out, "greenhouse\n")
	expect(t, "stderr", stderr, "to stderr")
	expect(t, "exit", e, Exit{})
	_, _, e = output(t, s.Start, "exit", "3")
	expect(t, "exit", e, Exit{Code: 3})
	expect(t, "status", e.Status(), 3)
}

func TestRoots(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox(t, w.container(t, nil))
	if _, stderr, e := output(t, s.Start, "write", "/bin/x", "y"); e.Code != 1 || !strings.Contains(stderr, "read-only file system") {
		t.Errorf("writing to a read-only root: %v, %s", e, stderr)
	}
	c := w.container(t, func(c *system.Container) { c.Name, c.Root = "ephemeral", system.Ephemeral })
	for range 2 {
		s, err := w.Prepare(c, "day")
		if err != nil {
			t.Fatal(err)
		}
		if _, stderr, _ := output(t, s.Start, "print", "/bin/x"); !strings.Contains(stderr, "no such file") {
			t.Errorf("a fresh sandbox has what an earlier one wrote: %s", stderr)
		}
		succeed(t, s.Start, "write", "/bin/x", "kept")
		succeed(t, s.Start, "write", "/tmp/x", "kept in memory")
		expect(t, "what a command of the same sandbox wrote", succeed(t, s.Start, "print", "/bin/x"), "kept")
		expect(t, "what it wrote to /tmp", succeed(t, s.Start, "print", "/tmp/x"), "kept in memory")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestData(t *testing.T) {
	w := newWorld(t)
	c := w.container(t, func(c *system.Container) {
		c.UID, c.GID = 7, 8
		c.Data = []system.Data{{Path: "/var/lib/a-b", Version: 2, Mode: 0o2750, UID: 7, GID: 8}}
	})
	s := w.sandbox(t, c)
	succeed(t, s.Start, "write", "/var/lib/a-b/f", "lasting")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := w.sandbox(t, c)
	expect(t, "data", succeed(t, again.Start, "print", "/var/lib/a-b/f"), "lasting")
	info, err := os.Stat(filepath.Join(w.Data.Dir, "day", "probe", "var-lib-a%2Db", "1"))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "mode", info.Mode(), os.ModeDir|os.ModeSetgid|0o750)
	c.Data[0].Version = 1
	if _, err := w.Prepare(c, "day"); err == nil || !strings.Contains(err.Error(), "has version 2, the container wants 1") {
		t.Errorf("data of another version: %v", err)
	}
	w.Data = nil
	if _, err := w.Prepare(c, "day"); err == nil || !strings.Contains(err.Error(), "no place for data") {
		t.Errorf("data without a place: %v", err)
	}
}

// TestStoreOnOverlay runs from a store that is itself on an overlay, as within
// other containers: the kernel stacks two file systems and no more.
func TestStoreOnOverlay(t *testing.T) {
	w := newWorld(t)
	c := w.container(t, nil)
	base := t.TempDir()
	for _, d := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(base, "merged")
	options := "lowerdir=" + w.Store + ",upperdir=" + base + "/upper,workdir=" + base + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Skip("mounting an overlay: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.Store = merged
	expect(t, "pid", look(t, w.sandbox(t, c).Start).PID, 1)
}

// TestStoreOnTmpfs runs from a store in memory, as a live system's.
func TestStoreOnTmpfs(t *testing.T) {
	w := newWorld(t)
	c := w.container(t, nil)
	memory := t.TempDir()
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(memory, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(memory, os.DirFS(w.Store)); err != nil {
		t.Fatal(err)
	}
	w.Store = memory
	before := state(t)
	s, err := w.Prepare(c, "day")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "pid", look(t, s.Start).PID, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, "descriptors, mounts, children", state(t), before)
}
