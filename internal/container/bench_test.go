package container

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkStart measures from the start to the end of a static program that
// does nothing: prepared, and with the preparation; the preparation alone; a
// process without a container; and what the OCI runtimes that are installed
// need for the same program, with the ratio to ours.
func BenchmarkStart(b *testing.B) {
	w := newWorld(b)
	c := w.container(b, nil)
	command := []string{"/bin/true"}
	everything := 0.0 // ns
	once := func(b *testing.B, s *Sandbox) {
		p, err := s.Start(command, nil, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		if e, err := p.Wait(); err != nil || e != (Exit{}) {
			b.Fatal(e, err)
		}
	}
	b.Run("prepared", func(b *testing.B) {
		s := w.sandbox(b, c)
		for b.Loop() {
			once(b, s)
		}
	})
	b.Run("everything", func(b *testing.B) {
		for b.Loop() {
			s, err := w.Prepare(c, "day")
			if err != nil {
				b.Fatal(err)
			}
			once(b, s)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
		everything = float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	})
	b.Run("prepare", func(b *testing.B) {
		for b.Loop() {
			s, err := w.Prepare(c, "day")
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("process", func(b *testing.B) { // no container: fork and exec
		path := filepath.Join(b.TempDir(), "true")
		if err := os.WriteFile(path, exitZero(), 0o755); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := exec.Command(path).Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for peer, flags := range map[string][]string{"crun": {"--cgroup-manager=disabled"}, "runc": nil} {
		b.Run(peer, func(b *testing.B) {
			if peer == "crun" {
				onlyCgroup2(b)
			}
			bundle := peerBundle(b, peer, command)
			for b.Loop() {
				runPeer(b, bundle, peer, append(flags, "run", "instar-bench")...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/everything, "times-everything")
		})
	}
}

// onlyCgroup2 hides cgroup v1 from what this goroutine starts: crun refuses
// machines with both. The thread, in a mount namespace of its own, ends with
// the goroutine.
func onlyCgroup2(b *testing.B) {
	runtime.LockOSThread()
	for _, err := range []error{
		unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""),
	} {
		if err != nil {
			b.Skip("cgroup v2 alone: ", err)
		}
	}
}

// runPeer runs an OCI runtime in a bundle's directory.
func runPeer(b *testing.B, bundle, peer string, args ...string) {
	cmd := exec.Command(peer, args...)
	cmd.Dir = bundle
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Skipf("%s %v: %v: %s", peer, args, err, bytes.TrimSpace(out))
	}
}

// peerBundle makes a bundle with the runtime's own default specification.
func peerBundle(b *testing.B, peer string, command []string) string {
	if _, err := exec.LookPath(peer); err != nil {
		b.Skipf("%s is not installed", peer)
	}
	dir := b.TempDir()
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "run", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/bin/true"), exitZero(), 0o755); err != nil {
		b.Fatal(err)
	}
	runPeer(b, dir, peer, "spec")
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		b.Fatal(err)
	}
	process := spec["process"].(map[string]any)
	process["args"], process["terminal"] = command, false
	delete(process, "rlimits")
	spec["mounts"] = slices.DeleteFunc(spec["mounts"].([]any), func(m any) bool { // ours has none either
		return m.(map[string]any)["type"] == "cgroup"
	})
	if text, err = json.Marshal(spec); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}

// BenchmarkDecode measures what the first start of a container reads; a further
// one does not.
func BenchmarkDecode(b *testing.B) {
	w := newWorld(b)
	c := w.container(b, nil)
	for b.Loop() {
		r := Runtime{Store: w.Store}
		if _, err := r.launch(c); err != nil {
			b.Fatal(err)
		}
	}
}
