package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Runtime keeps containers in a directory on a tmpfs: each has one with its
// state, a copy of its config.json and, until it is started, a fifo.
type Runtime struct {
	Root string                           // the state directory
	Warn func(format string, args ...any) // told what was not done; must be set
	Now  func() time.Time                 // the clock
}

// State is what "state" prints: the specification, "State".
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Status      string            `json:"status"`
	PID         int               `json:"pid,omitempty"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs,omitempty"`
	Created     time.Time         `json:"created,omitzero"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Status of a container.
const (
	Creating = "creating"
	Created  = "created"
	Running  = "running"
	Paused   = "paused"
	Stopped  = "stopped"
)

// ErrNotFound says that there is no container of that name.
var ErrNotFound = errors.New("container does not exist")

// containerState is one that exists: the file state.json of its directory.
type containerState struct {
	State
	Began   uint64        `json:"began"` // start time of the process, in clock ticks since boot
	Cgroups []savedCgroup `json:"cgroups,omitempty"`

	dir    string
	groups *cgroups
}

type savedCgroup struct {
	Mount       string `json:"mount"`
	Controllers string `json:"controllers"`
	Dir         string `json:"dir"`
}

func checkID(id string) error {
	ok := id != "" && id != "." && id != ".." && len(id) <= 1024
	for _, r := range id {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+-.", r))
	}
	if !ok {
		return fmt.Errorf("%q is no name of a container: want letters, digits and any of _+-.: at most 1024 of them", id)
	}
	return nil
}

// reserve makes a container's directory; the name is taken then.
func (r *Runtime) reserve(id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	if err := os.MkdirAll(r.Root, 0o700); err != nil {
		return "", err
	}
	dir := filepath.Join(r.Root, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("container %s exists already", id)
		}
		return "", err
	}
	return dir, nil
}

// save writes the state, whole or not at all.
func (c *containerState) save() error {
	c.Cgroups = nil
	if c.groups != nil {
		for _, h := range c.groups.hierarchies {
			c.Cgroups = append(c.Cgroups, savedCgroup{h.mount, h.controllers, h.dir})
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	tmp := filepath.Join(c.dir, "state.tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(c.dir, "state.json"))
}

// load reads a container and finds out how it is.
func (r *Runtime) load(id string) (*containerState, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	dir := filepath.Join(r.Root, id)
	b, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	c := &containerState{dir: dir}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("reading the state of container %s: %w", id, err)
	}
	if len(c.Cgroups) > 0 {
		c.groups = &cgroups{}
		for _, s := range c.Cgroups {
			c.groups.hierarchies = append(c.groups.hierarchies,
				hierarchy{name: filepath.Base(s.Mount), mount: s.Mount, controllers: s.Controllers, dir: s.Dir})
		}
	}
	c.look()
	return c, nil
}

// look finds the status out. A process with another start time is another one;
// one that has ended counts as gone, reaped or not.
func (c *containerState) look() {
	if c.Status == Creating {
		return
	}
	began, ended, err := processBegan(c.PID)
	switch {
	case err != nil || ended || began != c.Began:
		c.Status, c.PID = Stopped, 0
	case c.groups.frozen():
		c.Status = Paused
	default:
		c.Status = Running
		if _, err := os.Lstat(c.fifo()); err == nil {
			c.Status = Created
		}
	}
}

func (c *containerState) fifo() string { return filepath.Join(c.dir, "start") }

// config reads the copy of config.json that the container was made from.
func (c *containerState) config() (*Config, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, "config.json"))
	if err != nil {
		return nil, err
	}
	return parse(b)
}

// processBegan returns a process's start time, and whether it has ended:
// proc_pid_stat(5).
func processBegan(pid int) (began uint64, ended bool, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, true, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before may contain anything
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return 0, false, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	began, err = strconv.ParseUint(f[19], 10, 64)
	return began, f[0] == "Z" || f[0] == "X", err
}

// pidfd returns a descriptor of the container's process. The caller closes it.
func (c *containerState) pidfd() (int, error) {
	fd, err := unix.PidfdOpen(c.PID, 0)
	if err != nil {
		return -1, fmt.Errorf("opening process %d: %w", c.PID, err)
	}
	if began, ended, err := processBegan(c.PID); err != nil || ended || began != c.Began {
		unix.Close(fd)
		return -1, fmt.Errorf("process %d is gone", c.PID)
	}
	return fd, nil
}

// State returns a container's state.
func (r *Runtime) State(id string) (State, error) {
	c, err := r.load(id)
	if err != nil {
		return State{}, err
	}
	return c.State, nil
}

// List returns all containers, by name. Those that are just made or deleted may
// be missing.
func (r *Runtime) List() ([]State, error) {
	entries, err := os.ReadDir(r.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return []State{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := []State{}
	for _, e := range entries {
		if c, err := r.load(e.Name()); err == nil {
			out = append(out, c.State)
		}
	}
	slices.SortFunc(out, func(a, b State) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}
