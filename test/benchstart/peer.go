package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// bundle makes an OCI bundle with a peer's own default specification, the
// program, the capabilities and the system call filter.
func (w *world) bundle(peer string) (string, error) {
	if !installed(peer) {
		return "", fmt.Errorf("%s is not installed", peer)
	}
	dir, err := os.MkdirTemp(w.dir, peer)
	if err != nil {
		return "", err
	}
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "run", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/bin/true"), w.program, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command(peer, "spec")
	cmd.Dir = dir
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s spec: %w: %s", peer, err, b)
	}
	return dir, w.edit(filepath.Join(dir, "config.json"))
}

// edit changes the specification that the peer proposes.
func (w *world) edit(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	s.Process.Args, s.Process.Terminal = command, false
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: containerCapabilities, Effective: containerCapabilities, Permitted: containerCapabilities}
	s.Process.NoNewPrivileges = true
	s.Root.Readonly = true
	if s.Linux.Resources != nil && !w.rules {
		s.Linux.Resources.Devices = nil
	}
	s.Linux.Namespaces = nil
	for _, n := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace} {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: n})
	}
	if s.Linux.Seccomp, err = moby.GetDefaultProfile(&s); err != nil {
		return err
	}
	if b, err = json.Marshal(&s); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
