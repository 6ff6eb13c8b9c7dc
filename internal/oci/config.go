// Package oci runs bundles of the OCI runtime specification: the command line
// that podman and containerd ask of a runtime, as functions.
//
// A bundle's config.json is compiled to one launch program (package launch),
// which the container's process walks itself: between clone3 and the container's
// own program no line of Go runs in it, and this binary is not executed a second
// time. "create" leaves that process reading from a fifo, just before execve;
// "start" writes to it.
//
// github.com/opencontainers/runtime-spec, version 1.2; Linux only.
package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Version is the version of the runtime specification that is implemented.
const Version = "1.2.1"

// maxConfig is the largest config.json that is read, in bytes.
const maxConfig = 16 << 20

// Config is config.json, as far as it concerns Linux.
type Config struct {
	Version     string            `json:"ociVersion"`
	Process     *Process          `json:"process,omitempty"`
	Root        *Root             `json:"root,omitempty"`
	Hostname    string            `json:"hostname,omitempty"`
	Domainname  string            `json:"domainname,omitempty"`
	Mounts      []Mount           `json:"mounts,omitempty"`
	Hooks       Hooks             `json:"hooks,omitzero"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Linux       Linux             `json:"linux,omitzero"`
}

// Process is what runs in the container.
type Process struct {
	Terminal        bool     `json:"terminal,omitempty"`
	ConsoleSize     *Size    `json:"consoleSize,omitempty"`
	User            User     `json:"user"`
	Args            []string `json:"args,omitempty"`
	Env             []string `json:"env,omitempty"`
	Cwd             string   `json:"cwd"`
	Capabilities    *Caps    `json:"capabilities,omitempty"`
	Rlimits         []Rlimit `json:"rlimits,omitempty"`
	NoNewPrivileges bool     `json:"noNewPrivileges,omitempty"`
	ApparmorProfile string   `json:"apparmorProfile,omitempty"`
	OOMScoreAdj     *int     `json:"oomScoreAdj,omitempty"`
	SelinuxLabel    string   `json:"selinuxLabel,omitempty"`
}

// Size is a terminal's size in characters.
type Size struct {
	Height uint16 `json:"height"`
	Width  uint16 `json:"width"`
}

// User is a process's user and groups, as numbers in the container.
type User struct {
	UID            uint32   `json:"uid"`
	GID            uint32   `json:"gid"`
	Umask          *uint32  `json:"umask,omitempty"`
	AdditionalGids []uint32 `json:"additionalGids,omitempty"`
}

// Caps are a process's sets of capabilities, as names.
type Caps struct {
	Bounding    []string `json:"bounding,omitempty"`
	Effective   []string `json:"effective,omitempty"`
	Inheritable []string `json:"inheritable,omitempty"`
	Permitted   []string `json:"permitted,omitempty"`
	Ambient     []string `json:"ambient,omitempty"`
}

// Rlimit is a resource limit; Type is as RLIMIT_NOFILE.
type Rlimit struct {
	Type string `json:"type"`
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

// Root is the container's root file system; Path may be relative to the bundle.
type Root struct {
	Path     string `json:"path"`
	Readonly bool   `json:"readonly,omitempty"`
}

// Mount is a file system or a host's path in the container.
type Mount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type,omitempty"`
	Source      string   `json:"source,omitempty"`
	Options     []string `json:"options,omitempty"`
	UIDMappings []IDMap  `json:"uidMappings,omitempty"`
	GIDMappings []IDMap  `json:"gidMappings,omitempty"`
}

// Hooks are commands at points of a container's life.
type Hooks struct {
	Prestart        []Hook `json:"prestart,omitempty"`
	CreateRuntime   []Hook `json:"createRuntime,omitempty"`
	CreateContainer []Hook `json:"createContainer,omitempty"`
	StartContainer  []Hook `json:"startContainer,omitempty"`
	Poststart       []Hook `json:"poststart,omitempty"`
	Poststop        []Hook `json:"poststop,omitempty"`
}

// Hook is a command; Timeout is in seconds.
type Hook struct {
	Path    string   `json:"path"`
	Args    []string `json:"args,omitempty"`
	Env     []string `json:"env,omitempty"`
	Timeout *int     `json:"timeout,omitempty"`
}

// Linux is the part of config.json for Linux.
type Linux struct {
	UIDMappings       []IDMap               `json:"uidMappings,omitempty"`
	GIDMappings       []IDMap               `json:"gidMappings,omitempty"`
	Sysctl            map[string]string     `json:"sysctl,omitempty"`
	Resources         *Resources            `json:"resources,omitempty"`
	CgroupsPath       string                `json:"cgroupsPath,omitempty"`
	Namespaces        []Namespace           `json:"namespaces,omitempty"`
	Devices           []Device              `json:"devices,omitempty"`
	Seccomp           *Seccomp              `json:"seccomp,omitempty"`
	RootfsPropagation string                `json:"rootfsPropagation,omitempty"`
	MaskedPaths       []string              `json:"maskedPaths,omitempty"`
	ReadonlyPaths     []string              `json:"readonlyPaths,omitempty"`
	MountLabel        string                `json:"mountLabel,omitempty"`
	TimeOffsets       map[string]TimeOffset `json:"timeOffsets,omitempty"`
}

// TimeOffset shifts a clock in a time namespace.
type TimeOffset struct {
	Secs     int64  `json:"secs,omitempty"`
	Nanosecs uint32 `json:"nanosecs,omitempty"`
}

// IDMap is a range of user or group IDs.
type IDMap struct {
	ContainerID uint32 `json:"containerID"`
	HostID      uint32 `json:"hostID"`
	Size        uint32 `json:"size"`
}

// Namespace is a namespace to make or, with a path, to join.
type Namespace struct {
	Type string `json:"type"`
	Path string `json:"path,omitempty"`
}

// Device is a node in the container.
type Device struct {
	Path     string  `json:"path"`
	Type     string  `json:"type"`
	Major    int64   `json:"major"`
	Minor    int64   `json:"minor"`
	FileMode *uint32 `json:"fileMode,omitempty"`
	UID      *uint32 `json:"uid,omitempty"`
	GID      *uint32 `json:"gid,omitempty"`
}

// parse reads a config.json and checks what every container needs.
func parse(b []byte) (*Config, error) {
	if len(b) > maxConfig {
		return nil, fmt.Errorf("config.json of %d bytes, more than %d", len(b), maxConfig)
	}
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("parsing config.json: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return &c, nil
}

func (c *Config) check() error {
	major, _, _ := strings.Cut(c.Version, ".")
	switch {
	case c.Version == "":
		return errors.New("ociVersion is missing")
	case major != "1":
		return fmt.Errorf("ociVersion is %q, want 1.x", c.Version)
	case c.Root == nil || c.Root.Path == "":
		return errors.New("root.path is missing")
	}
	if c.Process != nil {
		if err := c.Process.check(); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, n := range c.Linux.Namespaces {
		if _, ok := namespaceFlags[n.Type]; !ok {
			return fmt.Errorf("unknown type of namespace %q", n.Type)
		}
		if seen[n.Type] {
			return fmt.Errorf("two namespaces of type %q", n.Type)
		}
		if n.Path != "" && !path.IsAbs(n.Path) {
			return fmt.Errorf("path %q of the %s namespace is not absolute", n.Path, n.Type)
		}
		seen[n.Type] = true
	}
	for _, h := range c.Hooks.all() {
		if !path.IsAbs(h.Path) {
			return fmt.Errorf("path %q of a hook is not absolute", h.Path)
		}
		if h.Timeout != nil && *h.Timeout <= 0 {
			return fmt.Errorf("timeout of hook %s is %d, want more than 0", h.Path, *h.Timeout)
		}
	}
	return c.checkLinux(seen)
}

func (c *Config) checkLinux(own map[string]bool) error {
	l := &c.Linux
	if (len(l.UIDMappings) > 0 || len(l.GIDMappings) > 0) && !own["user"] {
		return errors.New("uidMappings without a user namespace")
	}
	if c.Hostname != "" && !own["uts"] {
		return errors.New("hostname without a UTS namespace")
	}
	if c.Domainname != "" && !own["uts"] {
		return errors.New("domainname without a UTS namespace")
	}
	for _, m := range c.Mounts {
		if m.Destination == "" {
			return errors.New("a mount without destination")
		}
		if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
			return fmt.Errorf("mount at %s: ID-mapped mounts are not supported", m.Destination)
		}
	}
	if p := l.RootfsPropagation; p != "" {
		if o, ok := mountOptions[p]; !ok || o.propagation == 0 {
			return fmt.Errorf("unknown rootfsPropagation %q", p)
		}
	}
	return nil
}

func (p *Process) check() error {
	if !path.IsAbs(p.Cwd) {
		return fmt.Errorf("process.cwd %q is not absolute", p.Cwd)
	}
	if len(p.Args) == 0 || p.Args[0] == "" {
		return errors.New("process.args is empty")
	}
	return nil
}

func (h *Hooks) all() []Hook {
	var out []Hook
	for _, l := range [][]Hook{h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart, h.Poststop} {
		out = append(out, l...)
	}
	return out
}

// namespace returns the namespace of a type that the container has of its own.
func (c *Config) namespace(kind string) (n Namespace, ok bool) {
	for _, n := range c.Linux.Namespaces {
		if n.Type == kind {
			return n, true
		}
	}
	return Namespace{}, false
}

// makes reports whether the container gets a new namespace of a type.
func (c *Config) makes(kind string) bool {
	n, ok := c.namespace(kind)
	return ok && n.Path == ""
}
