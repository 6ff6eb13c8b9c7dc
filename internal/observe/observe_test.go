package observe_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/observe"
)

func TestObserve(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("fanotify needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Skip("no tmpfs:", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	script := filepath.Join(dir, "script")
	for name, text := range map[string]string{"script": "#!/bin/sh\n. " + dir + "/sourced\nls " + dir + "/listed", "sourced": "", "unseen": "", "listed/x": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("script", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	o, err := observe.Start()
	if err != nil {
		t.Skip(err)
	}
	fd := int(o.Group().Fd())
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN|unix.FAN_OPEN_EXEC|unix.FAN_ONDIR, unix.AT_FDCWD, dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(dir, "link")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "unseen")); err != nil {
		t.Fatal(err)
	}
	seen, err := o.Finish()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"script": true, "sourced": true, "listed": true, "unseen": false, "link": false, "listed/x": false} {
		if _, got := seen[filepath.Join(dir, name)]; got != want {
			t.Errorf("%s seen: %v, want %v", name, got, want)
		}
	}
	if s := seen[script]; !s.Executed || s.Dir {
		t.Errorf("the script: %+v", s)
	}
	if s := seen[filepath.Join(dir, "listed")]; !s.Dir {
		t.Errorf("the directory: %+v", s)
	}
}
