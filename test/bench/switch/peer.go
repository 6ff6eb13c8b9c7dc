package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A peer is this program again, in a mount namespace in which the tool finds
// one version of cgroups only.
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// views leave one version of cgroups in sight. That of version 2 has no
// controllers on a machine that has them on version 1.
var views = map[string]string{
	crunV1:   "umount /sys/fs/cgroup/unified 2>/dev/null || true",
	crunV2:   "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup",
	"podman": "umount /sys/fs/cgroup/unified 2>/dev/null || true",
}

func startPeer(name, work string) (*peer, error) {
	tool, _, _ := strings.Cut(name, ",")
	bundle := filepath.Join(work, strings.ReplaceAll(name, ", ", "-"))
	if err := writeBundle(bundle, filepath.Join(work, "worker")); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	view := views[name] + ` && exec "$@"`
	p := &peer{cmd: exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", view, "peer", self, "peer", tool, bundle)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *peer) ask() (time.Duration, error) {
	if _, err := fmt.Fprintln(p.in, "switch"); err != nil {
		return 0, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(strings.TrimSpace(line))
}

func (p *peer) stop() {
	p.in.Close()
	p.cmd.Wait() // it says what went wrong
}

// writeBundle makes an OCI bundle of the worker: crun's own default without
// limits that a container's administrator may not raise, and without device rules.
func writeBundle(dir, worker string) error {
	for _, d := range []string{"proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Link(worker, filepath.Join(dir, "rootfs/worker")); err != nil {
		return err
	}
	spec := exec.Command("crun", "spec")
	spec.Dir = dir
	if out, err := spec.CombinedOutput(); err != nil {
		return fmt.Errorf("crun spec: %w\n%s", err, out)
	}
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	process := config["process"].(map[string]any)
	process["args"], process["terminal"] = []string{"/worker"}, false
	delete(process, "rlimits")
	delete(config["linux"].(map[string]any), "resources") // device rules, which not every machine lets it load
	if text, err = json.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// A tool runs containers by name.
type tool interface {
	start(name string) error
	stop(name string) error
}

// servePeer switches five containers to and fro, one switch a line.
func servePeer(name, bundle string, in io.Reader, out io.Writer) (err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	t := map[string]tool{"crun": crun{bundle}, "podman": podman{bundle}}[name]
	if t == nil {
		return fmt.Errorf("no tool %s", name)
	}
	prefix := fmt.Sprintf("instar-bench-%d-", os.Getpid())
	sets := [2]string{prefix + "one", prefix + "two"}
	if err := each(sets[0], t.start); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, each(sets[0], t.stop)) }()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		began := time.Now()
		if err := each(sets[0], t.stop); err != nil {
			return err
		}
		sets[0], sets[1] = sets[1], sets[0]
		if err := each(sets[0], t.start); err != nil {
			return err
		}
		fmt.Fprintln(out, time.Since(began))
	}
	return nil
}

// each does something for every container of a set at once.
func each(set string, do func(string) error) error {
	errs := make([]error, replaced)
	var wg sync.WaitGroup
	for i := range replaced {
		wg.Go(func() { errs[i] = do(set + strconv.Itoa(i)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	var errs strings.Builder
	cmd.Stderr = &errs // a file would keep the container's end
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, &errs)
	}
	return nil
}

type crun struct{ bundle string }

func (c crun) pidFile(name string) string { return filepath.Join(c.bundle, name+".pid") }

func (c crun) start(name string) error {
	cmd := exec.Command("crun", "run", "--detach", "--bundle", c.bundle, "--pid-file", c.pidFile(name), name)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("crun run: %w", err)
	}
	return nil
}

// stop sends the signal and waits for the end: the container is a child of this
// process once crun has ended.
func (c crun) stop(name string) error {
	text, err := os.ReadFile(c.pidFile(name))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return err
	}
	if err := command("crun", "kill", name, "TERM"); err != nil {
		return err
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && err != unix.ECHILD { // it has ended, and somebody knows
		return fmt.Errorf("waiting for %s: %w", name, err)
	}
	return command("crun", "delete", name)
}

type podman struct{ bundle string }

func (p podman) start(name string) error {
	cmd := exec.Command("podman", "--log-level=error", "--runtime=crun", "--cgroup-manager=cgroupfs", "run", "--detach", "--network=none",
		"--log-driver=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--name="+name, "--rootfs", filepath.Join(p.bundle, "rootfs"), "/worker")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("podman run: %w", err)
	}
	return nil
}

func (p podman) stop(name string) error {
	if err := command("podman", "--log-level=error", "--cgroup-manager=cgroupfs", "stop", name); err != nil {
		return err
	}
	return command("podman", "--log-level=error", "--cgroup-manager=cgroupfs", "rm", "--force", name)
}
