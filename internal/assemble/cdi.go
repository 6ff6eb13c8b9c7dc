package assemble

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// maxCDI is the largest CDI file that is read, in bytes.
const maxCDI = 1 << 20

// cdiFile is a file of the Container Device Interface
// (github.com/cncf-tags/container-device-interface, SPEC.md). What it may hold
// beside this is refused, for it would not happen.
type cdiFile struct {
	Version     string            `json:"cdiVersion"`
	Kind        string            `json:"kind"`
	Annotations map[string]string `json:"annotations"`
	Devices     []struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
		Edits       cdiEdits          `json:"containerEdits"`
	} `json:"devices"`
	Edits cdiEdits `json:"containerEdits"`
}

type cdiEdits struct {
	Env            []string          `json:"env"`
	DeviceNodes    []cdiNode         `json:"deviceNodes"`
	Mounts         []cdiMount        `json:"mounts"`
	Hooks          []json.RawMessage `json:"hooks"`
	AdditionalGIDs []uint32          `json:"additionalGids"`
}

type cdiNode struct {
	Path        string  `json:"path"`
	HostPath    string  `json:"hostPath"`
	Type        string  `json:"type"`
	Major       *int64  `json:"major"`
	Minor       *int64  `json:"minor"`
	FileMode    *uint32 `json:"fileMode"`
	Permissions string  `json:"permissions"`
	UID         *uint32 `json:"uid"`
	GID         *uint32 `json:"gid"`
}

type cdiMount struct {
	HostPath      string   `json:"hostPath"`
	ContainerPath string   `json:"containerPath"`
	Options       []string `json:"options"`
	Type          string   `json:"type"`
}

// parseCDI reads a CDI file and returns the edits for one of its devices: ""
// is its only one.
func parseCDI(b []byte, device string) ([]cdiEdits, error) {
	if len(b) > maxCDI {
		return nil, fmt.Errorf("more than %d bytes", maxCDI)
	}
	var f cdiFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its object")
	}
	if !strings.HasPrefix(f.Version, "0.") && !strings.HasPrefix(f.Version, "1.") {
		return nil, fmt.Errorf("it is of CDI version %q; 0 and 1 are understood", f.Version)
	}
	var names []string
	for _, d := range f.Devices {
		if d.Name == device || device == "" && len(f.Devices) == 1 {
			return []cdiEdits{f.Edits, d.Edits}, nil
		}
		names = append(names, d.Name)
	}
	if device == "" {
		return nil, fmt.Errorf("it has devices %s; write FILE#DEVICE", strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("it has no device %s but %s", device, strings.Join(names, ", "))
}

// applyCDI merges what CDI files ask for into a container: device nodes by
// their kernel names, variables that the definition does not set, groups, and
// mounts, whose content must be in the container's trees, because a machine has
// no files beside them.
func applyCDI(dir fs.FS, files []string, declared map[string]string, c *system.Container, root *tree.Tree) error {
	for _, ref := range files {
		file, name, _ := strings.Cut(ref, "#")
		b, err := fs.ReadFile(dir, path.Clean(file))
		if err != nil {
			return fmt.Errorf("cdi: %w", err)
		}
		all, err := parseCDI(b, name)
		if err != nil {
			return fmt.Errorf("cdi: %s: %w", file, err)
		}
		for _, e := range all {
			if err := e.apply(declared, c, root); err != nil {
				return fmt.Errorf("cdi: %s: %w", file, err)
			}
		}
	}
	return nil
}

func (e cdiEdits) apply(declared map[string]string, c *system.Container, root *tree.Tree) error {
	if len(e.Hooks) > 0 {
		return errors.New("it has hooks: programs of a host that would run outside of containers; do their work in a tree")
	}
	for _, n := range e.DeviceNodes {
		d, err := n.device()
		if err != nil {
			return fmt.Errorf("device node %s: %w", n.Path, err)
		}
		c.Devices = append(c.Devices, d)
	}
	for _, m := range e.Mounts {
		if err := m.apply(root); err != nil {
			return fmt.Errorf("mount of %s: %w", m.HostPath, err)
		}
	}
	for _, v := range e.Env {
		key, _, ok := strings.Cut(v, "=")
		if !ok {
			return fmt.Errorf("%q is no variable", v)
		}
		if _, ours := declared[key]; ours {
			continue
		}
		c.Env = slices.DeleteFunc(c.Env, func(o string) bool { return strings.HasPrefix(o, key+"=") })
		c.Env = append(c.Env, v)
	}
	slices.Sort(c.Env)
	for _, g := range e.AdditionalGIDs {
		if !slices.Contains(c.Groups, g) {
			c.Groups = append(c.Groups, g)
		}
	}
	return nil
}

// device makes a device of the machine out of a node of a host: by its number
// where the file gives it, else by the kernel's name.
func (n cdiNode) device() (system.Device, error) {
	from := n.HostPath
	if from == "" {
		from = n.Path
	}
	if !strings.HasPrefix(n.Path, "/dev/") || path.Clean(n.Path) != n.Path || !strings.HasPrefix(from, "/dev/") {
		return system.Device{}, errors.New("it is not below /dev")
	}
	d := system.Device{Name: path.Base(n.Path), To: n.Path, Required: true, Match: system.DeviceMatch{Name: path.Base(from)}}
	if n.Major != nil && n.Minor != nil {
		d.Match = system.DeviceMatch{Attributes: map[string]string{"dev": fmt.Sprintf("%d:%d", *n.Major, *n.Minor)}}
	}
	switch n.Type {
	case "", "c", "u":
	case "b":
		d.Match.Subsystem = "block"
	default:
		return d, fmt.Errorf("type %q is not understood", n.Type)
	}
	switch n.Permissions {
	case "":
		d.Access = "rw"
	case "r", "rw", "rwm":
		d.Access = n.Permissions
	default:
		return d, fmt.Errorf("permissions %q are not understood; r, rw and rwm are", n.Permissions)
	}
	return d, nil
}

// apply puts what the container's trees have at the host's path to the
// container's path as well.
func (m cdiMount) apply(root *tree.Tree) error {
	if m.Type != "" && m.Type != "bind" && m.Type != "none" {
		return fmt.Errorf("type %q is not understood", m.Type)
	}
	if !path.IsAbs(m.HostPath) || !path.IsAbs(m.ContainerPath) {
		return errors.New("a path is not absolute")
	}
	from, ok := root.Resolve(strings.TrimPrefix(path.Clean(m.HostPath), "/"))
	if !ok {
		return errors.New("no tree of the container has it, and a machine has no files beside them")
	}
	to := strings.TrimPrefix(path.Clean(m.ContainerPath), "/")
	if from == to || m.HostPath == m.ContainerPath {
		return nil
	}
	e, _ := root.Inode(from)
	if e.Kind != tree.File {
		return fmt.Errorf("it goes to %s, and only files can be in two places; bring it there by a tree", m.ContainerPath)
	}
	if at, there := root.Resolve(to); there {
		return fmt.Errorf("the trees have a %s already", at)
	}
	return root.Put(to, e)
}
