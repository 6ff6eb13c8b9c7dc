package launch

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/system"
)

// Spec is a container to compile.
type Spec struct {
	Arch      string // GOARCH
	Container *system.Container
	Filter    []byte // array of struct sock_filter; nil for no filter
	Lower     bool   // the root is a directory instead of an image with objects
}

// Compile decides everything about a container's start but where things are on
// the machine that runs it.
func Compile(s *Spec) (*Launch, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("compiling the start of container %s: %w", s.Container.Name, err)
	}
	caps, err := capabilitySet(s.Container.Capabilities)
	if err != nil {
		return nil, fmt.Errorf("compiling the start of container %s: %w", s.Container.Name, err)
	}
	var l Launch
	if l.Spaces, err = compileSpaces(s); err != nil {
		return nil, err
	}
	if l.Root, err = compileRoot(s); err != nil {
		return nil, err
	}
	if l.Drop, err = compileDrop(s); err != nil {
		return nil, err
	}
	if l.Start, err = compileStart(s, caps); err != nil {
		return nil, err
	}
	if l.Join, err = compileJoin(s, caps); err != nil {
		return nil, err
	}
	return &l, nil
}

func (s *Spec) check() error {
	c := s.Container
	if _, ok := archs[s.Arch]; !ok {
		return fmt.Errorf("unknown architecture %q", s.Arch)
	}
	if len(s.Filter)%8 != 0 || len(s.Filter)/8 > maxFilter {
		return fmt.Errorf("a system call filter of %d bytes; want at most %d instructions of 8 bytes", len(s.Filter), maxFilter)
	}
	for r := range c.Limits.Rlimits {
		if _, ok := rlimits[r]; !ok {
			return fmt.Errorf("unknown rlimit %q", r)
		}
	}
	if err := s.checkIDs(); err != nil {
		return err
	}
	if c.Init && c.IDs.Base == 0 && slices.Contains(c.Capabilities, "CAP_SYS_PTRACE") {
		return errors.New("with SYS_PTRACE among the machine's users it could look into the supervisor while its first process starts")
	}
	if err := checkSysctls(c); err != nil {
		return err
	}
	if err := checkLandlock(c); err != nil {
		return err
	}
	return s.checkPaths()
}

// checkIDs holds that every user of the container is in its range.
func (s *Spec) checkIDs() error {
	c := s.Container
	if c.IDs.Base == 0 {
		return nil
	}
	if uint64(c.IDs.Base)+uint64(c.IDs.Count) > math.MaxUint32 {
		return fmt.Errorf("%d IDs from %d are more than there are", c.IDs.Count, c.IDs.Base)
	}
	all := append([]uint32{c.UID, c.GID}, c.Groups...)
	for _, t := range c.Tmpfs {
		all = append(all, t.UID, t.GID)
	}
	for _, d := range c.Data {
		all = append(all, d.UID, d.GID)
	}
	if highest := slices.Max(all); highest >= c.IDs.Count {
		return fmt.Errorf("user or group %d is not in its own range of %d", highest, c.IDs.Count)
	}
	return nil
}

// maxFilter is BPF_MAXINSNS of linux/bpf_common.h.
const maxFilter = 4096

func (s *Spec) checkPaths() error {
	c := s.Container
	inside := []string{c.Dir}
	for _, t := range c.Tmpfs {
		inside = append(inside, t.Path)
	}
	for _, d := range c.Data {
		inside = append(inside, d.Path)
	}
	seen := map[string]bool{}
	for _, p := range inside {
		if !path.IsAbs(p) {
			return fmt.Errorf("path %q is not absolute", p)
		}
	}
	for _, p := range inside[1:] {
		p = path.Clean(p)
		if p == "/" || p == "/proc" || p == "/sys" || p == "/dev" {
			return fmt.Errorf("nothing may be mounted at %s", p)
		}
		if strings.HasPrefix(p, "/proc/") || strings.HasPrefix(p, "/sys/") || strings.HasPrefix(p, "/dev/") {
			return fmt.Errorf("nothing may be mounted below /proc, /sys or /dev: %s", p)
		}
		if seen[p] {
			return fmt.Errorf("two mounts at %s", p)
		}
		seen[p] = true
	}
	all := slices.Concat(inside, c.Env, []string{c.Name, c.Hostname})
	for _, p := range all {
		if strings.IndexByte(p, 0) >= 0 {
			return fmt.Errorf("%q contains a NUL byte", p)
		}
	}
	return nil
}
