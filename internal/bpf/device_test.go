package bpf

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// cgroup makes a control group of version 2 for the test.
func cgroup(t *testing.T) (dir string, fd int) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir, err := os.MkdirTemp(root, "instar-bpf-")
		if err != nil {
			t.Skip("making a cgroup: ", err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return dir, int(f.Fd())
	}
	t.Skip("no cgroup v2 here")
	return "", -1
}

// try opens or makes a device within a control group, by a shell of coreutils.
func try(t *testing.T, fd int, command string) error {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not permitted") {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return err
}

func TestFilter(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("loading a program needs root")
	}
	null := Device{Major: 1, Minor: 3}
	f, err := NewDeviceFilter([]Rule{{null, Read | Write}, {Device{Major: 1, Minor: 5}, Read}, {Device{Major: 5, Minor: AnyMinor}, Read | Write | Mknod}})
	if errors.Is(err, unix.EPERM) {
		t.Skip("this machine lets nobody load programs")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, fd := cgroup(t)
	if err := f.Attach(fd); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(t.TempDir(), "node")
	check := func(command string, ok bool) {
		t.Helper()
		if err := try(t, fd, command); (err == nil) != ok {
			t.Errorf("%s: %v, want allowed %v", command, err, ok)
		}
	}
	check("echo > /dev/null", true)
	check("dd if=/dev/zero count=1 of=/dev/null status=none", true)
	check("echo > /dev/zero", false)                 // not for writing
	check("mknod "+node+" c 1 3", false)             // not for making
	check("mknod "+node+" c 5 77 && rm "+node, true) // any minor
	check("mknod "+node+" b 5 77", false)            // a block device is another
	check("dd if=/dev/urandom count=1 of=/dev/null status=none", false)
	if err := f.Allow(Rule{Device{Major: 1, Minor: 9}, Read}); err != nil {
		t.Fatal(err)
	}
	check("dd if=/dev/urandom count=1 of=/dev/null status=none", true)
	if err := f.Deny(Device{Major: 1, Minor: 9}); err != nil {
		t.Fatal(err)
	}
	if err := f.Deny(Device{Major: 1, Minor: 9}); err != nil {
		t.Errorf("denying twice: %v", err)
	}
	check("dd if=/dev/urandom count=1 of=/dev/null status=none", false)
}

func TestMapIsBounded(t *testing.T) {
	f, err := NewDeviceFilter(nil)
	if err != nil {
		t.Skip("loading a program: ", err)
	}
	defer f.Close()
	for i := range uint32(maxRules) {
		if err := f.Allow(Rule{Device{Major: 1, Minor: i}, Read}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Allow(Rule{Device{Major: 1, Minor: maxRules}, Read}); err == nil {
		t.Error("the map grew beyond its bound")
	}
}
