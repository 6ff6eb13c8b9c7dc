package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// world is a store with the program in a container, and a runtime for it.
type world struct {
	dir     string
	store   *store.Store
	runtime *container.Runtime
	cgroup  string
	program []byte
	v1      bool // cgroups of version 1 alone are in sight: what runs cold is measured
	rules   bool // the machine lets runtimes load BPF programs for device rules
}

// containerCapabilities are those that the peers' default specification keeps.
var containerCapabilities = []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}

var command = []string{"/bin/true"}

func newWorld(dir, view string) (*world, error) {
	st, err := store.Open(filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, store: st, v1: view == "v1"}
	if !w.v1 { // the supervisor knows version 2 only
		w.cgroup = fmt.Sprintf("/sys/fs/cgroup/benchstart-%d", os.Getpid())
		if err := os.Mkdir(w.cgroup, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(w.state(), 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("state", w.state(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return nil, err
	}
	state := filepath.Join(w.state(), "containers")
	if err := os.Mkdir(state, 0o755); err != nil {
		return nil, err
	}
	w.runtime = &container.Runtime{Store: st.Dir(), State: state, Cgroup: w.cgroup}
	w.program, err = nothing(dir)
	return w, err
}

// state is where the runtimes keep what they know of containers: in memory, as
// /run is, their default.
func (w *world) state() string { return filepath.Join(w.dir, "run") }

func (w *world) close() {
	w.runtime.Close()
	if !w.v1 {
		os.Remove(w.cgroup)
	}
	unix.Unmount(w.state(), unix.MNT_DETACH)
	w.store.Close()
}

// nothing builds a static program that ends with 0.
func nothing(dir string) ([]byte, error) {
	source, out := filepath.Join(dir, "true.c"), filepath.Join(dir, "true")
	const text = "void _start(void) {\n#ifdef __x86_64__\n__asm__(\"mov $231,%eax; xor %edi,%edi; syscall\");\n#else\n__asm__(\"mov x8,#94; mov x0,#0; svc #0\");\n#endif\n}\n"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if b, err := exec.Command("gcc", "-nostdlib", "-static", "-s", "-o", out, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, b)
	}
	return os.ReadFile(out)
}

// container stores the container as a build does.
func (w *world) container(name string, ids system.IDRange) (*system.Container, error) {
	c := &system.Container{Name: name, Source: "bench:1", Dir: "/", Root: system.ReadOnly, Network: system.NoNetwork,
		Hostname: "bench", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Args: command, Capabilities: containerCapabilities, IDs: ids}
	tr := tree.New()
	d, err := w.store.PutBytes(w.program)
	if err != nil {
		return nil, err
	}
	err = tr.Put("bin/true", tree.Entry{Kind: tree.File, Mode: 0o755, Size: int64(len(w.program)), Digest: d})
	for _, m := range launch.MountPoints(c) {
		e := tree.Entry{Kind: tree.Dir, Mode: 0o755}
		if m.File {
			e = tree.Entry{Kind: tree.File, Mode: 0o644}
		}
		err = errors.Join(err, tr.Put(m.Path, e))
	}
	if err != nil {
		return nil, err
	}
	if c.Image, err = w.store.PutImage(context.Background(), tr); err != nil {
		return nil, err
	}
	filter, err := launch.DefaultSeccomp(runtime.GOARCH, c.Capabilities)
	if err != nil {
		return nil, err
	}
	l, err := launch.Compile(&launch.Spec{Arch: runtime.GOARCH, Container: c, Filter: filter})
	if err != nil {
		return nil, err
	}
	b, err := l.Encode()
	if err != nil {
		return nil, err
	}
	c.Launch.Size = int64(len(b))
	if c.Launch.Digest, err = w.store.PutBytes(b); err != nil {
		return nil, err
	}
	return c, w.store.Commit()
}

// sides returns what is compared, and what has to be said about it.
func (w *world) sides(instar string) ([]*side, []string, error) {
	var sides []*side
	if !w.v1 {
		var err error
		if sides, err = w.resident(); err != nil {
			return nil, nil, err
		}
	}
	rules := "device rules are loaded as a BPF program on the cgroup, or written to the controller of version 1"
	if w.rules = memlock() || w.v1; !w.rules {
		rules = "the peers' device rules are left out: this machine does not let them lock the memory for the BPF program"
	}
	notes := []string{
		"one run, the sides in turns, each round beginning with another side; the resident supervisor is this process, with the room that instar-init uses",
		"equal work: pid, mount, uts, ipc, network and cgroup namespaces, a cgroup v2, the default mounts and masked paths of OCI, three capabilities, no_new_privs, and Docker's default system call filter for these; ours has a user namespace of its own as well, where nothing else is said",
		"ours has no device but six nodes that the machine made and cannot make one: mknod is not possible in its user namespace and every other mount is nodev",
		rules,
		"the peers' root is a directory; ours is an image of the store",
		"the OCI runtimes keep their state in memory, as in /run, their default",
	}
	for _, peer := range []string{"crun", "runc"} {
		bundle, err := w.bundle(peer)
		if err != nil {
			return nil, nil, err
		}
		sides = append(sides, &side{Name: peer, What: peer + " run: one process that does everything, waits, and removes cgroup and state", once: w.once(bundle, peer, "--root", filepath.Join(w.state(), peer), "run", "bench-"+peer)})
	}
	if exec.Command(instar, "features").Run() == nil {
		bundle, err := w.bundle("crun")
		if err != nil {
			return nil, nil, err
		}
		sides = append(sides, &side{Name: "instar oci run, cold", What: "as the peers do it, with crun's bundle; the binary instar-oci", once: w.once(bundle, instar, "--root", filepath.Join(w.state(), "instar-oci"), "run", "bench-oci")})
	} else {
		notes = append(notes, "instar-oci is not there: no row for it")
	}
	return sides, notes, nil
}

// resident are the sides of the supervisor.
func (w *world) resident() ([]*side, error) {
	private, err := w.container("private", system.IDRange{Base: 0x10000, Count: 0x10000})
	if err != nil {
		return nil, err
	}
	shared, err := w.container("shared", system.IDRange{})
	if err != nil {
		return nil, err
	}
	return []*side{
		{Name: "supervisor, everything", What: "cgroup; user, pid, mount, uts, ipc, network and cgroup namespaces; " +
			"image mounted as composefs with mapped owners; all mounts and masked paths; start; exit", once: w.everything(private, false)},
		{Name: "supervisor, everything and removal", What: "as before, and the removal of cgroup, mounts and namespaces", once: w.everything(private, true)},
		{Name: "supervisor, the machine's users", What: "as everything, without a user namespace and mapped owners, as the peers do it", once: w.everything(shared, false)},
		{Name: "supervisor, prepared", What: "pid, mount (copy) and cgroup namespaces, /proc with masked paths, user, capabilities, filter, start; exit. " +
			"What is before the time is all the rest", once: w.prepared(private)},
	}, nil
}

// memlock says whether a process may raise its limit of locked memory, which
// crun does before it loads a BPF program.
func memlock() bool {
	var have unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &have) != nil {
		return false
	}
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &all) != nil {
		return false
	}
	return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &have) == nil
}

// everything prepares, starts and waits; the removal is timed or not.
func (w *world) everything(c *system.Container, removal bool) func() (time.Duration, time.Duration, error) {
	return func() (time.Duration, time.Duration, error) {
		began := time.Now()
		s, err := w.runtime.Prepare(c, "bench")
		if err != nil {
			return 0, 0, err
		}
		err = finish(s)
		took := time.Since(began)
		err = errors.Join(err, s.Close())
		if removal {
			took = time.Since(began)
		}
		return took, 0, err
	}
}

func finish(s *container.Sandbox) error {
	p, err := s.Start(command, nil, nil, nil)
	if err != nil {
		return err
	}
	e, err := p.Wait()
	if err == nil && e != (container.Exit{}) {
		err = fmt.Errorf("%v", e)
	}
	return err
}

// prepared starts in a sandbox that was made before.
func (w *world) prepared(c *system.Container) func() (time.Duration, time.Duration, error) {
	return func() (time.Duration, time.Duration, error) {
		began := time.Now()
		s, err := w.runtime.Prepare(c, "bench")
		if err != nil {
			return 0, 0, err
		}
		before := time.Since(began)
		time.Sleep(2 * time.Millisecond) // what the kernel puts off is over
		began = time.Now()
		err = finish(s)
		took := time.Since(began)
		return took, before, errors.Join(err, s.Close())
	}
}

// once runs a command line in a bundle.
func (w *world) once(bundle, program string, args ...string) func() (time.Duration, time.Duration, error) {
	return func() (time.Duration, time.Duration, error) {
		cmd := exec.Command(program, args...)
		cmd.Dir = bundle
		var said bytes.Buffer
		cmd.Stderr = &said
		began := time.Now()
		err := cmd.Run()
		took := time.Since(began)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
		}
		return took, 0, err
	}
}
