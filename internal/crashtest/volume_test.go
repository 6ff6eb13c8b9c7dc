package crashtest_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/volume"
)

func volumeScenarios() []*crashtest.Scenario {
	return []*crashtest.Scenario{createVolume(), upgradeVolume(), restoreVolume(), importVolume(), downgradeVolume()}
}

var volumeName = volume.Name{Configuration: "day", Container: "broker", Path: "/var/lib/x"}

func volumes(dir string, k durable.FS) *volume.Store {
	return &volume.Store{Dir: dir + "/data", FS: k, Now: func() time.Time { return time.Unix(1e9, 0) }}
}

func dataOf(version int) system.Data {
	return system.Data{Path: volumeName.Path, Version: version, Mode: 0o750, UID: 7, GID: 8,
		OnOlder: system.RestoreOlder, Snapshots: system.Snapshots{Keep: 3}}
}

// fill gives a volume a content that can be told from others.
func fill(dir, name string) error {
	return errors.Join(
		os.Mkdir(dir+"/sub", 0o755),
		os.WriteFile(dir+"/sub/file", text(name, 1100), 0o640),
		os.WriteFile(dir+"/name", []byte(name), 0o644),
		os.Link(dir+"/name", dir+"/sub/again"),
		os.Symlink("sub/file", dir+"/link"))
}

// contentOf returns what fill gave, and fails when any of it is damaged.
func contentOf(dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm() != 0o750 {
		return "", fmt.Errorf("the directory has mode %v", info.Mode())
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) == 0 {
		return "empty", err
	}
	name, err := os.ReadFile(dir + "/name")
	if err != nil {
		return "", err
	}
	again, err := os.ReadFile(dir + "/sub/again")
	if err != nil || !bytes.Equal(name, again) {
		return "", fmt.Errorf("a hard link is %.40q instead of %q, %v", again, name, err)
	}
	through, err := os.ReadFile(dir + "/link")
	if err != nil || !bytes.Equal(through, text(string(name), 1100)) {
		return "", fmt.Errorf("the content of %q is torn: %.40q, %v", name, through, err)
	}
	info, err = os.Stat(dir + "/sub/file")
	if err != nil || info.Mode() != 0o640 {
		return "", fmt.Errorf("a file has mode %v, %w", info.Mode(), err)
	}
	return string(name), nil
}

// setupVolume makes a volume of version 1 with the content "one", and upgrades
// it with others.
func setupVolume(contents ...string) func(e *crashtest.Env) error {
	return func(e *crashtest.Env) error {
		for i, c := range contents {
			h, err := volumes(e.Dir, durable.FS{}).Open(volumeName.Configuration, volumeName.Container, dataOf(i+1))
			if err != nil {
				return err
			}
			list, err := os.ReadDir(h.Dir)
			for _, old := range list {
				err = errors.Join(err, os.RemoveAll(filepath.Join(h.Dir, old.Name())))
			}
			if err = errors.Join(err, fill(h.Dir, c)); err != nil {
				return err
			}
			h.Close()
		}
		return nil
	}
}

// volumeState opens a volume as its container of some version does, and returns
// its content. Every snapshot must be whole, and nothing may lie around.
func volumeState(dir string, d system.Data) (content string, snapshots map[string]int, err error) {
	s := volumes(dir, durable.FS{})
	h, err := s.Open(volumeName.Configuration, volumeName.Container, d)
	if err != nil {
		return "", nil, err
	}
	defer h.Close()
	if content, err = contentOf(h.Dir); err != nil {
		return "", nil, fmt.Errorf("the current generation: %w", err)
	}
	list, err := s.Volumes(ctx)
	if err != nil || len(list) != 1 {
		return "", nil, fmt.Errorf("volumes %v, %v", list, err)
	}
	snapshots = map[string]int{}
	for _, o := range list[0].Snapshots {
		c, err := contentOf(filepath.Join(filepath.Dir(h.Dir), fmt.Sprint(o.Number)))
		if err != nil {
			return "", nil, fmt.Errorf("snapshot %d: %w", o.Number, err)
		}
		snapshots[c] = o.Number
	}
	generations, err := os.ReadDir(filepath.Dir(h.Dir))
	if err != nil || len(generations) != 1+len(list[0].Snapshots) {
		return "", nil, fmt.Errorf("left behind: %v, %v", generations, err)
	}
	return content, snapshots, nil
}

func createVolume() *crashtest.Scenario {
	return &crashtest.Scenario{
		Name: "volume: first use",
		Run: func(e *crashtest.Env) error {
			h, err := volumes(e.Dir, e.FS).Open(volumeName.Configuration, volumeName.Container, dataOf(1))
			if err != nil {
				return err
			}
			defer h.Close()
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			record := s.Dir + "/data/day/broker/.var-lib-x.json"
			_, err := os.Stat(record)
			if errors.Is(err, fs.ErrNotExist) {
				return acknowledged(s, "old")
			}
			if c, _, err := volumeState(s.Dir, dataOf(1)); err != nil || c != "empty" {
				return "", fmt.Errorf("%s, %v", c, err)
			}
			return acknowledged(s, "new")
		},
	}
}

func upgradeVolume() *crashtest.Scenario {
	return &crashtest.Scenario{
		Name:  "volume: snapshot before an upgrade",
		Setup: setupVolume("one"),
		Run: func(e *crashtest.Env) error {
			h, err := volumes(e.Dir, e.FS).Open(volumeName.Configuration, volumeName.Container, dataOf(2))
			if err != nil {
				return err
			}
			defer h.Close()
			e.Ack("new")
			return nil
		},
		// A volume that the newer container may write to has a snapshot.
		Check: func(s *crashtest.State) (string, error) {
			old := dataOf(1)
			old.OnOlder = ""
			if c, _, err := volumeState(s.Dir, old); err == nil {
				if c != "one" {
					return "", fmt.Errorf("the content is %s", c)
				}
				return acknowledged(s, "old")
			} else if !strings.Contains(err.Error(), "has version 2") {
				return "", err
			}
			c, snapshots, err := volumeState(s.Dir, dataOf(2))
			if err != nil || c != "one" || snapshots["one"] == 0 {
				return "", fmt.Errorf("%s, snapshots %v, %v", c, snapshots, err)
			}
			return acknowledged(s, "new")
		},
	}
}

// changeVolume is a change of a volume that holds "two", with a snapshot of
// "one", to some content.
func changeVolume(name, to string, change func(s *volume.Store) error) *crashtest.Scenario {
	return &crashtest.Scenario{
		Name:  name,
		Setup: setupVolume("one", "two"),
		Run: func(e *crashtest.Env) error {
			if err := change(volumes(e.Dir, e.FS)); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			c, snapshots, err := volumeState(s.Dir, dataOf(2))
			switch {
			case err != nil:
				return "", err
			case snapshots["one"] == 0:
				return "", errors.New("a snapshot is lost")
			case c == "two":
				return acknowledged(s, "old")
			case c == to && snapshots["two"] != 0:
				return acknowledged(s, "new")
			}
			return "", fmt.Errorf("content %s, snapshots %v", c, snapshots)
		},
	}
}

func restoreVolume() *crashtest.Scenario {
	return changeVolume("volume: restore a snapshot", "one", func(s *volume.Store) error {
		// Asking again after a cut finds the same snapshot.
		list, err := s.Volumes(ctx)
		if err != nil || len(list) != 1 {
			return fmt.Errorf("volumes %v, %v", list, err)
		}
		if n := len(list[0].Snapshots); n > 1 {
			return nil // it was done
		}
		return s.Restore(volumeName, list[0].Snapshots[0].Number)
	})
}

func importVolume() *crashtest.Scenario {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []struct {
		tar.Header
		content string
	}{
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o750}, ""},
		{tar.Header{Name: "name", Typeflag: tar.TypeReg, Mode: 0o644}, "three"},
		{tar.Header{Name: "sub/file", Typeflag: tar.TypeReg, Mode: 0o640}, string(text("three", 1100))},
		{tar.Header{Name: "sub/again", Typeflag: tar.TypeLink, Linkname: "name"}, ""},
		{tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "sub/file"}, ""},
	} {
		h.Size = int64(len(h.content))
		if err := w.WriteHeader(&h.Header); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(h.content)); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return changeVolume("volume: import an archive", "three", func(s *volume.Store) error {
		list, err := s.Volumes(ctx)
		if err != nil || len(list) != 1 {
			return fmt.Errorf("volumes %v, %v", list, err)
		}
		if n := len(list[0].Snapshots); n > 1 {
			return nil // it was done
		}
		return s.Import(volumeName, 0, bytes.NewReader(b.Bytes()))
	})
}

func downgradeVolume() *crashtest.Scenario {
	// A look makes a snapshot too: there is room for those of several runs.
	roomy := func(version int) system.Data {
		d := dataOf(version)
		d.Snapshots.Keep = 16
		return d
	}
	return &crashtest.Scenario{
		Name:  "volume: an older version takes its snapshot",
		Setup: setupVolume("one", "two"),
		Run: func(e *crashtest.Env) error {
			h, err := volumes(e.Dir, e.FS).Open(volumeName.Configuration, volumeName.Container, roomy(1))
			if err != nil {
				return err
			}
			defer h.Close()
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			newer := roomy(2)
			newer.Version = 3 // makes a snapshot of what is there and says what it was
			c, snapshots, err := volumeState(s.Dir, newer)
			switch {
			case err != nil:
				return "", err
			case c == "two" && snapshots["two"] != 0:
				return acknowledged(s, "old")
			case c == "one" && snapshots["two"] != 0:
				return acknowledged(s, "new")
			}
			return "", fmt.Errorf("content %s, snapshots %v", c, snapshots)
		},
	}
}
