package assemble

import (
	"errors"
	"fmt"
	"slices"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/launch"
	"github.com/instar-os/instar/internal/launch/seccomp"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// idCount is the size of a container's own range of users and groups: what 16
// bits name, "nobody" included.
const idCount = 1 << 16

// idRange returns the range of a container: the n-th of idCount, by the place
// of its name among all containers of the machine, so that no two configurations
// give one range to different containers.
func idRange(def *config.Definition, name string) system.IDRange {
	if def.Containers[name].UserNS == "host" {
		return system.IDRange{}
	}
	n := slices.Index(usedContainers(def), name)
	return system.IDRange{Base: uint32(n+1) * idCount, Count: idCount}
}

// checkOwners holds that every owner in a tree is in the container's range.
func checkOwners(root *tree.Tree, ids system.IDRange) error {
	if ids.Count == 0 {
		return nil
	}
	for p, e := range root.All() {
		if e.UID >= ids.Count || e.GID >= ids.Count {
			return fmt.Errorf("/%s belongs to %d:%d, which is not in the container's own range of %d; userns: host has all", p, e.UID, e.GID, ids.Count)
		}
	}
	return nil
}

// launches compiles the start of every container and puts it into the store.
// It comes last, when everything else about a container is decided.
func (b *Builder) launches(def *config.Definition, confs []system.Configuration, arch string) error {
	var errs []error
	for i := range confs {
		for j := range confs[i].Containers {
			c := &confs[i].Containers[j]
			if err := b.launch(c, def.Containers[c.Name].Seccomp, arch); err != nil {
				errs = append(errs, fmt.Errorf("%s: container %s: %w", c.Source, c.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// checkMember holds that a container on networks keeps no capability that it
// could not use: the namespace of its networks is made by the machine and
// belongs to the machine's users.
func checkMember(c *system.Container) error {
	if c.Network != system.MemberNetwork || c.IDs.Count == 0 {
		return nil
	}
	for _, name := range []string{"CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_NET_RAW"} {
		if slices.Contains(c.Capabilities, name) {
			return fmt.Errorf("%s has no effect on networks that the machine makes for users of the container's own; add userns: host, or leave it out", name)
		}
	}
	return nil
}

func (b *Builder) launch(c *system.Container, profile, arch string) error {
	if err := checkMember(c); err != nil {
		return err
	}
	s := &launch.Spec{Arch: arch, Container: c}
	if profile != "unconfined" {
		filter, err := seccomp.Default(arch, c.Capabilities)
		if err != nil {
			return fmt.Errorf("seccomp: %w", err)
		}
		s.Filter = seccomp.Encode(filter)
	}
	l, err := launch.Compile(s)
	if err != nil {
		return err
	}
	program, err := l.Encode()
	if err != nil {
		return err
	}
	c.Launch, err = b.putObject(program)
	return err
}
